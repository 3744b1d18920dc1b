"""How an encoder's score stands up to what happens to texts: typing, wording, noise, other prompts."""

from embedft.evaluation.stress.classification import stress_classification
from embedft.evaluation.stress.retrieval import stress_retrieval
from embedft.evaluation.stress.similarity import stress_similarity
from embedft.evaluation.stress.stresses import STRESSES, Stress, stresses_for
from embedft.evaluation.stress.table import StressTable

__all__ = [
    "STRESSES",
    "Stress",
    "StressTable",
    "stress_classification",
    "stress_retrieval",
    "stress_similarity",
    "stresses_for",
]
