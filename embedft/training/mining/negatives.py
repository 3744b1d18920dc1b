"""Which of the nearest documents become negatives: limits, margins, ranks, and a choice of those that are left.

Pure functions of arrays. With equal options the choice is that of sentence-transformers' ``mine_hard_negatives`` (read
in release 6.2), which means, beyond what the names of the options say:

- as many documents are looked at as ``range_max`` plus the most positives that any query has;
- margins compare with the least similar positive of a query; a relative one is a share of that score's absolute value;
- ranks count what limits and margins have left: ``range_min`` skips the nearest of these, ``range_max`` ends them;
- without ``range_max`` it is ``range_min`` plus ``num_negatives``, times ten where a margin or ``max_score`` may
  take some, plus the most positives;
- scores of a guide or a cross-encoder also order the candidates, and are asked for where a margin or limit needs them;
- ``random`` draws by ``random.sample``, query by query; what replaces a refused document is drawn apart from that.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from embedft.config import HardNegativesConfig
from embedft.errors import ConfigError
from embedft.index.nearest import BLOCK_MB, NONE, Floats, Nearest, Rows, nearest, paired_scores

# (queries (b,), rows of documents (b, m), -1 for none) -> scores (b, m).
Scorer = Callable[[Rows, Rows], Floats]
# (queries (p,), rows of documents (p,)) -> which of these pairs must not be used, (p,) bool.
Refusal = Callable[[Rows, Rows], "np.ndarray"]

# Of the reasons of `Chosen.rejected` the one that is no setting.
KNOWN_TEXTS = "the anchor or given"


@dataclass(frozen=True)
class RowLists:
    """A list of rows for each query, one after the other.

    Attributes:
        starts: where each list begins, and the end of the last, (q + 1,) int64.
        rows: (all,) int64.
    """

    starts: Rows
    rows: Rows

    @classmethod
    def of(cls, lists: list[list[int]]) -> RowLists:
        """The same as arrays."""
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        rows = np.fromiter((row for rows in lists for row in rows), np.int64, int(lengths.sum()))
        return cls(np.concatenate([[0], np.cumsum(lengths)]), rows)

    @property
    def counts(self) -> Rows:
        """Length of each list, (q,)."""
        return np.diff(self.starts)

    def pairs(self, queries: slice) -> tuple[Rows, Rows]:
        """Query, counted from the first of ``queries``, and row of each entry."""
        begin, end = self.starts[queries.start], self.starts[queries.stop]
        counts = self.counts[queries]
        return np.repeat(np.arange(len(counts)), counts), self.rows[begin:end]


@dataclass(frozen=True)
class Chosen:
    """The negatives of each query.

    Attributes:
        rows: of the documents, best first, (q, num_negatives) int64; -1 where no more was found.
        scores: theirs, float32; -inf there.
        positive_scores: of each positive, in the order of ``positives.rows``.
        candidates: documents looked at, without known positives.
        rejected: reason -> candidates that it took, each counted where it was refused first.
    """

    rows: Rows
    scores: Floats
    positive_scores: Floats
    candidates: int
    rejected: dict[str, int] = field(default_factory=dict)


def check_negatives(config: HardNegativesConfig) -> None:
    """Raise ConfigError if the settings leave nothing to be chosen, or one of them has no effect."""
    low, high = config.range_min, config.range_max
    if high is not None and low >= high:
        raise ConfigError(f"range_min is {low}, but range_max is {high}.", hint="use a range_min below range_max.")
    if high is not None and config.num_negatives > high - low:
        raise ConfigError(
            f"num_negatives is {config.num_negatives}, but range_min {low} and range_max {high} leave {high - low}.",
            hint="ask for fewer negatives, or widen the ranks.",
        )
    if config.min_score is not None and config.max_score is not None and config.min_score > config.max_score:
        raise ConfigError(
            f"min_score is {config.min_score:g}, but max_score is {config.max_score:g}.",
            hint="use a min_score below max_score.",
        )
    if config.guide and config.cross_encoder:
        raise ConfigError("guide and cross_encoder are both set.", hint="let one of them decide.")
    limits = (config.absolute_margin, config.relative_margin, config.max_score, config.min_score)
    if (config.guide or config.cross_encoder) and limits == (None,) * 4:
        raise ConfigError(
            f"{'guide' if config.guide else 'cross_encoder'} has nothing to decide on.",
            hint="set a margin, max_score or min_score, or leave it out.",
        )


def choose_negatives(
    queries: Floats,
    documents: Floats,
    positives: RowLists,
    config: HardNegativesConfig,
    *,
    excluded: RowLists | None = None,
    scorer: Scorer | None = None,
    refused: Refusal | None = None,
    seed: int = 0,
    block_mb: int = BLOCK_MB,
    show_progress: bool = False,
) -> Chosen:
    """The negatives of each query, out of its nearest documents; fewer than asked where no more are left.

    Args:
        queries: unit vectors, (q, dim) float32; may be memory-mapped, as may the documents.
        documents: (n, dim) float32.
        positives: rows of the known positives of each query, at least one.
        config: see `HardNegativesConfig`; its fields about texts and models are those of ``refused`` and ``scorer``.
        excluded: further documents that are no negatives of a query.
        scorer: gives the scores that decide in place of the vectors' own.
        refused: says of chosen pairs which must not be used; others of the same ranks take their place.
        seed: of the random choice.
        block_mb: what the search may hold besides the vectors.
        show_progress: on standard error.

    Raises:
        ConfigError: see `check_negatives`.
        DataError: the vectors do not fit together, or are not finite.
    """
    check_negatives(config)
    own = scorer or (lambda numbers, rows: paired_scores(queries[numbers], documents, rows))
    most = int(positives.counts.max(initial=0))
    window = config.range_min, config.range_max or _range_max(config, most)
    draw = _Draw(config, seed)
    rejected: Counter[str] = Counter()
    candidates = 0
    none = np.empty((0, config.num_negatives), np.int64)
    parts: list[tuple[Rows, Floats, Floats]] = [(none, none.astype(np.float32), np.empty(0, np.float32))]
    for found in nearest(queries, documents, window[1] + most, block_mb=block_mb, show_progress=show_progress):
        if scorer is not None:
            found = _rescored(found, scorer)
        owner, rows = positives.pairs(found.queries)
        positive_scores = _in_pieces(own, found.queries.start + owner, rows)
        alive = (found.rows != NONE) & ~_listed(found.rows, owner, rows)
        candidates += int(alive.sum())
        if excluded is not None:
            _reject(alive, _listed(found.rows, *excluded.pairs(found.queries)), KNOWN_TEXTS, rejected)
        least = np.full(len(alive), np.inf, np.float32)
        np.minimum.at(least, owner, positive_scores)
        for reason, unfit in _unfit(found.scores, least[:, None], config):
            _reject(alive, unfit, reason, rejected)
        _narrow(alive, window, rejected)
        chosen = draw(alive)
        if refused is not None:
            _refuse(chosen, alive, found, refused, draw, rejected)
        parts.append((*_packed(chosen, found, config.num_negatives), positive_scores))
    rows, scores, positive_scores = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Chosen(rows, scores, positive_scores, candidates, dict(rejected))


def _range_max(config: HardNegativesConfig, most_positives: int) -> int:
    limits = [config.absolute_margin, config.relative_margin, config.max_score]
    if config.guide or config.cross_encoder:
        limits.append(config.min_score)
    some_go = any(limit is not None for limit in limits)
    return config.range_min + config.num_negatives * (10 if some_go else 1) + most_positives


def _rescored(found: Nearest, scorer: Scorer) -> Nearest:
    """The same documents with the scores of ``scorer``, in their order."""
    scores = scorer(np.arange(found.queries.start, found.queries.stop), found.rows)
    scores = np.where(found.rows == NONE, np.float32(-np.inf), scores).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")
    rows = np.take_along_axis(found.rows, order, 1)
    return Nearest(found.queries, np.take_along_axis(scores, order, 1), rows)


def _in_pieces(scorer: Scorer, queries: Rows, rows: Rows, piece: int = 8192) -> Floats:
    """The score of each (query, row)."""
    places = range(0, len(queries), piece)
    scores = [scorer(queries[at : at + piece], rows[at : at + piece, None])[:, 0] for at in places]
    return np.concatenate(scores) if scores else np.empty(0, np.float32)


def _listed(rows: Rows, owner: Rows, listed: Rows) -> np.ndarray:
    """Where ``rows`` (b, m) holds a row that is listed for its query, (b, m) bool."""
    mask = np.zeros(rows.shape, bool)
    for begin in range(0, len(owner), len(rows)):
        part = slice(begin, begin + len(rows))
        number, place = np.nonzero(rows[owner[part]] == listed[part, None])
        mask[owner[part][number], place] = True
    return mask


def _unfit(scores: Floats, least: Floats, config: HardNegativesConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Reason and (b, m) bool of what each limit forbids; ``least`` is the least similar positive's score, (b, 1)."""
    if config.absolute_margin is not None:
        yield "absolute_margin", scores + np.float32(config.absolute_margin) > least
    if config.relative_margin is not None:
        yield "relative_margin", scores > least - np.abs(least) * np.float32(config.relative_margin)
    if config.max_score is not None:
        yield "max_score", scores > np.float32(config.max_score)
    if config.min_score is not None:
        yield "min_score", scores < np.float32(config.min_score)


