"""Systems beside each other as text: Markdown, LaTeX, CSV.

Systems are rows and metrics are columns; the best score is bold, and superscript letters, those of the first column,
name the systems that a row is better than. A second table has the differences from the baseline.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from embedft.evaluation.comparison import Comparison, p_text
from embedft.evaluation.several import LETTERS, Several

SUPERSCRIPTS = dict(zip(LETTERS + "0123456789", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True))
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",
}  # fmt: skip
# What a spreadsheet takes for a formula, at the beginning of a cell (OWASP, CSV injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r")
MARKDOWN = {"\\": "\\\\", "|": "\\|", "<": "&lt;", ">": "&gt;", "*": "\\*", "_": "\\_", "`": "\\`", "[": "\\["}
DIFFERENCE_HEAD = ("system", "metric", "difference", "95 % interval", "p", "effect size", "verdict")


def heading_of(several: Several) -> str:
    """What was compared on what, as a line."""
    first = several.evaluations[0]
    return (
        f"{first.data}, split {first.split}, {first.count:,} {first.unit}; baseline: {several.names[several.baseline]}"
    )


def difference_row(several: Several, system: int, metric: str, found: Comparison | None) -> tuple[str, ...]:
    """The cells of `DIFFERENCE_HEAD`: a system against the baseline in one metric; p is that of the verdict."""
    name = several.names[system]
    if found is None:
        return name, metric, "-", "-", "-", "-", "not compared"
    size = f"{found.effect_size:+.2f}" if found.effect_size is not None else "-"
    adjusted = found.p_adjusted if found.p_adjusted is not None else found.p_value
    ends = f"{found.ci_low:+.3f} .. {found.ci_high:+.3f}"
    return name, metric, f"{found.difference:+.4f}", ends, p_text(adjusted), size, found.verdict


def difference_rows(several: Several) -> list[tuple[str, ...]]:
    """A row for each system and metric, against the baseline."""
    return [
        difference_row(several, system, metric, several.compared(system, several.baseline, metric))
        for system in several.others
        for metric in several.metrics
    ]


def superscript(letters: Sequence[str]) -> str:
    """The letters as signs that stand high."""
    return "".join(SUPERSCRIPTS[sign] for letter in letters for sign in letter)


def score_shown(value: float) -> str:
    """A score for people."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def as_markdown(several: Several) -> str:
    """Both tables in the Markdown that GitHub, GitLab and pandoc read."""

    def cell(system: int, metric: str) -> str:
        shown = score_shown(several.score(system, metric))
        shown = f"**{shown}**" if system in several.best(metric) else shown
        letters = _letters(several, system, metric, ",")
        return f"{shown}<sup>{letters}</sup>" if letters else shown

    def escaped(text: str) -> str:
        return "".join(MARKDOWN.get(sign, sign) for sign in " ".join(text.split()))

    def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
        rule = [":--" if place < left else "--:" for place in range(len(head))]
        return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]

    scores = [
        (several.letters[system], escaped(name), *(cell(system, metric) for metric in several.metrics))
        for system, name in enumerate(several.names)
    ]
    differences = [tuple(map(escaped, row)) for row in difference_rows(several)]
    lines = [
        *(escaped(heading_of(several)), ""),
        *(*table(("", "system", *several.metrics), scores, 2), ""),
        *(escaped(several.legend), ""),
        *(*table(DIFFERENCE_HEAD, differences, 2), ""),
        escaped(several.reading(several.metrics[0])),
        *(f"\n**Note:** {escaped(each)}." for each in several.differs),
    ]
    return "\n".join(lines) + "\n"


def as_latex(several: Several) -> str:
    """Both tables as LaTeX ``table`` environments that need no package."""

    def cell(system: int, metric: str) -> str:
        shown = score_shown(several.score(system, metric))
        shown = rf"\textbf{{{shown}}}" if system in several.best(metric) else shown
        letters = _letters(several, system, metric, "")
        return rf"{shown}$^{{{letters}}}$" if letters else shown

    scores = [
        (several.letters[system], _latex(name), *(cell(system, metric) for metric in several.metrics))
        for system, name in enumerate(several.names)
    ]
    notes = "".join(f" {each}." for each in several.differs)
    caption = f"{heading_of(several)}. {several.legend}{notes}"
    differences = [tuple(map(_latex, row)) for row in difference_rows(several)]
    below = f"Differences from {several.names[several.baseline]}. {several.reading(several.metrics[0])}"
    return (
        _latex_table(("", "system", *several.metrics), scores, "ll" + "r" * len(several.metrics), caption)
        + "\n"
        + _latex_table(DIFFERENCE_HEAD, differences, "ll" + "r" * (len(DIFFERENCE_HEAD) - 3) + "l", below)
    )


def as_csv(several: Several) -> str:
    """A row for each system and metric: the score with its interval, and the difference from the baseline.

    A name that a spreadsheet would take for a formula has an apostrophe before it.
    """

    def harmless(name: str) -> str:
        return f"'{name}" if name.startswith(FORMULA) else name

    head = (
        "system", "letter", "metric", "score", "ci_low", "ci_high", "best", "better_than", "baseline", "difference",
        "difference_ci_low", "difference_ci_high", "p_value", "p_adjusted", "effect_size", "detectable", "verdict",
    )  # fmt: skip
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for number, system in enumerate(several.as_dict()["systems"]):
        for metric, value in system["metrics"].items():
            found = several.compared(number, several.baseline, metric) if number != several.baseline else None
            names = ("difference", "ci_low", "ci_high", "p_value", "p_adjusted", "effect_size", "detectable", "verdict")
            compared = [getattr(found, name) if found is not None else None for name in names]
            score = (value["score"], value["ci_low"], value["ci_high"], str(value["best"]).lower())
            letters = " ".join(value["better_than"])
            first = (harmless(system["name"]), system["letter"], metric)
            row: list[Any] = [*first, *score, letters, harmless(several.names[several.baseline]), *compared]
            writer.writerow(["" if field is None else field for field in row])
    return text.getvalue()


FORMATS: dict[str, Callable[[Several], str]] = {"markdown": as_markdown, "latex": as_latex, "csv": as_csv}


def _letters(several: Several, system: int, metric: str, between: str) -> str:
    return between.join(several.letters[other] for other in several.better_than(system, metric))


def _latex(text: str) -> str:
    escaped = "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))
    # A minus, not a hyphen, before a number.
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)


def _latex_row(cells: Sequence[str]) -> str:
    row = " & ".join(cells)
    # Behind the end of a row LaTeX takes a star or a bracket for an option of it.
    return rf"{'{}' if row.startswith(('*', '[')) else ''}{row} \\"


def _latex_table(head: Sequence[str], rows: Sequence[Sequence[str]], columns: str, caption: str) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(caption)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\hline",
        _latex_row([_latex(name) for name in head]),
        r"\hline",
        *map(_latex_row, rows),
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
