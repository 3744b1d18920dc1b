"""The block of metadata that stands at the top of a card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedft.reports.card.encoder import HUB_NAME, EncoderFacts
from embedft.reports.card.places import was_local
from embedft.reports.run.figures import is_number
from embedft.reports.run.record import RunRecord

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

# Tasks as the hub and sentence-transformers name them: type, name.
TASKS = {
    "retrieval": ("information-retrieval", "Information Retrieval"),
    "similarity": ("semantic-similarity", "Semantic Similarity"),
    "classification": ("text-classification", "Text Classification"),
}
DIGITS = 6


def metadata(record: RunRecord, encoder: EncoderFacts) -> ModelCardData:
    """Tags, base, licence and language where they are known, and the scores as the hub's model index.

    A base or a data set that is not on the hub is not named in fields that the hub turns into links.
    """
    from huggingface_hub import EvalResult, ModelCardData

    kind, shown = TASKS.get(record.task, ("feature-extraction", "Feature Extraction"))
    data = data_name(record)
    results = [
        EvalResult(
            task_type=kind,
            task_name=shown,
            dataset_type=_slug(data),
            dataset_name=data,
            dataset_split=str(record.metrics.get("split") or "test"),
            metric_type=name,
            metric_name=name,
            metric_value=round(float(value), DIGITS),
        )
        for name, value in record.values.items()
        if is_number(value)
    ]
    tags = ["sentence-transformers", "sentence-similarity", "feature-extraction", encoder.architecture, "embedft"]
    return ModelCardData(
        language=encoder.language,
        license=encoder.licence,
        library_name="sentence-transformers",
        pipeline_tag="feature-extraction" if record.task == "classification" else "sentence-similarity",
        tags=list(dict.fromkeys(tag for tag in tags if tag)),
        base_model=encoder.base_id,
        datasets=[data] if _on_hub(record) else None,
        eval_results=results or None,
        model_name=record.name if results else None,
    )


def data_name(record: RunRecord) -> str:
    """The data as a card names it: on the hub by its name, else the last part of its path."""
    path = _path(record)
    return path if _on_hub(record) else Path(path).name or "data"


def _on_hub(record: RunRecord) -> bool:
    path = _path(record)
    return bool(HUB_NAME.fullmatch(path)) and not was_local(record, "data", path)


def _path(record: RunRecord) -> str:
    found: Any = record.config.get("data") or {}
    return str(found.get("path") or record.metrics.get("data") or "")


def _slug(name: str) -> str:
    return re.sub(r"[^\w./-]+", "-", name.lower()).strip("-") or "data"
