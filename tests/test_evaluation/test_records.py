"""What is written of an evaluation is read back as the same evaluation; what is damaged, old or missing says so."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedft.data import read_retrieval
from embedft.encoder import Encoder
from embedft.errors import ArtifactError
from embedft.evaluation import (
    ClassificationEvaluation,
    RetrievalEvaluation,
    SimilarityEvaluation,
    compare,
    comparison_dict,
    evaluate_retrieval,
    evaluate_similarity,
    ranking_of_run,
)
from embedft.evaluation.analysis import write_analysis
from embedft.evaluation.classification import OutOfScope
from embedft.evaluation.digest import digest_of_pairs, digest_of_retrieval, digest_of_texts
from embedft.evaluation.records import read_record, write_record


def written(folder, evaluation, against=None):
    folder.mkdir()
    comparison = compare(evaluation, against) if against is not None else {}
    answer = comparison_dict(evaluation, against, comparison)
    write_record(folder, answer, evaluation, against)
    return answer


def same(one, two):
    assert type(one) is type(two)
    for name in one.__dataclass_fields__:
        left, right = getattr(one, name), getattr(two, name)
        if name == "vectors":
            assert right is None
        elif isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right)
        elif name == "per_query":
            assert left.keys() == right.keys()
            assert all((left[metric] == right[metric]).all() for metric in left)
        elif name == "ranking":
            assert [found(left, row) for row in range(len(left.rows))] == [
                found(right, row) for row in range(len(right.rows))
            ]
        elif name == "out_of_scope" and left is not None:
            assert (left.texts, left.labels) == (right.texts, right.labels)
            np.testing.assert_array_equal(left.scores, right.scores)
            np.testing.assert_array_equal(left.probabilities, right.probabilities)
        else:
            assert left == right, name


def found(ranking, row):
    held = ranking.rows[row] >= 0
    return [ranking.document_ids[document] for document in ranking.rows[row][held]], ranking.scores[row][held].tolist()


@pytest.fixture(scope="module")
def retrieval(encoder, garden_data):
    return evaluate_retrieval(encoder, garden_data, keep_vectors=True)


def classified(seed, several=False, outside=True):
    rng = np.random.default_rng(seed)
    classes = ("account", "balance", "card | limit", "zürich")
    chances = rng.dirichlet(np.ones(4), 30)
    labels = np.zeros((30, 4), bool)
    labels[np.arange(30), np.random.default_rng(9).integers(0, 4, 30)] = True
    if several:
        labels[:5] = True
        labels[5] = False
    other = OutOfScope(["a", "a"], [("oos",), ()], rng.random(2), rng.dirichlet(np.ones(4), 2)) if outside else None
    return ClassificationEvaluation(
        f"model {seed}", "data", "test", ("accuracy", "macro_f1", "ece", "nll"), classes, several,
        [f"text {number}\n" for number in range(30)], labels, chances, rng.random(30), 0.4, 0.125, other,
        data_sha256="d" * 64, fingerprint=None,
    )  # fmt: skip


def paired(seed):
    rng = np.random.default_rng(seed)
    texts = [(f"left {row}", f"right {row}") for row in range(40)]
    scores = np.random.default_rng(5).random(40)
    return SimilarityEvaluation(
        f"model {seed}", "data", "dev", ("spearman", "pearson"), texts, scores, rng.random(40), "d" * 64, "f" * 64
    )


def test_a_retrieval_is_read_back_with_its_rankings_and_its_comparison(
    retrieval, encoder, other_model, garden_data, tmp_path
):
    other = evaluate_retrieval(Encoder.load(other_model, precision="float32"), garden_data)
    written(tmp_path / "r", retrieval, other)
    record = read_record(tmp_path / "r")
    same(retrieval, record.evaluation)
    same(other, record.against)
    assert record.evaluation.metrics == retrieval.metrics
    assert record.evaluation.compare(record.against) == retrieval.compare(other)
    assert retrieval.vectors.documents.shape == (48, encoder.dim)
    assert pq.read_table(tmp_path / "r" / "per_query.parquet").column_names[:2] == ["query_id", "query"]


def test_a_ranking_that_stops_early_or_is_empty_is_read_back(tmp_path):
    run = {"q1": {"b": 0.5, "a": 0.5, "c": 0.1}, "q2": {}, "q3": {"c": 3.0}}
    per_query = {"ndcg@10": np.array([0.1, 0.0, 1.0])}
    own = RetrievalEvaluation("m", "data", "test", list(run), per_query, ranking_of_run(run), data_sha256="0")
    written(tmp_path / "r", own)
    read = read_record(tmp_path / "r").evaluation
    same(own, read)
    assert read.queries == []


def test_pairs_are_read_back_with_equal_correlations_and_comparison(tmp_path):
    one, two = paired(1), paired(2)
    written(tmp_path / "r", one, two)
    record = read_record(tmp_path / "r")
    same(one, record.evaluation)
    same(two, record.against)
    assert record.evaluation.metrics == one.metrics
    assert record.evaluation.compare(record.against) == one.compare(two)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("outside", [False, True])
def test_labelled_texts_are_read_back_so_that_every_metric_is_computed_anew(tmp_path, several, outside):
    one, two = classified(1, several, outside), classified(2, several, outside)
    written(tmp_path / "r", one, two)
    record = read_record(tmp_path / "r")
    same(one, record.evaluation)
    same(two, record.against)
    assert record.evaluation.as_dict() == one.as_dict()
    assert record.evaluation.compare(record.against) == one.compare(two)


def test_a_metric_that_is_no_number_is_null_in_the_file_and_none_again_when_read(tmp_path):
    scores = np.array([0.5, np.nan])
    run = ranking_of_run({"q1": {"a": 1.0}, "q2": {"a": 1.0}})
    written(tmp_path / "r", RetrievalEvaluation("m", "d", "test", ["q1", "q2"], {"ndcg@10": scores}, run))
    assert json.loads((tmp_path / "r" / "metrics.json").read_text())["metrics"] == {"ndcg@10": None}
    assert np.isnan(read_record(tmp_path / "r").evaluation.metrics["ndcg@10"])


def test_a_number_that_json_does_not_know_is_never_written_as_evidence(retrieval, tmp_path):
    answer = written(tmp_path / "one", retrieval)
    with pytest.raises(ValueError, match="JSON"):
        write_record(tmp_path / "one", {**answer, "more": float("inf")}, retrieval, None)
    with pytest.raises(ValueError, match="JSON"):
        write_analysis(tmp_path / "one", {"errors": float("nan")})
    assert json.loads((tmp_path / "one" / "metrics.json").read_text()) == answer


def test_the_digest_is_of_what_was_judged_not_of_files_order_or_other_splits(garden, garden_data):
    digest = digest_of_retrieval(garden_data, "test")
    assert digest != digest_of_retrieval(garden_data, "dev")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        lines = (garden / name).read_text().splitlines()
        head, rows = (lines[:1], lines[1:]) if name.endswith("tsv") else ([], lines)
        (garden / name).write_text("\n".join([*head, *rows[::-1]]) + "\n")
    (garden / "qrels" / "train.tsv").unlink()
    assert digest_of_retrieval(read_retrieval(garden), "test") == digest
    queries = (garden / "queries.jsonl").read_text()
    judged = garden_data.judged_queries("test")[1][0]
    (garden / "queries.jsonl").write_text(queries.replace(judged, judged + "?"))
    assert digest_of_retrieval(read_retrieval(garden), "test") != digest


def test_the_digests_of_rows_do_not_depend_on_their_order_but_on_every_field():
    pairs = pa.table({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [0.5, 1.0]})
    assert digest_of_pairs(pairs) == digest_of_pairs(pairs.take([1, 0]))
    assert digest_of_pairs(pairs) != digest_of_pairs(pairs.set_column(2, "score", pa.array([0.5, 0.9])))
    assert digest_of_pairs(pairs) != digest_of_pairs(pa.concat_tables([pairs, pairs]))
    texts = pa.table({"text": ["a", "bc"], "labels": [["x", "y"], ["z"]]})
    swapped = pa.table({"text": ["bc", "a"], "labels": [["z"], ["y", "x"]]})
    assert digest_of_texts(texts) == digest_of_texts(swapped)
    assert digest_of_texts(texts) != digest_of_texts(pa.table({"text": ["a", "b"], "labels": [["x", "y"], ["cz"]]}))
    assert digest_of_texts(texts, swapped) == digest_of_texts(swapped, texts) != digest_of_texts(texts)
    assert digest_of_texts(texts, texts[:1]) != digest_of_texts(texts, texts[1:])
    assert digest_of_texts(texts[:1], texts[1:]) != digest_of_texts(texts[1:], texts[:1])


def test_an_evaluation_says_by_which_encoder_and_of_what(retrieval, encoder, garden_data):
    answer = retrieval.as_dict()
    assert answer["fingerprint"] == encoder.fingerprint
    assert answer["data_sha256"] == digest_of_retrieval(garden_data, "test")
    assert (answer["task"], answer["unit"], answer["format"]) == ("retrieval", "queries", 1)
    pairs = pa.table({"sentence1": ["a", "b", "c"], "sentence2": ["c", "d", "e"], "score": [0.5, 1.0, 0.0]})
    judged = evaluate_similarity(encoder, pairs, data="p", keep_vectors=True)
    assert judged.as_dict()["data_sha256"] == digest_of_pairs(pairs)
    left, right = (judged.vectors.documents[judged.vectors.rows[:, side]] for side in (0, 1))
    np.testing.assert_allclose((left * right).sum(1), judged.cosines, atol=1e-6)


def broken(path, what):
    if what == "unfinished":
        (path / "metrics.json").rename(path / "run.json")
    elif what == "empty":
        (path / "metrics.json").unlink()
    elif what == "no json":
        (path / "metrics.json").write_text("{")
    elif what == "cut parquet":
        (path / "per_query.parquet").write_bytes((path / "per_query.parquet").read_bytes()[:-20])
    elif what == "no ranking":
        (path / "ranking.parquet").unlink()
    elif what == "lost queries":
        pq.write_table(pq.read_table(path / "per_query.parquet").slice(1), path / "per_query.parquet")
    elif what == "lost column":
        pq.write_table(pq.read_table(path / "per_query.parquet").drop(["mrr@10"]), path / "per_query.parquet")
    elif what == "other scores":
        table = pq.read_table(path / "per_query.parquet")
        pq.write_table(table.set_column(2, "ndcg@10", pa.array([0.0] * table.num_rows)), path / "per_query.parquet")
    else:
        change = {"old": {"format": None}, "later": {"format": 99}, "strange": {"task": "telepathy"}}[what]
        answer = {**json.loads((path / "metrics.json").read_text()), **change}
        (path / "metrics.json").write_text(json.dumps({key: value for key, value in answer.items() if value}))


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("unfinished", "not finished"),
        ("empty", "no metrics.json"),
        ("no json", "is not JSON"),
        ("cut parquet", "per_query.parquet cannot be read"),
        ("no ranking", "ranking.parquet is missing"),
        ("lost queries", "has 23 queries, metrics.json 24"),
        ("lost column", "no column mrr@10"),
        ("other scores", "do not belong together"),
        ("old", "earlier embedft"),
        ("later", "format 99"),
        ("strange", "telepathy"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why_and_what_to_do(retrieval, tmp_path, what, says):
    written(tmp_path / "r", retrieval)
    broken(tmp_path / "r", what)
    with pytest.raises(ArtifactError, match=says) as caught:
        read_record(tmp_path / "r")
    assert str(tmp_path / "r") in caught.value.message
    assert caught.value.hint


def test_a_write_that_was_cut_off_is_not_taken_for_an_evaluation(retrieval, tmp_path):
    written(tmp_path / "r", retrieval)
    shutil.copytree(tmp_path / "r", tmp_path / "s")
    (tmp_path / "s" / "metrics.json").unlink()
    with pytest.raises(ArtifactError, match=r"no metrics\.json"):
        read_record(tmp_path / "s")
