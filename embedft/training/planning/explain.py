"""How a loss sees a row: what it is compared with in a batch, what is left out, and whether it needs negatives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from embedft.training.batches import SeededBatchSampler
from embedft.training.job import Job
from embedft.training.losses.masks import PairSet, false_negative_mask, text_ids
from embedft.training.losses.needs import COLUMNS
from embedft.training.losses.registry import LOSSES, needs_of
from embedft.training.sets import TrainingSet

SHOWN = 300

# What the other rows of a batch are to a row, by what the loss needs.
SAYS = {
    "labelled texts": (
        "The label of a text says what it belongs to and what not, so no negatives are needed.",
        "Texts of one class stand together in a batch where the loss compares texts (supcon).",
    ),
    "pairs with negatives": (
        "The anchor is compared with its own positive and negatives alone, as the rows list them: training.guide says "
        "how its similarity shall be shared out among them.",
        "So negatives are needed, and rows without any are left out. The other rows of the batch play no part.",
    ),
    "triplets": (
        "The anchor must come nearer to its positive than to its own negative.",
        "A row with several negatives became several rows. The other rows of the batch play no part.",
    ),
    "scored pairs": (
        "Both texts are embedded as documents; the cosines of the batch must follow its scores.",
        "No negatives are needed: a pair with a low score is one. The rows of a batch are not negatives of each other.",
    ),
    "scored pairs of 0 and 1": (
        "The texts of a pair scored 1 are drawn together; of a pair scored 0 they are pushed apart up to the margin.",
        "Pairs scored 0 are the negatives, so some are needed. The rows of a batch are not negatives of each other.",
    ),
}


def explain(job: Job) -> dict[str, Any]:
    """How the loss of the task's own rows sees one of them, in the first batch that this run would make.

    Keys: ``loss``, ``formula``, ``paper``, ``needs``, ``row`` (its texts), ``says`` (sentences), and for losses with
    in-batch negatives ``in_batch`` and ``explicit`` candidates, and, if it masks, ``masked`` of them for this row and
    ``masked_mean`` over the rows.
    """
    part, settings = job.sets[0], job.config.training
    loss, needs = LOSSES[part.loss], needs_of(part.loss, part.options)
    rows = part.rows.take(SeededBatchSampler(part.rows, settings.batch_size, seed=settings.seed).rows_of(0, 0))
    found: dict[str, Any] = {"loss": part.loss, "formula": loss.formula, "paper": loss.paper, "needs": needs}
    if needs == "pairs":
        return {**found, **_in_batch(part, rows)}
    return {**found, "row": _shown(rows, 0, COLUMNS[needs]), "says": list(SAYS[needs])}


def _in_batch(part: TrainingSet, rows: pa.Table) -> dict[str, Any]:
    """Of the batch's row that has most of its candidates masked: who its negatives are, and which are left out."""
    loss = LOSSES[part.loss]
    negatives = [text for texts in rows["negatives"].to_pylist() for text in texts or ()]
    others, candidates = rows.num_rows - 1, rows.num_rows + len(negatives)
    says = [
        f"The anchor is compared with {candidates} texts of the batch: its own positive, the {others} positives of the "
        + (f"other rows, and the {len(negatives)} negatives of all rows." if negatives else "other rows."),
        "So it needs no negatives of yours: the other rows are them. "
        + (
            f"Those that the rows hold ({len(negatives)} in this batch) are harder ones, added to them."
            if negatives
            else "Harder ones can be added: a column negative, or training.hard_negatives."
        ),
        *_of_loss(part, others, [*rows["positive"].to_pylist(), *negatives]),
    ]
    found = {"in_batch": others, "explicit": len(negatives)}
    shown = 0
    if loss.masked and part.options.get("mask", True):
        ids = [text_ids(texts) for texts in (rows["anchor"].to_pylist(), rows["positive"].to_pylist(), negatives)]
        masked = false_negative_mask(ids[0], ids[1], ids[2], PairSet.positives(part.rows)).sum(1)
        shown, mean = int(masked.argmax()), float(masked.float().mean())
        found |= {"masked": int(masked[shown]), "masked_mean": round(mean, 3)}
        says.append(_say_masked(int(masked[shown]), mean))
    if loss.guided:
        says.append("training.guide judges these texts too; it decides what counts, as the formula says.")
    return {**found, "row": _shown(rows, shown, COLUMNS[loss.needs]), "says": says}


def _of_loss(part: TrainingSet, others: int, candidates: list[str]) -> list[str]:
    """What one loss alone does with the candidates of a batch."""
    if part.loss == "mnrl":
        blindly = f"picking one of {len(candidates)} blindly costs {math.log(len(candidates)):.2f}."
        return [f"A larger training.batch_size makes it harder: {blindly}"]
    if part.loss == "gist":
        kinds = [kind for kind in ("anchor", "positive") if part.options.get(f"contrast_{kind}s", True)]
        return [f"The {kind} is compared with the {others} other {kind}s as well." for kind in kinds]
    if part.loss == "distil_kl":
        return [f"Equal texts are one candidate, which leaves {len(set(candidates))} in this batch."]
    return []


def _say_masked(shown: int, mean: float) -> str:
    if mean == 0:
        return "None of them is masked: no other text equals the anchor or a positive of it."
    return (
        f"Masked, so no negatives, because they equal the anchor or a known positive of it: {shown} for this row, the "
        f"most of all rows; {mean:.2f} a row on average."
    )


def _shown(rows: pa.Table, place: int, columns: tuple[str, ...]) -> dict[str, Any]:
    """One row, its texts cut where they would fill the screen."""

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(text) for text in value]
        if not isinstance(value, str):
            return value
        text = " ".join(value.split())
        return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"

    row: Mapping[str, Any] = rows.slice(place, 1).to_pylist()[0]
    return {name: short(row[name]) for name in columns if row[name] not in (None, [])}
