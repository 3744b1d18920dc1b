"""The base segment: documents and vectors with the cheapest kind of index that meets the recall asked for."""

from __future__ import annotations

import logging
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedft.errors import ConfigError, DataError
from embedft.index.approximate import (
    FLAT,
    LEVEL,
    Stage,
    Tuning,
    candidates_for,
    estimate_bytes,
    factory,
    faiss_threads,
    mean_lower_bound,
    tune,
)
from embedft.index.approximate.tune import FEWEST_QUERIES
from embedft.index.exact import Floats, exact_search, useful_threads
from embedft.index.held_out import COUNT
from embedft.index.lexical import Lexical, Words
from embedft.index.segment import STAGE, WORDS, texts_of
from embedft.index.settings import AUTO, Settings
from embedft.index.storage import Documents
from embedft.index.storage.store import link_or_copy
from embedft.index.storage.verify import VECTORS
from embedft.progress import progress

BASE = "base"
TIMED = 5
# Of the queries that tuning has, the share that is left for the bound.
BOUND_SHARE = 0.8
# Numbers of queries that a message suggests; a recall of 0.999 needs about 5,200.
SUGGESTED = (130, 300, 700, 1500, 3000, 7000, 20_000)

logger = logging.getLogger("embedft")


def kinds_to_try(documents: int, dim: int, settings: Settings) -> list[str]:
    """Kinds of index in the order in which they are tried: the one asked for, or those that fit size and memory.

    Raises:
        ConfigError: none fits the memory.
    """
    if settings.kind != AUTO:
        needed = estimate_bytes(settings.kind, documents, dim)
        if settings.memory is not None and needed > settings.memory:
            raise ConfigError(
                f"{settings.kind} of {documents:,} vectors of {dim} dimensions needs {needed:,} bytes; "
                f"{settings.memory:,} are allowed.",
                hint="allow more memory, or leave the kind to be chosen.",
            )
        return [settings.kind]
    return candidates_for(documents, dim, memory=settings.memory)


def write_base(
    version: Path,
    documents: pa.Table,
    vectors: Path,
    queries: Floats | None,
    settings: Settings,
    *,
    show_progress: bool = False,
) -> dict[str, Any]:
    """Write the base segment into ``version / "base"``; gives its entry of the manifest.

    Args:
        version: the staged version.
        documents: id, title, text, metadata.
        vectors: a ``.npy`` file of their unit vectors, float32, in the same order; it is linked, not moved.
        queries: vectors of held-out queries, (queries, dim); None where only exact search is to be tried.
        settings: what is asked for.
        show_progress: on standard error.

    Raises:
        ConfigError: no kind meets the recall within the limits.
        DataError: too few queries to state a recall.
    """
    folder = version / BASE
    folder.mkdir()
    Documents.write(documents, folder)
    link_or_copy(vectors, folder / VECTORS)
    opened: Floats = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
    held_out = np.empty((0, opened.shape[1]), np.float32) if queries is None else queries
    stage, kind, tuning = fit_stage(opened, held_out, settings, show_progress=show_progress)
    if stage is not None:
        stage.save(folder / STAGE)
    if settings.lexical:
        Lexical.write(texts_of(documents), folder / WORDS, language=settings.language)
    return {
        "folder": BASE,
        "documents": len(opened),
        "kind": kind,
        "factory": factory(kind, *opened.shape),
        "tuning": tuning.as_dict() if tuning else None,
    }


