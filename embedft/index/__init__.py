"""Vectors into hits: exact search, and the index on disk."""

from embedft.index.exact import exact_search
from embedft.index.index import Hit, Index

__all__ = ["Hit", "Index", "exact_search"]
