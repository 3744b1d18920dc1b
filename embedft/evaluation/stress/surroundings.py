"""What stands around a text or is cut from it: other sentences, remains of HTML, white space, a missing half."""

from __future__ import annotations

import html
import math
import re
from random import Random

from embedft.evaluation.stress.letters import share_of

WORD = re.compile(r"\S+")
GAP = re.compile(r"(?<=\S)[ \t\n]+(?=\S)")
BLANKS = ("  ", "\t", "\n", "\u00a0", "    ")
MARKUP = ("&nbsp;", "<br />", " <b>", "</b> ")
# Of no subject that anybody is likely to search for, and without a name.
SENTENCES = (
    "It was raining when they left the house.",
    "The chairs stood in a circle around the table.",
    "Somebody had left a window open upstairs.",
    "The children waved until the bus turned the corner.",
    "There was nothing on the shelf but an old clock.",
    "On Sundays the street is quiet until noon.",
    "She folded the letter and put it back into the drawer.",
    "The path along the fence leads down to the river.",
    "A red bicycle leaned against the wall.",
    "He whistled the same tune all afternoon.",
    "The neighbours had painted their door green.",
    "Two cups were missing from the cupboard.",
)


def cut_end(text: str, strength: float, _random: Random) -> str:
    """That share of the words cut from the end; one word at least stays."""
    words = list(WORD.finditer(text))
    return text[: words[_kept(len(words), strength) - 1].end()] if words else text


def cut_start(text: str, strength: float, _random: Random) -> str:
    """That share of the words cut from the beginning; one word at least stays."""
    words = list(WORD.finditer(text))
    return text[words[-_kept(len(words), strength)].start() :] if words else text


def _kept(words: int, strength: float) -> int:
    # The small number keeps 0.9 * 10 from being rounded up to 10.
    return max(1, math.ceil(words * (1 - strength) - 1e-9))


def sentence_before(text: str, strength: float, random: Random) -> str:
    """So many sentences about something else in front."""
    return " ".join([*random.sample(SENTENCES, int(strength)), text])


def sentence_after(text: str, strength: float, random: Random) -> str:
    """So many sentences about something else behind."""
    return " ".join([text, *random.sample(SENTENCES, int(strength))])


def markup(text: str, strength: float, random: Random) -> str:
    """Remains of HTML: a paragraph's tags around it, entities for signs, tags or entities for that share of spaces."""
    return f"<p>{_gaps(html.escape(text), strength, MARKUP, random)}</p>"


def white_space(text: str, strength: float, random: Random) -> str:
    """Tabs, line breaks, fixed and repeated spaces in place of that share of the spaces."""
    return _gaps(text, strength, BLANKS, random)


def _gaps(text: str, strength: float, new: tuple[str, ...], random: Random) -> str:
    gaps = list(GAP.finditer(text))
    for gap in sorted(random.sample(gaps, share_of(len(gaps), strength)), key=lambda gap: -gap.start()):
        text = text[: gap.start()] + random.choice(new) + text[gap.end() :]
    return text
