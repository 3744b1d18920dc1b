"""Rows of numbers by id, on the disk, only ever added: what is computed once about texts and looked up for long."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedft.artifacts import write_bytes
from embedft.errors import DataError

Ids = npt.NDArray[np.int64]
FOLDER = re.compile(r"[0-9a-f]{16}")


def key_of(*made_by: str) -> str:
    """16 digits that stand for what made the numbers: the name of their folder."""
    return hashlib.sha256("\n".join(made_by).encode()).hexdigest()[:16]


def own_folder(folder: Path, key: str) -> Path:
    """The folder of one guide; what another one left is removed."""
    for other in folder.iterdir() if folder.is_dir() else ():
        if other.name != key and FOLDER.fullmatch(other.name):
            shutil.rmtree(other, ignore_errors=True)
    (folder / key).mkdir(parents=True, exist_ok=True)
    return folder / key


def npy(values: npt.NDArray[np.generic]) -> bytes:
    """The content of a ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


class Segments:
    """Rows of numbers by id, in files that are only ever added: ``NAME-DIGEST.npy``, and its ids beside it.

    The ids are written first: a segment counts once both are there.
    """

    def __init__(self, folder: Path, name: str, dim: int) -> None:
        self._folder, self._name, self._dim = folder, name, dim
        self.refresh()

    def refresh(self) -> None:
        """See what is there now."""
        paths = [path for path in sorted(self._folder.glob(f"{self._name}-*.ids")) if path.with_suffix(".npy").exists()]
        ids = [np.load(io.BytesIO(path.read_bytes())) for path in paths]
        self._values = [np.load(path.with_suffix(".npy"), mmap_mode="r") for path in paths]
        self._ends = np.cumsum([len(part) for part in ids], dtype=np.int64)
        every = np.concatenate(ids) if ids else np.empty(0, np.int64)
        self._order = np.argsort(every, kind="stable")
        self._ids = every[self._order]

    def begin(self, ids: Ids) -> Path:
        """Where the rows of these ids are to be written."""
        stem = f"{self._name}-{hashlib.sha256(ids.tobytes()).hexdigest()[:16]}"
        write_bytes(self._folder / f"{stem}.ids", npy(ids))
        return self._folder / f"{stem}.npy"

    def has(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Which ids there are rows of."""
        if not len(self._ids):
            return np.zeros(len(ids), bool)
        found: npt.NDArray[np.bool_] = self._ids[self._place(ids)] == ids
        return found

    def take(self, ids: Ids) -> npt.NDArray[np.float32]:
        """The rows of ids, (n, dim); raises DataError if there is none of one of them."""
        absent = int((~self.has(ids)).sum())
        if absent:
            raise DataError(
                f"guide: {absent} of {len(ids)} {self._name} of the batch are not among those it has seen.",
                hint="give the guide the rows that the training uses.",
            )
        rows = np.empty((len(ids), self._dim), np.float32)
        if len(ids):
            places = self._order[self._place(ids)]
            segment_of = np.searchsorted(self._ends, places, side="right")
            for segment in np.unique(segment_of):
                here = segment_of == segment
                start = int(self._ends[segment]) - len(self._values[segment])
                rows[here] = self._values[segment][places[here] - start]
        return rows

    def _place(self, ids: Ids) -> Ids:
        return np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
