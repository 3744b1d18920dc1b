"""What augmentation writes into the metadata of a new row: the text it was made of, and how."""

from __future__ import annotations

import json

PARENT, METHOD = "augmented_from", "augmented_by"


def parent_of(metadata: str | None) -> str | None:
    """The text that an augmented row was made of; None for all other rows."""
    if not metadata or PARENT not in metadata:
        return None
    found = json.loads(metadata)
    parent = found.get(PARENT)
    return parent if isinstance(parent, str) and METHOD in found else None