def _reject(alive: np.ndarray, unfit: np.ndarray, reason: str, rejected: Counter[str]) -> None:
    rejected[reason] += int((alive & unfit).sum())
    alive &= ~unfit


def _narrow(alive: np.ndarray, window: tuple[int, int], rejected: Counter[str]) -> None:
    """Keep those of the ranks, from the first after ``window[0]`` to ``window[1]``."""
    rank = np.cumsum(alive, axis=1, dtype=np.int32)
    if window[0]:
        _reject(alive, rank <= window[0], "range_min", rejected)
    alive &= rank <= window[1]


@dataclass
class _Draw:
    """Chooses as many of the candidates of each query as are asked for."""

    config: HardNegativesConfig
    seed: int

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def __call__(self, alive: np.ndarray) -> np.ndarray:
        """(b, m) bool, part of ``alive``; of all queries in their order, each once."""
        return self._of(alive, repeat(self.random))

    def again(self, alive: np.ndarray, queries: Rows) -> np.ndarray:
        """Another choice, of the queries of these numbers, that moves the draws of no others: blocks change nothing."""
        options = zip(queries.tolist(), alive.sum(1).tolist(), strict=True)
        return self._of(alive, (random.Random(f"{self.seed} {query} {left}") for query, left in options))

    def _of(self, alive: np.ndarray, randoms: Iterable[random.Random]) -> np.ndarray:
        wanted = self.config.num_negatives
        if self.config.sampling_strategy == "top":
            return np.asarray(alive & (np.cumsum(alive, axis=1, dtype=np.int32) <= wanted))
        options = alive.sum(1)
        places = np.flatnonzero(alive)
        # sentence-transformers draws for each query, also where there is no choice; so the same seed gives the same.
        each = zip(options.tolist(), randoms, strict=False)
        drawn = [own.sample(range(max(count, wanted)), wanted) for count, own in each]
        picks = np.array(drawn, np.int64).reshape(len(alive), wanted)
        there = picks < options[:, None]
        chosen = np.zeros_like(alive)
        chosen.reshape(-1)[places[(picks + (np.cumsum(options) - options)[:, None])[there]]] = True
        return chosen


