"""A file that keeps what was asked for and answered, so that work that broke off goes on: one JSON object a line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TextIO

from filelock import FileLock, Timeout

from embedft.artifacts import disk_errors
from embedft.errors import ArtifactError

# How each of our lines begins; a last line that broke off is a beginning of one.
BEGIN = b'{"request": "'


@dataclass(frozen=True)
class Answer:
    """A text, and whether it came to its end."""

    text: str
    whole: bool = True


def request_key(request: Any) -> str:
    """A hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


class Answers:
    """Answers by the hash of their request; those that are put in are on disk at once.

    Attributes:
        known: hash -> answer.
    """

    def __init__(self, known: dict[str, Answer], file: TextIO) -> None:
        self.known = known
        self._file = file
        self._writing = Lock()

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; from any thread."""
        with self._writing:
            self.known[key] = answer
            self._file.write(json.dumps({"request": key, **asdict(answer)}) + "\n")
            self._file.flush()


@contextmanager
def kept_answers(path: Path) -> Iterator[Answers]:
    """The answers in a file, made if it is missing, open for more.

    Raises:
        ArtifactError: another process writes to it, or it holds something else; it then stays as it is.
        DiskFullError: the disk ran full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=0), disk_errors(path):
            known = _read(path)
            with path.open("a", encoding="utf-8") as file:
                yield Answers(known, file)
    except Timeout as error:
        raise ArtifactError(
            f"{path}: another process writes to it.", hint="wait until it is done, or name another --cache."
        ) from error


def _read(path: Path) -> dict[str, Answer]:
    """The answers of a file; a last line that broke off is cut away."""
    if not path.exists():
        return {}
    known: dict[str, Answer] = {}
    *lines, rest = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            known[row["request"]] = Answer(row["text"], row["whole"])
        except (ValueError, LookupError, TypeError) as error:
            raise _foreign(path, number, line) from error
    if rest:
        if not (rest.startswith(BEGIN) or BEGIN.startswith(rest)):
            raise _foreign(path, len(lines) + 1, rest)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - len(rest))
    return known


def _foreign(path: Path, number: int, line: bytes) -> ArtifactError:
    return ArtifactError(
        f"{path}:{number}: is no answer that embedft kept: {line[:60]!r}",
        hint="name another --cache; this file is left as it is.",
    )
