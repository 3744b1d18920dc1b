"""The vectors that an evaluation was made of, for those who look closer: errors, geometry, the ladder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedft.errors import DataError


@dataclass(frozen=True)
class Vectors:
    """Unit vectors of one model; kept only where they are asked for, since they outweigh everything else.

    Attributes:
        documents: (m, dim): of the corpus, in its order; of pairs, their distinct texts; of labelled texts, those with
            a known label, in the order of the evaluation.
        queries: (n, dim), in the order of the evaluation; None where nothing is asked.
        rows: (pairs, 2), the two texts of each pair in ``documents``; None where there are no pairs.
    """

    documents: npt.NDArray[np.float32]
    queries: npt.NDArray[np.float32] | None = None
    rows: npt.NDArray[np.int64] | None = None


def require_finite(vectors: npt.NDArray[np.float32], *, of: str) -> None:
    """Raise DataError if a vector holds something that is no number.

    Args:
        vectors: (n, dim).
        of: what they are of, in the plural, for the message.
    """
    broken = ~np.isfinite(vectors).all(axis=1)
    if broken.any():
        raise DataError(
            f"{int(broken.sum())} of {len(vectors)} vectors of {of} hold values that are no numbers, "
            f"the first one in row {int(broken.argmax())}.",
            hint="encode them in fp32 (--precision float32); if they stay so, the weights are broken.",
        )
