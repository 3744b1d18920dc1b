"""What every evaluation has in common, whatever was judged."""

from __future__ import annotations

from typing import Any, Protocol, cast

from embedft.artifacts import without_nan
from embedft.evaluation.comparison import Comparison, corrected
from embedft.evaluation.vectors import Vectors

FORMAT = 1


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
    def task(self) -> str:
        """For what."""
        ...

    @property
    def data_sha256(self) -> str | None:
        """What was judged, as `embedft.evaluation.digest` makes it; None if that is not known."""
        ...

    @property
    def fingerprint(self) -> str | None:
        """Of the encoder; None where none was asked."""
        ...

    @property
    def vectors(self) -> Vectors | None:
        """Those of the model, if they were kept."""
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

    def intervals(self, *, seed: int = 0) -> dict[str, tuple[float, float]]:
        """Metric name -> 95 % interval, of the metrics that have one."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ...

    def write_per_query(self, file: Any, against: Any = None) -> None:
        """What was scored one by one, as Parquet, beside the scores of another model."""
        ...

    def compare(self, against: Any) -> dict[str, Comparison]:
        """Metric name -> how this model differs from another on the same data, each as if it were the only one.

        Raises:
            DataError: the data is not the same.
        """
        ...


def compare(evaluation: Evaluation, against: Evaluation) -> dict[str, Comparison]:
    """Metric name -> how ``evaluation`` differs from ``against``.

    The first metric, which is the task's or the one that was named first, is the one that counts: it is tested by
    itself. The others are corrected together by Holm, for how often one looked: their ``p_adjusted``, and verdicts by
    it.

    Raises:
        DataError: the two did not score the same, or have no metric in common.
    """
    found = evaluation.compare(against)
    return corrected(found, alone=next(iter(found), None))


def heading(evaluation: Evaluation) -> dict[str, Any]:
    """What was scored on what, as each evaluation's JSON begins."""
    names = ("model", "data", "split", "task", "unit", "data_sha256", "fingerprint")
    return {"format": FORMAT, **{name: getattr(evaluation, name) for name in names}}


def comparison_dict(
    evaluation: Evaluation, against: Evaluation | None, comparison: dict[str, Comparison]
) -> dict[str, Any]:
    """The JSON shape of an evaluation with what it was compared against, if anything; also that of metrics.json."""
    answer = evaluation.as_dict()
    if against is not None:
        answer["against"] = {"model": against.model, "fingerprint": against.fingerprint, "metrics": against.metrics}
        if "head" in answer:
            answer["against"]["head"] = cast(Any, against).head_dict()
        answer["comparison"] = {name: value.as_dict() for name, value in comparison.items()}
    sound: dict[str, Any] = without_nan(answer)
    return sound
