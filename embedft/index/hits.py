"""Hit: one document that a search found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Hit:
    """One document found.

    Attributes:
        id, title, text: of the document.
        score: cosine of query and document, in [-1, 1].
        metadata: the document's other fields.
        bm25: of hybrid search, the score by words; None if the document shares none, or stands far down by them.
        fused: of hybrid search, the score of both rankings together: hits are ordered by it, or chosen by it and by
            how they differ from one another.
    """

    id: str
    score: float
    title: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)
    bm25: float | None = None
    fused: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the scores of hybrid search only where it was one."""
        values = asdict(self)
        return (
            values if self.fused is not None else {key: values[key] for key in values if key not in ("bm25", "fused")}
        )