def _refuse(
    chosen: np.ndarray, alive: np.ndarray, found: Nearest, refused: Refusal, draw: _Draw, rejected: Counter[str]
) -> None:
    """Replace in ``chosen`` what is refused by others of ``alive``, until nothing is."""
    accepted = np.zeros_like(chosen)
    open_queries = np.arange(len(chosen))
    while len(open_queries):
        number, place = np.nonzero(chosen[open_queries] & ~accepted[open_queries])
        query = open_queries[number]
        bad = refused(query + found.queries.start, found.rows[query, place])
        accepted[query[~bad], place[~bad]] = True
        alive[query[bad], place[bad]] = False
        rejected["near_duplicates"] += int(bad.sum())
        open_queries = np.unique(query[bad])
        chosen[open_queries] = draw.again(alive[open_queries], open_queries + found.queries.start)


def _packed(chosen: np.ndarray, found: Nearest, wanted: int) -> tuple[Rows, Floats]:
    """Rows and scores of the chosen, best first, (b, wanted), filled up with -1 and -inf."""
    query, place = np.nonzero(chosen)
    rank = np.cumsum(chosen, axis=1, dtype=np.int32)[query, place] - 1
    rows = np.full((len(chosen), wanted), NONE, np.int64)
    scores = np.full(rows.shape, -np.inf, np.float32)
    rows[query, rank], scores[query, rank] = found.rows[query, place], found.scores[query, place]
    return rows, scores
