"""What every evaluation has in common, whatever was judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from embedft.evaluation.comparison import Comparison


class Evaluation(Protocol):
    """The scores of one model on one split."""

    @property
    def model(self) -> str:
        """What was scored."""
        ...

    @property
    def data(self) -> str:
        """On what."""
        ...

    @property
    def split(self) -> str:
        """On which split of it."""
        ...

    @property
    def unit(self) -> str:
        """What was judged, in the plural: queries, pairs."""
        ...

    @property
    def count(self) -> int:
        """How many of ``unit`` were judged."""
        ...

    @property
    def metrics(self) -> dict[str, float]:
        """Metric name -> value."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ...

    def write_per_query(self, path: Path, against: Any = None) -> None:
        """What was scored one by one, as Parquet, beside the scores of another model."""
        ...

    def compare(self, against: Any) -> dict[str, Comparison]:
        """Metric name -> how this model differs from another on the same data; DataError if it is not the same."""
        ...


def compare(evaluation: Evaluation, against: Evaluation) -> dict[str, Comparison]:
    """Metric name -> how ``evaluation`` differs from ``against``.

    Raises:
        DataError: the two did not score the same, or have no metric in common.
    """
    return evaluation.compare(against)
