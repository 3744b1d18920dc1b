"""Lines of text out of whatever a file holds: plain, gzip or zstd, in UTF-8, UTF-16 or an older encoding.

A line that is not UTF-8 is read as cp1252 or latin-1, and counted; for a whole file nothing is guessed but by its byte
order mark. Two limits keep a hostile file from filling the memory: the length of a line, and how much a compressed file
may expand.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from embedft.data.faults import FaultLog
from embedft.errors import DataError

STDIN = Path("-")
COMPRESSED = (".gz", ".zst")

# Longest line, in bytes: the longest real document seen has 200,000 characters.
MAX_LINE = 64 * 2**20
# Text compresses by 3 to 30; a file that expands a hundred times was made to do so.
MAX_EXPANSION, EXPANSION_FROM = 100, 256 * 2**20

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
UTF8_MARK = b"\xef\xbb\xbf"
# Bytes that are control characters in latin-1 and typographic signs in cp1252; five of them cp1252 does not define.
CP1252_ONLY = frozenset(range(0x80, 0xA0))
CP1252_UNDEFINED = frozenset((0x81, 0x8D, 0x8F, 0x90, 0x9D))

UNREADABLE = (EOFError, zlib.error, gzip.BadGzipFile, OSError)


def format_suffix(path: Path) -> str:
    """The ending that tells the format, in lower case: ``.jsonl`` of ``train.jsonl.gz``."""
    name = path.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return Path(name).suffix


def bare_stem(path: Path) -> str:
    """The name without its endings: ``train`` of ``train.jsonl.gz``."""
    name = path.name
    for ending in COMPRESSED:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return Path(name).stem


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file, or of standard input where ``path`` is ``-``.

    Raises:
        DataError: no such file; or, while it is read, damage or an expansion beyond `MAX_EXPANSION`.
    """
    if path == STDIN:
        yield sys.stdin.buffer
        return
    if not path.is_file():
        raise DataError(f"{path}: no such file.", hint="check the path.")
    with path.open("rb") as raw:
        ending = path.suffix.lower()
        if ending not in COMPRESSED:
            yield raw
            return
        try:
            with _Expanding(raw, path, ending) as expanding:
                yield io.BufferedReader(expanding, 2**18)
        except UNREADABLE as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise
            raise DataError(
                f"{path}: is damaged or cut off: {error}", hint="compress the file again, or fetch it again."
            ) from error


class _Expanding(io.RawIOBase):
    """Decompresses and watches how much comes out."""

    def __init__(self, raw: IO[bytes], path: Path, ending: str) -> None:
        self.path = path
        self.allowed = max(path.stat().st_size * MAX_EXPANSION, EXPANSION_FROM)
        self.done = 0
        if ending == ".gz":
            self.inner = cast(IO[bytes], gzip.GzipFile(fileobj=raw))
        else:
            import pyarrow as pa

            self.inner = pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self.inner.read(len(view))
        self.done += len(data)
        if self.done > self.allowed:
            raise DataError(
                f"{self.path}: expands to more than {self.allowed // 2**20:,} MB, {MAX_EXPANSION:,} times its size.",
                hint="decompress it yourself if that is meant.",
            )
        view[: len(data)] = data
        return len(data)


def read_lines(path: Path, log: FaultLog) -> Iterator[tuple[int, str]]:
    r"""(line number from 1, line with its ``\n``), decoded; encodings other than UTF-8 are counted in ``log.notes``.

    Raises:
        DataError: as `open_bytes`; a line beyond `MAX_LINE`; UTF-16 that is damaged.
    """
    with open_bytes(path) as stream:
        number, encoding = 0, ""
        pending = b""
        while raw := stream.readline(MAX_LINE + 1):
            number += 1
            if number == 1:
                if raw.startswith(UTF16_MARKS):
                    encoding, pending = "utf-16", raw
                    break
                if raw.startswith(UTF8_MARK):
                    raw = raw.removeprefix(UTF8_MARK)
                    log.note("UTF-8 byte order mark", 1)
            _refuse_long(path, number, len(raw))
            yield number, _decoded(raw, number, log)
        if encoding:
            yield from _utf16_lines(path, pending, stream, log)


def _utf16_lines(path: Path, first: bytes, stream: IO[bytes], log: FaultLog) -> Iterator[tuple[int, str]]:
    log.note("file in UTF-16", 1)
    joined = io.BufferedReader(_Joined(first, stream))
    number = 0
    try:
        with io.TextIOWrapper(joined, encoding="utf-16", newline="\n") as text:
            while line := text.readline(MAX_LINE + 1):
                number += 1
                _refuse_long(path, number, len(line))
                yield number, line
    except UnicodeError as error:
        raise DataError(
            f"{path}:{number + 1}: is not valid UTF-16: {error}.", hint="convert the file to UTF-8."
        ) from error


class _Joined(io.RawIOBase):
    """What was already read of a stream, then the rest of it."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self.first, self.rest = first, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        if self.first:
            data, self.first = self.first[: len(view)], self.first[len(view) :]
        else:
            data = self.rest.read(len(view))
        view[: len(data)] = data
        return len(data)


def _refuse_long(path: Path, number: int, length: int) -> None:
    if length > MAX_LINE:
        raise DataError(
            f"{path}:{number}: the line is longer than {MAX_LINE // 2**20} MB.",
            hint="one row stands on one line; cut texts of this length before.",
        )


def _decoded(raw: bytes, number: int, log: FaultLog) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        high = CP1252_ONLY.intersection(raw)
        if high and not high & CP1252_UNDEFINED:
            log.note("not UTF-8, read as cp1252", number)
            return raw.decode("cp1252")
        log.note("not UTF-8, read as latin-1", number)
        return raw.decode("latin-1")
