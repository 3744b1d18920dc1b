"""Run files are read as every tool reads them, written so that they are read back the same, and refused by line."""

import gzip
import json
import logging

import numpy as np
import pytest

from embedft.errors import DataError
from embedft.evaluation import evaluate_retrieval, ranking_of_run
from embedft.evaluation.runfile import RunFile, _distinct, evaluate_run, read_run, write_run

METRICS = ["ndcg@10", "mrr@10", "recall@20", "precision@5", "map@20"]


@pytest.fixture(scope="module")
def evaluation(encoder, garden_data):
    return evaluate_retrieval(encoder, garden_data, metrics=METRICS)


def grades(data):
    found = {}
    for row in data.qrels["test"].to_pylist():
        if row["grade"] > 0:
            found.setdefault(row["query_id"], {})[row["corpus_id"]] = row["grade"]
    return found


@pytest.mark.parametrize("name", ["run.trec", "run.json", "run.trec.gz", "run.json.zst"])
def test_a_ranking_that_is_written_is_read_back_with_equal_scores(evaluation, garden_data, tmp_path, name):
    write_run(tmp_path / name, evaluation.query_ids, evaluation.ranking, name="two words")
    run = read_run(tmp_path / name)
    assert run.name == ("run" if "json" in name else "two_words")
    again = evaluate_run(run, garden_data, metrics=METRICS)
    assert again.query_ids == evaluation.query_ids
    assert again.data_sha256 == evaluation.data_sha256
    np.testing.assert_array_equal(again.ranking.scores, evaluation.ranking.scores)
    for metric in METRICS:
        np.testing.assert_array_equal(again.per_query[metric], evaluation.per_query[metric])
    before = (tmp_path / name).read_bytes()
    write_run(tmp_path / name, evaluation.query_ids, again.ranking, name="two words")
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.slow
def test_ranx_and_trec_eval_read_the_same_metrics_out_of_the_file_and_ranx_writes_the_like(
    evaluation, garden_data, tmp_path
):
    import pytrec_eval
    from ranx import Qrels, Run, evaluate

    path = tmp_path / "run.trec"
    write_run(path, evaluation.query_ids, evaluation.ranking)
    judged = grades(garden_data)
    theirs = Run.from_file(str(path))
    by_ranx = evaluate(Qrels(judged), theirs, METRICS)
    with path.open() as file:
        run = pytrec_eval.parse_run(file)
    trec = {"ndcg@10": "ndcg_cut_10", "recall@20": "recall_20", "precision@5": "P_5", "map@20": "map_cut_20"}
    found = pytrec_eval.RelevanceEvaluator(judged, set(trec.values())).evaluate(run)
    for metric, value in evaluation.metrics.items():
        assert by_ranx[metric] == pytest.approx(value, abs=1e-12)
        if metric in trec:
            mean = np.mean([found[query][trec[metric]] for query in evaluation.query_ids])
            assert mean == pytest.approx(value, abs=1e-12)
    for name in ("theirs.json", "theirs.trec", "theirs.txt"):
        theirs.save(str(tmp_path / name))
        assert read_run(tmp_path / name).hits == read_run(path).hits


def test_equal_scores_stand_in_the_order_of_their_ids_whatever_the_file_says(garden_data, tmp_path):
    query = garden_data.judged_queries("test")[0][0]
    ids = sorted(garden_data.corpus["id"].to_pylist())[:3]
    lines = [f"{query} Q0 {document} {rank} 1.0 tag\n" for rank, document in enumerate(ids[::-1], start=1)]
    (tmp_path / "run").write_text("".join(lines))
    ranking = evaluate_run(read_run(tmp_path / "run"), garden_data).ranking
    assert [ranking.document_ids[row] for row in ranking.rows[0]] == ids


