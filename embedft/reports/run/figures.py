"""How numbers, intervals, p-values and verdicts are written."""

from __future__ import annotations

import math
import re
from typing import Any, TypeGuard

from embedft.evaluation.comparison import p_phrase, p_text
from embedft.reports.html import Html, element

# Signs beside the words, for those who do not see the colours.
SIGNS = {"better": "▲", "worse": "▼", "no difference": "●"}
KINDS = {"better": "better", "worse": "worse", "no difference": "same"}
MISSING = "–"
PATH = re.compile(r"/|~[\w.-]*(/|$)|\.{1,2}([/\\]|$)|[A-Za-z]:[/\\]|\\\\")


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def score(value: Any, digits: int = 3) -> str:
    """``0.729``; a dash for what is missing or no number."""
    return f"{value:.{digits}f}" if is_number(value) else MISSING


def signed(value: Any, digits: int = 3) -> str:
    """``+0.122``."""
    if not is_number(value):
        return MISSING
    shown = f"{float(value):+.{digits}f}"
    return shown.replace("-", "+") if float(shown) == 0 else shown


def between(low: Any, high: Any, *, sign: bool = True, digits: int = 3) -> str:
    """``+0.105 .. +0.139``."""
    write = signed if sign else score
    return f"{write(low, digits)} .. {write(high, digits)}" if is_number(low) and is_number(high) else MISSING


def chance(p_value: Any) -> str:
    """``0.0310``, ``<0.0002``; a dash where there is none."""
    return p_text(p_value) if is_number(p_value) else MISSING


def with_chance(p_value: Any) -> str:
    """``p = 0.0310``, ``p < 0.0002``; empty where there is none."""
    return p_phrase(p_value) if is_number(p_value) else ""


def badge(verdict: Any) -> Html:
    """The verdict with its sign."""
    verdict = str(verdict)
    return element("span", f"{SIGNS.get(verdict, '')} {verdict}".strip(), class_=f"badge {KINDS.get(verdict, 'same')}")


def plural(count: int, noun: str) -> str:
    """``1 query`` or ``1,234 queries``; the noun is given in the plural."""
    return f"{count:,} {single(noun) if count == 1 else noun}"


def single(noun: str) -> str:
    """The singular of a noun of ours."""
    return {"queries": "query", "classes": "class"}.get(noun, noun.removesuffix("s"))


def guard_name(guard: dict[str, Any]) -> str:
    """What a guard was measured on: ``general set``, or the last parts of the path of another set."""
    data = str(guard.get("data") or "")
    return "general set" if data in ("", "the bundled general set") else base_name(data)


def is_path(name: str) -> bool:
    """Whether it looks like the place of a file: absolute, of a home, or from a folder that is named by dots."""
    return PATH.match(name) is not None


def base_name(name: str) -> str:
    """The last parts of a path that name a model: ``RUN/model`` of ``/somewhere/RUN/model``."""
    parts = name.rstrip("/").split("/")
    return "/".join(parts[-2:]) if name.startswith(("/", ".", "~")) and len(parts) > 2 else name
