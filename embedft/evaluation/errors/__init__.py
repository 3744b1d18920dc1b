"""Where a score comes from: what was lost and won, and what those have in common."""

from embedft.evaluation.errors.retrieval import retrieval_errors

__all__ = ["retrieval_errors"]
