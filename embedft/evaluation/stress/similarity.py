"""Similarity under stress: the second text of each pair changes, the first stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from embedft.data.near import normalised
from embedft.data.thesaurus import Thesaurus
from embedft.encoder import Encoder
from embedft.evaluation.sampling import SAME_MEANING, drawn_by_hash, same_in_meaning
from embedft.evaluation.similarity import SimilarityEvaluation, evaluate_similarity
from embedft.evaluation.stress.conditions import MOST, Condition, Pool, Prompts, Rows, conditions_of
from embedft.evaluation.stress.contrast import Nearness, cosines
from embedft.evaluation.stress.negation import negated
from embedft.evaluation.stress.table import Outcome, StressTable, stress_table
from embedft.evaluation.stress.wording import looks_english


def stress_similarity(
    encoder: Encoder,
    pairs: pa.Table,
    *,
    data: str,
    split: str = "test",
    metric: str = "spearman",
    thesaurus: Thesaurus | None = None,
    most: int = MOST,
    seed: int = 0,
    show_progress: bool = False,
) -> StressTable:
    """What each stress on the second text of a pair takes from the correlation of cosines and scores.

    One side alone changes, as a clean text meets a noisy one in use; were both changed alike, cosines would rise with
    what was added to both. The prompt is another matter: it changes on both sides.

    The contrast of negation takes the pairs that are `same_in_meaning`: is a text nearer to its negation than to
    the text that people say means the same?

    Args:
        encoder: of the texts.
        pairs: columns sentence1, sentence2, score (0..1).
        data: name of the data, for the report.
        split: name of the split.
        metric: spearman or pearson.
        thesaurus: for synonyms; they are left out without one.
        most: pairs that are judged, drawn by hash if there are more.
        seed: of the sample and the stresses.
        show_progress: on standard error.

    Raises:
        ConfigError: an unknown metric.
        DataError: fewer than three pairs, or all have one score.
    """
    sides = zip(pairs["sentence1"].to_pylist(), pairs["sentence2"].to_pylist(), strict=True)
    joined = [f"{left}\n{right}" for left, right in sides]
    drawn = pairs.take(drawn_by_hash(joined, most, seed))
    judged = evaluate_similarity(encoder, drawn, data=data, split=split, metrics=[metric], show_progress=show_progress)
    left, right = [one for one, _ in judged.texts], [other for _, other in judged.texts]
    prompts = Prompts(encoder.prompts["document"], encoder.prompts["query"])
    pool = Pool(lambda texts, prompt: encoder.encode(texts, prompt=prompt, show_progress=show_progress))
    first, base = pool.rows_of(left, prompts.own), pool.rows_of(right, prompts.own)
    conditions, left_out = conditions_of(right, "similarity", pool, prompts, fixed=left, thesaurus=thesaurus, seed=seed)
    contrast = _Contrast(judged, pool, prompts.own)
    vectors = pool.vectors()
    # Of the same vectors as the others, so that what does not change differs by nothing.
    plain = replace(judged, cosines=cosines(vectors, first, base))

    def outcome(condition: Condition) -> Outcome:
        one, other = np.split(condition.rows, 2)
        stressed = replace(judged, cosines=cosines(vectors, one, other))
        return stressed.metrics[metric], stressed.compare(plain, seed=seed)[metric], None

    return stress_table(
        conditions, vectors, base, outcome,
        model=encoder.name, data=data, split=split, task="similarity", metric=metric, unit="pairs",
        count=judged.count, of=pairs.num_rows, score=plain.metrics[metric], encoded=len(pool), left_out=left_out,
        negation=contrast.nearness(vectors) if len(contrast.own) else None,
    )  # fmt: skip


class _Contrast:
    """Paraphrases of which one text, the first if possible, can be negated: rows of it, its negation, the other."""

    def __init__(self, judged: SimilarityEvaluation, pool: Pool, prompt: str) -> None:
        found = [
            pair
            for pair, same in zip(judged.texts, same_in_meaning(judged.scores).tolist(), strict=True)
            if same and normalised(pair[0]) != normalised(pair[1])
        ]
        self.of = len(found)
        english = looks_english([text for pair in found for text in pair])
        sides = [next((pair for pair in (both, both[::-1]) if negated(pair[0]) != pair[0]), None) for both in found]
        self.pairs = [pair for pair in sides if pair is not None] if english else []
        self.own: Rows = pool.rows_of([own for own, _ in self.pairs], prompt)
        self.negated: Rows = pool.rows_of([negated(own) for own, _ in self.pairs], prompt)
        self.other: Rows = pool.rows_of([other for _, other in self.pairs], prompt)

    def nearness(self, vectors: np.ndarray) -> Nearness:
        return Nearness(
            of=self.of,
            cosines=cosines(vectors, self.own, self.negated),
            rivals=cosines(vectors, self.own, self.other),
            rival=f"the text that people scored {SAME_MEANING:g} or more with it",
            example=(self.pairs[0][0], negated(self.pairs[0][0])),
        )
