"""Run files: what a retrieval tool found, in the two forms that tools exchange.

TREC's has a line for each document that a query found, ``query Q0 document rank score tag``, with spaces or tabs
between (trec_eval, pytrec_eval, Anserini, Terrier). The JSON of ranx is ``{query: {document: score}}``. Either may be
compressed with gzip or zstd. The score orders the documents; the rank is not read, as trec_eval does not read it.
"""

from __future__ import annotations

import gzip
import json
import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedft.artifacts import atomic_file
from embedft.data import RetrievalData
from embedft.data.faults import FaultLog, shortened
from embedft.data.source import bare_stem, format_suffix, open_bytes, read_lines
from embedft.errors import DataError
from embedft.evaluation.digest import digest_of_retrieval
from embedft.evaluation.judgments import NO_DOCUMENT
from embedft.evaluation.metrics import DEFAULT_METRICS, parse_metrics
from embedft.evaluation.ranking import Ranking, ranking_of_run
from embedft.evaluation.retrieval import RetrievalEvaluation, score_ranking

logger = logging.getLogger("embedft")

Hits = dict[str, dict[str, float]]
COLUMNS = ("query", "Q0", "document", "rank", "score", "tag")
LINE_HINT = "write a line as: query Q0 document rank score tag."
JSON_HINT = 'write {"query": {"document": score}}.'
JSON_SUFFIX = ".json"


@dataclass(frozen=True)
class RunFile:
    """What a file says.

    Attributes:
        path: the file.
        name: of the system: the tag of its first line, or what the file is called.
        hits: query -> document -> score.
    """

    path: Path
    name: str
    hits: Hits


def read_run(path: str | Path) -> RunFile:
    """The run in a file: ranx' JSON if it ends on ``.json``, else TREC's lines.

    Raises:
        DataError: the file is missing, damaged or empty; or a line has not six columns, a score that is no finite
            number, or a document that the query has found already. The message names the line.
    """
    path = Path(path)
    is_json = format_suffix(path) == JSON_SUFFIX
    name, hits = _read_json(path) if is_json else _read_trec(path)
    if not hits:
        hint = JSON_HINT if is_json else LINE_HINT
        raise DataError(f"{path}: is empty; a run has at least one document of one query.", hint=hint)
    return RunFile(path, name, hits)


def write_run(path: str | Path, query_ids: Sequence[str], ranking: Ranking, *, name: str = "embedft") -> None:
    """Write a ranking as a run file, atomically; the ending of the path tells the form, as in `read_run`.

    Args:
        path: may end on ``.gz`` or ``.zst``; folders above it are made.
        query_ids: of the ranking, in its order.
        ranking: what each query found. Read back it is the same, scores included.
        name: of the system, TREC's tag; spaces in it become underscores.

    Raises:
        DataError: an id has a space or is empty, which TREC's lines cannot hold.
    """
    path = Path(path)
    hits = _hits(query_ids, ranking)
    if format_suffix(path) == JSON_SUFFIX:
        text = json.dumps(hits, ensure_ascii=False)
    else:
        text = "".join(_trec_lines(path, hits, "_".join(name.split()) or "embedft"))
    content = text.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(_compressed(content, path.suffix.lower()))


def require_writable(path: str | Path, ids: Iterable[str]) -> None:
    """Raise DataError if an id cannot stand in the run file of that name: before a search, not after it."""
    if format_suffix(Path(path)) == JSON_SUFFIX:
        return
    for name in ids:
        if len(name.split()) != 1 or name != name.strip():
            raise DataError(
                f"{path}: the id {name!r} has a space in it or is empty; columns of a TREC run stand between spaces.",
                hint="write a .json instead.",
            )


def evaluate_run(
    run: RunFile, data: RetrievalData, split: str = "test", *, metrics: Sequence[str] = DEFAULT_METRICS
) -> RetrievalEvaluation:
    """The scores of a run on the judged queries of ``split``; equal scores in the order of the ids, as everywhere.

    A judged query that the run lacks scores 0, and is told in the log. Queries of the data that ``split`` does not
    judge are left out, as trec_eval leaves them out.

    Args:
        run: what was found.
        data: the queries and documents that it is about, and the qrels.
        split: which qrels.
        metrics: names like ``ndcg@10``.

    Raises:
        ConfigError: an unknown metric.
        DataError: the split has no judged query; or the run names queries or documents that the data does not have.
    """
    wanted = parse_metrics(metrics)
    query_ids, texts = data.judged_queries(split)
    if not query_ids:
        raise DataError(f"{data.path}: no query of split {split!r} has a relevant document.", hint="check the grades.")
    _refuse_strangers(run, data)
    missing = [query for query in query_ids if not run.hits.get(query)]
    if len(missing) == len(query_ids):
        raise DataError(
            f"{run.path}: finds nothing for any of the {len(query_ids)} queries that split {split!r} judges.",
            hint="name the split that it was made for.",
        )
    if missing:
        logger.warning(
            "%s: finds nothing for %d of %d judged queries (%s): they score 0",
            run.path, len(missing), len(query_ids), ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else ""),
        )  # fmt: skip
    ranking = ranking_of_run({query: run.hits.get(query, {}) for query in query_ids})
    depth = max(metric.k for metric in wanted)
    ranking = Ranking(query_ids, ranking.document_ids, ranking.rows[:, :depth], ranking.scores[:, :depth])
    return RetrievalEvaluation(
        run.name,
        str(data.path),
        split,
        query_ids,
        score_ranking(ranking, data.split(split), [metric.name for metric in wanted]),
        ranking,
        queries=texts,
        data_sha256=digest_of_retrieval(data, split),
    )


