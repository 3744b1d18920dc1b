"""Whether a difference is real, how large it is, and how small a one these queries could show.

`intervals` for how far chance reaches, `paired` for tests, `correction` for many of them, `effect` for size, `power`
for what cannot be seen; all of them stand on one resampler, `resampling`, and `correlations` is how it resamples these.
"""

from embedft.evaluation.significance.checks import ROUNDING, checked, paired_differences, without_rounding
from embedft.evaluation.significance.checks import Floats as Scores
from embedft.evaluation.significance.correction import holm
from embedft.evaluation.significance.correlations import Kind, exchanged_correlations, resampled_correlations
from embedft.evaluation.significance.intervals import (
    bca_interval,
    bootstrap_interval,
    mean_acceleration,
    percentile_interval,
    t_interval,
)
from embedft.evaluation.significance.paired import (
    MCNEMAR,
    MCNEMAR_MID,
    RANDOMIZATION,
    STEIGER,
    STUDENT,
    WILLIAMS,
    mcnemar_p_value,
    randomization_p_value,
    steiger_p_value,
    t_test_p_value,
    williams_p_value,
)
from embedft.evaluation.significance.power import (
    ALPHA,
    detectable_difference,
    detectable_sentence,
    number_of,
    power_of,
    queries_needed,
)
from embedft.evaluation.significance.resampling import BLOCK_CELLS, ROUNDS, exchanges, resampled_weights

__all__ = [
    "ALPHA",
    "BLOCK_CELLS",
    "MCNEMAR",
    "MCNEMAR_MID",
    "RANDOMIZATION",
    "ROUNDING",
    "ROUNDS",
    "STEIGER",
    "STUDENT",
    "WILLIAMS",
    "Kind",
    "Scores",
    "bca_interval",
    "bootstrap_interval",
    "checked",
    "detectable_difference",
    "detectable_sentence",
    "exchanged_correlations",
    "exchanges",
    "holm",
    "mcnemar_p_value",
    "mean_acceleration",
    "number_of",
    "paired_differences",
    "percentile_interval",
    "power_of",
    "queries_needed",
    "randomization_p_value",
    "resampled_correlations",
    "resampled_weights",
    "steiger_p_value",
    "t_interval",
    "t_test_p_value",
    "williams_p_value",
    "without_rounding",
]
