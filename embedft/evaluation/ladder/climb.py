"""What smaller vectors cost: a ladder of dimensions and storages, each with its quality, memory and speed.

Vectors are cut to their first dimensions and normalised again (Matryoshka representations, Kusupati et al. 2022,
arXiv:2205.13147), and stored in each way that `storages` lists. Every rung is compared with the first one, all
dimensions in fp32, on the same queries or pairs (`kept`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedft.data import RetrievalData
from embedft.errors import ConfigError, DataError
from embedft.evaluation.judgments import Judgments
from embedft.evaluation.ladder.kept import Kept, kept_correlations, kept_means
from embedft.evaluation.ladder.storages import BATCH, FACTOR, STORAGES, Stored, cosines_of, seconds_of, truncated
from embedft.evaluation.metrics import parse_metrics
from embedft.evaluation.ranking import Ranking
from embedft.evaluation.sampling import drawn_by_hash
from embedft.evaluation.significance import Kind
from embedft.evaluation.similarity import check_statistics
from embedft.evaluation.vectors import require_finite
from embedft.index.approximate import threads
from embedft.index.approximate.stages import FEWEST_ROWS
from embedft.index.exact import Floats

Doubles = npt.NDArray[np.float64]
Rung = tuple[int, str]

DIMS = (768, 512, 384, 256, 192, 128, 96, 64)
SHARE = 0.99
# Queries or pairs that are scored, at most: more take longer, and 99 % of an nDCG of 0.2 can be shown by so many.
MOST = 4000
# Rounds of timing; each times every rung once.
ROUNDS = 3
# Kinds of `embedft index build` that keep the codes of a storage without rescoring, and rescore them.
RESCORING_KINDS = {"fp16": "hnsw-fp16", "int8": "hnsw-sq8", "binary": "binary"}
NO_LADDER = "a head is trained on whole vectors, so there is no ladder for classification"


def ladder_of(
    evaluation: Any,
    data: Any,
    split: str,
    *,
    metric: str,
    dims: Sequence[int] | None = None,
    share: float = SHARE,
    trained_dims: Collection[int] | None = None,
) -> dict[str, Any] | None:
    """The ladder of what was evaluated, of `ladder` or `similarity_ladder`; None for labelled texts (`NO_LADDER`).

    Args:
        evaluation: with its vectors.
        data: that was evaluated; of retrieval, with its qrels.
        split: of it.
        metric: that decides.
        dims: as of `ladder`.
        share: as of `ladder`.
        trained_dims: as of `ladder`.

    Raises:
        ConfigError, DataError: as `ladder`, or the evaluation keeps no vectors.
    """
    vectors = evaluation.vectors
    if vectors is None:
        raise DataError(f"the evaluation of {evaluation.model} keeps no vectors.", hint="evaluate with keep_vectors.")
    settings: dict[str, Any] = {"metric": metric, "dims": dims, "share": share, "trained_dims": trained_dims}
    if isinstance(data, RetrievalData):
        ids = data.corpus["id"].to_pylist()
        return ladder(vectors.documents, vectors.queries, ids, evaluation.query_ids, data.split(split), **settings)
    if vectors.rows is None:
        return None
    return similarity_ladder(vectors.documents, vectors.rows, evaluation.scores, **settings)


def ladder(
    documents: Floats,
    queries: Floats,
    document_ids: Sequence[str],
    query_ids: Sequence[str],
    qrels: pa.Table,
    *,
    metric: str = "ndcg@10",
    dims: Sequence[int] | None = None,
    share: float = SHARE,
    trained_dims: Collection[int] | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> dict[str, Any]:
    """The ladder of retrieval, for JSON.

    Keys: metric, unit, count (of queries), documents, threads and batch of the timing, rescored (candidates, as a
    multiple of the hits), share, needed (about how many queries show that a rung keeps this share, if it loses nothing
    on any; None of a share of 1), rows, cheapest (a row, or None), reading (sentences). Rows, the whole first:

        dim, storage, kind         kind of `embedft index build` with such codes, or None
        score, ci_low, ci_high     mean over the queries, 95 % interval
        difference, difference_ci_low, difference_ci_high      to the whole, paired
        share, share_low           of the whole; lower bound that holds for all rungs at once (`kept`)
        mb_per_million             megabytes (10^6 bytes) in memory for a million documents
        disk_mb_per_million        that rescoring reads from the disk, beside them
        qps                        queries a second on these documents, median
        matryoshka_trained         whether the model was trained for these dimensions; None if that is not known

    Up to `MOST` queries are judged, drawn by a hash of their ids. The cheapest rung takes the least memory, then disk,
    then time, of those whose ``share_low`` reaches ``share``; None where so few queries show that of no rung.

    Memory: the documents three times, and the codes of one number of dimensions.

    Args:
        documents: unit vectors, (m, dim) float32, at least 16.
        queries: unit vectors, (n, dim) float32.
        document_ids: (m,).
        query_ids: (n,); each has a relevant document in ``qrels``.
        qrels: columns query_id, corpus_id, grade.
        metric: for example ``ndcg@10``.
        dims: numbers of dimensions; by default the whole and those of `DIMS` below it.
        share: of the quality that is to be kept, in (0, 1].
        trained_dims: that the model was trained for (``training.matryoshka``); None if that is not known.
        rounds: of timing.
        seed: of the sample and the resamples.

    Raises:
        ConfigError: an unknown metric, dimensions that the vectors do not have, a share that is none.
        DataError: too few documents, no query, or vectors that are no numbers.
    """
    [judge_by] = parse_metrics([metric])
    steps = _dims(documents, queries, dims, share)
    kept = drawn_by_hash(query_ids, MOST, seed)
    queries, query_ids = queries[kept], [query_ids[row] for row in kept]
    qrels = qrels.filter(pc.is_in(qrels["query_id"], value_set=pa.array(query_ids, pa.string())))
    order = np.argsort(np.array(document_ids, dtype=object), kind="stable")
    documents, known = documents[order], [document_ids[row] for row in order]
    judgments = Judgments.of(qrels, query_ids, known)
    scores: dict[Rung, Doubles] = {}
    seconds: dict[Rung, list[float]] = {}
    for turn in range(rounds):
        for rung, stored, cut in _climb(documents, queries, steps, turn):
            if turn == 0:
                found, rows = stored.rank(cut, judge_by.k)
                scores[rung] = judge_by(Ranking(list(query_ids), known, rows, found).judge(judgments))
            seconds.setdefault(rung, []).append(seconds_of(stored, cut[:BATCH], judge_by.k))
    rungs = [(dim, storage) for dim in steps for storage in STORAGES]
    kept_scores = kept_means(np.array([scores[rung] for rung in rungs]), seed=seed)
    batch = min(BATCH, len(queries))
    rows_of = _rows(rungs, kept_scores, trained_dims, {rung: batch / float(np.median(seconds[rung])) for rung in rungs})
    about = {"documents": len(documents), "threads": threads(), "batch": batch, "rescored": FACTOR}
    return _answer(metric, "queries", kept_scores, rows_of, share, about)


def similarity_ladder(
    texts: Floats,
    pairs: npt.NDArray[np.int64],
    scores: Doubles,
    *,
    metric: str = "spearman",
    dims: Sequence[int] | None = None,
    share: float = SHARE,
    trained_dims: Collection[int] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The ladder of scored pairs, as that of retrieval: a correlation of the cosines that the stored vectors have.

    Both texts of a pair are stored. There is nothing to search, so there is no rescoring, and qps is None.

    Args:
        texts: unit vectors, (texts, dim) float32.
        pairs: (pairs, 2), the rows of the two texts of each pair.
        scores: (pairs,), that people gave.
        metric: spearman or pearson.
        dims: as of `ladder`.
        share: as of `ladder`.
        trained_dims: as of `ladder`.
        seed: of the resamples, and of the pairs if they are too many.

    Raises:
        ConfigError, DataError: as `ladder`.
    """
    check_statistics([metric])
    steps = _dims(texts, texts, dims, share)
    drawn = drawn_by_hash([f"{left} {right}" for left, right in pairs.tolist()], MOST, seed)
    pairs, scores = pairs[drawn], scores[drawn]
    rungs = [(dim, storage.name) for dim in steps for storage in STORAGES.values() if not storage.rescored]
    cosines = [cosines_of(STORAGES[name], truncated(texts, dim), pairs) for dim, name in rungs]
    kept = kept_correlations(np.array(cosines), scores, cast(Kind, metric), seed=seed)
    about = {"documents": len(texts), "threads": None, "batch": None, "rescored": None}
    return _answer(metric, "pairs", kept, _rows(rungs, kept, trained_dims, {}), share, about)


