"""Peculiarities of texts that a reader would want to know of: invisible characters, odd scripts, wrong encodings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import ftfy
import ftfy.badness

EMOJI = re.compile(
    "[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55\u231a\u231b\u23e9-\u23f3\ufe0f\u20e3]"
)
EMOJI_PARTS = re.compile("[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55\ufe0f\u20e3\u200d\\s]+")
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
ZERO_WIDTH = re.compile("[\u200b\u200c\u2060\ufeff\u200d]")
# A joiner between emoji, or between letters of a script that needs it, is no fault.
JOINER = re.compile("(?<=[\U0001f1e6-\U0001faff\u2600-\u27bf\ufe0f\u0600-\u0dff])\u200d")
CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f]")
SEPARATOR = re.compile("[\u2028\u2029\x85]")
ODD_SPACE = re.compile("[\u00a0\u202f\u2000-\u200a\u3000]")
FULL_WIDTH = re.compile("[\uff01-\uff5e]")
STACKED = re.compile("[\u0300-\u036f]{3,}")
# A name is followed by attributes alone, unlike in "i<code.length and j>3"; some attributes need no value.
NAMES = "p|br|div|span|em|strong|li|ul|ol|td|tr|table|h[1-6]|img|sup|sub|code|pre"
VALUE = r"""(?:"[^"<]*"|'[^'<]*'|[^\s"'<>]+)"""
ATTRIBUTE = rf"\s+(?:[a-z_:@][\w:.@-]*\s*=\s*{VALUE}|nowrap|border|hidden|compact|reversed|itemscope)"
HTML_TAG = re.compile(rf"</(?:{NAMES}|[abi])\s*>|<(?:(?:{NAMES})(?:{ATTRIBUTE})*|[abi](?:{ATTRIBUTE})+)\s*/?>", re.I)
# One of a letter alone ("List<i>") is a tag where it is closed.
LETTER_TAG, CLOSED_LETTER = re.compile(r"<([abi])\s*>", re.I), re.compile(r"</([abi])\s*>", re.I)
HTML_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,6}|#x[0-9a-f]{1,5});", re.I)
NON_ASCII = re.compile("[^\x20-\x7e]")


def without_tags(text: str) -> str:
    """The text with a space for each HTML tag."""
    closed = set(map(str.lower, CLOSED_LETTER.findall(text)))
    return HTML_TAG.sub(" ", LETTER_TAG.sub(lambda tag: " " if tag[1].lower() in closed else tag[0], text))


def is_double_encoded(text: str) -> bool:
    """Whether UTF-8 was read as an older encoding and saved again ("Ã¤" for "ä"), by ``ftfy``."""
    # A next-line character is a fault of its own.
    text = text.replace("\x85", "")
    return bool(ftfy.badness.is_bad(text)) and ftfy.fix_encoding(text) != text


def _decomposed(text: str) -> bool:
    return not STACKED.search(text) and not unicodedata.is_normalized("NFC", text)


def _zero_width(text: str) -> bool:
    return bool(ZERO_WIDTH.search(JOINER.sub("", text)))


# What is looked for in texts with anything but printable ASCII.
BEYOND_ASCII: dict[str, Callable[[str], object]] = {
    "line break or tab in a text": re.compile(r"[\t\n\r]").search,
    "NUL character": lambda text: "\0" in text,
    "control character": CONTROL.search,
    "emoji": EMOJI.search,
    "text of emoji alone": EMOJI_PARTS.fullmatch,
    "bidirectional control character": BIDI.search,
    "zero-width character": _zero_width,
    "decomposed letters (not NFC)": _decomposed,
    "full-width letters": FULL_WIDTH.search,
    "line separator U+2028, U+2029 or U+0085": SEPARATOR.search,
    "stacked combining marks": STACKED.search,
    "no-break or other odd space": ODD_SPACE.search,
    "replacement character U+FFFD": lambda text: "\ufffd" in text,
    "double-encoded UTF-8": is_double_encoded,
}
ANYWHERE: dict[str, Callable[[str], object]] = {
    "HTML tag": lambda text: "<" in text and HTML_TAG.search(text),
    "HTML entity": lambda text: "&" in text and HTML_ENTITY.search(text),
    "word of more than 1,000 characters": lambda text: len(text) > 1000 and max(map(len, text.split())) > 1000,
    "text of more than 20,000 characters": lambda text: len(text) > 20_000,
}


def peculiarities(text: str) -> list[str]:
    """The kinds of peculiarity of a text, in the order of the tables above."""
    found = [kind for kind, test in ANYWHERE.items() if test(text)]
    if NON_ASCII.search(text):
        found += [kind for kind, test in BEYOND_ASCII.items() if test(text)]
    return found


def scripts(text: str) -> set[str]:
    """The scripts of the letters of a text, as the first words of their Unicode names: ``{"LATIN", "ARABIC"}``."""
    if text.isascii():
        return {"LATIN"} if any(letter.isalpha() for letter in text[:200]) else set()
    return {
        unicodedata.name(letter, "?").split(" ")[0].split("-")[0]
        for letter in set(unicodedata.normalize("NFKC", text[:2000]))
        if letter.isalpha()
    }
