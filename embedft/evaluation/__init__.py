"""Rankings into metrics, and metrics into evidence."""

from embedft.evaluation.comparison import Comparison, compare, compare_scores
from embedft.evaluation.metrics import DEFAULT_METRICS, parse_metrics
from embedft.evaluation.ranking import Ranking, rank, ranking_of_run
from embedft.evaluation.retrieval import Evaluation, evaluate_retrieval, score_ranking
from embedft.evaluation.significance import bootstrap_interval, randomization_p_value

__all__ = [
    "DEFAULT_METRICS",
    "Comparison",
    "Evaluation",
    "Ranking",
    "bootstrap_interval",
    "compare",
    "compare_scores",
    "evaluate_retrieval",
    "parse_metrics",
    "randomization_p_value",
    "rank",
    "ranking_of_run",
    "score_ranking",
]
