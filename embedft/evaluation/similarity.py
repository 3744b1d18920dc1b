"""Score an encoder on scored pairs: does the order of its cosines follow the order of the scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from embedft.encoder import Encoder
from embedft.errors import ConfigError, DataError
from embedft.evaluation.comparison import Comparison, compare_resampled
from embedft.evaluation.digest import digest_of_pairs
from embedft.evaluation.evaluation import heading
from embedft.evaluation.significance import (
    RANDOMIZATION,
    ROUNDING,
    ROUNDS,
    STEIGER,
    WILLIAMS,
    Kind,
    checked,
    exchanged_correlations,
    percentile_interval,
    resampled_correlations,
    steiger_p_value,
    williams_p_value,
)
from embedft.evaluation.vectors import Vectors

Floats = npt.NDArray[np.float64]
MIN_PAIRS = 3
FEWEST_FOR_WILLIAMS = 4


def _ranks(values: Floats) -> Floats:
    """Ranks along the last axis, ties by their mean."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=-1), np.float64)


def pearson(left: Floats, right: Floats) -> Floats:
    """Pearson's correlation along the last axis; 0 where one side does not vary."""
    left = left - left.mean(-1, keepdims=True)
    right = right - right.mean(-1, keepdims=True)
    size = np.sqrt((left**2).sum(-1) * (right**2).sum(-1))
    product = np.asarray((left * right).sum(-1))
    return np.asarray(np.divide(product, size, out=np.zeros_like(product), where=size > 0), np.float64)


def spearman(left: Floats, right: Floats) -> Floats:
    """Spearman's rank correlation along the last axis, as `scipy.stats.spearmanr`; 0 where one side does not vary."""
    return pearson(_ranks(left), _ranks(right))


STATISTICS: dict[str, Callable[[Floats, Floats], Floats]] = {"spearman": spearman, "pearson": pearson}
DEFAULT_STATISTICS = ("spearman", "pearson")


def check_statistics(names: Sequence[str]) -> None:
    """Raise ConfigError if one of the names is no statistic of scored pairs."""
    unknown = [name for name in names if name not in STATISTICS]
    if unknown:
        raise ConfigError(f"no metric of scored pairs is named {unknown[0]!r}.", hint=f"use {', '.join(STATISTICS)}.")


