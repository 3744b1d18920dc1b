"""What a training has cost elsewhere: an encoder before and after it, on data that is none of its own.

By default that is the bundled general set of 180 scored pairs (`embedft.data.general`). It is small: it shows an
encoder that has forgotten much, and the answer says how much it could have shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embedft.data import UnknownIds, read_retrieval
from embedft.data.general import read_general
from embedft.encoder import Encoder
from embedft.evaluation.comparison import Comparison, p_phrase
from embedft.evaluation.evaluation import Evaluation, compare
from embedft.evaluation.retrieval import evaluate_retrieval
from embedft.evaluation.significance import detectable_sentence
from embedft.evaluation.similarity import evaluate_similarity

BUNDLED = "the bundled general set"
CORPUS = "corpus.jsonl"
# Of a retrieval folder with several splits, the first of these that it has.
SPLITS = ("test", "dev", "train")
CORRELATION, RANKING = "spearman", "ndcg@10"


KEPT = ("difference", "ci_low", "ci_high", "p_value", "detectable", "verdict")


def forgetting(
    before: Encoder,
    after: Encoder,
    path: Path | None = None,
    *,
    unknown_ids: UnknownIds = "error",
    show_progress: bool = False,
) -> dict[str, Any]:
    """What was lost, for JSON.

    Keys: data, unit (pairs or queries), count, metric, before, after, difference (after - before) with ci_low and
    ci_high, p_value, detectable (the smallest true difference that so many show with 80 % power; None where the two
    score alike, or differ on too few), verdict ("better", "no difference", "worse"), reading (sentences).

    Args:
        before: the encoder that was trained.
        after: what became of it.
        path: file or folder of scored pairs, or a BEIR folder, of which the split test is taken, else dev, else train;
            by default the bundled general set.
        unknown_ids: what to do with qrels of a BEIR folder that name ids which do not exist.
        show_progress: on standard error.

    Raises:
        DataError: it is missing, broken, or holds something else.
    """
    data = BUNDLED if path is None else str(path)
    metric, first, second = _scored(before, after, path, data, unknown_ids, show_progress)
    found = compare(second, first)[metric]
    return {
        "data": data,
        "unit": second.unit,
        "count": second.count,
        "metric": metric,
        "before": first.metrics[metric],
        "after": second.metrics[metric],
        **{name: getattr(found, name) for name in KEPT},
        "reading": _reading(found, data, metric, first, second),
    }


def _scored(
    before: Encoder, after: Encoder, path: Path | None, data: str, unknown_ids: UnknownIds, show_progress: bool
) -> tuple[str, Evaluation, Evaluation]:
    """The metric, and the evaluations of both."""
    if path is not None and (path / CORPUS).is_file():
        judged = read_retrieval(path, unknown_ids=unknown_ids)
        split = next((name for name in SPLITS if name in judged.qrels), next(iter(judged.qrels)))
        ranked = [
            evaluate_retrieval(encoder, judged, split, metrics=[RANKING], show_progress=show_progress)
            for encoder in (before, after)
        ]
        return RANKING, ranked[0], ranked[1]
    pairs = read_general(path)
    correlated = [
        evaluate_similarity(encoder, pairs, data=data, metrics=[CORRELATION], show_progress=show_progress)
        for encoder in (before, after)
    ]
    return CORRELATION, correlated[0], correlated[1]


def _reading(found: Comparison, data: str, metric: str, first: Evaluation, second: Evaluation) -> str:
    """What the comparison says of forgetting, and how small a loss it could have shown."""
    scores = f"{metric} {first.metrics[metric]:.3f} before and {second.metrics[metric]:.3f} after"
    interval = f"{found.difference:+.3f}, {found.ci_low:+.3f} to {found.ci_high:+.3f}, {p_phrase(found.p_value)}"
    said = {
        "worse": "The encoder has forgotten some of what it knew",
        "no difference": "No forgetting is seen",
        "better": "The encoder has not forgotten: it became better",
    }[found.verdict]
    differing = found.wins + found.losses
    if not differing:
        return f"{said} on {data}: {scores}; the two answer alike."
    shown = detectable_sentence(found.detectable, second.count, unit=second.unit, differing=differing)
    return f"{said} on {data}: {scores} ({interval}). {shown}"


def check_guard(path: Path, *, unknown_ids: UnknownIds = "error") -> None:
    """Raise DataError if there is nothing at ``path`` that `forgetting` can take: before a training, not after it."""
    if (path / CORPUS).is_file():
        read_retrieval(path, unknown_ids=unknown_ids)
    else:
        read_general(path)
