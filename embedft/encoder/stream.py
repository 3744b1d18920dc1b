"""Texts as a stream: read in windows, equal ones once, tokenised ahead of the model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from embedft.encoder.tokens import Tokenized
from embedft.errors import DataError

# Texts tokenised and sorted together. Large enough that batches are of one length, small enough to stay a stream.
WINDOW = 8192
# Or fewer that hold this many characters: tokenised, each of them takes 13 bytes.
WINDOW_CHARACTERS = 4_000_000
# Characters times parameters: what is written to a file takes smaller windows where the model is large, since an
# interruption loses one. The bundled encoder (9 M) takes two minutes for 4 M characters, on one core in fp32.
WINDOW_WORK = 80e12


def digest(text: str) -> bytes:
    """16 bytes that stand for a text: the texts themselves need not stay in memory."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def read_windows(
    texts: Iterable[str], size: int = WINDOW, *, characters: float = WINDOW_CHARACTERS
) -> Iterator[list[str]]:
    """Yield the texts in lists of ``size``, or of as many as hold ``characters``, whichever is reached first.

    Raises:
        DataError: ``texts`` is a string, or one of them is not.
    """
    if isinstance(texts, str):
        raise DataError("encode was given one string instead of several.", hint="give a list: encode([text]).")
    window: list[str] = []
    held = 0
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"text {position} is {type(text).__name__}, not a string.", hint="give strings.")
        window.append(text)
        held += len(text)
        if len(window) == size or held >= characters:
            yield window
            window, held = [], 0
    if window:
        yield window


class Deduplicated:
    """A stream whose equal texts are given out once, and the way back to all of them."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self._row_of: dict[bytes, int] = {}
        self._rows: list[int] = []

    def windows(self, advance: Callable[[float], None]) -> Iterator[list[str]]:
        """Yield those texts of each window that are new; ``advance`` is told how many are not."""
        for window in read_windows(self._texts):
            new = []
            for text in window:
                key = digest(text)
                if key not in self._row_of:
                    self._row_of[key] = len(self._row_of)
                    new.append(text)
                self._rows.append(self._row_of[key])
            advance(len(window) - len(new))
            yield new

    def restore(self, unique: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The rows of all texts from the rows of the distinct ones."""
        return unique if len(unique) == len(self._rows) else unique[self._rows]


def tokenized_ahead(
    windows: Iterator[list[str]], tokenize: Callable[[list[str]], Tokenized]
) -> Iterator[tuple[list[str], Tokenized]]:
    """Yield each window and its tokens; the next window is tokenised while this one is used.

    The texts themselves are read in the calling thread.
    """
    current = next(windows, None)
    following = next(windows, None)
    if current is not None and following is None:
        yield current, tokenize(current)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="embedft-tokens") as pool:
        tokens = None if current is None else pool.submit(tokenize, current)
        while current is not None and tokens is not None:
            ready = tokens.result()
            tokens = None if following is None else pool.submit(tokenize, following)
            yield current, ready
            current, following = following, next(windows, None)
