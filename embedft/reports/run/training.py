"""How the training went: small figures that share their axis of steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedft.reports.course import course
from embedft.reports.html import Html
from embedft.reports.page import folded, paragraph, table
from embedft.reports.run.figures import is_number, score
from embedft.reports.run.record import RunRecord

# Fields of the log -> title, caption.
FIGURES = {
    "loss": ("Loss", "of the training batches"),
    "learning_rate": ("Learning rate", "of the schedule"),
    "grad_norm": ("Gradient norm", "before it is clipped"),
    "cosine_documents": ("Collapse", "mean cosine between texts of a batch; near 1, all vectors are alike"),
}
COSINES = (("cosine_pairs", "pairs"), ("cosine_others", "other texts"))


def training(record: RunRecord) -> Iterator[str]:
    """Loss, learning rate, dev metric, gradient norm and cosines over the steps."""
    series = {name: _series(record.log, name) for name in {entry for line in record.log for entry in line}}
    best = record.run.get("best") or {}
    reach = max((step for points in series.values() for step, _ in points), default=0.0)
    kept: Any = best.get("step")
    mark = (f"kept: {kept}", float(kept)) if is_number(kept) and reach else None
    figures = list(_figures(series, best, mark, reach))
    if not figures:
        yield paragraph("Nothing was logged: the encoder was not trained, or train_log.jsonl is missing.")
        return
    yield paragraph(_told(record, best))
    yield Html('<div class="plots">') + Html("\n").join(figures) + Html("</div>")
    dev = _dev(series, best)
    if dev:
        rows = [(int(step), round(value, 4), "kept" if step == kept else "") for step, value in dev[1]]
        yield folded("Dev evaluations as a table", Html(table(("step", dev[0], ""), rows)))


def dev_series(record: RunRecord) -> tuple[str, list[tuple[float, float]]] | None:
    """The metric that chose the step of a run, and (step, value) on dev; None if it was not logged."""
    best = record.run.get("best") or {}
    return _dev({f"eval_{best.get('metric')}": _series(record.log, f"eval_{best.get('metric')}")}, best)


def _figures(
    series: dict[str, list[tuple[float, float]]], best: dict[str, Any], mark: tuple[str, float] | None, reach: float
) -> Iterator[Html]:
    dev = _dev(series, best)
    if dev:
        level = ("before training", float(best["base"])) if is_number(best.get("base")) else None
        yield course([(dev[0], dev[1])], f"{dev[0]} on dev", "chooses the step", level=level, mark=mark, reach=reach)
    for name, (title, caption) in FIGURES.items():
        if series.get(name):
            yield course([(title, series[name])], title, caption, reach=reach, mark=mark if name == "loss" else None)
    cosines = [(shown, series[name]) for name, shown in COSINES if series.get(name)]
    if len(cosines) == len(COSINES):
        yield course(cosines, "Cosines", "means within a batch; they should part", reach=reach)


def _dev(
    series: dict[str, list[tuple[float, float]]], best: dict[str, Any]
) -> tuple[str, list[tuple[float, float]]] | None:
    """The metric that was computed on dev, and its values."""
    name = f"eval_{best.get('metric')}"
    return (str(best["metric"]), series[name]) if series.get(name) else None


def _series(log: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    """(step, value), the last value of a step: a resumed run logs some steps twice."""
    found = {
        float(line["step"]): float(line[name])
        for line in log
        if is_number(line.get(name)) and is_number(line.get("step"))
    }
    return sorted(found.items())


def _told(record: RunRecord, best: dict[str, Any]) -> str:
    settings = record.config.get("training") or {}
    parts = [f"Batches of {settings['batch_size']}"] if settings.get("batch_size") else []
    if best:
        parts.append(
            f"step {best.get('step')} was kept: {best.get('metric')} on dev {score(best.get('value'), 4)}, "
            f"before training {score(best.get('base'), 4)}"
        )
    return "; ".join(parts) + "." if parts else ""