def _dims(documents: Floats, queries: Floats, dims: Sequence[int] | None, share: float) -> list[int]:
    """Numbers of dimensions, the whole first; raises as `ladder`."""
    if not 0 < share <= 1:
        raise ConfigError(f"the share to keep is {share}.", hint="ask for a share, such as 0.99.")
    if len(documents) < FEWEST_ROWS or not len(queries):
        raise DataError(
            f"{len(documents)} vectors and {len(queries)} queries are too few for a ladder.",
            hint=f"it takes {FEWEST_ROWS} vectors, and a query.",
        )
    require_finite(documents, of="documents")
    require_finite(queries, of="queries")
    whole = documents.shape[1]
    if dims is None:
        return [whole, *(dim for dim in DIMS if dim < whole)]
    wrong = [dim for dim in dims if not 1 <= dim <= whole]
    if wrong:
        raise ConfigError(f"the vectors have {whole} dimensions; {wrong[0]} were asked for.", hint=f"use 1 to {whole}.")
    return [whole, *sorted(set(dims) - {whole}, reverse=True)]


def _climb(documents: Floats, queries: Floats, steps: list[int], turn: int) -> Iterator[tuple[Rung, Stored, Floats]]:
    """Every rung and the queries as long as its vectors; each turn in another order, so that none is always first."""
    names = list(STORAGES)
    for dim in steps[:: 1 - 2 * (turn % 2)]:
        cut, asked = truncated(documents, dim), truncated(queries, dim)
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            yield (dim, name), Stored(STORAGES[name], cut), asked


