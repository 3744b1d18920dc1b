"""The forward pass of ModernBERT and BERT on a flat token stream, for inference, in plain PyTorch.

It needs neither transformers nor sentence-transformers, whose imports alone take several times longer than loading and
running a small encoder, and it fuses what they compute apart. Vectors equal theirs (tests/test_encoder). Training
runs transformers' own modules instead (`embedft.encoder.unpadded`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from embedft.encoder.architecture import FULL, Architecture
from embedft.encoder.attention import attend
from embedft.encoder.kernels import linear_activation, linear_plus, linear_times

if TYPE_CHECKING:
    import torch

    from embedft.encoder.layout import Layout

State = Mapping[str, "torch.Tensor"]
# Names under which checkpoints keep the encoder when they hold more than it.
PREFIXES = ("model.", "bert.", "")


def network(
    architecture: Architecture, state: State, dtype: torch.dtype, device: str, *, copy: bool = False
) -> ModernBert | Bert:
    """The forward pass for ``architecture`` with the weights of ``state`` in ``dtype``; ``copy`` shares none of them.

    Raises:
        KeyError: a weight is missing.
        ValueError: a weight has another shape than the architecture says.
    """
    family: type[ModernBert | Bert] = ModernBert if architecture.family == "modernbert" else Bert
    weights = {
        name: tensor.detach().to(device, dtype, copy=copy) for name, tensor in used_weights(architecture, state).items()
    }
    return family(architecture, weights, dtype, device)


def used_weights(architecture: Architecture, state: State) -> dict[str, torch.Tensor]:
    """The weights that the forward pass reads, under the names of a bare encoder, sorted.

    Raises:
        KeyError: one is missing.
        ValueError: one has another shape than the architecture says.
    """
    first = "embeddings.tok_embeddings.weight" if architecture.family == "modernbert" else "embeddings.LayerNorm.weight"
    prefix = next((prefix for prefix in PREFIXES if prefix + first in state), "")
    names = _modernbert_names if architecture.family == "modernbert" else _bert_names
    required, optional = names(architecture)
    found = {name: state[prefix + name] for name in required}
    found |= {name: state[prefix + name] for name in optional if prefix + name in state}
    hidden = architecture.hidden
    if hidden % architecture.heads:
        raise ValueError(f"hidden size {hidden} is not a multiple of {architecture.heads} attention heads")
    shapes = {"attn.Wqkv.weight": (3 * hidden, hidden), "attention.self.query.weight": (hidden, hidden)}
    for name, tensor in found.items():
        expected = next((shape for part, shape in shapes.items() if name.endswith(part)), None)
        if ("embeddings" in name and tensor.shape[-1] != hidden) or (expected and tuple(tensor.shape) != expected):
            raise ValueError(f"{name} is {tuple(tensor.shape)}, but the hidden size is {hidden}")
    return dict(sorted(found.items()))


def _modernbert_names(architecture: Architecture) -> tuple[list[str], list[str]]:
    required = ["embeddings.tok_embeddings.weight", "embeddings.norm.weight", "final_norm.weight"]
    for layer in range(len(architecture.layers)):
        parts = ["attn.Wqkv", "attn.Wo", "mlp_norm", "mlp.Wi", "mlp.Wo"]
        required += [f"layers.{layer}.{part}.weight" for part in parts]
    required += [f"layers.{layer}.attn_norm.weight" for layer in range(1, len(architecture.layers))]
    return required, [name.replace(".weight", ".bias") for name in required[1:]]


def _bert_names(architecture: Architecture) -> tuple[list[str], list[str]]:
    tables = [f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")]
    modules = ["embeddings.LayerNorm"]
    for layer in range(len(architecture.layers)):
        parts = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                 "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"]  # fmt: skip
        modules += [f"encoder.layer.{layer}.{part}" for part in parts]
    return tables + [f"{module}.{kind}" for module in modules for kind in ("weight", "bias")], []


class ModernBert:
    """Warner et al. 2024 (arXiv:2412.13663): pre-norm, rotary positions, gated MLP, two of three layers local."""

    def __init__(self, architecture: Architecture, weights: State, dtype: torch.dtype, device: str) -> None:
        self.architecture, self.dtype, self.device = architecture, dtype, device
        self._weights = dict(weights)
        # The MLP's two halves apart, so that each is one fused call.
        for layer in range(len(architecture.layers)):
            for kind in ("weight", "bias"):
                joint = self._weights.pop(f"layers.{layer}.mlp.Wi.{kind}", None)
                if joint is not None:
                    (
                        self._weights[f"layers.{layer}.mlp.input.{kind}"],
                        self._weights[f"layers.{layer}.mlp.gate.{kind}"],
                    ) = (half.contiguous() for half in joint.chunk(2))
        self._tables: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def states(self, input_ids: torch.Tensor, layout: Layout) -> torch.Tensor:
        """The last layer's state of each token, (tokens, hidden), of a flat stream of ids, (tokens,)."""
        import torch

        made = self.architecture
        heads, hidden = made.heads, made.hidden
        x = self._norm(torch.nn.functional.embedding(input_ids, self._weights["embeddings.tok_embeddings.weight"]),
                       "embeddings.norm")  # fmt: skip
        positions = layout.positions(input_ids.device)
        rotations = {kind: self._rotation(kind, positions, max(layout.lengths)) for kind in made.rope_theta}
        for index, kind in enumerate(made.layers):
            layer = f"layers.{index}."
            normed = x if index == 0 else self._norm(x, f"{layer}attn_norm")
            qkv = torch.nn.functional.linear(normed, *self._linear(f"{layer}attn.Wqkv")).view(len(x), 3 * heads, -1)
            rotated = _rotate(qkv[:, : 2 * heads], *rotations[kind])
            attended = attend(
                rotated[:, :heads],
                rotated[:, heads:],
                qkv[:, 2 * heads :],
                layout,
                window=None if kind == FULL else made.window,
            )
            x = linear_plus(attended.reshape(len(x), hidden), *self._linear(f"{layer}attn.Wo"), x)
            normed = self._norm(x, f"{layer}mlp_norm")
            gated = linear_activation(normed, *self._linear(f"{layer}mlp.input"), made.activation)
            gated = linear_times(normed, *self._linear(f"{layer}mlp.gate"), gated)
            x = linear_plus(gated, *self._linear(f"{layer}mlp.Wo"), x)
        return self._norm(x, "final_norm")

    def _linear(self, name: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        return self._weights[f"{name}.weight"], self._weights.get(f"{name}.bias")

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        import torch

        return torch.nn.functional.layer_norm(x, x.shape[-1:], *self._linear(name), self.architecture.eps)

    def _rotation(self, kind: str, positions: torch.Tensor, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and signed sine of each token, (tokens, 1, dim) each, from a table in the weights' type."""
        table = self._tables.get(kind)
        if table is None or len(table[0]) < longest:
            # Several threads may come here at once: each goes on with its own table, and the last one is kept.
            table = self._tables[kind] = self._table(kind, 1 << max(longest - 1, 511).bit_length())
        cosine, sine = table
        return cosine[positions][:, None], sine[positions][:, None]

    def _table(self, kind: str, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        dim = self.architecture.hidden // self.architecture.heads
        steps = torch.arange(0, dim, 2, dtype=torch.float32, device=self.device)
        angles = torch.arange(size, dtype=torch.float32, device=self.device)[:, None] * (
            1.0 / self.architecture.rope_theta[kind] ** (steps / dim)
        )
        sine = angles.sin()
        table = torch.cat((angles.cos(), angles.cos()), 1), torch.cat((-sine, sine), 1)
        return table[0].to(self.dtype), table[1].to(self.dtype)


def _rotate(x: torch.Tensor, cosine: torch.Tensor, signed_sine: torch.Tensor) -> torch.Tensor:
    """The rotary embedding of x, (tokens, heads, dim): x * cos + (its halves swapped) * signed sin.

    Source: Su et al. 2021, arXiv:2104.09864, eq. 34, in the half-split layout of transformers.
    """
    return x.roll(x.shape[-1] // 2, -1).mul_(signed_sine).addcmul_(x, cosine)


class Bert:
    """Devlin et al. 2019 (arXiv:1810.04805): post-norm, learned positions; all-MiniLM-L6-v2 is one."""

    def __init__(self, architecture: Architecture, weights: State, dtype: torch.dtype, device: str) -> None:
        import torch

        self.architecture, self.dtype, self.device = architecture, dtype, device
        cast = dict(weights)
        # One matrix product for queries, keys and values together.
        for layer in range(len(architecture.layers)):
            attention = f"encoder.layer.{layer}.attention."
            for kind in ("weight", "bias"):
                cast[f"{attention}qkv.{kind}"] = torch.cat(
                    [cast.pop(f"{attention}self.{part}.{kind}") for part in ("query", "key", "value")]
                )
        # Every token is of type 0.
        cast["positions"] = (
            weights["embeddings.position_embeddings.weight"].float()
            + weights["embeddings.token_type_embeddings.weight"][0].float()
        ).to(dtype)
        self._weights = cast

    def states(self, input_ids: torch.Tensor, layout: Layout) -> torch.Tensor:
        """The last layer's state of each token, (tokens, hidden), of a flat stream of ids, (tokens,)."""
        import torch

        made, weights = self.architecture, self._weights
        x = torch.nn.functional.embedding(input_ids, weights["embeddings.word_embeddings.weight"])
        x = self._norm(x.add_(weights["positions"][layout.positions(input_ids.device)]), "embeddings.LayerNorm")
        for index in range(len(made.layers)):
            layer = f"encoder.layer.{index}."
            qkv = torch.nn.functional.linear(x, *self._linear(f"{layer}attention.qkv"))
            query, key, value = qkv.view(len(x), 3, made.heads, -1).unbind(1)
            attended = attend(query, key, value, layout).reshape(len(x), made.hidden)
            x = linear_plus(attended, *self._linear(f"{layer}attention.output.dense"), x)
            x = self._norm(x, f"{layer}attention.output.LayerNorm")
            inner = linear_activation(x, *self._linear(f"{layer}intermediate.dense"), made.activation)
            x = self._norm(linear_plus(inner, *self._linear(f"{layer}output.dense"), x), f"{layer}output.LayerNorm")
        return x

    def _linear(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        import torch

        return torch.nn.functional.layer_norm(x, x.shape[-1:], *self._linear(name), self.architecture.eps)
