"""The card of a run's model: ``README.md`` with the metadata that model hubs read, and what the run found out."""

from __future__ import annotations

from pathlib import Path

from embedft.artifacts import write_bytes
from embedft.errors import ArtifactError
from embedft.reports.card.encoder import read_encoder
from embedft.reports.card.metadata import metadata
from embedft.reports.card.text import text
from embedft.reports.run.record import RunRecord, read_run_record

__all__ = ["card", "run_with_model", "write_card"]


def run_with_model(run: Path) -> RunRecord:
    """The record of a run that can have a card.

    Raises:
        ArtifactError: the folder is no finished run with a model, or a file in it is damaged.
    """
    record = read_run_record(run)
    if not record.run or not (run / "model").is_dir():
        raise ArtifactError(f"{run}: holds no run with a model.", hint="name the directory of a finished training.")
    return record


def write_card(run: Path) -> Path:
    """The file of the card, written into the model of a finished run, atomically; the fingerprint stays.

    Raises:
        ArtifactError: the folder is no finished run with a model, or a file in it is damaged.
    """
    record = run_with_model(run)
    path = run / "model" / "README.md"
    write_bytes(path, card(record).encode("utf-8", "replace"))
    return path


def card(record: RunRecord) -> str:
    """The card in Markdown; names of files and folders of this machine are not in it, but for their last part."""
    encoder = read_encoder(record)
    return f"---\n{metadata(record, encoder).to_yaml()}\n---\n\n{text(record, encoder)}"
