"""Where a similarity score comes from: the worst pairs, and kinds of pairs that a model ranks too high or too low.

Bias is told by residuals: where a pair stands among all by its cosine (0 lowest, 1 highest), less where pairs of its
score stand on average, which isotonic regression finds. So it is in shares of the pairs and the same for two models of
different scales; and it is given the score, not given the cosine: a model that errs at random has no bias then, while
given the cosine any kind of pairs with low scores would look too high (regression to the mean).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from embedft.errors import DataError
from embedft.evaluation.comparison import p_phrase
from embedft.evaluation.errors.language import language_of
from embedft.evaluation.errors.pairs import NEGATIONS, ONE, PairFeatures
from embedft.evaluation.errors.slices import (
    ROUNDS,
    Slicing,
    by_amount,
    by_kind,
    differing,
    ends,
    mean_interval,
    percent,
    sliced_means,
)
from embedft.evaluation.significance import Kind, resampled_correlations
from embedft.evaluation.similarity import STATISTICS, SimilarityEvaluation
from embedft.evaluation.texts import shown

Floats = npt.NDArray[np.float64]
SHOWN_PAIRS = 20
SHOWN_NEGATIONS = 5
# Of a slice with fewer pairs no correlation is told.
FEWEST_PAIRS = 20
# A range of scores in a slice below this share of all pairs' makes any correlation small.
NARROW = 0.5
NEGATION = "negation"


def similarity_errors(
    evaluation: SimilarityEvaluation,
    against: SimilarityEvaluation | None,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Where a correlation comes from, as plain JSON of bounded size.

    Args:
        evaluation: of the model in question.
        against: of the other model on the same pairs, or None.
        seed: of the resamples.

    Returns:
        - ``task``, ``metric``, ``pairs``, ``score``, ``against``
        - ``worst``: the 20 pairs whose rank by cosine is farthest from their rank by score: sentence1, sentence2,
          score, cosine, ranks_too_high, against_ranks_too_high
        - ``slices``: by, label, count, score (the metric within the slice), against, difference, with 95 % intervals,
          ``why`` (null, or why there is no score); ``left_out``: what was not sliced, and why
        - ``bias``: by, label, pairs, residual (-1..1, above 0 ranked too high), ci_low, ci_high, against (the other
          model's residual)
        - ``negation``: language, words, pairs (of which one text is negated), residual, ci_low, ci_high, against,
          examples (ranked too high the most), reading
        - ``reading``: what stands out, in sentences

    Raises:
        DataError: the two scored other pairs.
    """
    if against is not None and (
        evaluation.texts != against.texts or not np.array_equal(evaluation.scores, against.scores)
    ):
        raise DataError(
            f"{evaluation.model} was scored on other pairs than {against.model}.",
            hint="evaluate both on the same data and split.",
        )
    name = evaluation.names[0]
    pairs = PairFeatures(evaluation.texts, language_of([text for pair in evaluation.texts for text in pair]))
    slicings = _slicings(pairs)
    residuals = residuals_of(evaluation.cosines, evaluation.scores)
    others = residuals_of(against.cosines, against.scores) if against is not None else None
    bias = _bias(slicings, residuals, others, seed)
    negation = _negation(evaluation, pairs.negation, residuals, others, seed)
    return {
        "task": "similarity",
        "metric": name,
        "pairs": evaluation.count,
        "score": evaluation.metrics[name],
        "against": against.metrics[name] if against is not None and name in against.names else None,
        "worst": _worst(evaluation, against),
        "slices": _slices(slicings, evaluation, against, seed),
        "left_out": [one.why for one in slicings if one.why],
        "bias": bias,
        "negation": negation,
        "reading": _reading(slicings, bias, residuals, negation),
    }


def residuals_of(cosines: Floats, scores: Floats) -> Floats:
    """How much too high each pair stands by its cosine, (pairs,), -1..1: a share of all pairs.

    The pair's place by cosine among all, 0 to 1, less the mean place of pairs with its score (isotonic regression).
    """
    from scipy.optimize import isotonic_regression
    from scipy.stats import rankdata

    places = (rankdata(cosines) - 0.5) / len(cosines)
    # Pairs of one score get one expected place: their mean, weighted by how many they are.
    distinct, group, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=places, minlength=len(distinct)) / counts
    expected = isotonic_regression(means, weights=counts).x
    return np.asarray(places - expected[group], np.float64)


def _slicings(pairs: PairFeatures) -> list[Slicing]:
    lengths = pairs.lengths
    return [
        by_amount("words in common", pairs.overlap, write=percent, items="pairs"),
        by_amount("length of the longer text", lengths.max(1), "words", items="pairs"),
        by_amount("difference in length", np.abs(lengths[:, 0] - lengths[:, 1]), "words", items="pairs"),
        by_kind(NEGATION, pairs.negation, items="pairs"),
        by_kind("numbers", pairs.numbers, items="pairs"),
    ]


def _worst(evaluation: SimilarityEvaluation, against: SimilarityEvaluation | None) -> list[dict[str, Any]]:
    own = evaluation.ranks_too_high
    other = against.ranks_too_high if against is not None else None
    return [
        {
            **_pair(evaluation, row),
            "ranks_too_high": float(own[row]),
            "against_ranks_too_high": float(other[row]) if other is not None else None,
        }
        for row in np.argsort(-np.abs(own), kind="stable")[:SHOWN_PAIRS].tolist()
    ]


