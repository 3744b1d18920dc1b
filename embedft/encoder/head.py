"""From the states of tokens to the vector of a text: pooling on the flat stream, and what a model puts after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from embedft.encoder.layout import Layout

EMBEDDING = "sentence_embedding"
# Activations that sentence-transformers' Dense modules are published with, by the last part of their class's name.
DENSE_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")


@dataclass(frozen=True)
class Module:
    """One module behind the transformer: its kind, its settings, its weights."""

    kind: str
    config: Mapping[str, Any]
    state: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def modes(self) -> tuple[str, ...]:
        """How a Pooling module pools; several modes are put side by side."""
        mode = self.config["pooling_mode"]
        return (mode,) if isinstance(mode, str) else tuple(mode)

    @property
    def arithmetic(self) -> tuple[str, ...]:
        """What decides its numbers beside its weights."""
        if self.kind == "Pooling":
            return self.modes
        if self.kind != "Dense":
            return ()
        return (_dense_activation_name(self.config), *(("residual",) if self.config.get("use_residual") else ()))


def output_dim(hidden: int, modules: Sequence[Module]) -> int:
    """The length of a vector behind these modules, for token states of length ``hidden``."""
    for module in modules:
        if module.kind == "Pooling":
            hidden *= len(module.modes)
        elif module.kind == "Dense":
            hidden = int(module.config["out_features"])
    return hidden


def apply_head(states: torch.Tensor, layout: Layout, modules: Sequence[Module]) -> torch.Tensor:
    """Vectors of the texts of a flat stream, (texts, dim) in fp32.

    Args:
        states: (tokens, hidden), of any type.
        layout: of the stream.
        modules: a Pooling, then any of Dense, LayerNorm, Normalize.
    """
    import torch

    pooling, *rest = modules
    x = pool(states, layout, pooling.modes)
    for module in rest:
        if module.kind == "Normalize":
            x = torch.nn.functional.normalize(x, dim=1)
        elif module.kind == "LayerNorm":
            x = torch.nn.functional.layer_norm(
                x, x.shape[-1:], module.state["norm.weight"].to(x), module.state["norm.bias"].to(x)
            )
        else:
            bias = module.state.get("linear.bias")
            x = torch.nn.functional.linear(x, module.state["linear.weight"].to(x), None if bias is None else bias.to(x))
            x = _dense_activation(module.config)(x)
    return x


def apply_modules(states: torch.Tensor, layout: Layout, modules: Sequence[Any]) -> torch.Tensor:
    """As `apply_head`, with sentence-transformers' own modules behind the pooling; differentiable.

    Args:
        states: (tokens, hidden), of any type.
        layout: of the stream.
        modules: sentence-transformers' Pooling, then any modules that turn a ``sentence_embedding`` into another.
    """
    pooling, *rest = modules
    vectors = pool(states, layout, Module("Pooling", pooling.get_config_dict()).modes)
    for module in rest:
        vectors = module({"sentence_embedding": vectors})["sentence_embedding"]
    return vectors.float()


def pool(states: torch.Tensor, layout: Layout, modes: Sequence[str]) -> torch.Tensor:
    """Each text's states as one vector, (texts, hidden * modes) in fp32; differentiable."""
    import torch

    lengths = torch.tensor(layout.lengths, device=states.device)
    starts = torch.from_numpy(layout.starts).to(states.device)
    pooled = []
    for mode in modes:
        if mode == "cls":
            pooled.append(states[starts].float())
        elif mode == "lasttoken":
            pooled.append(states[starts + lengths - 1].float())
        elif mode == "max":
            pooled.append(torch.segment_reduce(states.float(), "max", lengths=lengths, axis=0))
        elif mode == "weightedmean":
            weights = (layout.positions(states.device) + 1).float()
            total = lengths * (lengths + 1) / 2
            pooled.append(_segment_sum(states.float() * weights[:, None], layout) / total[:, None])
        else:
            divisor = lengths if mode == "mean" else lengths.float().sqrt()
            pooled.append(_segment_sum(states.float(), layout) / divisor[:, None])
    return torch.cat(pooled, dim=1) if len(pooled) > 1 else pooled[0]


def _segment_sum(values: torch.Tensor, layout: Layout) -> torch.Tensor:
    """The sum over each text's tokens, (texts, width)."""
    import torch

    sizes = [group.texts * group.length for group in layout.groups]
    parts = zip(torch.split(values, sizes), layout.groups, strict=True)
    return torch.cat([part.view(group.texts, group.length, -1).sum(dim=1) for part, group in parts])


def supported(module: Module) -> bool:
    """Whether `apply_head` computes this module as sentence-transformers does."""
    if module.kind == "Pooling":
        known = {"cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens", "weightedmean"}
        return set(module.modes) <= known and bool(module.config.get("include_prompt", True))
    if module.config.get("module_input_name", EMBEDDING) != EMBEDDING:
        return False
    if module.config.get("module_output_name", EMBEDDING) not in (None, EMBEDDING):
        return False
    if module.kind == "Dense":
        # sentence-transformers takes no activation from elsewhere, and puts Tanh in its place.
        named = str(module.config.get("activation_function") or "").startswith("torch.")
        if module.config.get("use_residual") or not named:
            return False
        return _dense_activation_name(module.config) in DENSE_ACTIVATIONS
    return module.kind in {"Normalize", "LayerNorm"}


def _dense_activation_name(config: Mapping[str, Any]) -> str:
    return str(config.get("activation_function") or "Identity").rpartition(".")[2]


def _dense_activation(config: Mapping[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    import torch

    activation: Callable[[torch.Tensor], torch.Tensor] = getattr(torch.nn, _dense_activation_name(config))()
    return activation
