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
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from embedft.artifacts import sha256_of
from embedft.data.beir import UnknownIds, is_beir, read_beir
from embedft.data.conll import read_conll
from embedft.data.faults import MAX_BAD_SHARE, Fault, FaultLog, Notes, bad_lines, require_few
from embedft.data.normal import NORMALISE, SCHEMAS, BadRowError, other_fields
from embedft.data.retrieval import RetrievalData, document_text
from embedft.data.roles import USED, Kind, Roles, assign, by_name, refuse_columns
from embedft.data.rows import CONLL_SUFFIXES, OTHER_NAMES, SUFFIXES, read_rows
from embedft.data.scores import Scale, find_scale
from embedft.data.source import STDIN, bare_stem, format_suffix
from embedft.errors import DataError

# Rows are gathered as Python objects in blocks of this many, then live in Arrow memory.
BLOCK = 16_384
# The kind of a file is told by the keys of most of its first rows.
LOOKED_AT = 1000
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}
TEXT_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "documents": ("text",),
    "pairs": ("anchor", "positive"),
    "scored pairs": ("sentence1", "sentence2"),
    "labelled texts": ("text",),
    "tags": (),
}
# A column of ours until it takes the name of the one it replaces.
NAMED = "_name"
Columns = Mapping[str, tuple[str, ...]]


class Source(NamedTuple):
    """A file to read, and what it is called: by itself, or by the data set and the split that it is a copy of."""

    split: str
    file: Path
    name: Path


