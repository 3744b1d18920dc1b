"""Rankings into metrics, and metrics into evidence."""

from embedft.evaluation.classification import (
    ClassificationEvaluation,
    check_class_metrics,
    evaluate_classification,
)
from embedft.evaluation.comparison import Comparison, compare_scores
from embedft.evaluation.evaluation import Evaluation, compare, comparison_dict
from embedft.evaluation.judgments import Judgments
from embedft.evaluation.metrics import DEFAULT_METRICS, parse_metrics
from embedft.evaluation.ranking import Ranking, rank, ranking_of_run
from embedft.evaluation.retrieval import RetrievalEvaluation, evaluate_retrieval, score_ranking
from embedft.evaluation.significance import bootstrap_interval, randomization_p_value
from embedft.evaluation.similarity import SimilarityEvaluation, check_statistics, evaluate_similarity
from embedft.evaluation.through import evaluate_through

__all__ = [
    "DEFAULT_METRICS",
    "ClassificationEvaluation",
    "Comparison",
    "Evaluation",
    "Judgments",
    "Ranking",
    "RetrievalEvaluation",
    "SimilarityEvaluation",
    "bootstrap_interval",
    "check_class_metrics",
    "check_statistics",
    "compare",
    "compare_scores",
    "comparison_dict",
    "evaluate_classification",
    "evaluate_retrieval",
    "evaluate_similarity",
    "evaluate_through",
    "parse_metrics",
    "randomization_p_value",
    "rank",
    "ranking_of_run",
    "score_ranking",
]
