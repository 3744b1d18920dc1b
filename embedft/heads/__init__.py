"""Classifiers on the vectors of an encoder."""

from embedft.heads.classifier import Answer, TextClassifier
from embedft.heads.fit import fit_centroids, fit_logistic
from embedft.heads.head import Examples, Head, Neighbour
from embedft.heads.storage import HEAD_FOLDER, head_beside

__all__ = [
    "HEAD_FOLDER",
    "Answer",
    "Examples",
    "Head",
    "Neighbour",
    "TextClassifier",
    "fit_centroids",
    "fit_logistic",
    "head_beside",
]
