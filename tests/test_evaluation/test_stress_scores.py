"""Scores under stress are those that the evaluations give to the same texts, and their differences are tested."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from labelled_texts import rows

from embedft.data.general import read_general
from embedft.encoder import Encoder
from embedft.errors import ConfigError, DataError
from embedft.evaluation import evaluate_classification, evaluate_retrieval, evaluate_similarity, rank, score_ranking
from embedft.evaluation.sampling import drawn_by_hash
from embedft.evaluation.significance import holm
from embedft.evaluation.stress import STRESSES, stress_classification, stress_retrieval, stress_similarity
from embedft.evaluation.stress.wording import keywords
from embedft.heads.fit import fit_logistic

BY_NAME = {stress.name: stress for stress in STRESSES}
PROMPTS = {"query": "search_query: ", "document": "search_document: "}
METRIC = "ndcg@10"


@pytest.fixture(scope="module")
def prompted():
    return Encoder.load("bundled", precision="float32", prompts=PROMPTS)


@pytest.fixture(scope="module")
def asked(prompted, garden_data):
    """The table of the garden's queries, by an encoder with prompts."""
    documents = prompted.encode_documents(garden_data.document_texts())
    return stress_retrieval(prompted, garden_data, documents=documents)


@pytest.fixture(scope="module")
def compared(encoder):
    # Pearson, whose resamples are cheaper.
    return stress_similarity(encoder, read_general(), data="general", metric="pearson", most=60)


@pytest.fixture(scope="module")
def labelled(encoder):
    """Head, test texts, table: each class is told by its words."""
    every = rows()
    known, judged = every[:48], every[48:]
    head = fit_logistic(encoder.encode_documents([row["text"] for row in known]), [(row["label"],) for row in known])
    table = pa.table({"text": [row["text"] for row in judged], "labels": [[row["label"]] for row in judged]})
    return head, table, stress_classification(encoder, head, table, data="places")


def row_of(table, stress, strength=None):
    return next(row for row in table.rows if (row["stress"], row["strength"]) == (stress, strength))


def with_queries(data, change):
    texts = [change(text) for text in data.queries["text"].to_pylist()]
    at = data.queries.schema.get_field_index("text")
    return replace(data, queries=data.queries.set_column(at, "text", pa.array(texts)))


def test_a_score_under_stress_is_the_score_of_the_stressed_queries(asked, prompted, garden_data):
    plain = evaluate_retrieval(prompted, garden_data, metrics=[METRIC])
    assert asked.score == pytest.approx(plain.metrics[METRIC])
    assert asked.count == plain.count == asked.of
    for name, strength in (("typos", 0.3), ("cut end", 0.25), ("sentence after", 1.0)):
        data = with_queries(garden_data, lambda text, name=name, strength=strength: BY_NAME[name](text, strength))
        stressed = evaluate_retrieval(prompted, data, metrics=[METRIC])
        row = row_of(asked, name, strength)
        assert row["score"] == pytest.approx(stressed.metrics[METRIC])
        own = stressed.compare(plain)[METRIC]
        assert (row["drop"], row["ci_low"], row["ci_high"]) == pytest.approx(
            (-own.difference, -own.ci_high, -own.ci_low)
        )
        assert row["p_value"] == pytest.approx(own.p_value)
        assert row["ci_low"] <= row["drop"] <= row["ci_high"]


def test_verdicts_are_those_after_correction_over_all_rows(asked):
    corrected = holm([row["p_value"] for row in asked.rows])
    assert [row["p_adjusted"] for row in asked.rows] == pytest.approx(corrected)
    assert {row["verdict"] for row in asked.rows if row["p_adjusted"] >= 0.05} == {"no difference"}
    assert row_of(asked, "cut end", 0.5)["verdict"] == "worse"


def test_a_missing_prompt_is_queries_without_one_among_the_same_documents(asked, prompted, encoder, garden_data):
    ids, texts = garden_data.judged_queries("test")
    documents = prompted.encode_documents(garden_data.document_texts())
    known = garden_data.corpus["id"].to_pylist()
    ranking = rank(ids, encoder.encode_queries(texts), known, documents, 10)
    expected = score_ranking(ranking, garden_data.split("test"), [METRIC])[METRIC].mean()
    row = row_of(asked, "no prompt")
    assert row["score"] == pytest.approx(expected)
    assert row["example"] == {"before": PROMPTS["query"] + texts[0], "after": texts[0]}
    swapped = rank(ids, prompted.encode_documents(texts), known, documents, 10)
    expected = score_ranking(swapped, garden_data.split("test"), [METRIC])[METRIC].mean()
    assert row_of(asked, "swapped prompt")["score"] == pytest.approx(expected)


def test_prompts_that_are_not_there_cannot_be_missing(compared):
    reasons = {entry["stress"]: entry["reason"] for entry in compared.as_dict()["left_out"]}
    assert "nothing before" in reasons["no prompt"]
    assert "same prompt" in reasons["swapped prompt"]
    assert reasons["synonyms"] == "WordNet is not installed"


def test_what_changes_no_text_or_no_token_takes_nothing(encoder, garden_data):
    lowered = with_queries(garden_data, str.lower)
    table = stress_retrieval(encoder, lowered)
    assert table.left_out["lower case"] == "it changes none of the texts"
    # The bundled encoder's tokenizer lowers all, drops soft hyphens and splits at any white space.
    for name in ("upper case", "soft hyphens", "white space"):
        row = row_of(table, name, BY_NAME[name].strengths[0])
        assert row["changed"] > 0
        assert (row["drop"], row["ci_low"], row["ci_high"], row["p_value"]) == (0, 0, 0, 1)
        assert row["cosine"] == pytest.approx(1, abs=1e-5)


