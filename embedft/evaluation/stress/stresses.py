"""The stresses by name: what each does to a text, how strongly, and what a drop under it shows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from embedft.data.thesaurus import Thesaurus
from embedft.evaluation.stress import letters, surroundings, wording

Task = Literal["retrieval", "similarity", "classification"]
TASKS: tuple[Task, ...] = ("retrieval", "similarity", "classification")
Change = Callable[[str, float, Random], str]


@dataclass(frozen=True)
class Stress:
    """A named change of a text.

    Attributes:
        name: as it is called in results.
        family: letters, wording or surroundings.
        change: text, strength, source of chance -> text.
        label: in few words, with ``{}`` for the strength where several are tried.
        shows: what a drop under it means, and what it does not.
        strengths: that are tried; None is the strength of what is done wholly or not at all.
        english: whether it knows the words of English alone.
        tasks: in which a text says the same after it.
    """

    name: str
    family: str
    change: Change
    label: str
    shows: str
    strengths: tuple[float | None, ...] = (None,)
    english: bool = False
    tasks: tuple[Task, ...] = TASKS

    def __call__(self, text: str, strength: float | None = None, *, seed: int = 0) -> str:
        """``text`` under stress; what it becomes depends on the text, the strength and the seed alone.

        At strength 0, and where nothing would be left, it stays as it is.
        """
        if strength == 0 or not text.strip():
            return text
        changed = self.change(text, 1.0 if strength is None else strength, _chance(seed, self.name, text))
        return changed if changed.strip() else text

    def described(self, strength: float | None) -> str:
        """The stress in words, with its strength as per cent."""
        return self.label if strength is None else self.label.format(f"{100 * strength:.0f} %")


def _chance(seed: int, name: str, text: str) -> Random:
    draw = f"{seed} {name} {text}".encode("utf-8", "surrogatepass")
    return Random(int.from_bytes(hashlib.blake2b(draw, digest_size=8).digest()))


STRESSES = (
    Stress(
        "typos", "letters", letters.typos, "typos in {} of the words",
        "What people type in haste; the first letter of a word is right.", (0.1, 0.3),
    ),
    Stress(
        "misread", "letters", letters.misread, "misread letters, {}",
        "Texts out of optical recognition; unlike typing errors they hit short and first letters too.", (0.03, 0.1),
    ),
    Stress(
        "look-alikes", "letters", letters.look_alikes, "Cyrillic look-alikes, {}",
        "Of the letters that have one. Text that means to deceive: a reader sees no change, a tokenizer other letters.",
        (0.1, 0.5),
    ),
    Stress(
        "soft hyphens", "letters", letters.soft_hyphens, "soft hyphens",
        "Invisible, in half of the long words, as in web pages and PDF; no drop where the tokenizer removes them.",
        (0.5,),
    ),
    Stress(
        "no diacritics", "letters", letters.no_diacritics, "no diacritics",
        "Typing without the keys for them; no drop where the tokenizer removes them.",
    ),
    Stress(
        "upper case", "letters", letters.upper_case, "upper case",
        "Shouted or copied headings; no drop where the tokenizer lowers all.",
    ),
    Stress(
        "lower case", "letters", letters.lower_case, "lower case",
        "How people type queries; no drop where the tokenizer lowers all.",
    ),
    Stress(
        "contractions", "wording", wording.contractions, "contractions",
        "Do not for don't, or the reverse: the smallest change of wording; it says little about real paraphrases.",
        english=True,
    ),
    Stress(
        "polite frame", "wording", wording.framed, "polite frame",
        "An opening as to a person: the need is the same, the words around it are not.", english=True,
        tasks=("retrieval", "classification"),
    ),
    Stress(
        "keywords", "wording", wording.keywords, "keywords alone",
        "A question as typed into a search box; who did what to whom is lost with the small words.", english=True,
    ),
    Stress(
        "clause order", "wording", wording.clause_order, "clauses reordered",
        "The same said the other way round; texts of one plain clause do not change.", english=True,
    ),
    Stress(
        "word order", "wording", wording.word_order, "words exchanged, {}",
        "No paraphrase: no drop means that the order of words hardly counts, as in a bag of words.", (0.3,),
    ),
    Stress(
        "cut end", "surroundings", surroundings.cut_end, "last {} cut",
        "Lost information as much as lost robustness: a drop is no fault in itself; compare it between models.",
        (0.25, 0.5),
    ),
    Stress(
        "cut start", "surroundings", surroundings.cut_start, "first {} cut",
        "As the cut at the end; a model that leans on the beginning loses more here.", (0.25, 0.5),
    ),
    Stress(
        "sentence before", "surroundings", surroundings.sentence_before, "a sentence before",
        "About something else: the model must find what is asked.", (1.0,),
    ),
    Stress(
        "sentence after", "surroundings", surroundings.sentence_after, "a sentence after",
        "About something else, at the end.", (1.0,),
    ),
    Stress(
        "markup", "surroundings", surroundings.markup, "remains of HTML",
        "Tags and entities, as of pages that were not cleaned.", (0.2,),
    ),
    Stress(
        "white space", "surroundings", surroundings.white_space, "odd white space",
        "Tabs, line breaks, fixed spaces for half of the spaces; no drop where a tokenizer splits at any white space.",
        (0.5,),
    ),
)  # fmt: skip


def synonyms(thesaurus: Thesaurus) -> Stress:
    """The stress that replaces words by what ``thesaurus`` knows."""
    return Stress(
        "synonyms", "wording", wording.Synonyms(thesaurus), "synonyms for {} of the words",
        "Other words for the same, so far as the thesaurus' first sense is the one meant; some replacements are wrong.",
        (0.1, 0.3), english=True,
    )  # fmt: skip


def stresses_for(task: Task, thesaurus: Thesaurus | None = None) -> tuple[Stress, ...]:
    """The stresses after which a text of ``task`` still says the same, or should; with synonyms given a thesaurus."""
    found = STRESSES + ((synonyms(thesaurus),) if thesaurus is not None else ())
    return tuple(stress for stress in found if task in stress.tasks)
