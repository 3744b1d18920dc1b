"""Words beside vectors: BM25, fusion of rankings, diversity, and the passage that answers."""

from embedft.index.lexical.bm25 import Lexical, Prepared, best_rows
from embedft.index.lexical.diversity import mmr
from embedft.index.lexical.fusion import min_max, rrf, tune_weight, weighted
from embedft.index.lexical.passages import Passage, highlight
from embedft.index.lexical.words import Words

__all__ = [
    "Lexical",
    "Passage",
    "Prepared",
    "Words",
    "best_rows",
    "highlight",
    "min_max",
    "mmr",
    "rrf",
    "tune_weight",
    "weighted",
]