def _slices(
    slicings: Sequence[Slicing], evaluation: SimilarityEvaluation, against: SimilarityEvaluation | None, seed: int
) -> list[dict[str, Any]]:
    return [
        _slice(one.by, label, np.flatnonzero(one.part == number), evaluation, against, seed)
        for one in slicings
        for number, label in enumerate(one.labels)
    ]


def _slice(
    by: str,
    label: str,
    rows: npt.NDArray[np.intp],
    evaluation: SimilarityEvaluation,
    against: SimilarityEvaluation | None,
    seed: int,
) -> dict[str, Any]:
    names = ("score", "ci_low", "ci_high", "against", "difference", "difference_ci_low", "difference_ci_high", "why")
    answer: dict[str, Any] = {"by": by, "label": label, "count": len(rows), **dict.fromkeys(names)}
    gold, metric = evaluation.scores[rows], evaluation.names[0]
    systems = [one.cosines[rows] for one in (evaluation, against) if one is not None]
    if len(rows) < FEWEST_PAIRS or np.ptp(gold) == 0:
        answer["why"] = "too few pairs" if len(rows) < FEWEST_PAIRS else "all pairs have one score"
        return answer
    of = STATISTICS[metric]
    values = [float(of(cosines, gold)) for cosines in systems]
    drawn = resampled_correlations(cast(Kind, metric), gold, np.stack(systems), rounds=ROUNDS, seed=seed)
    answer["score"] = values[0]
    answer["ci_low"], answer["ci_high"] = ends(drawn[0], len(rows))
    if against is not None:
        answer["against"], answer["difference"] = values[1], values[0] - values[1]
        answer["difference_ci_low"], answer["difference_ci_high"] = ends(drawn[0] - drawn[1], len(rows))
    if np.std(gold) < NARROW * np.std(evaluation.scores):
        answer["why"] = "their scores hardly differ, which makes any correlation small"
    return answer


def _bias(slicings: Sequence[Slicing], residuals: Floats, others: Floats | None, seed: int) -> list[dict[str, Any]]:
    return [
        {
            "by": row["by"],
            "label": row["label"],
            "pairs": row["count"],
            "residual": row["score"],
            "ci_low": row["ci_low"],
            "ci_high": row["ci_high"],
            "against": row["against"],
        }
        for row in sliced_means(slicings, residuals, others, seed=seed)
    ]


def _negation(
    evaluation: SimilarityEvaluation, kinds: Sequence[str], residuals: Floats, others: Floats | None, seed: int
) -> dict[str, Any]:
    """How pairs stand of which one text is negated and the other is not."""
    rows = np.flatnonzero(np.array(kinds, object) == ONE)
    interval = mean_interval(residuals[rows], seed=seed)
    highest = rows[np.argsort(-residuals[rows], kind="stable")][:SHOWN_NEGATIONS]
    answer: dict[str, Any] = {
        "language": "English",
        "words": list(NEGATIONS),
        "pairs": len(rows),
        "residual": interval["mean"],
        "ci_low": interval["ci_low"],
        "ci_high": interval["ci_high"],
        "against": float(others[rows].mean()) if others is not None and len(rows) else None,
        "examples": [{**_pair(evaluation, row), "residual": float(residuals[row])} for row in highest.tolist()],
    }
    answer["reading"] = _of_negation(answer)
    return answer


def _pair(evaluation: SimilarityEvaluation, row: int) -> dict[str, Any]:
    left, right = evaluation.texts[row]
    return {
        "sentence1": shown(left),
        "sentence2": shown(right),
        "score": float(evaluation.scores[row]),
        "cosine": float(evaluation.cosines[row]),
    }


def _of_negation(negation: dict[str, Any]) -> str:
    pairs = f"pairs with an English negation in one of the texts ({negation['pairs']})"
    if negation["ci_low"] is None:
        return f"There are too few {pairs} to tell whether the model sees negation."
    where = _places(negation)
    if negation["ci_low"] > 0:
        return f"The model overlooks negation: {pairs} stand {where} too high for their scores."
    if negation["ci_high"] < 0:
        return f"The model makes too much of negation: {pairs} stand {where} too low for their scores."
    return f"No bias by negation is seen: {pairs} stand where others of their scores do, by {where}."


def _places(row: dict[str, Any]) -> str:
    """A residual as a share of all places with its interval, without its sign where the interval has one."""
    values = np.array([row["residual"], row["ci_low"], row["ci_high"]])
    if values[1] > 0 or values[2] < 0:
        values = np.sort(np.abs(values))[[1, 0, 2]]
    value, low, high = (100 * values).tolist()
    return f"{value:.1f} % of all places ({low:.1f} to {high:.1f})"


def _reading(
    slicings: Sequence[Slicing], bias: Sequence[dict[str, Any]], residuals: Floats, negation: dict[str, Any]
) -> list[str]:
    sentences = []
    for one, chance in differing([one for one in slicings if one.by != NEGATION], residuals):
        rows = [row for row in bias if row["by"] == one.by]
        high, low = max(rows, key=lambda row: row["residual"]), min(rows, key=lambda row: row["residual"])
        told = [f"pairs with {high['label']} stand {_places(high)} too high"] if high["ci_low"] > 0 else []
        told += [f"pairs with {low['label']} {_places(low)} too low"] if low["ci_high"] < 0 else []
        if told:
            sentences.append(f"Bias by {one.by} ({p_phrase(chance)}): for their scores, {', '.join(told)}.")
    return [*sentences, negation["reading"]]