def _read_trec(path: Path) -> tuple[str, Hits]:
    log = FaultLog(path)
    hits: Hits = {}
    name = ""
    for number, line in read_lines(path, log):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != len(COLUMNS):
            raise DataError(
                f"{path}:{number}: has {len(fields)} columns, expected {len(COLUMNS)}: {shortened(line.strip())!r}.",
                hint=LINE_HINT,
            )
        query, _, document, _, score, tag = fields
        found = hits.setdefault(query, {})
        if document in found:
            raise DataError(
                f"{path}:{number}: query {query!r} finds document {document!r} a second time.",
                hint="keep its best line.",
            )
        found[document] = _score(f"{path}:{number}", score, LINE_HINT)
        name = name or tag
    return name, hits


def _score(where: str, score: Any, hint: str) -> float:
    try:
        value = float(score)
    except (OverflowError, TypeError, ValueError):
        value = math.nan
    # Python also reads 1_0, and the digits of other scripts.
    foreign = isinstance(score, str) and ("_" in score or not score.isascii())
    if foreign or isinstance(score, bool) or not math.isfinite(value):
        raise DataError(f"{where}: the score is {score!r}, expected a finite number.", hint=hint)
    return value


def _read_json(path: Path) -> tuple[str, Hits]:
    with open_bytes(path) as stream:
        content = stream.read()
    try:
        given = json.loads(content.decode("utf-8-sig"), object_pairs_hook=lambda pairs: _distinct(path, pairs))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON: {error}.", hint=JSON_HINT) from error
    if not isinstance(given, dict) or not all(isinstance(found, dict) for found in given.values()):
        raise DataError(f"{path}: is not an object of objects.", hint=JSON_HINT)
    hits = {
        query: {
            document: _score(f"{path}: query {query!r}, document {document!r}", score, JSON_HINT)
            for document, score in found.items()
        }
        for query, found in given.items()
    }
    return bare_stem(path), {query: found for query, found in hits.items() if found}


def _distinct(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON's readers keep the last of several equal keys; here none may stand twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise DataError(f"{path}: {twice!r} stands twice in one object.", hint="keep one of them.")
    return found


def _refuse_strangers(run: RunFile, data: RetrievalData) -> None:
    """Raise DataError if the run names a query or a document that the data does not have."""
    queries, documents = (set(table["id"].to_pylist()) for table in (data.queries, data.corpus))
    for query, found in run.hits.items():
        if query not in queries:
            raise DataError(
                f"{_place(run, query)}: query {query!r} is not among the {len(queries)} queries of {data.path}.",
                hint="name the data that the run was made on.",
            )
        if not documents.issuperset(found):
            document = next(name for name in found if name not in documents)
            raise DataError(
                f"{_place(run, query, document)}: query {query!r} finds document {document!r}, which is not among the "
                f"{len(documents)} documents of {data.path}.",
                hint="name the data that the run was made on.",
            )


def _place(run: RunFile, query: str, document: str | None = None) -> str:
    """The file and, of TREC's, the line."""
    if format_suffix(run.path) != JSON_SUFFIX:
        for number, line in read_lines(run.path, FaultLog(run.path)):
            fields = line.split()
            if fields and fields[0] == query and document in (None, fields[2]):
                return f"{run.path}:{number}"
    return str(run.path)


def _hits(query_ids: Sequence[str], ranking: Ranking) -> Hits:
    return {
        query: {
            ranking.document_ids[row]: float(score)
            for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
            if row != NO_DOCUMENT
        }
        for query, rows, scores in zip(query_ids, ranking.rows, ranking.scores, strict=True)
    }


def _compressed(content: bytes, ending: str) -> bytes:
    """As the ending of a file asks for; no time of writing in it: the same content gives the same bytes."""
    if ending == ".gz":
        return gzip.compress(content, mtime=0)
    return bytes(pa.compress(content, "zstd", asbytes=True)) if ending == ".zst" else content


def _trec_lines(path: Path, hits: Mapping[str, Mapping[str, float]], tag: str) -> list[str]:
    require_writable(path, {*hits, *(document for found in hits.values() for document in found)})
    return [
        f"{query} Q0 {document} {rank} {score!r} {tag}\n"
        for query, found in hits.items()
        for rank, (document, score) in enumerate(found.items(), start=1)
    ]
