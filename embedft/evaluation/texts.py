"""Texts as files and pages of an evaluation show them."""

from __future__ import annotations

# Enough to see what a text is about.
SHOWN_CHARACTERS = 300


def shown(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """The text in one line, cut to ``most`` characters, an ellipsis at the end where it was cut."""
    # Of a long text the beginning is enough, whatever white space it holds.
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
