"""Whether an encoder notices a negation.

A negated text is no harder form of the same text, so no drop of a score is to be read here. What is asked is a
contrast: is a text nearer to its negation than to other words for the same? Sources: Weller et al. 2023, NevIR,
arXiv:2305.07614, who find most bi-encoders at the level of chance; Ribeiro et al. 2020, CheckList, arXiv:2005.04118,
for tests that expect a direction.

How often it is depends on these other words. Where people judged paraphrases, they are taken. For queries and labelled
texts it is the same in keywords. (By the bundled encoder and all-MiniLM-L6-v2, 69 and 88 % of cranfield's queries are
nearer to their negation than to their keywords, but 18 and 26 % than to themselves behind a polite opening, which
neither minds.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.evaluation.significance import bootstrap_interval
from embedft.evaluation.stress.conditions import Pool, Rows, Vectors
from embedft.evaluation.stress.negation import negated
from embedft.evaluation.stress.stresses import STRESSES
from embedft.evaluation.stress.wording import looks_english

Floats = npt.NDArray[np.float64]
KEYWORDS = next(stress for stress in STRESSES if stress.name == "keywords")


@dataclass(frozen=True)
class Nearness:
    """How near texts stay to their negations.

    Attributes:
        of: how many texts there were; the others could not be negated.
        cosines: (n,), of each text and its negation.
        rivals: (n,), of each text and other words for the same; nan where there are none.
        rival: what these other words are.
        kept: (n,), whether the answer to both is the same; None where there is no answer.
        answer: what that answer is.
        example: a text and its negation.
    """

    of: int
    cosines: Floats
    rivals: Floats
    rival: str
    example: tuple[str, str]
    kept: npt.NDArray[np.bool_] | None = None
    answer: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: count, of, cosine, nearer (share), nearer_count, nearer_to, kept (share), kept_means, example.

        Each mean and share has ``_ci_low`` and ``_ci_high``: 95 %, by bootstrap and by Wilson. ``nearer`` is the share
        of texts that are nearer to their negation than to ``nearer_to``; it and ``kept`` are null where unknown.
        """
        low, high = bootstrap_interval(self.cosines)
        judged = ~np.isnan(self.rivals)
        kept = self.kept if self.kept is not None else np.empty(0, bool)
        return {
            "count": len(self.cosines),
            "of": self.of,
            "cosine": float(self.cosines.mean()),
            "cosine_ci_low": low,
            "cosine_ci_high": high,
            **_share("nearer", self.cosines[judged] > self.rivals[judged]),
            "nearer_count": int(judged.sum()),
            "nearer_to": self.rival,
            **_share("kept", kept),
            "kept_means": self.answer or None,
            "example": {"before": self.example[0], "after": self.example[1]},
        }

    def reading(self) -> str:
        """What it says, in a sentence or two."""
        found = self.as_dict()
        sentences = [
            f"The cosine of a text and its negation is {found['cosine']:.2f} ({found['count']} of {self.of} texts "
            "could be negated)"
        ]
        if found["nearer"] is not None:
            ends = f"{100 * found['nearer_ci_low']:.0f} to {100 * found['nearer_ci_high']:.0f} %"
            sentences.append(
                f"{100 * found['nearer']:.0f} % ({ends}) of {found['nearer_count']} texts are nearer to their negation "
                f"than to {self.rival}" + _verdict(found["nearer_ci_low"], found["nearer_ci_high"])
            )
        if found["kept"] is not None:
            sentences.append(f"for {100 * found['kept']:.0f} % {self.answer}")
        return "; ".join(sentences) + "."


def _verdict(low: float, high: float) -> str:
    if low <= 0.5 <= high:
        return ""
    return f": it moves a text {'less' if low > 0.5 else 'more'} than these words do"


def _share(name: str, hits: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    """A share with its Wilson interval; null of nothing."""
    if not len(hits):
        return {name: None, f"{name}_ci_low": None, f"{name}_ci_high": None}
    from scipy.stats import binomtest

    ends = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return {name: float(hits.mean()), f"{name}_ci_low": float(ends.low), f"{name}_ci_high": float(ends.high)}


@dataclass(frozen=True)
class Negations:
    """Texts that could be negated: which they are, and the rows of their negations and of their keywords."""

    of: int
    which: Rows
    negated: Rows
    keywords: Rows
    example: tuple[str, str]


def negations_of(texts: Sequence[str], pool: Pool, prompt: str) -> Negations | None:
    """The negations of texts, put into the pool; None where none can be negated."""
    new = [negated(text) for text in texts] if looks_english(texts) else list(texts)
    which = np.flatnonzero([one != text for one, text in zip(new, texts, strict=True)])
    if not len(which):
        return None
    chosen = which.tolist()
    short = [KEYWORDS(texts[row]) for row in chosen]
    rows = pool.rows_of([new[row] for row in chosen], prompt), pool.rows_of(short, prompt)
    return Negations(len(texts), which, *rows, (texts[chosen[0]], new[chosen[0]]))


def nearness(
    found: Negations | None, base: Rows, vectors: Vectors, answers: Callable[[Rows], npt.NDArray[Any]], answer: str
) -> Nearness | None:
    """How near texts stay to their negations, by the vectors of the pool.

    Args:
        found: by `negations_of`.
        base: (texts,), rows of the texts.
        vectors: of the pool.
        answers: rows -> what the system says to each.
        answer: in words, that it says the same.
    """
    if found is None:
        return None
    own = base[found.which]
    rivals = cosines(vectors, own, found.keywords)
    return Nearness(
        of=found.of,
        cosines=cosines(vectors, own, found.negated),
        rivals=np.where(found.keywords == own, np.nan, rivals),
        rival="the same text in keywords",
        example=found.example,
        kept=np.asarray(answers(own) == answers(found.negated)),
        answer=answer,
    )


def cosines(vectors: Vectors, left: Rows, right: Rows) -> Floats:
    """Of the rows of unit vectors, pair by pair, (n,)."""
    return np.asarray(np.einsum("ij,ij->i", vectors[left], vectors[right], dtype=np.float64))
