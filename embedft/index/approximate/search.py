"""Search through a stage: it proposes candidates, exact inner products rank them, and no filter loses hits silently.

A filter is not left to the index. With an id selector, HNSW and IVF look where they would look without it; if the
allowed vectors lie elsewhere (English queries, ``lang=fr``) they give k hits that are not the nearest ones, and nothing
tells. 12,000 sentences, three tenths of them allowed and far from the queries: recall@10 of HNSW 0.49 and of IVF 0.70,
with the effort already divided by the share that is allowed; where the allowed ones were a random sample, 0.99.

So the stage is searched without the filter for more candidates, as many as hold enough allowed ones if these are spread
evenly. A query that gets enough has its nearest allowed ones among them, as sure as the stage finds its nearest at all
(0.97 and more in the same trial); one that does not asks for more, and is searched exactly once that is cheaper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from embedft.errors import DataError
from embedft.index.approximate.budget import faiss_threads
from embedft.index.approximate.kinds import Point, stage_kind
from embedft.index.approximate.stages import Stage
from embedft.index.exact import exact_search, require_k
from embedft.index.nearest import paired_scores

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# Exact search over so many allowed vectors takes 2 ms for one query (384 dimensions, one thread), 0.7 ms in a batch of
# 100; a search of a stage that is wide enough to hold a share of them is no faster.
EXACT_ROWS = 20_000
# A candidate of a wide search costs as much as so many vectors of an exact one: 11 (single queries) to 54 (batches).
ROWS_PER_CANDIDATE = 32
# The next search of a query that got too few allowed candidates is so many times as wide.
WIDENING = 4
# Candidates suffice by chance in all but one query of 700 (three standard deviations).
DEVIATIONS = 3.0
# Queries of a block; between blocks other threads get their turn.
QUERIES_AT_ONCE = 256


def approximate_search(
    stage: Stage,
    vectors: Floats,
    queries: Floats,
    k: int,
    point: Point,
    allowed: Flags | None = None,
    *,
    exact_rows: int = EXACT_ROWS,
) -> tuple[Floats, Rows]:
    """Exact scores and rows of the nearest vectors that a stage finds, both (n, k), best first, ties by lower row.

    Where there are fewer than ``k`` allowed vectors, scores end with -inf and rows with -1; never otherwise: queries
    for which the stage finds too few are searched exactly.

    Args:
        stage: of the same vectors.
        vectors: unit vectors, (size, dim) float32; may be memory-mapped.
        queries: unit vectors, (n, dim) float32.
        k: at least 1.
        point: where the stage is searched.
        allowed: (size,), which rows may be hits; None for all.
        exact_rows: up to so many allowed rows are searched exactly, without the stage.

    Raises:
        DataError: the vectors are not those of the stage, the dimensions differ, or k is below 1.
    """
    _check(stage, vectors, queries, k, allowed)
    possible = stage.size if allowed is None else int(np.count_nonzero(allowed))
    if possible == stage.size:
        allowed = None
    scores, rows = _nothing(len(queries), k)
    if not possible:
        return scores, rows
    exactly = allowed is not None and possible <= max(exact_rows, k)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        block = np.ascontiguousarray(queries[part])
        with faiss_threads(len(block)):
            if exactly:
                found = exact_search(block, vectors, k, allowed)
            else:
                found = _through_stage(stage, vectors, block, k, point, allowed, possible)
        width = found[0].shape[1]
        scores[part, :width], rows[part, :width] = found
    return scores, rows


def _check(stage: Stage, vectors: Floats, queries: Floats, k: int, allowed: Flags | None) -> None:
    require_k(k)
    if vectors.shape != (stage.size, stage.dim) or (allowed is not None and allowed.shape != (stage.size,)):
        flags = "" if allowed is None else f" and flags {allowed.shape}"
        raise DataError(
            f"vectors are {vectors.shape}{flags}; the index is of {stage.size} vectors of {stage.dim} dimensions.",
            hint="give the vectors that the index was built of.",
        )
    if queries.ndim != 2 or queries.shape[1] != stage.dim:
        raise DataError(
            f"queries are {queries.shape}; the index has {stage.dim} dimensions.",
            hint="encode them with the encoder of the index.",
        )


def _nothing(queries: int, k: int) -> tuple[Floats, Rows]:
    return np.full((queries, k), -np.inf, np.float32), np.full((queries, k), -1, np.int64)


def _through_stage(
    stage: Stage, vectors: Floats, queries: Floats, k: int, point: Point, allowed: Flags | None, possible: int
) -> tuple[Floats, Rows]:
    scores, rows = _nothing(len(queries), k)
    left = np.arange(len(queries))
    enough = min(point.candidates(k), possible)
    for width, wider in _searches(stage, k, point, possible):
        candidates = _proposed(stage, queries[left], width, wider, allowed, enough)
        # Without a filter fewer candidates than wanted (IVF, whose lists ran out) will do if they are k.
        least = enough if allowed is not None else min(k, possible)
        done = (candidates >= 0).sum(axis=1) >= least
        if len(left) == len(queries) and done.all():
            return _ranked(vectors, queries, candidates, k)
        finished = left[done]
        scores[finished], rows[finished] = _ranked(vectors, queries[finished], candidates[done], k)
        left = left[~done]
        if not len(left):
            return scores, rows
    found = exact_search(queries[left], vectors, k, allowed)
    scores[left, : found[0].shape[1]], rows[left, : found[1].shape[1]] = found
    return scores, rows


def _searches(stage: Stage, k: int, point: Point, possible: int) -> Iterator[tuple[int, Point]]:
    """How many candidates to ask the stage for, and at which point: first narrow, then wider, while that is cheap."""
    wanted, share = point.candidates(k), possible / stage.size
    if share == 1 or stage_kind(stage.kind).dial is None:
        yield min(wanted, stage.size), point
        return
    width, effort = _width(wanted, share), point.effort / share
    while width * ROWS_PER_CANDIDATE <= possible:
        yield width, Point(math.ceil(effort), point.factor)
        width, effort = width * WIDENING, effort * WIDENING


def _width(wanted: int, share: float) -> int:
    """Vectors of which ``wanted`` are allowed with near certainty if each is with probability ``share``.

    The smallest m with m s - z sqrt(m s (1 - s)) >= wanted.
    """
    deviation = DEVIATIONS * math.sqrt(share * (1 - share))
    root = (deviation + math.sqrt(deviation**2 + 4 * share * wanted)) / (2 * share)
    return math.ceil(root**2)


def _proposed(stage: Stage, queries: Floats, width: int, point: Point, allowed: Flags | None, enough: int) -> Rows:
    """Rows of allowed candidates, (n, at most ``enough``), the best by the stage's scores, -1 where there are none."""
    if allowed is None or stage_kind(stage.kind).dial is None:
        # A stage that looks at every vector loses nothing by a selector.
        return stage.search(queries, width, point, allowed)[1]
    rows = stage.search(queries, width, point)[1]
    rows[(rows < 0) | ~allowed[rows]] = -1
    best = np.argsort(rows < 0, axis=1, kind="stable")[:, :enough]
    return np.take_along_axis(rows, best, axis=1)


def _ranked(vectors: Floats, queries: Floats, candidates: Rows, k: int) -> tuple[Floats, Rows]:
    """Exact scores and rows of the ``k`` best candidates of each query, ties by lower row, (n, k)."""
    # Sorted, a stable sort by score leaves ties in the order of rows, and memory is read forwards.
    rows = np.sort(candidates, axis=1)
    scores = paired_scores(queries, vectors, rows)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    if rows.shape[1] == k:
        return scores, rows
    missing = ((0, 0), (0, k - rows.shape[1]))
    return np.pad(scores, missing, constant_values=-np.inf), np.pad(rows, missing, constant_values=-1)