def fit_stage(
    vectors: Floats, queries: Floats, settings: Settings, *, show_progress: bool = False
) -> tuple[Stage | None, str, Tuning | None]:
    """The first kind of index that meets the recall, at its cheapest point; no stage where that is exact search.

    Stages that so few queries can show no recall of are left out where exact search remains, and that is said.

    Raises:
        ConfigError: no kind meets the recall within the limits.
        DataError: too few queries to state a recall.
    """
    best = []
    kinds = kinds_to_try(len(vectors), vectors.shape[1], settings)
    level = _level(kinds)
    for kind in kinds:
        if kind == FLAT:
            if settings.latency_ms is None or (milliseconds := _flat_latency(vectors)) <= settings.latency_ms:
                return None, FLAT, None
            best.append(f"{FLAT} 1.000 ({milliseconds:.1f} ms a query)")
            continue
        if not _shows(len(queries), settings.recall, level):
            too_few = _too_few(len(queries), settings.recall, level)
            if FLAT not in kinds:
                raise too_few
            logger.warning("%s is not tried: %s", kind, too_few.message)
            best.append(f"{kind} not tried ({len(queries)} queries)")
            continue
        with progress(f"building {kind}", len(vectors), "vectors", enabled=show_progress) as advance:
            stage = Stage.build(kind, vectors, seed=settings.seed, done=advance)
        tuning = tune(
            stage, vectors, queries,
            k=settings.k, target=settings.recall, latency_ms=settings.latency_ms, level=level, seed=settings.seed,
        )  # fmt: skip
        if tuning.chosen is not None:
            return stage, kind, tuning
        most = max(tuning.curve, key=lambda point: point.recall)
        best.append(f"{kind} {most.recall:.3f} (at least {most.ci_low:.3f}, {most.latency_ms:.1f} ms a query)")
        missed = f"recall of {settings.recall:g}" if tuning.failed == "recall" else "limit of latency at that recall"
        logger.info("%s does not meet the %s: %s", kind, missed, best[-1])
    raise ConfigError(
        f"no index meets a recall@{settings.k} of {settings.recall:g} within the limits: {'; '.join(best)}.",
        hint="ask for less --recall, give more --queries, allow more --memory or --latency, or choose --kind flat.",
    )


def _flat_latency(vectors: Floats) -> float:
    """Milliseconds of one exact search, median of a few."""
    times = []
    for query in vectors[:TIMED]:
        start = time.perf_counter()
        with faiss_threads(useful_threads(1, len(vectors))):
            exact_search(query[None], vectors, 10)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def check_settings(documents: int, dim: int, settings: Settings, *, queries: int, given: bool) -> None:
    """Refuse before anything is embedded what would be refused after it.

    Args:
        documents: number of documents.
        dim: of their vectors.
        settings: what is asked for.
        queries: number of held-out queries.
        given: they were given for this, so that too few are a mistake even where exact search would do without them.

    Raises:
        ConfigError: no kind fits the memory, or there are no stemmer and stop list for the language.
        DataError: the queries are too few.
    """
    if settings.lexical:
        Words.of(settings.language)
    kinds = kinds_to_try(documents, dim, settings)
    level = _level(kinds)
    if not needs_queries(documents, dim, settings) or _shows(queries, settings.recall, level):
        return
    if FLAT not in kinds or (given and _queries_needed(settings.recall, level) is not None):
        raise _too_few(queries, settings.recall, level)


def needs_queries(documents: int, dim: int, settings: Settings) -> bool:
    """Whether a kind may be tried that is tuned on queries: exact search needs none, unless it may be too slow.

    Raises:
        ConfigError: no kind fits the memory.
    """
    kinds = kinds_to_try(documents, dim, settings)
    return kinds[0] != FLAT or (settings.latency_ms is not None and len(kinds) > 1)


def queries_to_make(documents: int, dim: int, settings: Settings) -> int:
    """How many queries are made where none or too few are given: so many that some may miss a hit.

    Raises:
        ConfigError: no kind fits the memory.
    """
    needed = _queries_needed(settings.recall, _level(kinds_to_try(documents, dim, settings)))
    return max(COUNT, 2 * (needed or 0))


def enough_queries(count: int, documents: int, dim: int, settings: Settings) -> bool:
    """Whether ``count`` queries can show the recall that is asked for.

    Raises:
        ConfigError: no kind fits the memory.
    """
    return _shows(count, settings.recall, _level(kinds_to_try(documents, dim, settings)))


def _level(kinds: list[str]) -> float:
    """Of the bounds of each stage, if all of them may be tested on the same queries until one passes (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(1, len(kinds) - (FLAT in kinds))


def _too_few(count: int, target: float, level: float) -> DataError:
    """The lower bound of recall would be below ``target`` even without a miss."""
    needed = _queries_needed(target, level)
    more = f"give {needed:,} with --queries, " if needed else ""
    return DataError(
        f"{count} queries are too few to show a recall of {target:g}, even if none of them misses a hit.",
        hint=f"{more}ask for less --recall, or choose --kind flat.",
    )


def _queries_needed(target: float, level: float) -> int | None:
    """About how many queries can show a recall of ``target`` if none of them misses a hit; None if no number can."""
    return next((number for number in SUGGESTED if _shows(number, target, level)), None)


def _shows(count: int, target: float, level: float) -> bool:
    return count >= FEWEST_QUERIES and mean_lower_bound(np.ones(int(BOUND_SHARE * count)), level=level) >= target