def test_a_judged_query_that_the_run_lacks_scores_nothing_and_is_told(evaluation, garden_data, caplog):
    hits = {query: {garden_data.corpus["id"][0].as_py(): 1.0} for query in evaluation.query_ids[:20]}
    # A query that only train judges is no fault: test does not ask for it.
    hits[garden_data.judged_queries("train")[0][0]] = {"fern-place": 1.0}
    caplog.set_level(logging.WARNING, "embedft")
    logging.getLogger("embedft").propagate = True
    found = evaluate_run(RunFile("r", "r", hits), garden_data)
    assert found.query_ids == evaluation.query_ids
    assert all((scores[20:] == 0).all() for scores in found.per_query.values())
    assert "finds nothing for 4 of 24 judged queries" in caplog.text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("q73 Q0 fern-place 1 0.5\n", ":1: has 5 columns, expected 6"),
        ("q73 Q0 a 1 0.5 t\nq73 Q0 b 2 high t\n", ":2: the score is 'high'"),
        ("q73 Q0 a 1 nan t\n", ":1: the score is 'nan'"),
        ("q73 Q0 a 1 inf t\n", ":1: the score is 'inf'"),
        ("q73 Q0 a 1 1_0 t\n", ":1: the score is '1_0'"),
        ("q73 Q0 a 1 \u0663 t\n", ":1: the score is '\u0663'"),
        ("q73 Q0 a 1 2 t\n\nq73 Q0 a 2 1 t\n", ":3: query 'q73' finds document 'a' a second time"),
    ],
)
def test_a_fault_of_a_trec_file_is_named_by_its_line(tmp_path, content, says):
    (tmp_path / "run.trec").write_text(content)
    with pytest.raises(DataError) as caught:
        read_run(tmp_path / "run.trec")
    assert says in caught.value.message and caught.value.message.startswith(str(tmp_path / "run.trec"))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{}", "is empty"),
        ('{"q1": {}}', "is empty"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1]", "is not an object of objects"),
        ('{"q1": 3}', "is not an object of objects"),
        ('{"q1": {"a": "high"}}', "query 'q1', document 'a': the score is 'high'"),
        ('{"q1": {"a": NaN}}', "the score is nan"),
        ('{"q1": {"a": true}}', "the score is True"),
        ('{"q1": {"a": 1%s}}' % ("0" * 400), "the score is 1000"),
        ('{"q1": {"a": 1, "a": 2}}', "'a' stands twice"),
    ],
)
def test_a_fault_of_a_json_run_is_named(tmp_path, content, says):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(DataError) as caught:
        read_run(tmp_path / "run.json")
    assert says in caught.value.message
    assert "line" not in caught.value.hint


class Counted(str):
    """A key that counts how often it is compared."""

    compared = 0

    def __eq__(self, other):
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_a_key_that_stands_twice_is_found_without_comparing_all_with_all(tmp_path):
    pairs = [(Counted(number), 1.0) for number in (*range(2000), 1999)]
    with pytest.raises(DataError, match="'1999' stands twice"):
        _distinct(tmp_path / "run.json", pairs)
    assert Counted.compared < 10 * len(pairs)


def test_a_file_that_is_missing_or_cut_off_says_so(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_run(tmp_path / "none.trec")
    whole = gzip.compress(b"q1 Q0 a 1 0.5 t\n" * 100)
    (tmp_path / "cut.trec.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged or cut off"):
        read_run(tmp_path / "cut.trec.gz")


def test_queries_and_documents_that_the_data_does_not_have_are_refused_by_line(garden_data, tmp_path):
    path = tmp_path / "run.trec"
    path.write_text("q73 Q0 fern-place 1 2 t\nq73 Q0 unheard 2 1 t\n")
    with pytest.raises(DataError, match=r"run\.trec:2: query 'q73' finds document 'unheard'"):
        evaluate_run(read_run(path), garden_data)
    path.write_text("q73 Q0 fern-place 1 2 t\nother Q0 fern-place 1 1 t\n")
    with pytest.raises(DataError, match=r"run\.trec:2: query 'other'"):
        evaluate_run(read_run(path), garden_data)
    train = garden_data.judged_queries("train")[0][0]
    path.write_text(f"{train} Q0 fern-place 1 2 t\n")
    with pytest.raises(DataError, match="for any of the 24 queries that split 'test' judges"):
        evaluate_run(read_run(path), garden_data)


def test_an_id_with_a_space_is_written_as_json_and_refused_as_trec(tmp_path):
    ranking = ranking_of_run({"q 1": {"a b": 1.0}})
    with pytest.raises(DataError, match="has a space") as caught:
        write_run(tmp_path / "run.trec", ["q 1"], ranking)
    assert ".json" in caught.value.hint
    assert not list(tmp_path.iterdir())
    write_run(tmp_path / "run.json", ["q 1"], ranking)
    assert json.loads((tmp_path / "run.json").read_text()) == {"q 1": {"a b": 1.0}}
