"""Evaluations on disk, and read back: what was judged can be compared and looked into without the model.

A folder holds ``metrics.json`` (what was scored on what, the metrics, the comparison), ``per_query.parquet`` (what was
scored one by one, beside the other model) and, of a retrieval, ``ranking.parquet`` (the documents that were found).
``metrics.json`` is written last: a folder that has it is complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from embedft.artifacts import atomic_file, write_json
from embedft.errors import ArtifactError, EmbedftError
from embedft.evaluation.classification import ClassificationEvaluation, OutOfScope
from embedft.evaluation.evaluation import FORMAT, Evaluation
from embedft.evaluation.judgments import NO_DOCUMENT
from embedft.evaluation.ranking import Ranking
from embedft.evaluation.retrieval import RetrievalEvaluation
from embedft.evaluation.similarity import SimilarityEvaluation

METRICS, PER_QUERY, RANKING = "metrics.json", "per_query.parquet", "ranking.parquet"
# Metrics are computed anew from what was read and must be those of metrics.json; other versions of numpy may round
# the last digits otherwise.
TOLERANCE = 1e-9
AGAINST = "against:"


@dataclass(frozen=True)
class Record:
    """What a folder holds.

    Attributes:
        path: the folder.
        evaluation: of the model.
        against: of the model that it was compared with, if any.
        answer: ``metrics.json``.
    """

    path: Path
    evaluation: Evaluation
    against: Evaluation | None
    answer: dict[str, Any]


class _DamageError(Exception):
    """What is wrong with a file of a record."""


def write_record(folder: Path, answer: dict[str, Any], evaluation: Evaluation, against: Evaluation | None) -> None:
    """Write an evaluation, and the one that it was compared with, file by file, each atomically.

    Args:
        folder: where it stands; it exists.
        answer: as `embedft.evaluation.comparison_dict` makes it.
        evaluation: of the model.
        against: of the other model, judged by the same.
    """
    with atomic_file(folder / PER_QUERY) as file:
        evaluation.write_per_query(file, against)
    if isinstance(evaluation, RetrievalEvaluation):
        _write_rankings(folder / RANKING, evaluation, cast(RetrievalEvaluation | None, against))
    write_json(folder / METRICS, answer, strict=True)


def read_record(folder: str | Path) -> Record:
    """The evaluations of a run, or of a folder of ``embedft evaluate -o``; their metrics equal those that were written.

    Raises:
        ArtifactError: there is none; or it is damaged, of an earlier embedft or of a later one.
    """
    folder = Path(folder)
    answer = _read_answer(folder)
    try:
        table = _read_table(folder / PER_QUERY, answer)
        read = READERS[answer["task"]]
        evaluation = read(folder, answer, table, answer, "")
        other = answer.get("against")
        against = read(folder, answer, table, other, AGAINST) if other is not None else None
        _check(evaluation, answer)
        if against is not None:
            _check(against, answer["against"])
    except (_DamageError, EmbedftError) as error:
        raise _damaged(folder, str(error)) from error
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error
    return Record(folder, evaluation, against, answer)


def is_record(path: Path) -> bool:
    """Whether a folder says that it is a run or an evaluation."""
    return (path / METRICS).is_file() or (path / "run.json").is_file()


def _read_answer(folder: Path) -> dict[str, Any]:
    file = folder / METRICS
    if not file.is_file():
        if (folder / "run.json").is_file():
            raise ArtifactError(
                f"{folder}: holds a run that is not finished (no {METRICS}).",
                hint=f"finish it first: embedft train -o {folder} --resume.",
            )
        raise ArtifactError(
            f"{folder}: holds no evaluation (no {METRICS}).", hint="name a run, or a folder of embedft evaluate -o."
        )
    try:
        answer = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{METRICS} is not JSON: {error}") from error
    if not isinstance(answer, dict) or "metrics" not in answer:
        raise _damaged(folder, f"{METRICS} has no metrics")
    if "format" not in answer:
        raise ArtifactError(
            f"{folder}: was written by an earlier embedft, which did not record what was judged.",
            hint="evaluate its model again: embedft evaluate MODEL --data DATA -o FOLDER.",
        )
    if answer["format"] != FORMAT or answer.get("task") not in READERS:
        raise ArtifactError(
            f"{folder}: is of format {answer['format']!r}, task {answer.get('task')!r}; this embedft reads format "
            f"{FORMAT} of {', '.join(READERS)}.",
            hint="use the embedft that wrote it.",
        )
    return answer


def _damaged(folder: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"{folder}: is damaged: {what.removesuffix('.')}.",
        hint="evaluate the model again: embedft evaluate MODEL --data DATA -o FOLDER --force.",
    )


def _read_table(path: Path, answer: Mapping[str, Any]) -> pa.Table:
    if not path.is_file():
        raise _DamageError(f"{path.name} is missing")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise _DamageError(f"{path.name} cannot be read: {error}") from error
    judged = table.num_rows if "judged" not in table.column_names else int(table["judged"].to_numpy().sum())
    if judged != answer[answer["unit"]]:
        raise _DamageError(f"{path.name} has {judged} {answer['unit']}, {METRICS} {answer[answer['unit']]}")
    return table


def _check(evaluation: Evaluation, said: Mapping[str, Any]) -> None:
    """Raise if the metrics that were written are not those of what was written one by one."""
    found = evaluation.metrics
    for name, value in said["metrics"].items():
        own = found.get(name, np.nan)
        if (value is None) != bool(np.isnan(own)) or (value is not None and abs(value - own) > TOLERANCE):
            raise _DamageError(
                f"{METRICS} says {name} {value}, and {PER_QUERY} gives {own}: they do not belong together"
            )


def _common(answer: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": own["model"],
        "fingerprint": own["fingerprint"],
        **{name: answer[name] for name in ("data", "split", "data_sha256")},
    }


def _doubles(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    if name not in table.column_names:
        raise _DamageError(f"{PER_QUERY} has no column {name}")
    if table[name].null_count:
        raise _DamageError(f"{PER_QUERY} has an empty {name}")
    return np.asarray(table[name].to_numpy(), np.float64)


def _retrieval(
    folder: Path, answer: dict[str, Any], table: pa.Table, own: dict[str, Any], prefix: str
) -> RetrievalEvaluation:
    ranking = _read_ranking(folder / RANKING, prefix)
    query_ids = table["query_id"].to_pylist()
    if ranking.query_ids != query_ids:
        raise _DamageError(f"{RANKING} holds other queries than {PER_QUERY}")
    texts = table["query"].to_pylist()
    return RetrievalEvaluation(
        **_common(answer, own),
        query_ids=query_ids,
        per_query={name: _doubles(table, prefix + name) for name in own["metrics"]},
        ranking=ranking,
        queries=[] if None in texts else texts,
    )


def _similarity(
    folder: Path,  # noqa: ARG001 - what other tasks take
    answer: dict[str, Any],
    table: pa.Table,
    own: dict[str, Any],
    prefix: str,
) -> SimilarityEvaluation:
    return SimilarityEvaluation(
        **_common(answer, own),
        names=tuple(own["metrics"]),
        texts=list(zip(table["sentence1"].to_pylist(), table["sentence2"].to_pylist(), strict=True)),
        scores=_doubles(table, "score"),
        cosines=_doubles(table, f"{prefix}cosine"),
    )


def _classification(
    folder: Path,  # noqa: ARG001 - what other tasks take
    answer: dict[str, Any],
    table: pa.Table,
    own: dict[str, Any],
    prefix: str,
) -> ClassificationEvaluation:
    classes, judged = tuple(own["head"]["classes"]), table["judged"].to_numpy()
    chances = table[f"{prefix}probabilities"].combine_chunks()
    probabilities = chances.flatten().to_numpy().reshape(table.num_rows, len(classes))
    scores = _doubles(table, f"{prefix}scope_score")
    texts, labels = table["text"].to_pylist(), table["label"].to_pylist()
    count = int(judged.sum())
    if not judged[:count].all():
        raise _DamageError(f"{PER_QUERY} mixes texts in scope with others")
    place_of = {name: place for place, name in enumerate(classes)}
    hot = np.zeros((count, len(classes)), bool)
    for row, names in enumerate(labels[:count]):
        hot[row, [place_of[name] for name in names]] = True
    outside = OutOfScope(texts[count:], [tuple(row) for row in labels[count:]], scores[count:], probabilities[count:])
    return ClassificationEvaluation(
        **_common(answer, own),
        names=tuple(name for name in own["metrics"] if not name.startswith("oos_")),
        classes=classes,
        several=own["head"]["several"],
        texts=texts[:count],
        labels=hot,
        probabilities=probabilities[:count],
        scores=scores[:count],
        threshold=own["head"]["threshold"],
        uncalibrated=own["head"]["uncalibrated"],
        out_of_scope=outside if count < table.num_rows else None,
    )


Reader = Callable[[Path, dict[str, Any], pa.Table, dict[str, Any], str], Evaluation]
READERS: dict[str, Reader] = {
    "retrieval": _retrieval,
    "similarity": _similarity,
    "classification": _classification,
}


def _write_rankings(path: Path, evaluation: RetrievalEvaluation, against: RetrievalEvaluation | None) -> None:
    columns: dict[str, Any] = {"query_id": evaluation.query_ids, **_lists(evaluation.ranking, "")}
    if against is not None:
        columns |= _lists(against.ranking, AGAINST)
    with atomic_file(path) as file:
        pq.write_table(pa.table(columns), file, compression="zstd")


def _lists(ranking: Ranking, prefix: str) -> dict[str, pa.Array]:
    """What each query found, as lists: documents (ids) and scores."""
    found = ranking.rows != NO_DOCUMENT
    offsets = pa.array(np.concatenate([[0], found.sum(1).cumsum()]), pa.int32())
    names = pa.array(ranking.document_ids, pa.string()).take(pa.array(ranking.rows[found]))
    return {
        f"{prefix}documents": pa.ListArray.from_arrays(offsets, names),
        f"{prefix}scores": pa.ListArray.from_arrays(offsets, pa.array(ranking.scores[found])),
    }


def _read_ranking(path: Path, prefix: str) -> Ranking:
    if not path.is_file():
        raise _DamageError(f"{path.name} is missing")
    try:
        table = pq.read_table(path, columns=["query_id", f"{prefix}documents", f"{prefix}scores"])
    except (OSError, pa.ArrowException) as error:
        raise _DamageError(f"{path.name} cannot be read: {error}") from error
    documents = table[f"{prefix}documents"].combine_chunks()
    lengths = np.diff(documents.offsets.to_numpy())
    values = table[f"{prefix}scores"].combine_chunks().values.to_numpy()
    names = documents.values.to_pylist()
    known = sorted(set(names))
    row_of = {name: row for row, name in enumerate(known)}
    depth = int(lengths.max(initial=0))
    # Row by row, left to right: the order in which the lists hold their documents.
    found = np.arange(depth) < lengths[:, None]
    rows = np.full(found.shape, NO_DOCUMENT, np.int64)
    scores = np.full(found.shape, -np.inf, values.dtype)
    rows[found] = np.fromiter((row_of[name] for name in names), np.int64, len(names))
    scores[found] = values
    return Ranking(table["query_id"].to_pylist(), known, rows, scores)