def test_vectors_of_another_corpus_and_metrics_of_another_task_are_refused(prompted, garden_data):
    with pytest.raises(DataError, match="1 vectors were given for"):
        stress_retrieval(prompted, garden_data, documents=np.ones((1, prompted.dim), np.float32))
    with pytest.raises(ConfigError):
        stress_retrieval(prompted, garden_data, metric="spearman")


def test_each_distinct_text_is_encoded_once_and_few_are(asked):
    assert asked.encoded <= 25 * asked.count


def test_a_sample_is_told(compared, encoder):
    pairs = read_general()
    assert (compared.count, compared.of) == (60, pairs.num_rows)
    assert f"60 pairs drawn by hash of {pairs.num_rows}" in compared.reading()[0]


def test_the_second_text_of_a_pair_is_stressed_alone(compared, encoder):
    pairs = read_general()
    left, right = pairs["sentence1"].to_pylist(), pairs["sentence2"].to_pylist()
    pairs = pairs.take(drawn_by_hash([f"{one}\n{other}" for one, other in zip(left, right, strict=True)], 60))
    assert compared.score == pytest.approx(evaluate_similarity(encoder, pairs, data="").metrics["pearson"], abs=1e-6)
    new = pa.array([BY_NAME["cut end"](text, 0.5) for text in pairs["sentence2"].to_pylist()])
    at = pairs.schema.get_field_index("sentence2")
    stressed = evaluate_similarity(encoder, pairs.set_column(at, "sentence2", new), data="").metrics["pearson"]
    row = row_of(compared, "cut end", 0.5)
    assert row["score"] == pytest.approx(stressed, abs=1e-6)
    assert row["drop"] == pytest.approx(compared.score - stressed, abs=1e-6)


def test_negations_are_set_against_paraphrases_that_people_judged(compared):
    found = compared.as_dict()["negation"]
    assert 0 < found["count"] <= found["of"] < 60
    assert found["nearer_ci_low"] <= found["nearer"] <= found["nearer_ci_high"]
    assert found["cosine_ci_low"] <= found["cosine"] <= found["cosine_ci_high"]
    assert found["kept"] is None
    assert "not" in found["example"]["before"] + found["example"]["after"]


def test_a_head_is_asked_about_stressed_texts(labelled, encoder):
    head, table, stressed = labelled
    texts = table["text"].to_pylist()
    assert stressed.score == evaluate_classification(encoder, head, table, data="").metrics["accuracy"]
    for name, strength, change in (
        ("look-alikes", 0.5, lambda text: BY_NAME["look-alikes"](text, 0.5)),
        ("keywords", None, lambda text: keywords(text, 1.0, None)),
    ):
        new = pa.table({"text": [change(text) for text in texts], "labels": table["labels"]})
        expected = evaluate_classification(encoder, head, new, data="").metrics["accuracy"]
        assert row_of(stressed, name, strength)["score"] == expected


def test_of_an_error_metric_a_rise_is_a_drop(labelled, encoder):
    head, table, _ = labelled
    found = stress_classification(encoder, head, table, data="places", metric="nll", most=12)
    row = row_of(found, "look-alikes", 0.5)
    assert row["score"] > found.score
    assert row["drop"] == pytest.approx(row["score"] - found.score)
    assert row["ci_low"] <= row["drop"] <= row["ci_high"]


def test_texts_out_of_scope_are_not_judged(labelled, encoder):
    head, table, stressed = labelled
    strange = pa.table({"text": ["the price of gold"], "labels": [["money"]]})
    more = stress_classification(encoder, head, pa.concat_tables([table, strange]), data="places")
    assert more.count == stressed.count == more.of
    with pytest.raises(DataError, match="no text with a label"):
        stress_classification(encoder, head, strange, data="places")


def test_a_model_beside_itself_loses_no_more(asked):
    rows = asked.beside(asked).as_dict()["rows"]
    for row in rows:
        assert row["against"]["drop"] == row["drop"]
        assert (row["against"]["more"], row["against"]["more_verdict"]) == (0, "no difference")


def test_a_model_that_loses_more_is_told_so(asked):
    key = ("cut end", 0.25)
    lost = asked.losses[key]
    other = replace(asked, model="other", losses={**asked.losses, key: np.zeros_like(lost)})
    row = row_of(asked.beside(other), *key)["against"]
    assert row["more"] == pytest.approx(lost.mean())
    assert row["more_verdict"] == "worse"
    assert row["more_p_adjusted"] > row["more_p_value"]
    assert row_of(other.beside(asked), *key)["against"]["more_verdict"] == "better"


def test_tables_are_plain_json_with_an_example_in_each_row(asked, compared, labelled):
    for table in (asked, compared, labelled[2]):
        answer = json.loads(json.dumps(table.beside(table).as_dict(), allow_nan=False))
        assert answer["rows"]
        assert all(row["example"]["before"] != row["example"]["after"] for row in answer["rows"])
        assert all(0 < row["changed"] <= 1 for row in answer["rows"])


def test_rules_of_english_stay_away_from_other_languages(encoder, garden_data):
    table = stress_retrieval(encoder, with_queries(garden_data, lambda _: "Wie viel Wasser braucht eine Tomate?"))
    tried = {row["stress"] for row in table.rows}
    assert not tried & {stress.name for stress in STRESSES if stress.english}
    assert table.negation is None
    assert table.left_out["keywords"] == "the texts do not look English"


def test_three_queries_are_enough_to_ask_and_too_few_to_tell(encoder, garden_data):
    table = stress_retrieval(encoder, garden_data, most=3)
    assert table.count == 3
    assert {row["verdict"] for row in table.rows} == {"no difference"}
