"""Pieces of HTML that no text of a user can break: strings are escaped unless they are HTML by type."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import Any

# Elements without an end tag; those of SVG are closed in place where they hold nothing.
VOID = frozenset({"br", "hr", "input", "meta"})
# Characters that no HTML parser keeps as they are.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Html(str):
    """A string that is HTML; every other string is escaped where it enters an element."""

    __slots__ = ()


def element(name: str, *children: Any, **attributes: Any) -> Html:
    """An element with its children.

    Args:
        name: of the element.
        children: `Html` as it is, iterables one by one, None not at all, all else as escaped text.
        attributes: ``class_`` is ``class``, ``data_tip`` is ``data-tip``; None and False are left out.
    """
    kept = {key: value for key, value in attributes.items() if value is not None and value is not False}
    given = "".join(_attribute(key, value) for key, value in kept.items())
    if name in VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(children)}</{name}>")


def join(children: Iterable[Any]) -> Html:
    """Children one after the other, what is not `Html` escaped."""
    return Html("".join(map(_child, children)))


def told(value: Any) -> str:
    """Escaped text, without control characters."""
    return escape(cleaned(value))


def cleaned(value: Any) -> str:
    """Text without the control characters that no page can show."""
    return CONTROL.sub(" ", str(value))


def shortened(text: Any, length: int) -> str:
    """The text, or its beginning with an ellipsis; ``length`` characters at most."""
    whole = str(text)
    return whole if len(whole) <= length else whole[: max(length - 1, 1)].rstrip() + "…"


def own_text(value: Any, *, name: str = "bdi", **attributes: Any) -> Html:
    """A text of the user's data in an element of its own: marks of writing direction end with it."""
    return element(name, str(value), dir="auto", **attributes)


def breakable(text: str) -> Html:
    """Escaped text whose lines may end after an underscore: names of classes are long, and columns narrow."""
    return Html(told(text).replace("_", "_<wbr>"))


def _child(child: Any) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str) or not isinstance(child, Iterable):
        return told(child)
    return join(child)


def _attribute(key: str, value: Any) -> str:
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{told(value)}"'
