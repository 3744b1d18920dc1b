"""Synonyms by word, out of a thesaurus file or the files of WordNet (Miller 1995).

Source of the format: WordNet's manual page wndb(5WN).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from embedft.errors import DataError

PARTS = ("noun", "verb", "adj", "adv")
# Where packages of WordNet put its files: Debian and Fedora, the original's own installer, NLTK.
PLACES = (
    "/usr/share/wordnet",
    "/usr/share/wordnet/dict",
    "/usr/local/WordNet-3.0/dict",
    "/usr/share/nltk_data/corpora/wordnet",
)
# Function words have synonyms in WordNet ("a": an ampere), none of which is meant.
_FUNCTION_WORDS = """
one two three four five six seven eight nine ten am being having doing like much many every each both either neither
a an and any are as at be been but by can could did do does few for from had has have he her hers him his how i if in
is it its just may me might more most must my no nor not of off on or our ours out over own shall she should so some
such than that the their them then there these they this those to too under until up us very was we were what when
where which while who whom why will with would you your yours
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
PUBLISHED = "use the files of one WordNet, 2 or 3, as they are published."


class Thesaurus(Protocol):
    """Gives the synonyms of a word."""

    def synonyms(self, word: str) -> tuple[str, ...]:
        """Synonyms of a word in lower case, without the word itself; empty where it is unknown."""


class ThesaurusFile:
    """A file with one headword a line and its synonyms behind it, divided by tabs, semicolons or commas.

    Lines that begin with ``#`` are comments.

    Raises:
        DataError: the file is missing, is no text, or a line has no synonym.
    """

    def __init__(self, path: Path) -> None:
        self._entries: dict[str, tuple[str, ...]] = {}
        try:
            lines = path.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: is no readable thesaurus: {error}", hint="give a UTF-8 text file.") from error
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            divider = next((sign for sign in "\t;," if sign in line), None)
            words = [" ".join(word.split()) for word in line.split(divider)] if divider else []
            if len(words) < 2 or not all(words):
                raise DataError(
                    f"{path}:{number}: {line[:80]!r} is no headword with synonyms.",
                    hint="write one a line: 'quick;fast;rapid'.",
                )
            head = words[0].lower()
            found = [word for word in words[1:] if word.lower() != head]
            self._entries[head] = tuple(dict.fromkeys([*self._entries.get(head, ()), *found]))
        if not self._entries:
            raise DataError(f"{path}: holds no word.", hint="write one a line: 'quick;fast;rapid'.")

    def synonyms(self, word: str) -> tuple[str, ...]:
        """Synonyms of a word in lower case."""
        return self._entries.get(word, ())


class WordNet:
    """The files ``index.*`` and ``data.*`` of WordNet 2 or 3.

    A word's synonyms are the other words of its first sense, the most frequent one, in the part of speech that has the
    most senses found in texts; inflected forms have none.

    Args:
        folder: that holds the files.

    Raises:
        DataError: a file is missing or is none of WordNet's; or, once a word is looked up, index and data do not fit.
    """

    def __init__(self, folder: Path) -> None:
        missing = [
            name for part in PARTS for name in (f"index.{part}", f"data.{part}") if not (folder / name).is_file()
        ]
        if missing:
            raise DataError(
                f"{folder}: holds no {missing[0]}.", hint="name the folder with WordNet's index and data files."
            )
        self.folder = folder
        self._first: dict[str, tuple[int, str, int]] = {}
        for part in PARTS:
            for number, line in enumerate(_lines(folder / f"index.{part}"), 1):
                if not line.startswith(" "):
                    self._add(part, line, number)
        self._data = {part: (folder / f"data.{part}").read_bytes() for part in PARTS}

    def _add(self, part: str, line: str, number: int) -> None:
        # lemma pos synset_cnt p_cnt [ptr_symbol...] sense_cnt tagsense_cnt synset_offset [synset_offset...]
        fields = line.split()
        try:
            pointers = int(fields[3])
            tagged, offset = int(fields[5 + pointers]), int(fields[6 + pointers])
        except (IndexError, ValueError) as error:
            raise DataError(
                f"{self.folder / f'index.{part}'}:{number}: is no line of WordNet's index: {line[:80]!r}",
                hint=PUBLISHED,
            ) from error
        if tagged > self._first.get(fields[0], (-1, "", 0))[0]:
            self._first[fields[0]] = tagged, part, offset

    def synonyms(self, word: str) -> tuple[str, ...]:
        """Synonyms of a word in lower case."""
        if len(word) < 2 or word in FUNCTION_WORDS or word not in self._first:
            return ()
        _, part, offset = self._first[word]
        # synset_offset lex_filenum ss_type w_cnt word lex_id [word lex_id...]
        data = self._data[part]
        fields = data[offset : data.find(b"\n", offset)].decode("utf-8", "replace").split()
        try:
            if int(fields[0]) != offset:
                raise ValueError(fields[0])
            count = int(fields[3], 16)
        except (IndexError, ValueError) as error:
            raise DataError(
                f"{self.folder / f'data.{part}'}: has no line at {offset}, where index.{part} says {word!r} is.",
                hint=PUBLISHED,
            ) from error
        words = [field.split("(")[0].replace("_", " ") for field in fields[4 : 4 + 2 * count : 2]]
        return tuple(dict.fromkeys(found for found in words if found.lower() != word))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8: {error}", hint="use a WordNet in UTF-8, or a thesaurus file."
        ) from error


def find_wordnet(folder: Path | None = None) -> WordNet:
    """WordNet's files in ``folder``, else where they are usually installed.

    Raises:
        DataError: they are nowhere.
    """
    if folder is not None:
        return WordNet(folder)
    places = list(_places())
    for place in places:
        if (place / "index.noun").is_file():
            return WordNet(place)
    raise DataError(
        f"WordNet is not installed; looked in {', '.join(map(str, places))}.",
        hint="install it (Debian: apt install wordnet-base), name its folder, or give a thesaurus file.",
    )


def _places() -> Iterable[Path]:
    for variable in ("WNSEARCHDIR", "WNHOME"):
        if os.environ.get(variable):
            yield Path(os.environ[variable]) / ("dict" if variable == "WNHOME" else "")
    yield from map(Path, PLACES)
    yield Path.home() / "nltk_data" / "corpora" / "wordnet"