def _rows(
    rungs: list[Rung], kept: Kept, trained_dims: Collection[int] | None, qps: dict[Rung, float]
) -> list[dict[str, Any]]:
    whole = rungs[0][0]
    rows = []
    for (dim, name), quality in zip(rungs, kept.rows(), strict=True):
        memory, disk = STORAGES[name].megabytes(dim)
        trained = None if trained_dims is None else dim == whole or dim in trained_dims
        rows.append(
            {"dim": dim, "storage": name, "kind": STORAGES[name].kind, **quality, "mb_per_million": memory,
             "disk_mb_per_million": disk, "qps": qps.get((dim, name)), "matryoshka_trained": trained}
        )  # fmt: skip
    return rows


def _answer(
    metric: str, unit: str, kept: Kept, rows: list[dict[str, Any]], share: float, about: dict[str, Any]
) -> dict[str, Any]:
    needed = kept.needed(share) if share < 1 else None
    answer = {"metric": metric, "unit": unit, "count": kept.count, **about, "rows": rows, "share": share}
    answer["needed"] = needed
    enough = needed is None or kept.count >= needed
    cheapest = _smallest(rows, "share_low", share) if enough else None
    return answer | {"cheapest": cheapest, "reading": _reading(answer, cheapest)}


def _smallest(rows: list[dict[str, Any]], name: str, share: float) -> dict[str, Any] | None:
    """The cheapest row whose ``name``, share or share_low, reaches the share; None where the whole scores nothing."""
    keeping = [row for row in rows if row[name] is not None and row[name] >= share]
    return min(keeping, key=lambda row: (_size(row), -(row["qps"] or 0)), default=None)


def _size(row: dict[str, Any]) -> tuple[float, float]:
    return row["mb_per_million"], row["disk_mb_per_million"]


def _reading(answer: dict[str, Any], cheapest: dict[str, Any] | None) -> str:
    """What the ladder says, in a sentence or two."""
    rows, metric, judged = answer["rows"], answer["metric"], f"{answer['count']:,} {answer['unit']}"
    whole, share = rows[0], _percent(answer["share"])
    if whole["share"] is None:
        return f"{metric} of the whole vectors is {whole['score']:.3f}: there is nothing to keep a share of."
    if cheapest is None:
        return _too_few(answer, judged, share)
    if cheapest is whole:
        return f"No smaller storage than whole vectors in fp32 is shown to keep {share} of {metric} on {judged}."
    disk = cheapest["disk_mb_per_million"]
    beside = f", beside {disk:,.0f} MB on disk for rescoring" if disk else ""
    how = _how(rows, cheapest) + _timed(answer) if answer["unit"] == "queries" else ""
    return (
        f"The cheapest storage that is shown to keep {share} of {metric} on {judged}: {_named(cheapest)}. "
        f"It keeps {_percent(cheapest['share'])} (at least {_percent(cheapest['share_low'])}), in "
        f"{cheapest['mb_per_million']:,.0f} MB a million documents instead of {whole['mb_per_million']:,.0f} "
        f"({whole['mb_per_million'] / cheapest['mb_per_million']:.3g} times less){beside}.{how}"
    )


def _too_few(answer: dict[str, Any], judged: str, share: str) -> str:
    """Why nothing is named, and what would be, if nothing were lost but what these queries show."""
    found = _smallest(answer["rows"], "share", answer["share"])
    seen = ""
    if found is not None and found is not answer["rows"][0]:
        low = f"at least {_percent(max(found['share_low'], 0))} is all that they show"
        seen = f" On these, {_named(found)} keep {_percent(found['share'])}, but {low}."
    return (
        f"{judged} are too few to show that a smaller storage keeps {share} of {answer['metric']}: "
        f"it takes about {answer['needed']:,}, even if none of them loses anything.{seen}"
    )


def _how(rows: list[dict[str, Any]], cheapest: dict[str, Any]) -> str:
    """How to get it with `embedft index build`, or what is the nearest to it there."""
    cut = "" if cheapest["dim"] == rows[0]["dim"] else f" of an encoder with truncate_dim {cheapest['dim']}"
    kind = cheapest["kind"] or RESCORING_KINDS[cheapest["storage"]]
    graph = " and a graph" if kind.startswith("hnsw") else ""
    if cheapest["kind"] is None:
        return f" An index of embedft keeps such codes{graph} with --kind {kind}{cut}, and always rescores."
    return f" embedft index build --kind {kind} keeps such codes{graph}{cut}."


def _timed(answer: dict[str, Any]) -> str:
    batch, documents = f"{answer['batch']} queries at a time", f"{answer['documents']:,} documents"
    return f" Queries a second are of these {documents}, {batch}: a million take longer."


def _named(row: dict[str, Any]) -> str:
    return f"{row['dim']} dimensions in {row['storage'].replace('+', ' with ')}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
