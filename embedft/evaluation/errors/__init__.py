"""Where a score comes from: what was lost and won, and what those have in common."""

from embedft.evaluation.errors.classification import classification_errors
from embedft.evaluation.errors.retrieval import retrieval_errors
from embedft.evaluation.errors.similarity import similarity_errors

__all__ = ["classification_errors", "retrieval_errors", "similarity_errors"]
