"""Which parameters are trained, and how fast: freezing, layer-wise learning rates, groups for the optimizer."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from embedft.errors import ConfigError, ModelError

Losses = torch.nn.Module | Mapping[str, torch.nn.Module]

# How the names of a loss's own parameters begin, among those that are trained.
OF_LOSS = "loss."
EXPECTED = "embeddings, layers:N (the first N layers), or documents"
# A module or parameter of a loss may carry this attribute: its learning rate as a multiple of `training.learning_rate`.
RATE_ATTRIBUTE = "learning_rate_scale"
# As transformers' Trainer.get_decay_parameter_names: no weight decay on biases and norms; nor, as in CLIP, on gains.
NO_DECAY = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)", r"log_scale$"]


@dataclass(frozen=True)
class Frozen:
    """What ``training.freeze`` names of an encoder's weights: the embeddings, how many of the first layers."""

    embeddings: bool = False
    layers: int = 0


def read_freeze(entries: Sequence[str]) -> Frozen:
    """The meaning of ``training.freeze``, without looking at a model.

    Raises:
        ConfigError: an entry is none of embeddings, layers:N, documents.
    """
    embeddings = False
    layers = 0
    for entry in entries:
        match = re.fullmatch(r"layers:([1-9]\d*)", entry)
        if match:
            layers = max(layers, int(match[1]))
        elif entry == "embeddings":
            embeddings = True
        elif entry != "documents":
            raise ConfigError(
                f"training.freeze has {entry!r}; expected {EXPECTED}.",
                hint="for example freeze: [embeddings, layers:3].",
            )
    return Frozen(embeddings, layers)


def freeze(model: Any, entries: Sequence[str]) -> int:
    """Exclude the named parameters from training; gives how many numbers are frozen.

    All layers together take with them what the transformer has behind them (a last norm, a pooler). ``documents`` is
    recognised and left to `embedft.training`'s query side.

    Args:
        model: a SentenceTransformer.
        entries: of ``training.freeze``.

    Raises:
        ConfigError: an entry is unknown, or there are fewer layers.
        ModelError: the model's layers cannot be told apart.
    """
    named = read_freeze(entries)
    chosen: list[torch.nn.Parameter] = []
    transformer = model[0].model
    if named.embeddings:
        chosen += embeddings_of(transformer).parameters()
    if named.layers:
        layers = layers_of(transformer)
        if named.layers > len(layers):
            raise ConfigError(
                f"training.freeze has 'layers:{named.layers}', but the model has {len(layers)} layers.",
                hint=f"use layers:1 to layers:{len(layers)}.",
            )
        for layer in layers[: named.layers]:
            chosen += layer.parameters()
        if named.layers == len(layers):
            chosen += _behind(transformer, layers)
    for parameter in chosen:
        parameter.requires_grad_(False)
    return sum({id(parameter): parameter.numel() for parameter in chosen}.values())


def trainable_parameters(model: Any, loss: Losses) -> dict[str, torch.nn.Parameter]:
    """The parameters that training changes, by name: ``model.…``, and of the loss's own ``loss.…``.

    Args:
        model: a SentenceTransformer.
        loss: the loss around it, or several by the name of their data set.
    """
    found = {f"model.{name}": value for name, value in model.named_parameters() if value.requires_grad}
    within = {id(value) for value in model.parameters()}
    for name, value in _joint(loss).named_parameters():
        if value.requires_grad and id(value) not in within:
            found[OF_LOSS + name] = value
    return found


def require_trainable(model: Any, loss: Losses) -> None:
    """Raise ConfigError if a loss has nothing left to train: neither the encoder nor a head.

    A learned scale does not count: it changes no vector.
    """
    losses = [loss] if isinstance(loss, torch.nn.Module) else loss.values()
    if not all(any(value.ndim for value in trainable_parameters(model, one).values()) for one in losses):
        raise ConfigError(
            "training.freeze leaves nothing to train: embeddings and all layers are frozen; "
            "expected at least one layer that is not.",
            hint="freeze fewer layers.",
        )


