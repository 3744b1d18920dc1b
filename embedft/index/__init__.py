"""Vectors into hits: exact and approximate search, words beside vectors, and the index on disk."""

from embedft.index.exact import exact_search
from embedft.index.hits import Hit
from embedft.index.index import Index
from embedft.index.settings import Settings

__all__ = ["Hit", "Index", "Settings", "exact_search"]
