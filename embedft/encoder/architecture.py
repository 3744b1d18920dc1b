"""What a transformer's configuration says about its arithmetic, read without loading transformers.

Two families have a forward pass of our own (`embedft.encoder.network`): ModernBERT and BERT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from embedft.encoder.kernels import ACTIVATIONS

FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class Architecture:
    """The arithmetic of a ModernBERT or BERT encoder beside its weights.

    Attributes:
        family: ``modernbert`` or ``bert``.
        hidden: length of a token's state.
        heads: of the attention.
        layers: the kind of each layer's attention, ``full_attention`` or ``sliding_attention``.
        window: tokens to each side that a token sees in a sliding layer.
        rope_theta: base of the rotary embedding by kind of layer; empty where positions are learned.
        activation: of the MLP.
        eps: of the layer norms.
        positions: the most tokens that it has positions for.
    """

    family: str
    hidden: int
    heads: int
    layers: tuple[str, ...]
    window: int
    rope_theta: Mapping[str, float]
    activation: str
    eps: float
    positions: int

    def as_dict(self) -> dict[str, Any]:
        """What decides the arithmetic, for the fingerprint; the number of positions does not."""
        fields = asdict(self)
        del fields["positions"]
        return fields


def architecture(config: Mapping[str, Any]) -> Architecture | None:
    """The architecture that a ``config.json`` describes; None if it is not one that we have a forward pass for."""
    read = {"modernbert": _modernbert, "bert": _bert}.get(config.get("model_type", ""))
    found = read(config) if read else None
    return found if found is not None and found.activation in ACTIVATIONS else None


def _modernbert(config: Mapping[str, Any]) -> Architecture | None:
    count = int(config.get("num_hidden_layers", 22))
    layers = config.get("layer_types")
    if layers is None:
        every = int(config.get("global_attn_every_n_layers", 3))
        layers = [SLIDING if layer % every else FULL for layer in range(count)]
    rope = config.get("rope_parameters")
    if config.get("rope_scaling"):
        return None
    if rope is None:
        bases = config.get("global_rope_theta", 160_000.0), config.get("local_rope_theta", 10_000.0)
        if None in bases:
            return None
        theta = {FULL: float(bases[0]), SLIDING: float(bases[1])}
    elif any((rope.get(kind) or {}).get("rope_type", "default") != "default" for kind in (FULL, SLIDING)):
        return None
    else:
        theta = {kind: float(rope[kind]["rope_theta"]) for kind in (FULL, SLIDING) if rope.get(kind)}
    if not set(layers) <= set(theta) or len(layers) != count:
        return None
    return Architecture(
        family="modernbert",
        hidden=int(config.get("hidden_size", 768)),
        heads=int(config.get("num_attention_heads", 12)),
        layers=tuple(layers),
        window=int(config.get("local_attention", 128)) // 2,
        rope_theta={kind: theta[kind] for kind in sorted(set(layers))},
        activation=str(config.get("hidden_activation", "gelu")),
        eps=float(config.get("norm_eps", 1e-5)),
        positions=int(config.get("max_position_embeddings", 8192)),
    )


def _bert(config: Mapping[str, Any]) -> Architecture | None:
    if config.get("is_decoder") or config.get("position_embedding_type", "absolute") != "absolute":
        return None
    return Architecture(
        family="bert",
        hidden=int(config.get("hidden_size", 768)),
        heads=int(config.get("num_attention_heads", 12)),
        layers=(FULL,) * int(config.get("num_hidden_layers", 12)),
        window=0,
        rope_theta={},
        activation=str(config.get("hidden_act", "gelu")),
        eps=float(config.get("layer_norm_eps", 1e-12)),
        positions=int(config.get("max_position_embeddings", 512)),
    )
