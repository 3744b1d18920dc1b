"""One reader for every form that labelled or unlabelled texts come in, and the type it gives: `Dataset`."""

from __future__ import annotations

import glob
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from embedft.artifacts import sha256_of
from embedft.data.beir import is_beir, read_beir
from embedft.data.conll import read_conll
from embedft.data.faults import MAX_BAD_SHARE, Fault, FaultLog, Notes
from embedft.data.normal import NORMALISE, SCHEMAS, BadRowError, other_fields
from embedft.data.retrieval import RetrievalData
from embedft.data.roles import USED, Kind, Roles, assign, by_name
from embedft.data.rows import CONLL_SUFFIXES, SUFFIXES, read_rows
from embedft.data.scores import Scale, find_scale
from embedft.data.source import STDIN, bare_stem, format_suffix
from embedft.errors import DataError

# Rows are gathered as Python objects in blocks of this many, then live in Arrow memory.
BLOCK = 16_384
# The kind of a file is told by the keys of most of its first rows.
LOOKED_AT = 1000
SPLIT_NAMES = {"validation": "dev", "valid": "dev", "val": "dev", "dev": "dev", "train": "train", "test": "test"}
TEXT_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "documents": ("text",),
    "pairs": ("anchor", "positive"),
    "scored pairs": ("sentence1", "sentence2"),
    "labelled texts": ("text",),
    "tags": (),
}
Columns = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Dataset:
    """Rows of one kind, by split.

    Attributes:
        path: where it was read from.
        kind: what the rows are; ``"retrieval"`` is a BEIR folder.
        splits: split -> table with the schema of its kind (`embedft.data.normal.SCHEMAS`): the fields, then metadata
            (JSON text of all others), file and line. Scores run from 0 to 1. Empty for ``"retrieval"``.
        retrieval: documents, queries and qrels, for ``"retrieval"`` alone.
        faults: rows that were left out.
        notes: peculiarities of rows that stayed.
        files: file name -> SHA-256.
        rows: file name -> rows found in it, bad ones included.
        bad: file name -> bad rows.
        scale: of the scores in the files, for ``"scored pairs"``.
    """

    path: Path
    kind: Kind | Literal["retrieval"]
    splits: Mapping[str, pa.Table]
    retrieval: RetrievalData | None = None
    faults: tuple[Fault, ...] = ()
    notes: Notes = field(default_factory=Notes)
    files: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    scale: Scale | None = None
    bad: Mapping[str, int] = field(default_factory=dict)

    def manifest(self) -> dict[str, Any]:
        """What a run stores of its data: path, kind, rows by split, file hashes, faults by kind."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "rows": {name: table.num_rows for name, table in self.splits.items()},
            "files": dict(self.files),
            "faults": dict(Counter(fault.kind for fault in self.faults)),
        }

    def texts(self, split: str) -> dict[str, pa.Array]:
        """Text column -> its texts, of a split; ``""`` never stands for a missing text."""
        if self.kind == "retrieval":
            raise DataError(f"{self.path}: holds queries and documents, not rows.", hint="use dataset.retrieval.")
        return {name: self.splits[split][name].combine_chunks() for name in TEXT_COLUMNS[self.kind]}


def read_dataset(
    path: str | Path | Sequence[str | Path],
    *,
    columns: Columns | None = None,
    scale: Scale | None = None,
    max_bad: float = MAX_BAD_SHARE,
) -> Dataset:
    """The data at ``path``, of whatever kind.

    Args:
        path: a BEIR folder; a file (JSONL, JSON, CSV, TSV, Parquet, Arrow, CoNLL; text files may be gzip or zstd); a
            folder of such files, one a split; several files or a glob, which are joined by split; a folder written by
            ``datasets``; ``-`` for standard input; or the name of a data set on the hub.
        columns: role -> columns, where names do not tell (`embedft.data.roles.parse_columns`).
        scale: of the scores; found out where it is not given.
        max_bad: share of bad rows a file may have, 0..1; bad rows are left out and listed in ``faults``.

    Raises:
        DataError: nothing is there, its kind cannot be told, or it is too broken.
    """
    where = Path(path) if isinstance(path, str | Path) else Path(path[0])
    if isinstance(path, str | Path) and is_beir(where):
        data = read_beir(where, unknown_ids="drop", max_bad=max_bad)
        return Dataset(where, "retrieval", {}, data, data.faults, data.notes, data.files)
    with tempfile.TemporaryDirectory() as scratch:
        files = _files(path, Path(scratch))
        logs: list[FaultLog] = []
        tables: dict[str, list[pa.Table]] = {}
        kinds: dict[Kind, Path] = {}
        for split, file in files:
            log = FaultLog(file)
            kind, table = _read_file(file, log, columns)
            kinds.setdefault(kind, file)
            tables.setdefault(split, []).append(table)
            logs.append(log)
        if len(kinds) > 1:
            found = " and ".join(f"{kind} ({file.name})" for kind, file in kinds.items())
            raise DataError(
                f"{where}: holds {found}.", hint="name one of the files, or say what counts with --columns."
            )
        name_of = _names([file for _, file in files])
        hashes = {name_of[file]: sha256_of(file) for _, file in files if file != STDIN}
    kind = next(iter(kinds))
    splits = {name: pa.concat_tables(parts, promote_options="default") for name, parts in tables.items()}
    if kind == "scored pairs":
        splits, scale = _rescaled(splits, scale, {log.path: log for log in logs})
    for log in logs:
        log.check(f"rows of {kind}", max_bad)
    notes = Notes()
    for log in logs:
        notes.merge(log.notes)
    counts = {name_of[log.path]: log.rows for log in logs}
    bad = {name_of[log.path]: len({fault.line for fault in log.faults}) for log in logs}
    faults = tuple(chain.from_iterable(log.faults for log in logs))
    return Dataset(where, kind, splits, None, faults, notes, hashes, counts, scale, bad)


def _names(files: Sequence[Path]) -> dict[Path, str]:
    """What each file is called: its name, or its path where another one has the same name.

    Raises:
        DataError: a file stands twice.
    """
    names = Counter(file.name for file in files)
    twice, times = Counter(file.absolute() for file in files).most_common(1)[0]
    if times > 1:
        raise DataError(f"{twice}: is named twice.", hint="name each file once.")
    return {file: file.name if names[file.name] == 1 else str(file) for file in files}


def _read_file(path: Path, log: FaultLog, columns: Columns | None) -> tuple[Kind, pa.Table]:
    rows = read_conll(path, log) if format_suffix(path) in CONLL_SUFFIXES else read_rows(path, log)
    head = list(islice(rows, LOOKED_AT))
    if not head:
        log.check("a row at least")
        raise DataError(f"{path}: has no good row.", hint=str(log.faults[0]))
    keys = Counter(tuple(row) for _, row in head).most_common(1)[0][0]
    roles = assign(keys, columns, f"{path}:{head[0][0]}")
    if roles.kind == "qrels":
        raise DataError(f"{path}: holds qrels alone.", hint="name the folder with corpus.jsonl and queries.jsonl.")
    return roles.kind, _table(path, chain(head, rows), roles, log, by_key=columns is None)


def _table(
    path: Path, rows: Iterator[tuple[int, dict[str, Any]]], roles: Roles, log: FaultLog, *, by_key: bool
) -> pa.Table:
    schema = SCHEMAS[roles.kind]
    normalise = NORMALISE[roles.kind]
    batches: list[pa.RecordBatch] = []
    block: list[tuple[Any, ...]] = []
    known: dict[tuple[str, ...], Columns] = {}
    name = str(path)
    for line, row in rows:
        key = tuple(row)
        used = known.get(key)
        if used is None:
            used = known[key] = _columns_of(key, roles) if by_key else roles.columns
            # Keys of JSON rows may be without end; what one row looks like is soon told again.
            if len(known) > LOOKED_AT:
                known.clear()
        if used is not roles.columns and any(
            used[role] != roles.columns[role] for role in roles.columns if role in used
        ):
            log.note("other key names", line, ", ".join(key))
        try:
            values = normalise(row, used, line, log)
        except BadRowError as fault:
            log.add(str(fault), line, row, str(row))
            continue
        block.append((*values, other_fields(row, used), name, line))
        if len(block) == BLOCK:
            batches.append(_batch(block, schema))
            block = []
    if block:
        batches.append(_batch(block, schema))
    return pa.Table.from_batches(batches, schema=schema)


def _columns_of(key: tuple[str, ...], roles: Roles) -> Columns:
    """The columns of a row with these keys: those that most rows have, else the row's own names for the roles."""
    own = {role: names for role, names in by_name(key).items() if role in USED[roles.kind]}
    found = {
        role: names if all(name in key for name in names) else own.get(role, names)
        for role, names in roles.columns.items()
    }
    return roles.columns if {**own, **found} == roles.columns else {**own, **found}


