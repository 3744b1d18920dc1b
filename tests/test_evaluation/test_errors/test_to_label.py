"""Documents to label next: judgments that were hidden come first, and near duplicates are told as such."""

import numpy as np
import pyarrow as pa
from error_cases import data_of, document_id, evaluation_of, one_relevant_each, query_id

from embedft.data import read_retrieval
from embedft.data.retrieval import QRELS_SCHEMA
from embedft.evaluation import Ranking, RetrievalEvaluation, score_ranking
from embedft.evaluation.errors.judged import Case
from embedft.evaluation.errors.overlap import Vocabulary
from embedft.evaluation.errors.to_label import OF_ONE_QUERY, SUGGESTED, to_label
from embedft.index.lexical import Lexical


def suggestions(data, scores, others=None):
    against = evaluation_of(data, others, model="other") if others is not None else None
    case = Case.of(evaluation_of(data, scores), against, data)
    return to_label(case, Vocabulary(case, "english"), 10)


def test_a_hidden_judgment_that_both_models_rank_first_is_the_first_suggestion():
    data, scores = one_relevant_each(60, 80)
    others = np.random.default_rng(5).normal(size=scores.shape) + scores / 2
    # Document 70 answers query 9 too, and nobody has judged that.
    scores[9, [70, 9]] = 9, 8
    others[9, [70, 9]] = 9, 8
    first = suggestions(data, scores, others)[0]
    assert (first["query_id"], first["id"], first["rank"], first["against_rank"]) == (
        query_id(9),
        document_id(70),
        1,
        1,
    )
    assert "ranked 1 with 9.000, the first relevant one 2 with 8.000" in first["why"]
    assert "the other model ranks it 1" in first["why"]


def test_a_near_duplicate_of_a_relevant_document_is_told_wherever_it_stands():
    data, scores = one_relevant_each(60, 80)
    texts = data.corpus["text"].to_pylist()
    texts[70] = texts[9].upper() + "!"
    texts[71] = texts[10] + " and something else entirely, which makes it another document"
    copied = data_of(texts, data.queries["text"].to_pylist(), [(row, row, 1) for row in range(60)])
    scores[9, [9, 70]] = 8, 7.9
    scores[10, [10, 71]] = 8, 7.9
    # However far a document stands out, a copy is surer.
    scores[11, [11, 72]] = 20, 21
    found = suggestions(copied, scores)
    assert (found[0]["id"], found[0]["duplicate_of"]) == (document_id(70), document_id(9))
    assert found[0]["why"].startswith(f"near duplicate of the relevant document {document_id(9)!r}")
    assert [one["duplicate_of"] for one in found[1:]] == [None] * (len(found) - 1)


def test_what_was_judged_is_never_suggested_and_no_query_fills_the_list():
    data, scores = one_relevant_each(50, 60)
    judged = data_of(
        data.corpus["text"].to_pylist(), data.queries["text"].to_pylist(),
        [(row, row, 1) for row in range(50)] + [(row, (row + 1) % 60, 0) for row in range(50)],
    )  # fmt: skip
    scores[np.arange(50), (np.arange(50) + 1) % 60] = 20
    found = suggestions(judged, scores)
    assert len(found) <= SUGGESTED
    pairs = [(int(one["query_id"][1:]), int(one["id"][1:])) for one in found]
    assert not any(document in (query, (query + 1) % 60) for query, document in pairs)
    assert max(sum(other == query for other, _ in pairs) for query, _ in pairs) <= OF_ONE_QUERY


def test_hidden_judgments_of_cranfield_are_suggested_several_times_more_often_than_by_chance(shared, tmp_path):
    data = read_retrieval(shared / "retrieval" / "cranfield")
    names, queries = data.judged_queries("test")
    qrels = data.split("test").to_pandas()
    hidden = (np.random.default_rng(0).random(len(qrels)) < 0.3) & (qrels["grade"] > 0)
    left = set(qrels[~hidden & (qrels["grade"] > 0)]["query_id"])
    hidden &= qrels["query_id"].isin(left)
    gone = set(zip(qrels[hidden]["query_id"], qrels[hidden]["corpus_id"], strict=True))
    kept = [name for name in names if name in left]
    data = data.with_split("test", pa.Table.from_pandas(qrels[~hidden], QRELS_SCHEMA, preserve_index=False))

    def searched(language):
        """Lexical search, which ranks a whole corpus in a second."""
        folder = tmp_path / str(language)
        Lexical.write(data.document_texts(), folder, language=language)
        scores, rows = Lexical.open(folder).search([queries[names.index(name)] for name in kept], 100)
        ranking = Ranking(kept, data.corpus["id"].to_pylist(), rows, scores)
        per_query = score_ranking(ranking, data.split("test"), ["ndcg@10"])
        return RetrievalEvaluation(str(language), "cranfield", "test", kept, per_query, ranking)

    own, against = searched("english"), searched(None)
    found = to_label(case := Case.of(own, against, data), Vocabulary(case, "english"), 10)
    precision = np.mean([(one["query_id"], one["id"]) in gone for one in found])
    above = ~case.own.judged[:, :10] & (case.own.first_relevant[:, None] > np.arange(1, 11))
    chance = np.mean([
        (kept[query], case.documents.ids[case.own.rows[query, place]]) in gone
        for query, place in zip(*np.nonzero(above), strict=True)
    ])  # fmt: skip
    assert len(found) == SUGGESTED
    assert precision > 2.5 * chance > 0
