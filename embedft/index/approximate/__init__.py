"""Approximate search that is tuned to a recall: a stage proposes candidates, exact inner products rank them."""

from embedft.index.approximate.budget import faiss_threads, set_threads, threads
from embedft.index.approximate.kinds import FLAT, KINDS, Point, candidates_for, estimate_bytes, factory
from embedft.index.approximate.recall import LEVEL, mean_lower_bound, recall_of
from embedft.index.approximate.search import approximate_search
from embedft.index.approximate.stages import Stage
from embedft.index.approximate.tune import Measured, Tuning, tune

__all__ = [
    "FLAT",
    "KINDS",
    "LEVEL",
    "Measured",
    "Point",
    "Stage",
    "Tuning",
    "approximate_search",
    "candidates_for",
    "estimate_bytes",
    "factory",
    "faiss_threads",
    "mean_lower_bound",
    "recall_of",
    "set_threads",
    "threads",
    "tune",
]