def parameter_groups(
    model: Any, loss: Losses, *, learning_rate: float, weight_decay: float, layer_decay: float | None
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer: ``params``, ``lr``, ``weight_decay``.

    A layer that has k layers above it gets the learning rate times ``layer_decay ** k``, the embeddings below all L
    layers ``layer_decay ** L``; the last norm, modules behind the transformer and the loss's own parameters get all of
    it, times the attribute ``learning_rate_scale`` of the parameter or of a module around it, where one has it.
    Biases, norms and learned scales have no weight decay. The first group has the full rate, which is the one that
    trainers log.

    Howard & Ruder 2018, arXiv:1801.06146, section 3.2 (discriminative fine-tuning); Sun et al. 2019, arXiv:1905.05583,
    section 5.3.4. Without ``layer_decay``, attributes and learned scales these are the groups of
    sentence-transformers' trainer.

    Args:
        model: a SentenceTransformer.
        loss: the loss around it, or several by the name of their data set.
        learning_rate: the full one.
        weight_decay: of what has one.
        layer_decay: of a layer's learning rate to that of the layer above it; None or 1 for equal ones.

    Raises:
        ModelError: ``layer_decay`` is set, and the model's layers cannot be told apart.
    """
    from transformers.trainer_pt_utils import get_parameter_names

    joint = _joint(loss)
    decayed = set(get_parameter_names(joint, [torch.nn.LayerNorm], NO_DECAY))
    multiples = _multiples(model, joint, layer_decay)
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in joint.named_parameters():
        if parameter.requires_grad:
            key = (multiples.get(id(parameter), 1.0), name in decayed)
            groups.setdefault(key, []).append(parameter)
    ordered = sorted(groups.items(), key=lambda group: (group[0][0] != 1.0, -group[0][0], not group[0][1]))
    return [
        {"params": parameters, "lr": learning_rate * multiple, "weight_decay": weight_decay if decays else 0.0}
        for (multiple, decays), parameters in ordered
        if parameters or multiple == 1.0
    ]


def embeddings_of(transformer: Any) -> torch.nn.Module:
    """The module with the token embedding and what belongs to it: positions, types, their norm.

    Raises:
        ModelError: the model has no token embedding.
    """
    try:
        table = transformer.get_input_embeddings()
    except NotImplementedError:
        table = None
    name = next((name for name, module in transformer.named_modules() if module is table), None)
    if name is None:
        raise ModelError(
            f"{type(transformer).__name__} has no token embedding that can be found.", hint="freeze layers:N alone."
        )
    around: torch.nn.Module = transformer.get_submodule(name.rpartition(".")[0])
    # A family that keeps the table beside its layers.
    holds_more = any(isinstance(module, torch.nn.ModuleList) for module in around.modules())
    embeddings: torch.nn.Module = table if holds_more else around
    return embeddings


def layers_of(transformer: Any) -> torch.nn.ModuleList:
    """The transformer's layers, the first one first.

    Raises:
        ModelError: no list of modules is as long as the configuration says.
    """
    count = getattr(transformer.config, "num_hidden_layers", None)
    for module in transformer.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(
        f"{type(transformer).__name__}: its {count} layers cannot be told apart.",
        hint="leave training.layer_decay and layers:N out.",
    )


def _behind(transformer: Any, layers: torch.nn.ModuleList) -> Iterator[torch.nn.Parameter]:
    """The transformer's parameters in neither embeddings nor layers."""
    others = {id(parameter) for parameter in [*embeddings_of(transformer).parameters(), *layers.parameters()]}
    return (parameter for parameter in transformer.parameters() if id(parameter) not in others)


def _multiples(model: Any, joint: torch.nn.Module, layer_decay: float | None) -> dict[int, float]:
    """Learning rates relative to the full one, by the id of the parameter, where they differ from it."""
    multiples: dict[int, float] = {}
    if layer_decay is not None:
        layers = layers_of(model[0].model)
        parts = [embeddings_of(model[0].model), *layers]
        for depth, part in enumerate(reversed(parts)):
            multiples |= {id(parameter): layer_decay**depth for parameter in part.parameters()}
    for holder in [*joint.modules(), *joint.parameters()]:
        scale = getattr(holder, RATE_ATTRIBUTE, None)
        if scale is not None:
            held = holder.parameters() if isinstance(holder, torch.nn.Module) else [holder]
            multiples |= {id(parameter): float(scale) for parameter in held}
    return multiples


def _joint(loss: Losses) -> torch.nn.Module:
    """One module around the losses, as sentence-transformers' trainer builds its optimizer from it."""
    return loss if isinstance(loss, torch.nn.Module) else torch.nn.Sequential(OrderedDict(loss))
