"""Read token tags in CoNLL's form: a token and its tag on each line, a blank line after each sentence.

The first column is the token, the last one the tag; columns are separated by tabs, or by white space where there is no
tab. Tags are BIO; an ``I-`` that follows an ``O`` (the older IOB1 form) is read as ``B-`` and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedft.data.faults import FaultLog
from embedft.data.source import read_lines

DOCUMENT_START = "-DOCSTART-"


def read_conll(path: Path, log: FaultLog) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line of its first token, {"tokens": [...], "tags": [...]}) of each good sentence.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    sentence: list[tuple[int, str]] = []
    blank = True
    last, number = "\n", 0
    for number, line in read_lines(path, log):
        last = line
        text = line.rstrip("\r\n")
        if text.startswith(DOCUMENT_START):
            log.note("-DOCSTART- line", number)
            blank = False
            continue
        if text.strip(" "):
            sentence.append((number, text))
            blank = False
            continue
        if blank and number > 1:
            log.note("two blank lines in a row", number)
        blank = True
        if sentence:
            yield from _sentence(sentence, log)
            sentence = []
    if sentence:
        yield from _sentence(sentence, log)
    if number and not last.endswith("\n"):
        log.note("no line end at the end of the file", number)


def _sentence(lines: list[tuple[int, str]], log: FaultLog) -> Iterator[tuple[int, dict[str, Any]]]:
    log.rows += 1
    begin = lines[0][0]
    raw = "\n".join(text for _, text in lines)
    tokens, tags = [], []
    spaced = False
    for number, text in lines:
        fields = text.split("\t") if "\t" in text else text.split()
        spaced = spaced or "\t" not in text
        if len(fields) < 2 or not fields[-1].strip():
            log.add("line without a tag", number, text, raw)
            return
        if not fields[0].strip():
            log.add("token is empty", number, text, raw)
            return
        tokens.append(fields[0].strip())
        tags.append(fields[-1].strip())
    if spaced:
        log.note("sentence with spaces for tabs", begin)
    before = "O"
    mended = list(tags)
    for place, tag in enumerate(tags):
        if tag.startswith("I-") and before == "O":
            mended[place] = f"B-{tag[2:]}"
            log.note("I- without B-", begin, tag)
        elif tag.startswith("I-") and before[2:] != tag[2:]:
            log.note("I- after another type", begin, f"{before} {tag}")
        before = tag
    yield begin, {"tokens": tokens, "tags": mended}