@dataclass(frozen=True)
class SimilarityEvaluation:
    """The cosines of one model on the scored pairs of a split.

    Attributes:
        model, data, split: what was scored on what.
        names: the statistics, names in `STATISTICS`.
        texts: the two texts of each pair.
        scores: (pairs,), 0..1, given.
        cosines: (pairs,), of the model.
        data_sha256: of what was judged (`embedft.evaluation.digest`); None if that is not known.
        fingerprint: of the encoder.
        vectors: of the texts, if they were kept.
    """

    model: str
    data: str
    split: str
    names: tuple[str, ...]
    texts: list[tuple[str, str]]
    scores: Floats
    cosines: Floats
    data_sha256: str | None = None
    fingerprint: str | None = None
    vectors: Vectors | None = field(default=None, repr=False)
    task: str = "similarity"
    unit: str = "pairs"

    @property
    def count(self) -> int:
        """How many pairs were judged."""
        return len(self.scores)

    @property
    def metrics(self) -> dict[str, float]:
        """Statistic -> value, -1..1."""
        return {name: float(STATISTICS[name](self.cosines, self.scores)) for name in self.names}

    def intervals(self, *, seed: int = 0) -> dict[str, tuple[float, float]]:
        """Statistic -> 95 % bootstrap interval over the pairs."""
        found = {}
        for name in self.names:
            values = self._resampled(name, [self.cosines], seed)
            low, high = percentile_interval(values[0], count=self.count)
            found[name] = (float(low), float(high))
        return found

    @property
    def ranks_too_high(self) -> Floats:
        """Rank by cosine less rank by score, (pairs,)."""
        return _ranks(self.cosines) - _ranks(self.scores)

    def worst(self, count: int = 10) -> list[dict[str, Any]]:
        """The pairs whose rank by cosine is farthest from their rank by score, the worst first."""
        error = self.ranks_too_high
        return [
            {
                "sentence1": self.texts[row][0],
                "sentence2": self.texts[row][1],
                "score": float(self.scores[row]),
                "cosine": float(self.cosines[row]),
                "ranks_too_high": float(error[row]),
            }
            for row in np.argsort(-np.abs(error), kind="stable")[:count].tolist()
        ]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what was scored on what, metrics, intervals, pairs, worst."""
        return {
            **heading(self),
            "metrics": self.metrics,
            "intervals": {name: list(ends) for name, ends in self.intervals().items()},
            "pairs": self.count,
            "worst": self.worst(),
        }

    def write_per_query(self, file: Any, against: SimilarityEvaluation | None = None) -> None:
        """Write sentence1, sentence2, score, cosine as Parquet, and ``against:cosine`` for the other model."""
        columns: dict[str, Any] = {
            "sentence1": [left for left, _ in self.texts],
            "sentence2": [right for _, right in self.texts],
            "score": self.scores,
            "cosine": self.cosines,
        }
        if against is not None:
            columns["against:cosine"] = against.cosines
        pq.write_table(pa.table(columns), file)

    def compare(self, against: SimilarityEvaluation, *, seed: int = 0) -> dict[str, Comparison]:
        """Statistic -> how this model differs from another on the same pairs.

        Intervals are of the difference, both models on the same resampled pairs. The p-value that counts is of a
        paired randomisation test that exchanges the two models' cosines pair by pair, as ranks for Spearman and
        standardised for Pearson, so that the models' different scales do not matter. Williams's and Steiger's tests of
        two correlations with the same scores stand beside it. A pair is won by the model that ranks it nearer to its
        rank by score.

        Raises:
            DataError: the two did not score the same pairs.
        """
        if self.texts != against.texts or not np.array_equal(self.scores, against.scores):
            raise DataError(
                f"{self.model} was scored on other pairs than {against.model}.",
                hint="evaluate both on the same data and split.",
            )
        shared = [name for name in self.names if name in against.names]
        gold_ranks = _ranks(self.scores)
        gains = np.abs(_ranks(against.cosines) - gold_ranks) - np.abs(_ranks(self.cosines) - gold_ranks)
        own, other, found = self.metrics, against.metrics, {}
        for name in shared:
            first, second = self._resampled(name, [self.cosines, against.cosines], seed)
            tests = self._p_values(against, name, seed)
            found[name] = compare_resampled(own[name] - other[name], first - second, gains, tests)
        return found

    def _resampled(self, name: str, systems: list[Floats], seed: int) -> Floats:
        return resampled_correlations(cast(Kind, name), self.scores, np.stack(systems), seed=seed)

    def _p_values(self, against: SimilarityEvaluation, name: str, seed: int) -> dict[str, float]:
        of = STATISTICS[name]
        first, second = float(of(self.cosines, self.scores)), float(of(against.cosines, self.scores))
        own, other = (_comparable(values, name) for values in (self.cosines, against.cosines))
        one, two = exchanged_correlations(cast(Kind, name), self.scores, own, other, seed=seed)
        extreme = int((np.abs(one - two) >= abs(first - second) - ROUNDING).sum())
        tests = {RANDOMIZATION: (extreme + 1) / (ROUNDS + 1)}
        if self.count >= FEWEST_FOR_WILLIAMS:
            between = float(of(self.cosines, against.cosines))
            tests[WILLIAMS] = williams_p_value(first, second, between, self.count)
            tests[STEIGER] = steiger_p_value(first, second, between, self.count)
        return tests


def _comparable(values: Floats, name: str) -> Floats:
    values = _ranks(values) if name == "spearman" else values
    return np.asarray((values - values.mean()) / (values.std() or 1.0), np.float64)


def evaluate_similarity(
    encoder: Encoder,
    pairs: pa.Table,
    *,
    data: str,
    split: str = "test",
    metrics: Sequence[str] = DEFAULT_STATISTICS,
    show_progress: bool = False,
    keep_vectors: bool = False,
) -> SimilarityEvaluation:
    """The cosines of ``encoder`` on scored pairs; both texts are encoded as documents, since neither asks.

    Args:
        encoder: of the texts.
        pairs: columns sentence1, sentence2, score (0..1).
        data: name of the data, for the report.
        split: name of the split.
        metrics: names in `STATISTICS`; one that stands twice counts once.
        show_progress: on standard error.
        keep_vectors: with the evaluation.

    Raises:
        ConfigError: an unknown metric.
        DataError: fewer than three pairs, or all have one score, or the encoder's vectors are no numbers.
    """
    check_statistics(metrics)
    scores = pairs["score"].to_numpy().astype(np.float64)
    if len(scores) < MIN_PAIRS or np.ptp(scores) == 0:
        raise DataError(
            f"{data}: split {split!r} has {len(scores)} pairs with {len(set(scores.tolist()))} different scores.",
            hint="three pairs with two different scores are the least.",
        )
    left, right = pairs["sentence1"].to_pylist(), pairs["sentence2"].to_pylist()
    distinct = {text: number for number, text in enumerate(dict.fromkeys([*left, *right]))}
    encoded = encoder.encode_documents(list(distinct), show_progress=show_progress)
    vectors = encoded.astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    rows = [np.fromiter((distinct[text] for text in side), np.int64, len(side)) for side in (left, right)]
    cosines = checked((vectors[rows[0]] * vectors[rows[1]]).sum(1), of="cosines", unit="pair")
    texts = list(zip(left, right, strict=True))
    return SimilarityEvaluation(
        encoder.name,
        data,
        split,
        tuple(dict.fromkeys(metrics)),
        texts,
        scores,
        cosines,
        data_sha256=digest_of_pairs(pairs),
        fingerprint=encoder.fingerprint,
        vectors=Vectors(encoded, rows=np.stack(rows, axis=1)) if keep_vectors else None,
    )
