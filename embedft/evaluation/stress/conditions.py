"""Texts under every stress, each distinct one encoded once.

A condition is a stress at a strength on all the texts of a sample, as rows of one matrix of vectors. Where a stress
leaves a text as it is, its row is that of the text itself, so that it cannot differ by rounding either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedft.data.thesaurus import Thesaurus
from embedft.evaluation.stress.stresses import Stress, Task, stresses_for
from embedft.evaluation.stress.wording import looks_english

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
# Takes texts and a prompt.
Encode = Callable[[Sequence[str], str], Vectors]

MOST = 1000
# Longer texts show less of what a stress does to them.
EXAMPLE_LENGTH = 160


@dataclass(frozen=True)
class Condition:
    """A stress at a strength.

    Attributes:
        stress, strength, label, family, shows: see `Stress`.
        rows: (n,), of the vector of each text under it.
        changed: (n,), which texts it changes.
        example: a text before and after.
    """

    stress: str
    strength: float | None
    label: str
    family: str
    shows: str
    rows: Rows
    changed: npt.NDArray[np.bool_]
    example: tuple[str, str]


class Pool:
    """Distinct texts with their prompts, to be encoded together."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._row_of: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._row_of)

    def rows_of(self, texts: Sequence[str], prompt: str) -> Rows:
        """The row of each text behind ``prompt``, (n,); new ones are added."""
        rows = [self._row_of.setdefault((prompt, text), len(self._row_of)) for text in texts]
        return np.array(rows, np.int64)

    def vectors(self) -> Vectors:
        """The vectors of all rows."""
        found: Vectors | None = None
        for prompt in dict.fromkeys(prompt for prompt, _ in self._row_of):
            rows = [(row, text) for (own, text), row in self._row_of.items() if own == prompt]
            part = self._encode([text for _, text in rows], prompt)
            if found is None:
                found = np.empty((len(self), part.shape[1]), np.float32)
            found[[row for row, _ in rows]] = part
        return found if found is not None else np.empty((0, 0), np.float32)


@dataclass(frozen=True)
class Prompts:
    """What the encoder puts before the texts (``own``), and what it puts before those of the other side."""

    own: str
    other: str


def conditions_of(
    texts: Sequence[str],
    task: Task,
    pool: Pool,
    prompts: Prompts,
    *,
    fixed: Sequence[str] = (),
    thesaurus: Thesaurus | None = None,
    seed: int = 0,
) -> tuple[list[Condition], dict[str, str]]:
    """Every stress of a task on the texts, and, for those that are left out, the reason.

    Args:
        texts: n texts, that change.
        task: what they are for.
        pool: takes the texts that are to be encoded.
        prompts: of the encoder.
        fixed: texts that stand in front of ``rows`` and do not change, except for their prompt.
        thesaurus: for synonyms.
        seed: of the stresses.
    """
    left_out = {} if thesaurus is not None else {"synonyms": "WordNet is not installed"}
    english = looks_english(texts)
    found = []
    before = pool.rows_of(fixed, prompts.own)
    for stress in stresses_for(task, thesaurus):
        if stress.english and not english:
            left_out[stress.name] = "the texts do not look English"
            continue
        tried = [_condition(stress, strength, texts, pool, prompts.own, before, seed) for strength in stress.strengths]
        found += [condition for condition in tried if condition is not None]
        if not any(tried):
            left_out[stress.name] = "it changes none of the texts"
    return found + _other_prompts(texts, fixed, pool, prompts, left_out), left_out


def _condition(
    stress: Stress, strength: float | None, texts: Sequence[str], pool: Pool, prompt: str, before: Rows, seed: int
) -> Condition | None:
    new = [stress(text, strength, seed=seed) for text in texts]
    changed = np.array([one != text for one, text in zip(new, texts, strict=True)], bool)
    if not changed.any():
        return None
    rows = np.concatenate([before, pool.rows_of(new, prompt)])
    example = _example(texts, new, changed)
    return Condition(
        stress.name, strength, stress.described(strength), stress.family, stress.shows, rows, changed, example
    )


def _example(texts: Sequence[str], new: Sequence[str], changed: npt.NDArray[np.bool_]) -> tuple[str, str]:
    """The first text of ordinary length that changed, else the shortest one."""
    rows = np.flatnonzero(changed).tolist()
    short = [row for row in rows if len(texts[row]) <= EXAMPLE_LENGTH]
    row = short[0] if short else min(rows, key=lambda row: len(texts[row]))
    return texts[row], new[row]


def _other_prompts(
    texts: Sequence[str], fixed: Sequence[str], pool: Pool, prompts: Prompts, left_out: dict[str, str]
) -> list[Condition]:
    """The texts as they are, behind no prompt, and behind that of the other side."""
    wanted = {
        "no prompt": ("", "the encoder puts nothing before these texts", "no prompt"),
        "swapped prompt": (prompts.other, "both sides have the same prompt", "swapped prompt"),
    }
    found = []
    for name, (prompt, reason, label) in wanted.items():
        if prompt == prompts.own:
            left_out[name] = reason
            continue
        rows = pool.rows_of([*fixed, *texts], prompt)
        shows = "A mistake of the program that calls the encoder; the vectors that these are compared with are right."
        every = np.ones(len(texts), bool)
        example = (prompts.own + texts[0], prompt + texts[0])
        found.append(Condition(name, None, label, "prompts", shows, rows, every, example))
    return found
