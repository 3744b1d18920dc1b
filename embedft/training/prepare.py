"""What is done to an encoder's modules before training, in the order in which it must be done."""

from __future__ import annotations

import logging
from typing import Any

from embedft.config import TrainingConfig
from embedft.encoder.differentiable import recompute_activations
from embedft.training.lora import add_lora, require_peft
from embedft.training.parameters import freeze, layers_of, read_freeze
from embedft.training.trackers import check_trackers

logger = logging.getLogger("embedft")


def check_preparation(settings: TrainingConfig) -> None:
    """Look at what can be seen without a model: ``freeze``, ``lora``, ``report_to``.

    Raises:
        ConfigError: an entry is unknown, or a package is missing.
    """
    read_freeze(settings.freeze)
    check_trackers(settings.report_to)
    if settings.lora is not None:
        require_peft()


def prepare_model(model: Any, settings: TrainingConfig) -> None:
    """Freeze, add adapters and recompute activations as ``settings`` say; tells in the log what share is trained.

    Args:
        model: a SentenceTransformer, of which nothing is frozen yet.
        settings: of the training.

    Raises:
        ConfigError: a setting does not fit the model.
        ModelError: the model's layers cannot be told apart, and a setting needs them.
    """
    freeze(model, settings.freeze)
    if settings.lora is not None:
        # After freezing: frozen layers get no adapters.
        add_lora(model, settings.lora, settings.seed)
    if settings.layer_decay is not None:
        layers_of(model[0].model)
    if settings.gradient_checkpointing:
        recompute_activations(model)
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    trained, whole = sum(size for size, free in sizes if free), sum(size for size, _ in sizes)
    if trained < whole:
        logger.info("%d of %d weights of the encoder are trained (%.1f %%)", trained, whole, 100 * trained / whole)
