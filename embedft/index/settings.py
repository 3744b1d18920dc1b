"""What was asked of an index when it was built: compacting and migrating it ask the same again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from embedft.errors import ConfigError

AUTO = "auto"
# FAISS keeps seeds as a C int.
SEEDS = 2**31
WHOLE = (int,), "a whole number"
TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "kind": ((str,), "the name of a kind"),
    "recall": ((int, float), "a share, such as 0.95"),
    "k": WHOLE,
    "memory": ((int, float, type(None)), "a number of bytes, or None"),
    "latency_ms": ((int, float, type(None)), "a number of milliseconds, or None"),
    "language": ((str, type(None)), "the English name of a language, or None"),
    "lexical": ((bool,), "True or False"),
    "seed": WHOLE,
    "keep": WHOLE,
}


@dataclass(frozen=True)
class Settings:
    """Settings of an index.

    Attributes:
        kind: of ``embedft.index.approximate.KINDS``, or ``"auto"``: by size and limits.
        recall: of exact search's hits, the least share that an approximate index finds, as the lower bound of a 95 %
            interval; in (0, 1].
        k: hits a query that recall is measured for.
        memory: the most bytes that may stay resident for searching; None for no limit.
        latency_ms: the longest that one query may take, in milliseconds of the machine that builds; None for no limit.
        language: of the words that BM25 compares; None leaves words as they stand.
        lexical: whether BM25 is kept beside the vectors, for hybrid search.
        seed: of samples and of training, below 2**31.
        keep: versions that stay on the disk, the current one included.
    """

    kind: str = AUTO
    recall: float = 0.95
    k: int = 10
    memory: int | None = None
    latency_ms: float | None = None
    language: str | None = "english"
    lexical: bool = True
    seed: int = 0
    keep: int = 2

    def __post_init__(self) -> None:
        from embedft.index.approximate import KINDS

        for name, (types, wanted) in TYPES.items():
            value = getattr(self, name)
            # A bool is an int to Python, and to nobody else.
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                raise ConfigError(f"{name} is {value!r}.", hint=f"use {wanted}.")
        if self.kind != AUTO and self.kind not in KINDS:
            raise ConfigError(f"the kind of index is {self.kind!r}.", hint=f"choose {AUTO}, {', '.join(KINDS)}.")
        if not 0 < self.recall <= 1:
            raise ConfigError(f"the recall asked for is {self.recall}.", hint="ask for a share, such as 0.95.")
        for name in ("k", "keep", "memory", "latency_ms"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}.", hint="use a positive number.")
        if not 0 <= self.seed < SEEDS:
            raise ConfigError(f"seed is {self.seed}.", hint=f"use 0 to {SEEDS - 1:,}.")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Settings as they are given by name.

        Raises:
            ConfigError: there is none of that name, or its value is wrong.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(given.keys() - set(known))
        if unknown:
            raise ConfigError(f"an index has no setting {unknown[0]!r}.", hint=f"choose of {', '.join(known)}.")
        return cls(**given)

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Settings:
        """Of a manifest."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})
