"""The page of ``embedft tune``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from embedft.reports.page import bars, page, paragraph, table
from embedft.reports.plots import curves, history, points

if TYPE_CHECKING:
    from embedft.training import TuneResult
    from embedft.training.tuning.study import Trial

REASON = 200


def tuning_page(result: TuneResult) -> str:
    """HTML: what is best and whether it is better than the base model, then how the search went."""
    return page(f"Search for settings: {result.tune}", _body(result))


def _body(result: TuneResult) -> Iterator[str]:
    counts = {state: sum(trial.state == state for trial in result.trials) for state in ("complete", "pruned", "failed")}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    yield f'<p class="verdict">{len(result.trials)} trials: {told or "none yet"}.</p>'
    yield from _best(result)
    yield from _verdict(result)
    yield "<h2>How the search went</h2>"
    yield '<div class="plots">'
    yield from _course(result)
    yield "</div>"
    yield "<h2>What mattered</h2>"
    yield from _importance(result)
    yield '<div class="plots">'
    yield from _slices(result)
    yield "</div>"
    yield "<h2>All trials</h2>"
    yield _trials(result)
    reasons = [(trial.number, trial.state, trial.reason[:REASON]) for trial in result.trials if trial.reason]
    if reasons:
        yield "<h2>Why trials failed or were ended early</h2>"
        yield table(("trial", "state", "reason"), reasons)


def _best(result: TuneResult) -> Iterator[str]:
    best, first = result.best, next(iter(result.trials), None)
    if best is None or best.value is None:
        yield "<p>No trial is complete.</p>"
        return
    gain = ""
    if best.number == 0:
        gain = " No other trial was better than the configuration as it is."
    elif first is not None and first.value is not None:
        gain = f" The configuration as it is (trial 0) has {first.value:.4f}."
    base = f" The encoder before any training has {result.base_value:.4f}." if result.base_value is not None else ""
    yield f"<p>Best on dev: trial {best.number}, {result.metric} {best.value:.4f}.{gain}{base}</p>"
    rows = [
        (name, _shown(best.parameters.get(name)), _shown(first.parameters.get(name)) if first else "")
        for name in result.space
    ]
    yield table(("field", "best", "as configured"), rows)


def _verdict(result: TuneResult) -> Iterator[str]:
    # Not above, as in `_slices`.
    from embedft.evaluation.comparison import rule_text

    judged = len([trial for trial in result.trials if trial.state != "failed"])
    yield (
        f"<p>{judged} trials were compared on the same dev rows. The best value of many is partly luck, so it is "
        "higher than what the same settings reach on other rows; what counts is the verdict of the final training.</p>"
    )
    final = result.final
    if final is None:
        yield "<p>The final training with the best settings is still to come.</p>"
        return
    split = final["split"]
    yield f"<h2>The final training, judged on {split}</h2>"
    if split == "dev":
        yield "<p>There is no test split: dev chose the settings and the step, so this verdict is optimistic too.</p>"
    rows = [
        (
            *(name, f"{final['against']['metrics'][name]:.4f}", f"{final['metrics'][name]:.4f}"),
            f"{value['difference']:+.4f} ({value['ci_low']:+.4f} .. {value['ci_high']:+.4f})",
            *(f"{value['p_value']:.4f}", value["verdict"]),
        )
        for name, value in final["comparison"].items()
    ]
    yield table(("metric", "base model", "tuned", "difference, 95 % interval", "p", "verdict"), rows)
    yield paragraph(rule_text(final["comparison"], shown="before"))


def _course(result: TuneResult) -> Iterator[str]:
    valued = [trial for trial in result.trials if trial.value is not None]
    if valued:
        best: list[tuple[float, float]] = []
        for trial in valued:
            if trial.state == "complete":
                best.append((trial.number, max([trial.value or 0.0, *(value for _, value in best[-1:])])))
        if best:
            best.append((result.trials[-1].number, best[-1][1]))
        dots = [(float(trial.number), trial.value or 0.0, _said(trial), trial.state == "complete") for trial in valued]
        yield history(dots, best, f"{result.metric} on dev by trial; line: best so far, hollow: pruned")
    drawn = [trial for trial in result.trials if trial.curve]
    if drawn:
        numbers = [trial.number for trial in drawn]
        strong = numbers.index(result.best.number) if result.best and result.best.number in numbers else None
        lines = [(_said(trial), [(float(step), value) for step, value in trial.curve]) for trial in drawn]
        yield curves(lines, f"{result.metric} on dev by step, a line a trial; thick: the best", strong=strong)


def _importance(result: TuneResult) -> Iterator[str]:
    if result.importance is None:
        yield "<p>There are too few complete trials to say how much each field matters; a dozen are needed.</p>"
        return
    yield '<div class="plots">'
    yield bars(result.importance, "share of each field in what tells the best third of the trials (PED-ANOVA)")
    yield "</div>"


def _slices(result: TuneResult) -> Iterator[str]:
    # Not above: it would bring torch along, which other pages do not need; who has a result has loaded it.
    from embedft.training.tuning.space import Choice

    for name, parameter in result.space.items():
        found = [
            (trial.parameters.get(name), trial.value, _said(trial), trial.state == "complete")
            for trial in result.trials
            if trial.value is not None
        ]
        if isinstance(parameter, Choice):
            order = [_shown(value) or "none" for value in parameter.values]
            found = [(_shown(x) or "none", y, said, whole) for x, y, said, whole in found]
            yield points(found, name, order=order)
        elif found := [entry for entry in found if isinstance(entry[0], int | float)]:
            yield points(found, f"{name}{', logarithmic' if parameter.log else ''}", log=parameter.log)


def _trials(result: TuneResult) -> str:
    head = ("trial", "state", result.metric, *short_names(result.space), "seconds")
    rows = [
        (
            _named(trial, result),
            trial.state,
            "" if trial.value is None else f"{trial.value:.4f}",
            *(_shown(trial.parameters.get(name)) for name in result.space),
            trial.seconds,
        )
        for trial in result.trials
    ]
    return table(head, rows)


def short_names(names: Iterable[str]) -> list[str]:
    """The last part of each dotted name, or all of it where several end the same."""
    names = list(names)
    counts = Counter(name.rpartition(".")[2] for name in names)
    return [last if counts[last := name.rpartition(".")[2]] == 1 else name for name in names]


def _named(trial: Trial, result: TuneResult) -> str:
    notes = [
        *(["as configured"] if trial.number == 0 else []),
        *(["best"] if result.best is not None and result.best.number == trial.number else []),
    ]
    return f"{trial.number} ({', '.join(notes)})" if notes else str(trial.number)


def _said(trial: Trial) -> str:
    value = "" if trial.value is None else f" {trial.value:.4f}"
    settings = ", ".join(f"{name}={_shown(found)}" for name, found in trial.parameters.items())
    return f"trial {trial.number}, {trial.state}{value}: {settings}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
