"""What is looked into behind the metrics, gathered in ``analysis.json`` beside them.

errors, geometry, ladder, guard and stress each come from a room of their own; here they are called so that a fault of
the data in one of them costs that part alone, and never the run whose scores stand already.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from embedft.artifacts import without_nan, write_json
from embedft.data.thesaurus import Thesaurus, find_wordnet
from embedft.errors import ArtifactError, DataError, EmbedftError

logger = logging.getLogger("embedft")

FORMAT = 1
ANALYSIS = "analysis.json"
PARTS = ("errors", "geometry", "ladder", "guard", "stress")


def analyse(parts: Mapping[str, Callable[[], dict[str, Any] | None]]) -> dict[str, Any]:
    """``format`` and each of `PARTS`: what was found, null where it was not asked for or could not be made.

    Why it could not is told in the log. Only faults of the data and the settings are caught.

    Args:
        parts: name -> what makes it.
    """
    return {"format": FORMAT, **{name: _made(name, parts[name]) if name in parts else None for name in PARTS}}


def _made(name: str, make: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] | None = without_nan(make())
    except EmbedftError as error:
        logger.warning("%s: left out: %s", name, error.message)
        return None
    return found


def write_analysis(folder: Path, analysis: dict[str, Any]) -> None:
    """Write ``analysis.json`` into a run or an evaluation, atomically."""
    write_json(folder / ANALYSIS, analysis, strict=True)


def read_analysis(folder: Path) -> dict[str, Any]:
    """What ``analysis.json`` says; every part null where there is none.

    Raises:
        ArtifactError: it is damaged, or of a later format.
    """
    file = folder / ANALYSIS
    if not file.is_file():
        return analyse({})
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        number = found["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{file}: is damaged.", hint="remove it, or make it anew: embedft evaluate MODEL --data DATA -o FOLDER."
        ) from error
    if number != FORMAT:
        raise ArtifactError(f"{file}: is of format {number!r}.", hint="use the embedft that wrote it.")
    return {name: found.get(name) for name in ("format", *PARTS)}


def installed_thesaurus() -> Thesaurus | None:
    """WordNet if it is on this machine; without it no synonyms are tried."""
    try:
        return find_wordnet()
    except DataError:
        return None
