"""Places of files on the machine of a training, kept out of what is published."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from embedft.reports.run.figures import is_path
from embedft.reports.run.record import RunRecord

# An absolute path within a sentence, up to a blank or a sign that ends it.
WITHIN = re.compile(r"(?<![\w/.:~])(?:~[\w.-]*/|\.{1,2}/|/|[A-Za-z]:[/\\])[^\s'\"`,;:()|<>]*[^\s'\"`,;:()|<>.]")
# Of which `run.json` says whether it was local: section of the settings -> field.
FIELDS = {"model": "name", "data": "path"}


def last_part(name: str) -> str:
    """The name of the file or folder, of a path; any other text as it is."""
    return PureWindowsPath(name).name or "data" if is_path(name) or _is_there(name) else name


def was_local(record: RunRecord, what: str, name: str) -> bool:
    """Whether model or data (``what``, of `FIELDS`) of a run was a file or folder where it was trained, not on a hub.

    A run of an earlier embedft does not say so: then whether there is one here.
    """
    known = (record.run.get("local") or {}).get(what)
    return is_path(name) or (bool(known) if known is not None else _is_there(name))


def without_places(text: str, record: RunRecord) -> str:
    """A sentence in which each path is its last part alone: those that the run names, then all that look like one."""
    known = set(_strings((record.config, record.part("guard"), record.metrics.get("against"))))
    local = {}
    for what, field in FIELDS.items():
        name = str((record.config.get(what) or {}).get(field) or "")
        local[name] = was_local(record, what, name)
    local[str(record.part("guard").get("data") or "")] = True
    for place in sorted(known, key=len, reverse=True):
        if "/" in place or "\\" in place:
            is_local = local.get(place, is_path(place) or _is_there(place))
            text = text.replace(place, (PureWindowsPath(place).name or "data") if is_local else place)
    return WITHIN.sub(lambda found: last_part(found[0]), text)


def _is_there(name: str) -> bool:
    try:
        return "/" in name and Path(name).exists()
    except OSError:  # too long for the name of a file
        return False


def _strings(value: Any) -> Iterator[str]:
    """The texts in nested settings, sentences left out."""
    if isinstance(value, str) and "\n" not in value:
        yield value
    elif isinstance(value, Mapping):
        yield from _strings([inner for name, inner in value.items() if name != "reading"])
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
