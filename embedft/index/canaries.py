"""Canaries: fixed texts whose vectors an index keeps, and compares with what an encoder makes of them today.

The fingerprint covers what a model is made of. It cannot see a library, a processor or a number format that computes
something else from the same weights: their vectors show it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedft.encoder import Encoder, Vectors
from embedft.errors import WrongModelError

FILE = "canaries.npy"
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "How do I change the password of my account?",
    "def add(first, second): return first + second",
    "Die Straße führt über die Brücke zum Bahnhof.",
    "In 1969 two people walked on the Moon for the first time.",
    "1,234.56 EUR, 7 %, 2026-01-31",
    "a",
    "Water boils at a lower temperature on a mountain, since the pressure of the air is lower there. " * 4,
)
# bf16 against fp32 gives 0.9998 on these texts for the bundled encoder; int8 of a healthy model stays above 0.98.
LEAST_COSINE = 0.98


def write_canaries(folder: Path, vectors: Vectors) -> None:
    """Keep what `canaries` gave."""
    np.save(folder / FILE, vectors, allow_pickle=False)


def canaries(encoder: Encoder) -> Vectors:
    """Vectors of the texts as documents, then as queries, (2 x texts, dim)."""
    return np.concatenate([encoder.encode_documents(TEXTS), encoder.encode_queries(TEXTS)])


def check_canaries(folder: Path, kept: Vectors, encoder: Encoder, *, queries: bool) -> float:
    """The lowest cosine between a vector that was kept and the one that ``encoder`` makes now.

    Args:
        folder: of the version, to be named.
        kept: what `write_canaries` wrote there.
        encoder: of the same fingerprint on the documents' side.
        queries: whether queries are compared too; not for an encoder whose query side was tuned since.

    Raises:
        WrongModelError: a vector is another one.
    """
    count = len(TEXTS)
    now = canaries(encoder) if queries else encoder.encode_documents(TEXTS)
    cosines = (kept[: len(now)] * now).sum(1)
    worst = int(cosines.argmin())
    if not cosines[worst] >= LEAST_COSINE:
        side = "document" if worst < count else "query"
        raise WrongModelError(
            f"{folder}: {encoder.name} has the fingerprint of the model that built the index, but encodes the {side} "
            f"{TEXTS[worst % count][:40]!r} otherwise: cosine {cosines[worst]:.3f} with the vector kept.",
            hint="compare versions of torch and of the processor, or its --precision, with those it was built on.",
        )
    return float(cosines[worst])
