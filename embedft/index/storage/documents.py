"""The documents of one segment: Arrow files that are mapped, not read, and give any row without the others.

    documents.arrow     id, title, text, metadata (JSON text or null)
    fields.arrow        the metadata again, as typed columns for filters

Uncompressed, so that opening costs nothing and a document is a slice of the file. The files are trusted: their
checksums were verified before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedft.errors import ArtifactError, DataError
from embedft.index.storage.fields import FIELDS, FieldTypes, read_metadata, write_fields

Rows = npt.NDArray[np.int64]

DOCUMENTS = "documents.arrow"
# A row is found by bisecting the batches and taken from its batch alone; documents are gathered to batches of this many
# rows, or of this many bytes where they are long.
ROWS_PER_BATCH = 65_536
BYTES_PER_BATCH = 64 << 20
SCHEMA = pa.schema(
    [
        pa.field("id", pa.large_string(), nullable=False),
        pa.field("title", pa.large_string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("metadata", pa.large_string()),
    ]
)
# Filters know these beside the fields of the metadata, and before one of the same name there.
OWN_FIELDS = ("id", "title")


class Documents:
    """Documents on disk. Make the files with `Documents.write`, open them with `Documents.open`."""

    def __init__(self, batches: Sequence[pa.RecordBatch], fields: pa.Table) -> None:
        self._batches = [batch for batch in batches if batch.num_rows]
        self._begins = np.cumsum([0, *(batch.num_rows for batch in self._batches)], dtype=np.int64)
        self._fields = fields

    @classmethod
    def write(cls, table: pa.Table, folder: Path) -> None:
        """Write a table of documents; see `write_batches`."""
        cls.write_batches([table], folder)

    @classmethod
    def write_batches(cls, batches: Iterable[pa.RecordBatch | pa.Table], folder: Path) -> int:
        """Write documents that come in parts, none of which is kept in memory; gives their number.

        Args:
            batches: columns id, title, text and, if there are any, metadata (JSON objects as text, or null), as
                `embedft.data.read_corpus` gives them; other columns are left out. A title that is null is empty.
            folder: an existing folder; documents.arrow and fields.arrow in it are overwritten.

        Raises:
            DataError: a column is missing, an id or a text is null, or metadata are no JSON object.
        """
        types = FieldTypes()
        written = 0
        with pa.OSFile(str(folder / DOCUMENTS), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for batch in _rebatched(batches):
                types.see(batch.column("id"), batch.column("metadata"))
                writer.write_batch(batch)
                written += batch.num_rows
        batches_written = _mapped(folder / DOCUMENTS).to_batches()
        write_fields((batch.column("metadata") for batch in batches_written), types.columns(), folder)
        return written

    @classmethod
    def open(cls, folder: Path) -> Documents:
        """The documents in ``folder``, mapped: none of them is read yet.

        Raises:
            ArtifactError: the files are no documents of embedft, or do not belong together.
        """
        documents, fields = _mapped(folder / DOCUMENTS), _mapped(folder / FIELDS)
        if not documents.schema.equals(SCHEMA):
            raise ArtifactError(
                f"{folder / DOCUMENTS}: has the columns {', '.join(documents.column_names)}.",
                hint="build the index again with --force.",
            )
        if fields.num_columns and len(fields) != len(documents):
            raise ArtifactError(
                f"{folder / FIELDS}: has {len(fields)} rows where {DOCUMENTS} has {len(documents)}.",
                hint="build the index again with --force.",
            )
        return cls(documents.to_batches(), fields)

    def __len__(self) -> int:
        return int(self._begins[-1])

    @property
    def ids(self) -> pa.ChunkedArray:
        """The id of each document, in the order of the rows: large_string."""
        return self._column("id")

    @property
    def field_names(self) -> list[str]:
        """What filters can ask for: id, title, then the fields of the metadata."""
        return [*OWN_FIELDS, *(name for name in self._fields.column_names if name not in OWN_FIELDS)]

    def field(self, name: str) -> pa.ChunkedArray | None:
        """The values of a field, a row for each document; None where no document has it.

        ``id`` and ``title`` are the document's own; a field of that name in the metadata is not reached. Types of
        the others: see `embedft.index.storage.fields`.
        """
        if name in OWN_FIELDS:
            return self._column(name)
        return self._fields.column(name) if name in self._fields.column_names else None

    def take(self, rows: Sequence[int] | Rows) -> list[dict[str, Any]]:
        """The documents of ``rows``, in that order: id, title, text, and metadata as a dictionary (empty for none).

        A million documents make it no slower: 10 rows take 0.3 ms, 10,000 rows 15 to 30 ms.

        Raises:
            IndexError: there is no such row.
        """
        wanted = np.asarray(rows, np.int64)
        found: list[dict[str, Any]] = [{}] * len(wanted)
        for batch, places, inside in self._by_batch(wanted):
            for place, document in zip(places, self._batches[batch].take(inside).to_pylist(), strict=True):
                document["metadata"] = read_metadata(document["metadata"]) if document["metadata"] else {}
                found[place] = document
        return found

    def find(self, ids: Sequence[str]) -> Rows:
        """The row of each id, -1 where no document has it: (len(ids),) int64.

        One pass over the ids on disk, which looks them up among those asked for: 4 to 70 ms for a million documents,
        where a table of all of them would take 200 ms to make.
        """
        # A name that UTF-8 cannot spell (from a command line, say) is no document's.
        asked = {name: place for place, name in enumerate(name for name in dict.fromkeys(ids) if _is_encodable(name))}
        row_of = np.full(len(asked), -1, np.int64)
        places = pc.index_in(self.ids, value_set=pa.array(list(asked), pa.large_string()))
        row_of[places.drop_null().to_numpy()] = pc.indices_nonzero(places.is_valid()).to_numpy()
        return np.array([row_of[asked[name]] if name in asked else -1 for name in ids], np.int64)

    def table(self, rows: Rows | None = None) -> pa.Table:
        """All documents without a copy, or copies of those of ``rows`` in that order: id, title, text, metadata.

        Raises:
            IndexError: there is no such row.
        """
        return pa.Table.from_batches(list(self.batches(rows)), SCHEMA)

    def batches(self, rows: Rows | None = None) -> Iterator[pa.RecordBatch]:
        """As `table`, in parts of at most 65,536 rows, for more documents than memory holds.

        Raises:
            IndexError: there is no such row.
        """
        if rows is None:
            yield from self._batches
            return
        for start in range(0, len(rows), ROWS_PER_BATCH):
            wanted = np.asarray(rows[start : start + ROWS_PER_BATCH], np.int64)
            parts, order = [], []
            for batch, places, inside in self._by_batch(wanted):
                parts.append(self._batches[batch].take(inside))
                order += places
            yield _joined(parts).take(pa.array(np.argsort(order)))

    def _column(self, name: str) -> pa.ChunkedArray:
        return pa.chunked_array([batch.column(name) for batch in self._batches], pa.large_string())

    def _by_batch(self, rows: Rows) -> Iterator[tuple[int, list[int], pa.Array]]:
        """For each batch that holds some of ``rows``: its number, where they stand in ``rows``, their rows in it."""
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)} documents")
        batch_of = np.searchsorted(self._begins, rows, side="right") - 1
        order = np.argsort(batch_of, kind="stable")
        bounds = [*np.flatnonzero(np.diff(batch_of[order], prepend=-1)).tolist(), len(rows)]
        for begin, end in pairwise(bounds):
            places = order[begin:end]
            batch = int(batch_of[places[0]])
            yield batch, places.tolist(), pa.array(rows[places] - self._begins[batch])


def _conform(part: pa.RecordBatch | pa.Table) -> pa.Table:
    """The part's columns as `SCHEMA` has them."""
    table = pa.Table.from_batches([part]) if isinstance(part, pa.RecordBatch) else part
    missing = [name for name in ("id", "title", "text") if name not in table.column_names]
    if missing:
        raise DataError(
            f"the documents have no column {', '.join(missing)}; they have {', '.join(table.column_names)}.",
            hint="give the columns id, title, text and metadata.",
        )
    if "metadata" not in table.column_names:
        table = table.append_column("metadata", pa.nulls(len(table), pa.large_string()))
    for name in ("id", "text"):
        if table[name].null_count:
            found = table[name].null_count
            raise DataError(
                f"{found} of the {len(table)} documents have no {name}.", hint=f"give each document its {name}."
            )
    try:
        columns = [table[name].cast(pa.large_string()) for name in SCHEMA.names]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"a column of the documents is no text: {error}.", hint="give all columns as text.") from error
    columns[1] = columns[1].fill_null("")
    return pa.table(columns, schema=SCHEMA)


def _rebatched(parts: Iterable[pa.RecordBatch | pa.Table]) -> Iterator[pa.RecordBatch]:
    """The same documents in batches that are full, however small or large the parts are."""
    gathered: list[pa.RecordBatch] = []
    for part in parts:
        for batch in _conform(part).to_batches(max_chunksize=ROWS_PER_BATCH):
            if gathered and sum(each.num_rows for each in gathered) + batch.num_rows > ROWS_PER_BATCH:
                yield _joined(gathered)
                gathered = []
            gathered.append(batch)
            if sum(each.nbytes for each in gathered) >= BYTES_PER_BATCH:
                yield _joined(gathered)
                gathered = []
    if gathered:
        yield _joined(gathered)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _is_encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _mapped(file: Path) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(str(file))).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{file}: cannot be read: {error}.", hint="build the index again with --force.") from error