def _batch(block: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.array(values, field.type) for values, field in zip(zip(*block, strict=True), schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _rescaled(
    splits: dict[str, pa.Table], scale: Scale | None, logs: Mapping[Path, FaultLog]
) -> tuple[dict[str, pa.Table], Scale]:
    """The splits with scores from 0 to 1 on one scale for all; rows outside it are faults."""
    every = [table["score"].to_numpy() for table in splits.values()]
    scale = scale or find_scale(np.concatenate(every))
    done = {}
    for (name, table), scores in zip(splits.items(), every, strict=True):
        outside = scale.outside(scores)
        for number in np.flatnonzero(outside).tolist():
            row = table.slice(number, 1).to_pylist()[0]
            log = logs[Path(row["file"])]
            log.add(f"score outside {scale}", row["line"], f"{row['score']:g}", str(row))
        kept = table.filter(pa.array(~outside))
        position = kept.schema.get_field_index("score")
        done[name] = kept.set_column(position, "score", pa.array(scale.rescaled(scores[~outside])))
    return done, scale


def _files(path: str | Path | Sequence[str | Path], scratch: Path) -> list[tuple[str, Path]]:
    """(split, file) of everything that is meant."""
    if not isinstance(path, str | Path):
        return list(chain.from_iterable(_files(inner, scratch) for inner in path))
    where = Path(path)
    if where == STDIN or where.is_file():
        return [(SPLIT_NAMES.get(split_name(where), "train"), where)]
    if where.is_dir():
        return _in_folder(where, scratch)
    if glob.has_magic(str(path)):
        names = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        matched = [Path(name) for name in sorted(names) if _readable(Path(name))]
        if not matched:
            raise DataError(f"{path}: matches no file of {', '.join(SUFFIXES)}.", hint="check the pattern.")
        return [(SPLIT_NAMES.get(split_name(file), "train"), file) for file in matched]
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)) and not where.parent.exists():
        return _from_hub(str(path), scratch)
    raise DataError(f"{path}: no such file or folder.", hint="check the path.")


