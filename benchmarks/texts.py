"""The two text sets of the benchmarks: documentation strings and prose, of the same token lengths.

Lengths are log-normal with median 60 and 95th percentile 230 in the bundled encoder's tokens, cut at 512: what
documents look like that were split into passages. Documentation has many short words and symbols, so its length in
characters says little about its length in tokens; prose is the milder case.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from embedft.data.docstrings import PACKAGES, documented_objects
from embedft.encoder import BUNDLED_PATH

CORPUS = Path(__file__).parent.parent.parent / "shared" / "corpus"
PROSE = ("wordnet", "python3.11-doc", "postgresql-doc-15", "debian-handbook")
MEDIAN, P95, LONGEST = 60, 230, 512
Z95 = 1.6449


def text_sets(count: int) -> dict[str, list[str]]:
    """The text sets that this machine has, by name; prose needs the sentences of ``../shared/corpus``."""
    sets = {"docstrings": docstrings(count)}
    if CORPUS.is_dir():
        sets["prose"] = prose(count)
    else:
        print(f"prose: left out, there is no {CORPUS}")
    return sets


def docstrings(count: int) -> list[str]:
    """Docstrings of the installed packages, one after the other, cut to the lengths."""
    objects = documented_objects(PACKAGES)
    order = np.random.default_rng(0).permutation(len(objects))
    return _cut((f"{objects[row].summary}\n{objects[row].body}" for row in order), "\n", count)


def prose(count: int) -> list[str]:
    """Sentences of dictionaries and manuals, joined and cut to the lengths."""
    sentences: list[str] = []
    for name in PROSE:
        with gzip.open(CORPUS / f"{name}.txt.gz", "rt", encoding="utf-8") as file:
            sentences += [line.strip() for line, _ in zip(file, range(60_000), strict=False)]
    order = np.random.default_rng(0).permutation(len(sentences))
    return _cut((sentences[row] for row in order), " ", count)


def lengths(count: int) -> np.ndarray:
    """Token lengths without special tokens, (count,)."""
    spread = np.log(P95 / MEDIAN) / Z95
    drawn = np.exp(np.random.default_rng(1).normal(np.log(MEDIAN), spread, count))
    return np.clip(drawn, 4, LONGEST - 2).astype(int)


def _cut(pieces: Iterator[str], glue: str, count: int) -> list[str]:
    tokenizer = Tokenizer.from_file(str(BUNDLED_PATH / "tokenizer.json"))
    tokenizer.no_truncation()
    texts = []
    for length in lengths(count):
        text, tokens = "", 0
        while tokens < length:
            text = text + glue + next(pieces) if text else next(pieces)
            encoding = tokenizer.encode(text, add_special_tokens=False)
            tokens = len(encoding.ids)
        texts.append(text[: encoding.offsets[length - 1][1]])
    return texts
