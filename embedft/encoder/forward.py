"""Token ids into unit vectors: packed to a token budget, on the flat stream, batches side by side on the cores."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from embedft.encoder.head import apply_head, apply_modules
from embedft.encoder.layout import Ids, flatten, pack
from embedft.encoder.network import network
from embedft.encoder.parts import Parts
from embedft.encoder.workers import run_side_by_side

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

# Tokens a batch. Measured on 2 cores with AMX (bundled encoder, 800 docstrings, s in bf16): 1k 2.02, 2k 2.01, 3k 1.90;
# an earlier run with 4k was 8 % slower than with 2k. In fp32 all are within 3 %.
TOKEN_BUDGET = 3072
# oneDNN prepares each shape of matrix anew and keeps the last 1,024: without a limit to the shapes a process grew by a
# gigabyte over a million texts. Larger batches therefore end in a text of fill tokens, 1 % of the work, and are
# multiples of this many tokens.
SHAPE_STEP = 64
SHAPES_FROM = 1024
# On a GPU the larger the better, until its memory ends.
GPU_TOKEN_BUDGET = 16_384


class Forward:
    """The forward pass of an encoder: a network of our own where there is one, else transformers' modules.

    Vectors are cut to their first ``dim`` dimensions before they are normalised.
    """

    def __init__(
        self, parts: Parts, modules: SentenceTransformer | None, dtype: torch.dtype, device: str, dim: int
    ) -> None:
        self.device = device
        self._dim = dim
        self._padded = False
        self._budget = TOKEN_BUDGET if device == "cpu" else GPU_TOKEN_BUDGET
        if parts.architecture is not None:
            # Weights that are being trained are copied: an encoder does not change under its user.
            self._states = network(parts.architecture, parts.weights, dtype, device, copy=modules is not None).states
            self._vectors = partial(apply_head, modules=parts.head)
            return
        from embedft.encoder.unpadded import FlatTransformer

        assert modules is not None  # parts without an architecture come from modules
        transformer, *rest = copy.deepcopy(modules).eval()
        flat = FlatTransformer(transformer.model.to(dtype))
        self._padded = not flat.unpadded
        self._states = flat.states
        self._vectors = partial(apply_modules, modules=[module.float() for module in rest])

    def with_head(self, parts: Parts, modules: SentenceTransformer | None) -> Forward:
        """The forward pass of other parts that share this one's transformer; it is not copied."""
        other = copy.copy(self)
        if parts.architecture is not None:
            other._vectors = partial(apply_head, modules=parts.head)
        else:
            assert modules is not None  # parts without an architecture come from modules
            _, *rest = modules
            other._vectors = partial(apply_modules, modules=[copy.deepcopy(module).eval().float() for module in rest])
        return other

    def __call__(self, rows: Sequence[Ids], *, done: Callable[[float], None]) -> npt.NDArray[np.float32]:
        """Unit vectors of the rows of ids, (rows, dim); ``done`` is told the number of rows finished, now and then."""
        vectors = np.empty((len(rows), self._dim), dtype=np.float32)
        batches = list(pack([len(row) for row in rows], self._budget, padded=self._padded))

        def embed(batch: npt.NDArray[np.int64]) -> int:
            vectors[batch] = self._embed([rows[index] for index in batch])
            return len(batch)

        if self.device == "cpu":
            run_side_by_side(embed, batches, done)
        else:
            for batch in batches:
                done(embed(batch))
        return vectors

    def _embed(self, rows: Sequence[Ids]) -> npt.NDArray[np.float32]:
        import torch

        tokens = sum(map(len, rows))
        filler = -tokens % SHAPE_STEP if tokens >= SHAPES_FROM else 0
        # The precision is the encoder's own, whatever autocast it is called under.
        with torch.inference_mode(), torch.autocast(self.device.partition(":")[0], enabled=False):
            ids, layout = flatten([*rows, np.zeros(filler, dtype=np.int32)] if filler else rows, self.device)
            vectors = self._vectors(self._states(ids, layout), layout)[: len(rows)]
            unit: npt.NDArray[np.float32] = torch.nn.functional.normalize(vectors[:, : self._dim], dim=1).cpu().numpy()
        return unit