def _in_folder(folder: Path, scratch: Path) -> list[tuple[str, Path]]:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _from_datasets(folder, scratch)
    found = [file for file in sorted(folder.iterdir()) if _readable(file)]
    if not found:
        raise DataError(
            f"{folder}: holds neither corpus.jsonl (a BEIR folder) nor a file of {', '.join(SUFFIXES)}.",
            hint="see the README for the forms that data may have.",
        )
    stems: dict[str, Path] = {}
    for file in found:
        other = stems.setdefault(bare_stem(file), file)
        if other != file:
            names = f"{other.name} and {file.name}"
            raise DataError(f"{folder}: holds {names}; which is meant?", hint="keep one file a split.")
    return [(split_name(file), file) for file in found]


def _readable(file: Path) -> bool:
    return file.is_file() and format_suffix(file) in {*SUFFIXES, *CONLL_SUFFIXES, ".ndjson", ".feather"}


def split_name(file: Path) -> str:
    """The split that a file name stands for: ``dev`` of ``validation-00000-of-00002.parquet``, else its stem."""
    stem = bare_stem(file)
    first = re.split(r"[-.]", stem)[0]
    return SPLIT_NAMES.get(stem, SPLIT_NAMES.get(first, stem))


def _from_datasets(folder: Path, scratch: Path) -> list[tuple[str, Path]]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{folder}: is no readable datasets folder: {error}", hint="save it again.") from error
    return _as_parquet(loaded, scratch)


def _from_hub(name: str, scratch: Path) -> list[tuple[str, Path]]:
    import datasets

    try:
        loaded = datasets.load_dataset(name)
    except Exception as error:  # whatever the hub's client raises: no network, no such name, a gated set
        raise DataError(
            f"{name}: is no file or folder here, and the hub gave no such data set: {type(error).__name__}: {error}",
            hint="check the path, the name, and the network.",
        ) from error
    return _as_parquet(loaded, scratch)


def _as_parquet(loaded: Any, scratch: Path) -> list[tuple[str, Path]]:
    """The splits of a data set as files; class labels by their names."""
    import datasets

    splits = loaded if isinstance(loaded, dict) else {"train": loaded}
    files = []
    for name, split in splits.items():
        for column, feature in split.features.items():
            if isinstance(feature, datasets.ClassLabel):
                split = split.map(
                    lambda value, feature=feature: {"_name": feature.int2str(value)}, input_columns=column
                )
                split = split.remove_columns(column).rename_column("_name", column)
        file = scratch / f"{name}.parquet"
        split.to_parquet(str(file))
        files.append((SPLIT_NAMES.get(name, name), file))
    return files