def row_texts(kind: str, table: pa.Table) -> list[tuple[str, ...]]:
    """The texts that tell a row from others, a tuple a row.

    Both texts of a pair, the anchor first, with the negatives behind; title and text of a document together; all tokens
    together where they are tagged.
    """
    if kind == "tags":
        return [(" ".join(tokens),) for tokens in table["tokens"].to_pylist()]
    if kind == "documents":
        return [(text,) for text in map(document_text, table["title"].to_pylist(), table["text"].to_pylist())]
    if kind == "pairs":
        columns = [table[name].to_pylist() for name in ("anchor", "positive", "negatives")]
        return [(anchor, positive, *negatives) for anchor, positive, negatives in zip(*columns, strict=True)]
    if kind == "scored pairs":
        return list(zip(table["sentence1"].to_pylist(), table["sentence2"].to_pylist(), strict=True))
    return [(text,) for text in table["text"].to_pylist()]


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

    def sizes(self) -> dict[str, int]:
        """Split -> rows, or judgments of retrieval data."""
        tables = self.retrieval.qrels if self.retrieval else self.splits
        return {name: table.num_rows for name, table in tables.items()}

    def manifest(self) -> dict[str, Any]:
        """What a run stores of its data: path, kind, rows by split, file hashes, faults by kind."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "rows": self.sizes(),
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
    unknown_ids: UnknownIds = "drop",
    as_documents: bool = False,
) -> Dataset:
    """The data at ``path``, of whatever kind.

    Args:
        path: a BEIR folder, alone; a file (JSONL, JSON, CSV, TSV, Parquet, Arrow, CoNLL; text files may be gzip or
            zstd); a folder of such files, one a split; several files or a glob, which are joined by split; a folder
            written by ``datasets``; ``-`` for standard input; or the name of a data set on the hub.
        columns: role -> columns, where names do not tell (`embedft.data.roles.parse_columns`).
        scale: of the scores; found out where it is not given.
        max_bad: share of bad rows a file may have, 0..1; bad rows are left out and listed in ``faults``, judgments of
            unknown queries and documents among them.
        unknown_ids: of a BEIR folder: whether such judgments are an error.
        as_documents: rows with a text are documents, whatever else they have, such as a label.

    Raises:
        DataError: nothing is there, its kind cannot be told, or it is too broken; columns are named for a BEIR folder.
    """
    where = Path(path) if isinstance(path, str | Path) else Path(path[0])
    if isinstance(path, str | Path) and is_beir(where):
        refuse_columns(where, columns)
        return _read_beir(where, max_bad, unknown_ids)
    with tempfile.TemporaryDirectory() as scratch:
        files = _files(path, Path(scratch))
        logs: list[FaultLog] = []
        tables: dict[str, list[pa.Table]] = {}
        kinds: dict[Kind, Path] = {}
        for split, file, name in files:
            log = FaultLog(name)
            kind, table = _read_file(file, log, columns, as_documents=as_documents)
            kinds.setdefault(kind, name)
            tables.setdefault(split, []).append(table)
            logs.append(log)
        if len(kinds) > 1:
            found = " and ".join(f"{kind} ({file.name})" for kind, file in kinds.items())
            raise DataError(
                f"{where}: holds {found}.", hint="name one of the files, or say what counts with --columns."
            )
        name_of = _names([name for _, _, name in files])
        hashes = {name_of[name]: sha256_of(file) for _, file, name in files if file != STDIN}
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
    bad = {name_of[log.path]: bad_lines(log.faults) for log in logs}
    faults = tuple(chain.from_iterable(log.faults for log in logs))
    return Dataset(where, kind, splits, None, faults, notes, hashes, counts, scale, bad)


def _read_beir(folder: Path, max_bad: float, unknown_ids: UnknownIds) -> Dataset:
    data = read_beir(folder, unknown_ids=unknown_ids, max_bad=max_bad)
    faults: dict[str, list[Fault]] = {name: [] for name in data.rows}
    for fault in data.faults:
        faults[fault.path.relative_to(folder).as_posix()].append(fault)
    for name, rows in data.rows.items():
        # The reader has counted all but the judgments of unknown ids.
        require_few(folder / name, rows, faults[name], "ids that corpus.jsonl and queries.jsonl have", max_bad)
    bad = {name: bad_lines(found) for name, found in faults.items()}
    return Dataset(folder, "retrieval", {}, data, data.faults, data.notes, data.files, data.rows, bad=bad)


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


def _read_file(path: Path, log: FaultLog, columns: Columns | None, *, as_documents: bool) -> tuple[Kind, pa.Table]:
    rows = read_conll(path, log) if format_suffix(path) in CONLL_SUFFIXES else read_rows(path, log)
    head = list(islice(rows, LOOKED_AT))
    if not head:
        log.check("a row at least")
        raise DataError(f"{log.path}: has no good row.", hint=str(log.faults[0]))
    keys = Counter(tuple(row) for _, row in head).most_common(1)[0][0]
    roles = assign(keys, columns, f"{log.path}:{head[0][0]}", as_documents=as_documents)
    if roles.kind == "qrels":
        raise DataError(f"{log.path}: holds qrels alone.", hint="name the folder with corpus.jsonl and queries.jsonl.")
    return roles.kind, _table(chain(head, rows), roles, log, by_key=columns is None)


def _table(rows: Iterator[tuple[int, dict[str, Any]]], roles: Roles, log: FaultLog, *, by_key: bool) -> pa.Table:
    schema = SCHEMAS[roles.kind]
    normalise = NORMALISE[roles.kind]
    batches: list[pa.RecordBatch] = []
    block: list[tuple[Any, ...]] = []
    known: dict[tuple[str, ...], Columns] = {}
    name = str(log.path)
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
            log.add(str(fault), line, row, row)
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
            log.add(f"score outside {scale}", row["line"], f"{row['score']:g}", row)
        kept = table.filter(pa.array(~outside))
        position = kept.schema.get_field_index("score")
        done[name] = kept.set_column(position, "score", pa.array(scale.rescaled(scores[~outside])))
    return done, scale


def _files(path: str | Path | Sequence[str | Path], scratch: Path) -> list[Source]:
    """Everything that is meant."""
    if not isinstance(path, str | Path):
        return list(chain.from_iterable(_files(inner, scratch) for inner in path))
    where = Path(path)
    if where == STDIN or where.is_file():
        return [_source(where)]
    if where.is_dir():
        return _in_folder(where, scratch)
    if glob.has_magic(str(path)):
        names = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        matched = [Path(name) for name in sorted(names) if _readable(Path(name))]
        if not matched:
            raise DataError(f"{path}: matches no file of {', '.join(SUFFIXES)}.", hint="check the pattern.")
        return [_source(file) for file in matched]
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)) and not where.parent.exists():
        return _from_hub(str(path), scratch)
    raise DataError(f"{path}: no such file or folder.", hint="check the path.")


def _source(file: Path) -> Source:
    return Source(SPLIT_NAMES.get(split_name(file), "train"), file, file)


def _in_folder(folder: Path, scratch: Path) -> list[Source]:
    if is_beir(folder):
        raise DataError(
            f"{folder}: is a BEIR folder, whose judgments cannot be joined with other data.", hint="name it alone."
        )
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
    return [Source(split_name(file), file, file) for file in found]


def _readable(file: Path) -> bool:
    return file.is_file() and format_suffix(file) in {*SUFFIXES, *CONLL_SUFFIXES, *OTHER_NAMES}


def split_name(file: Path) -> str:
    """The split that a file name stands for: ``dev`` of ``validation-00000-of-00002.parquet``, else its stem."""
    stem = bare_stem(file)
    first = re.split(r"[-.]", stem)[0]
    return SPLIT_NAMES.get(stem, SPLIT_NAMES.get(first, stem))


def _from_datasets(folder: Path, scratch: Path) -> list[Source]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
        raise DataError(
            f"{folder}: is no readable datasets folder: {type(error).__name__}: {error}",
            hint="save it again; each split needs a row.",
        ) from error
    return _as_parquet(loaded, folder, scratch)


def _from_hub(name: str, scratch: Path) -> list[Source]:
    import datasets

    try:
        loaded = datasets.load_dataset(name)
    except Exception as error:  # whatever the hub's client raises: no network, no such name, a gated set
        raise DataError(
            f"{name}: is no file or folder here, and the hub gave no such data set: {type(error).__name__}: {error}",
            hint="check the path, the name, and the network.",
        ) from error
    return _as_parquet(loaded, Path(name), scratch)


def _as_parquet(loaded: Any, where: Path, scratch: Path) -> list[Source]:
    """The splits of a data set as files in a folder of their own; class labels by their names."""
    import datasets

    inside = Path(tempfile.mkdtemp(dir=scratch))
    splits = loaded if isinstance(loaded, dict) else {"train": loaded}
    found = []
    for name, split in splits.items():
        if not split.num_rows:
            raise DataError(f"{where}: the split {name} is empty, no row was found.", hint="save the others alone.")
        for column, feature in split.features.items():
            inner = getattr(feature, "feature", feature)  # of lists
            if isinstance(inner, datasets.ClassLabel):
                split = _with_names(split, column, inner, inside / f"{name}-{column}.arrow")
        file = inside / f"{name}.parquet"
        split.to_parquet(str(file))
        found.append(Source(SPLIT_NAMES.get(name, name), file, where / name))
    return found


def _with_names(split: Any, column: str, labels: Any, cache: Path) -> Any:
    """The split with names for the numbers of classes in a column, or for lists of such numbers."""
    import datasets

    text = datasets.Value("string")
    features = {name: feature for name, feature in split.features.items() if name != column}
    # Stated, since the first rows may all be null.
    features[NAMED] = text if isinstance(split.features[column], datasets.ClassLabel) else datasets.Sequence(text)
    done = split.map(
        lambda value, labels: {NAMED: _class_names(value, labels)},
        input_columns=column,
        remove_columns=column,
        fn_kwargs={"labels": labels},
        features=datasets.Features(features),
        cache_file_name=str(cache),
    )
    return done.rename_column(NAMED, column)


def _class_names(value: Any, labels: Any) -> Any:
    """The name of a number, or those of a list; None for a row without a label, which is -1 by custom."""
    if isinstance(value, list):
        return [_class_names(inner, labels) for inner in value]
    return None if value is None or value < 0 else labels.int2str(value)
