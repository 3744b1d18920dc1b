"""How much of a quality several variants of one system keep: intervals of each, and a bound that holds for all at once.

The share that a variant keeps is its score over that of the first one, on the same queries or pairs. Who picks one
variant out of many by its looks needs bounds that hold together: the lower bound of a share is share - q x its standard
error, where q is the 97.5 % quantile, over resamples, of the largest standardised error of any variant (the "max-t" of
Westfall and Young 1993, section 2.6, by the bootstrap). For 36 variants of real vectors, which err alike, q is about 3
instead of 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.evaluation.significance import (
    ROUNDS,
    Kind,
    percentile_interval,
    resampled_correlations,
    resampled_weights,
)
from embedft.evaluation.similarity import STATISTICS

Floats = npt.NDArray[np.float64]
# A fifth of the time of 10,000; the ends of an interval move by 3 % of its length with the seed.
PAIR_ROUNDS = 2000
JOINT_LEVEL = 0.975


@dataclass(frozen=True)
class Kept:
    """Scores of variants of one system, the first of which is the whole.

    Attributes:
        scores: (variants,).
        replicates: (variants, rounds), on resamples that all variants share.
        count: queries or pairs.
    """

    scores: Floats
    replicates: Floats
    count: int

    def rows(self) -> list[dict[str, Any]]:
        """Of each variant: score, difference to the whole and share of it, with 95 % intervals; share_low is joint.

        Shares are None where the whole scores nothing.
        """
        low, high = percentile_interval(self.replicates, count=self.count)
        below, above = percentile_interval(self.replicates - self.replicates[0], count=self.count)
        shares, bounds = self.shares()
        columns = {
            "score": self.scores,
            "ci_low": low,
            "ci_high": high,
            "difference": self.scores - self.scores[0],
            "difference_ci_low": below,
            "difference_ci_high": above,
        }
        rows: list[dict[str, Any]] = [
            {name: float(values[row]) for name, values in columns.items()} for row in range(len(self.scores))
        ]
        for number, row in enumerate(rows):
            row["share"] = None if shares is None else float(shares[number])
            row["share_low"] = None if bounds is None else float(bounds[number])
        return rows

    def shares(self) -> tuple[Floats, Floats] | tuple[None, None]:
        """Share of each variant and its lower bound, (variants,) each; None where the whole scores nothing, or less."""
        whole = self.replicates[0]
        if self.scores[0] <= 0:
            return None, None
        shares = self.scores / self.scores[0]
        # A resample in which the whole scores nothing has nothing to lose.
        ratios = np.divide(self.replicates, whole, out=np.ones_like(self.replicates), where=whole > 0)
        deviations = ratios.std(axis=1)
        vary = deviations > 0
        if not vary.any():
            return shares, shares
        errors = (ratios[vary] - shares[vary, None]) / deviations[vary, None]
        return shares, shares - np.quantile(errors.max(axis=0), JOINT_LEVEL) * deviations


def kept_means(scores: Floats, *, rounds: int = ROUNDS, seed: int = 0) -> Kept:
    """Of metrics that are means over queries.

    Args:
        scores: (variants, queries).
        rounds: resamples.
        seed: same seed, same resamples.
    """
    count = scores.shape[1]
    means = [weights @ scores.T / count for weights in resampled_weights(count, rounds=rounds, seed=seed)]
    return Kept(scores.mean(axis=1), np.concatenate(means).T, count)


def kept_correlations(cosines: Floats, gold: Floats, name: Kind, *, rounds: int = PAIR_ROUNDS, seed: int = 0) -> Kept:
    """Of a correlation of cosines with given scores.

    Args:
        cosines: (variants, pairs).
        gold: (pairs,), the scores that people gave.
        name: spearman or pearson.
        rounds: resamples.
        seed: same seed, same resamples.
    """
    scores = np.array([float(STATISTICS[name](values, gold)) for values in cosines])
    return Kept(scores, resampled_correlations(name, gold, cosines, rounds=rounds, seed=seed), len(gold))
