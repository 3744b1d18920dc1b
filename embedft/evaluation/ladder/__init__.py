"""What smaller vectors cost: dimensions x storages, with quality, memory and speed."""

from embedft.evaluation.ladder.climb import DIMS, NO_LADDER, SHARE, ladder, ladder_of, similarity_ladder
from embedft.evaluation.ladder.kept import Kept, kept_correlations, kept_means
from embedft.evaluation.ladder.storages import STORAGES, Storage, Stored, truncated

__all__ = [
    "DIMS",
    "NO_LADDER",
    "SHARE",
    "STORAGES",
    "Kept",
    "Storage",
    "Stored",
    "kept_correlations",
    "kept_means",
    "ladder",
    "ladder_of",
    "similarity_ladder",
    "truncated",
]
