"""Low-rank adapters on the linear layers of the transformer, through peft, merged where the model is judged or kept.

A weight W becomes W + alpha / rank * B A, of which A and B alone are trained (Hu et al. 2021, arXiv:2106.09685). The
adapters stand inside the transformer's own modules, so they run on the flat token stream as those do. Nobody who reads
a saved encoder meets them: it is written with the sum in place of W.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import torch

from embedft.config import LoraConfig
from embedft.errors import ConfigError, ModelError
from embedft.training.parameters import layers_of

ADAPTER = "embedft"


def require_peft() -> None:
    """Raise ConfigError if the package that makes adapters is not installed."""
    if find_spec("peft") is None:
        raise ConfigError(
            "training.lora needs the package peft, which is missing.", hint="pip install 'embedft[lora]'."
        )


def add_lora(model: Any, config: LoraConfig, seed: int) -> int:
    """Put adapters on the transformer's linear layers and freeze everything else; gives how many numbers are trained.

    Layers that are frozen already get none. Vectors are unchanged: B begins at 0.

    Args:
        model: a SentenceTransformer.
        config: rank, alpha, dropout, and the names of the layers: the last parts of their paths, ``Wqkv``, ``mlp.Wo``.
        seed: of A.

    Raises:
        ConfigError: peft is missing, a name fits no layer, or all that fit are frozen.
    """
    require_peft()
    import peft

    transformer = model[0].model
    targets = _targets(transformer, config.targets)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=targets, bias="none"
    )
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(settings, transformer, ADAPTER)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@contextmanager
def merged(model: Any) -> Iterator[Any]:
    """The same model with plain linear layers that hold the sum of weights and adapters; unchanged if it has none.

    What is trained is put aside meanwhile and comes back as it was, to the bit. Costs a copy of the adapted weights.

    Args:
        model: a SentenceTransformer, with or without adapters.
    """
    with ExitStack() as undo:
        for parent, name, layer in _adapted(model):
            setattr(parent, name, _plain(layer))
            undo.callback(setattr, parent, name, layer)
        yield model


def has_lora(model: Any) -> bool:
    """Whether the model has adapters."""
    return any(True for _ in _adapted(model))


def linear_layers(transformer: Any) -> dict[str, torch.nn.Linear]:
    """The linear layers that can have adapters, by their path: those inside the transformer's layers."""
    found = {name: module for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)}
    try:
        within = {id(module) for module in layers_of(transformer).modules()}
    except ModelError:
        return found
    return {name: module for name, module in found.items() if id(module) in within}


def _targets(transformer: Any, names: Sequence[str]) -> list[str]:
    """The paths of the layers that get adapters."""
    layers = linear_layers(transformer)
    for name in names:
        if not any(_fits(path, name) for path in layers):
            raise ConfigError(
                f"training.lora.targets has {name!r}, which is no linear layer of the model; "
                f"expected some of {', '.join(_short_names(layers))}.",
                hint="use these names, or leave targets out for all of them.",
            )
    chosen = {path: layer for path, layer in layers.items() if not names or any(_fits(path, name) for name in names)}
    free = [path for path, layer in chosen.items() if layer.weight.requires_grad]
    if not free:
        raise ConfigError(
            f"training.lora: all {len(chosen)} linear layers that would get adapters are frozen by training.freeze; "
            "expected at least one that is not.",
            hint="freeze fewer layers.",
        )
    return free


def _fits(path: str, name: str) -> bool:
    return path == name or path.endswith(f".{name}")


def _short_names(layers: dict[str, torch.nn.Linear]) -> list[str]:
    """What follows the number of the layer, each once: ``attn.Wqkv``, ``mlp.Wo``."""
    return list(dict.fromkeys(re.sub(r"^.*\.\d+\.", "", path) for path in layers))


def _adapted(model: Any) -> list[tuple[torch.nn.Module, str, Any]]:
    """The layers with adapters, each with the module it stands in and its name there."""
    if find_spec("peft") is None:
        return []
    from peft.tuners.lora import LoraLayer

    return [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, LoraLayer)
    ]


def _plain(layer: Any) -> torch.nn.Linear:
    """A linear layer with the weights of an adapted one."""
    base = layer.get_base_layer()
    plain = torch.nn.Linear(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
    with torch.no_grad():
        plain.weight = torch.nn.Parameter(base.weight + layer.get_delta_weight(ADAPTER), requires_grad=False)
    plain.bias = base.bias
    return plain
