"""Classification under stress: the texts change, the head stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from embedft.data.thesaurus import Thesaurus
from embedft.encoder import Encoder
from embedft.evaluation.classification import ClassificationEvaluation, Classifier, decided, evaluate_classification
from embedft.evaluation.sampling import drawn_by_hash
from embedft.evaluation.stress.conditions import MOST, Condition, Pool, Prompts, Rows, conditions_of
from embedft.evaluation.stress.contrast import nearness, negations_of
from embedft.evaluation.stress.table import Outcome, StressTable, stress_table
from embedft.evaluation.tally import LOWER_IS_BETTER


def stress_classification(
    encoder: Encoder,
    head: Classifier,
    texts: pa.Table,
    *,
    data: str,
    split: str = "test",
    metric: str = "accuracy",
    thesaurus: Thesaurus | None = None,
    most: int = MOST,
    seed: int = 0,
    show_progress: bool = False,
) -> StressTable:
    """What each stress on the texts takes from a metric of classification; texts out of scope are left out.

    Whether a negated text keeps its class depends on the classes: of an opinion it should not, of a topic it should.
    So it is told how often the prediction stays, and not called right or wrong.

    Args:
        encoder: of the texts.
        head: on its vectors.
        texts: columns text, labels.
        data: name of the data, for the report.
        split: name of the split.
        metric: a name in `embedft.evaluation.tally.STATISTICS`.
        thesaurus: for synonyms; they are left out without one.
        most: texts that are judged, drawn by hash if there are more.
        seed: of the sample and the stresses.
        show_progress: on standard error.

    Raises:
        ConfigError: an unknown metric.
        DataError: no text has a label that the head knows.
    """
    known = np.array([bool(set(row) & set(head.classes)) for row in texts["labels"].to_pylist()], bool)
    inside = texts.filter(known) if known.any() else texts
    drawn = inside.take(drawn_by_hash(inside["text"].to_pylist(), most, seed))
    judged = evaluate_classification(
        encoder, head, drawn, data=data, split=split, metrics=[metric], show_progress=show_progress
    )
    prompts = Prompts(encoder.prompts["document"], encoder.prompts["query"])
    pool = Pool(lambda texts, prompt: encoder.encode(texts, prompt=prompt, show_progress=show_progress))
    base = pool.rows_of(judged.texts, prompts.own)
    conditions, left_out = conditions_of(judged.texts, "classification", pool, prompts, thesaurus=thesaurus, seed=seed)
    negations = negations_of(judged.texts, pool, prompts.own)
    vectors = pool.vectors()
    chances = head.probabilities(vectors)

    def under(rows: Rows) -> ClassificationEvaluation:
        return replace(judged, probabilities=chances[rows])

    plain = under(base)

    def outcome(condition: Condition) -> Outcome:
        stressed = under(condition.rows)
        lost = plain.correct.astype(np.float64) - stressed.correct if metric == "accuracy" else None
        return stressed.metrics[metric], stressed.compare(plain, seed=seed)[metric], lost

    _, names = np.unique(decided(chances, head.several), axis=0, return_inverse=True)
    return stress_table(
        conditions, vectors, base, outcome, lower_is_better=metric in LOWER_IS_BETTER,
        model=encoder.name, data=data, split=split, task="classification", metric=metric, unit="texts",
        count=judged.count, of=inside.num_rows, score=plain.metrics[metric], encoded=len(pool), left_out=left_out,
        negation=nearness(negations, base, vectors, lambda rows: names[rows], "the predicted class is the same"),
    )  # fmt: skip
