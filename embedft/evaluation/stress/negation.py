"""Texts made negative by rules.

The rules are for English texts of one sentence and know no grammar beyond the words they name. They take a negation
out; else make the first auxiliary verb negative; else turn ``with`` into ``without``. Questions that begin with an
auxiliary verb and polite requests are left alone: "isn't it" asks what "is it" asks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

BE = "is|are|was|were"
SHORT = f"{BE}|can|could|will|would|should|must|do|does|did|have|has|had"
ALL = f"{SHORT}|may|might|am"
PRONOUNS = "i|you|we|they|he|she|it|there|this|that|these|those"
APOSTROPHE = "['\u2019]"
Rules = Sequence[tuple[re.Pattern[str], str]]


def _rule(pattern: str, new: str) -> tuple[re.Pattern[str], str]:
    return re.compile(pattern, re.I), new


IRREGULAR = {"will": "won't", "can": "can't"}
# What is asked is the same with and without a negation, or what is negated is the asking.
NOT_NEGATED = re.compile(
    rf"^\W*(?:{ALL})\b|\b(?:would like|would love|wanted to know|(?:can|could|would|will) you|please)\b", re.I
)
SENTENCES = re.compile(r"[.!?][\s.!?]*\w|\n")
INVERTED = re.compile(rf"\b(?:{SHORT})\s+(?:i|we|he|she|they|you|it)\b", re.I)
QUESTION = re.compile(r"^\W*(?:what|which|who|whom|whose|when|where|why|how)\b", re.I)
FIRST = re.compile(rf"\b({ALL})\b(\s+(?:{PRONOUNS})\b)?(?=\s+\w)", re.I)
REMOVED: Rules = [
    _rule(rf"\b({ALL}|need) not\b", r"\1"),
    _rule(rf"\b({SHORT}|need) ?n{APOSTROPHE}t\b", r"\1"),
    _rule(rf"\bca(?:nnot| ?n{APOSTROPHE}t)\b", "can"),
    _rule(rf"\bwo ?n{APOSTROPHE}t\b", "will"),
    _rule(r"\bnot (?=\w)", ""),
    _rule(r"\bnever (?=\w)", "always "),
    _rule(r"\bwithout\b", "with"),
]
# Statements: the verb must be an auxiliary, or "have" with an object.
STATED: Rules = [
    _rule(rf"\b({BE}|am|could|will|would|should|must|may|might)\b(?=\s+\w)", r"\1 not"),
    _rule(r"\bcan\b(?=\s+\w)", "cannot"),
    _rule(r"\b(have|has|had)(?=\s+(?:been|got|become|made|taken|\w+ed)\b)", r"\1 not"),
    _rule(r"\b(does|did|do)(?=\s+\w)", r"\1 not"),
    _rule(r"(?<=\w )has(?=\s+(?:a|an|the|some|to)\b)", "does not have"),
    _rule(r"(?<=\w )had(?=\s+(?:a|an|the|some|to)\b)", "did not have"),
    _rule(r"(?<=\w )have(?=\s+(?:a|an|the|some|to)\b)", "do not have"),
    _rule(
        r"(?<!compared )(?<!associated )(?<!happened )(?<!wrong )(?<!along )(?<!do )\bwith\b(?=\s+(?!no\b)\w)",
        "without",
    ),
]


def negated(text: str) -> str:
    """``text`` made negative, or positive where it was negative; the same text where no rule applies."""
    if NOT_NEGATED.search(text) or SENTENCES.search(text.strip()):
        return text
    found = _first_change(text, REMOVED)
    if found == text and QUESTION.match(text):
        found = FIRST.sub(_not_in_question, text, count=1)
    return _first_change(text, STATED) if found == text and not INVERTED.search(text) else found


def _first_change(text: str, rules: Rules) -> str:
    changed = (pattern.sub(new, text, count=1) for pattern, new in rules)
    return next((found for found in changed if found != text), text)


def _not_in_question(match: re.Match[str]) -> str:
    """``do I`` as ``do I not``, ``are the`` as ``aren't the``: where the subject ends is known of pronouns alone."""
    verb, subject = match.groups()
    if subject:
        return f"{verb}{subject} not"
    short = IRREGULAR.get(verb.lower(), f"{verb}n't")
    return short if verb.lower() in SHORT.split("|") else f"{verb} not"
