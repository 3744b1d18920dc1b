"""What the tests ask of scores: numbers, one a query, and at least one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from embedft.errors import DataError

Floats = npt.NDArray[np.float64]
# Scores that differ by less differ by rounding.
ROUNDING = 1e-12


def checked(
    values: npt.ArrayLike, *, names: Sequence[str] | None = None, of: str = "differences", unit: str = "query"
) -> Floats:
    """``values`` as (n,) doubles.

    Args:
        values: a number a query.
        names: ids of the queries, for the message.
        of: what they are, for the message.
        unit: what each is of, for the message.

    Raises:
        DataError: there are none, they are no plain list, or one is no number.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or not len(numbers):
        raise DataError(
            f"{of} have the shape {numbers.shape}, expected one number a {unit}.", hint=f"score at least one {unit}."
        )
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        first = int(wrong[0])
        which = f"{unit} {names[first]!r}" if names is not None else f"{unit} {first + 1}"
        raise DataError(
            f"{of}: that of {which} is {numbers[first]}; {len(wrong)} of {len(numbers)} are no number.",
            hint="leave these out of both systems, or look at how the score was computed.",
        )
    return numbers


def paired_differences(scores: npt.ArrayLike, against: npt.ArrayLike, *, names: Sequence[str] | None = None) -> Floats:
    """``scores - against``, (n,), 0 where they differ by rounding alone.

    Args:
        scores: (n,), of one system.
        against: (n,), of the other, on the same queries.
        names: ids of the queries, for messages.

    Raises:
        DataError: they are not of the same queries, there are none, or one is no number.
    """
    first = checked(scores, names=names, of="scores of the first system")
    second = checked(against, names=names, of="scores of the second system")
    if len(first) != len(second):
        raise DataError(
            f"one system has scores of {len(first)} queries, the other of {len(second)}.",
            hint="score both on the same queries.",
        )
    return without_rounding(first - second)


def without_rounding(differences: npt.ArrayLike) -> Floats:
    """``differences``, 0 where they are no larger than rounding."""
    values = np.asarray(differences, np.float64)
    return np.asarray(np.where(np.abs(values) <= ROUNDING, 0.0, values))
