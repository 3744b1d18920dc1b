"""The cheapest point of a stage whose recall is shown to meet a target.

That a lower bound of one point's recall holds says little if the point was chosen among many for its bound. So:

1. A pilot, a fifth of the queries, measures a grid of points and keeps a chain of them: each costs more than the one
   before and finds more.
2. The other queries measure the chain. Walking from the most accurate point down, each whose lower bound meets the
   target passes, up to the first that fails. All that pass have the target's recall, all at once, with the confidence
   of a single bound: the order of the tests was fixed before their data was seen (fixed-sequence testing: Wiens 2003,
   Pharmaceutical Statistics 2; Westfall and Krishen 2001, JSPI 99; for such grids: Angelopoulos et al. 2021, Learn then
   Test, arXiv:2110.01052).
3. Of those the fastest is chosen, within the limit of latency.

Where several kinds of stage are tuned on the same queries until one meets the target, each has to do so at a level that
is shared out among them (Bonferroni): see ``level`` of `tune`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from embedft.errors import DataError
from embedft.index.approximate.budget import faiss_threads
from embedft.index.approximate.kinds import Point, lists_of, stage_kind
from embedft.index.approximate.recall import LEVEL, mean_lower_bound, recall_of
from embedft.index.approximate.search import approximate_search
from embedft.index.approximate.stages import Stage
from embedft.index.exact import exact_search

Floats = npt.NDArray[np.float32]
Failed = Literal["recall", "latency"]

FEWEST_QUERIES = 10
PILOT_SHARE, MOST_PILOTS = 0.2, 200
# Queries that are timed one by one.
TIMED = 40
# Steps of a grid of effort, each about 1.4 times the one before, the last ones twice.
GRAPH_EFFORTS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096)
LIST_EFFORTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
# More effort is not tried once two steps together gained less than this: what is missing is lost to the codes.
LEAST_GAIN = 0.001
# Nor once a query costs so many times an exact search, and this many seconds, so that noise in microseconds decides
# nothing.
WORSE_THAN_EXACT, SECONDS_WITHOUT_DOUBT = 4.0, 1e-3
# Steps of the chain, in recall or in cost, so that it has no more than a dozen or two.
CLEAR_GAIN, CLEAR_COST = 0.004, 1.25


@dataclass(frozen=True)
class Measured:
    """What a point was measured at.

    Attributes:
        point: where the stage was searched.
        recall: at k, mean over the queries.
        ci_low: its lower bound: the lower end of a 95 % interval, or below it where several stages were to be tried.
        qps: queries per second, all queries at once.
        latency_ms: of one query at a time, median, in milliseconds.
    """

    point: Point
    recall: float
    ci_low: float
    qps: float
    latency_ms: float


@dataclass(frozen=True)
class Tuning:
    """What a stage was found to recall, and the point that was chosen.

    Attributes:
        kind: of the stage.
        k: hits a query.
        target: recall that was asked for.
        queries: that the recalls and bounds of the curve were measured on; those of the pilot are not among them.
        curve: fastest first.
        chosen: None if no point meets the target and the limit of latency.
        failed: which of them none met.
    """

    kind: str
    k: int
    target: float
    queries: int
    curve: list[Measured]
    chosen: Measured | None
    failed: Failed | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the manifest: only numbers, strings, lists and dictionaries."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Tuning:
        """Of what ``as_dict`` gave.

        Raises:
            KeyError, TypeError: something is missing or unknown.
        """

        def measured(entry: Mapping[str, Any]) -> Measured:
            return Measured(**{**entry, "point": Point(**entry["point"])})

        chosen = stored["chosen"]
        curve = [measured(entry) for entry in stored["curve"]]
        return cls(**{**stored, "curve": curve, "chosen": None if chosen is None else measured(chosen)})


def tune(
    stage: Stage,
    vectors: Floats,
    queries: Floats,
    *,
    k: int = 10,
    target: float = 0.95,
    latency_ms: float | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Tuning:
    """Recall and speed of a stage at several points, and the fastest whose lower bound of recall meets the target.

    To show 0.95 takes about 100 queries even if none of them misses anything, to show 0.99 about 520.

    Args:
        stage: of the vectors.
        vectors: unit vectors, (size, dim) float32; may be memory-mapped.
        queries: unit vectors of held-out queries, (n, dim) float32: not of documents, which are found too easily.
        k: hits a query.
        target: recall@k that is to be met, in (0, 1].
        latency_ms: points that take longer for one query are not chosen.
        level: that the lower bounds hold at; 1 - 0.025 / n for each of n stages that are tuned on the same queries
            until one meets the target.
        seed: of the choice of the pilot.

    Raises:
        DataError: there are fewer than 10 queries, or they do not fit the vectors.
    """
    if len(queries) < FEWEST_QUERIES:
        raise DataError(f"{len(queries)} queries are too few to tune on.", hint=f"give at least {FEWEST_QUERIES}.")
    order = np.random.default_rng(seed).permutation(len(queries))
    pilots = min(max(int(PILOT_SHARE * len(queries)), 2), MOST_PILOTS)
    pilot, rest = np.sort(order[:pilots]), np.sort(order[pilots:])
    with faiss_threads(len(queries)):
        best, _ = exact_search(queries, vectors, k)
    chain = _chain(_Trial(stage, vectors, queries[pilot], best[pilot], k))
    trial = _Trial(stage, vectors, queries[rest], best[rest], k)
    curve = [trial.measured(point, level) for point in chain]
    passing = _passing(curve, target)
    quick = [entry for entry in passing if latency_ms is None or entry.latency_ms <= latency_ms]
    return Tuning(
        kind=stage.kind,
        k=k,
        target=target,
        queries=len(rest),
        curve=sorted(curve, key=lambda entry: -entry.qps),
        chosen=max(quick, key=lambda entry: entry.qps, default=None),
        failed=None if quick else "latency" if passing else "recall",
    )


def _passing(chain: list[Measured], target: float) -> list[Measured]:
    """Those that are shown to meet the target, of a chain with the most accurate last: up to the first that is not."""
    passing = []
    for entry in reversed(chain):
        if entry.ci_low < target:
            break
        passing.append(entry)
    return passing


@dataclass(frozen=True)
class _Trial:
    """Searches of some queries whose exact hits are known."""

    stage: Stage
    vectors: Floats
    queries: Floats
    truth: Floats
    k: int

    def recalls(self, point: Point) -> tuple[npt.NDArray[np.float64], float]:
        """Recall of each query, and seconds a query."""
        began = time.perf_counter()
        scores, _ = approximate_search(self.stage, self.vectors, self.queries, self.k, point)
        seconds = (time.perf_counter() - began) / len(self.queries)
        return recall_of(scores[:, : self.truth.shape[1]], self.truth), seconds

    def exact_seconds(self) -> float:
        """Seconds that exact search takes for a query, all queries at once."""
        began = time.perf_counter()
        with faiss_threads(len(self.queries)):
            exact_search(self.queries, self.vectors, self.k)
        return (time.perf_counter() - began) / len(self.queries)

    def measured(self, point: Point, level: float) -> Measured:
        recalls, seconds = self.recalls(point)
        times = []
        for row in range(min(TIMED, len(self.queries))):
            began = time.perf_counter()
            approximate_search(self.stage, self.vectors, self.queries[row : row + 1], self.k, point)
            times.append(time.perf_counter() - began)
        low = mean_lower_bound(recalls, level=level)
        return Measured(point, float(recalls.mean()), low, 1 / seconds, 1000 * float(np.median(times)))


def _chain(trial: _Trial) -> list[Point]:
    """Points of the grid that are worth their cost in a pilot, cheapest and least accurate first."""
    trial.recalls(Point(1, 1))  # a first search reads the files and starts the threads
    too_slow = max(WORSE_THAN_EXACT * trial.exact_seconds(), SECONDS_WITHOUT_DOUBT)
    tried = [entry for points in _grid(trial) for entry in _climbed(trial, points, too_slow)]
    chain: list[Point] = []
    most, last_cost = -1.0, 0.0
    for cost, recall, point in sorted(tried, key=lambda entry: entry[0]):
        # Of two that find as much in the pilot the one that tries harder may still find more in other queries.
        harder = bool(chain) and point.effort >= chain[-1].effort and point.factor >= chain[-1].factor
        better = recall > most or (recall == most and harder)
        if recall >= most + CLEAR_GAIN or (better and cost >= CLEAR_COST * last_cost):
            chain.append(point)
            most, last_cost = recall, cost
    return chain


def _climbed(trial: _Trial, points: list[Point], too_slow: float) -> list[tuple[float, float, Point]]:
    """Cost, recall and point of those that are worth a try, of points of rising effort."""
    tried: list[tuple[float, float, Point]] = []
    for point in points:
        recalls, seconds = trial.recalls(point)
        tried.append((seconds, float(recalls.mean()), point))
        saturated = len(tried) > 2 and tried[-1][1] - tried[-3][1] < LEAST_GAIN
        if saturated or seconds > too_slow:
            break
    # More effort cannot be cheaper: where it was, the machine was busy with something else before.
    costs = np.minimum.accumulate([cost for cost, _, _ in tried][::-1])[::-1]
    return [(float(cost), recall, point) for cost, (_, recall, point) in zip(costs, tried, strict=True)]


def _grid(trial: _Trial) -> list[list[Point]]:
    """Points of rising effort for each factor."""
    made, stage = stage_kind(trial.stage.kind), trial.stage
    factors = [factor for factor in made.factors if factor * trial.k <= stage.size] or [made.factors[0]]
    if made.dial is None:
        return [[Point(0, factor) for factor in factors]]
    if made.dial == "nprobe":
        lists = lists_of(stage.size)
        efforts = [effort for effort in LIST_EFFORTS if effort < lists] + [lists]
        return [[Point(effort, factor) for effort in efforts] for factor in factors]
    # A graph is searched with an effort of at least the candidates.
    counts = {factor: Point(0, factor).candidates(trial.k) for factor in factors}
    return [
        [Point(effort, factor) for effort in sorted({count, *GRAPH_EFFORTS}) if effort >= count]
        for factor, count in counts.items()
    ]
