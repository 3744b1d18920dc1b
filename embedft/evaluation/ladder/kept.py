"""How much of a quality several variants of one system keep: intervals of each, and a bound that holds for all at once.

The share that a variant keeps is its score over that of the first one, on the same queries or pairs. Who picks one
variant out of many by its looks needs bounds that hold together: the lower bound of a share is share - q x its standard
error, where q is the 97.5 % quantile, over resamples, of the largest standardised error of any variant (the "max-t" of
Westfall and Young 1993, section 2.6, by the bootstrap). For 36 variants of real vectors, which err alike, q is about 3
instead of 2.

Resamples do not show what no sampled query shows. So the bound is also at most what `unseen` allows, by Bonferroni over
the variants: of means the smaller one of the two; of correlations their product, each with half of the risk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.evaluation.ladder.unseen import kept_at_least, pairs_for, queries_for, unspoilt
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
# That the bound of any variant is above the share that it keeps, at most.
RISK = 0.025


@dataclass(frozen=True)
class Kept:
    """Scores of variants of one system, the first of which is the whole.

    Attributes:
        scores: (variants,).
        replicates: (variants, rounds), on resamples that all variants share.
        count: queries or pairs.
        sure: (variants,), bounds of the shares of means that hold whatever is not seen; None of correlations.
    """

    scores: Floats
    replicates: Floats
    count: int
    sure: Floats | None = None

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
        if self.scores[0] <= 0:
            return None, None
        shares = self.scores / self.scores[0]
        if self.sure is not None:
            bounds = np.minimum(self._resampled_bounds(shares, RISK), self.sure)
        else:
            bounds = self._resampled_bounds(shares, RISK / 2)
            bounds *= np.where(bounds > 0, unspoilt(self.count, risk=RISK / 2 / self._compared), 1)
        # The whole keeps the whole, which nobody has to show.
        bounds[0] = 1
        return shares, bounds

    def needed(self, share: float) -> int | None:
        """About how many queries or pairs show that a variant keeps a share below 1, if it loses nothing on any.

        None where the whole scores nothing, or less.
        """
        if self.scores[0] <= 0:
            return None
        if self.sure is None:
            return pairs_for(share, risk=RISK / 2 / self._compared)
        return queries_for(share, float(self.scores[0]), risk=RISK / self._compared)

    @property
    def _compared(self) -> int:
        return max(len(self.scores) - 1, 1)

    def _resampled_bounds(self, shares: Floats, risk: float) -> Floats:
        whole = self.replicates[0]
        # A resample in which the whole scores nothing has nothing to lose.
        ratios = np.divide(self.replicates, whole, out=np.ones_like(self.replicates), where=whole > 0)
        deviations = ratios.std(axis=1)
        vary = deviations > 0
        if not vary.any():
            return shares.copy()
        errors = (ratios[vary] - shares[vary, None]) / deviations[vary, None]
        return np.asarray(shares - np.quantile(errors.max(axis=0), 1 - risk) * deviations, np.float64)


def kept_means(scores: Floats, *, rounds: int = ROUNDS, seed: int = 0) -> Kept:
    """Of metrics that are means over queries.

    Args:
        scores: (variants, queries), from 0 to 1.
        rounds: resamples.
        seed: same seed, same resamples.
    """
    count = scores.shape[1]
    means = [weights @ scores.T / count for weights in resampled_weights(count, rounds=rounds, seed=seed)]
    sure = kept_at_least(scores, risk=RISK / max(len(scores) - 1, 1), seed=seed)
    return Kept(scores.mean(axis=1), np.concatenate(means).T, count, sure)


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
