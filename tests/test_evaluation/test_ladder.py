"""The ladder of dimensions and storages: equal to the reference library's codes, sure of what it recommends."""

import json

import numpy as np
import pyarrow as pa
import pytest
from ladder_cases import planted, unit

from embedft.errors import ConfigError, DataError
from embedft.evaluation import evaluate_retrieval, evaluate_similarity
from embedft.evaluation.evaluation import Evaluation
from embedft.evaluation.ladder import STORAGES, Stored, climb, ladder, ladder_of, similarity_ladder, truncated
from embedft.evaluation.metrics import parse_metrics
from embedft.evaluation.ranking import rank
from embedft.index.approximate import estimate_bytes

[NDCG] = parse_metrics(["ndcg@10"])

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def case():
    return planted()


@pytest.fixture(scope="module")
def found(case):
    return ladder(*case.arguments, rounds=1)


def row_of(found, dim, storage):
    [row] = [row for row in found["rows"] if (row["dim"], row["storage"]) == (dim, storage)]
    return row


def score_by(case, documents, queries):
    """nDCG@10 by an exact search of any vectors."""
    ranking = rank(case.query_ids, queries, case.document_ids, np.ascontiguousarray(documents, np.float32), 10)
    return float(NDCG(ranking.judge(case.qrels)).mean())


def test_a_rung_is_what_sentence_transformers_cuts_and_quantizes(case, found):
    from sentence_transformers.util import quantize_embeddings, truncate_embeddings

    for dim in (128, 64):
        documents, queries = (
            unit(np.asarray(truncate_embeddings(vectors, dim))) for vectors in (case.documents, case.queries)
        )
        bits = [
            np.unpackbits(quantize_embeddings(vectors, "ubinary"), axis=1)[:, :dim] * np.float32(2) - 1
            for vectors in (documents, queries)
        ]
        ranges = np.stack([documents.min(axis=0), documents.max(axis=0)])
        codes = quantize_embeddings(documents, "uint8", ranges=ranges)
        expected = {
            "fp32": score_by(case, documents, queries),
            "fp16": score_by(case, documents.astype(np.float16).astype(np.float32), queries),
            "int8": score_by(case, ranges[0] + codes * ((ranges[1] - ranges[0]) / 255), queries),
            "binary": score_by(case, *bits),
        }
        for storage, score in expected.items():
            assert row_of(found, dim, storage)["score"] == pytest.approx(score, abs=1e-9), (dim, storage)


def test_what_is_timed_finds_what_is_judged(case):
    for storage in STORAGES.values():
        stored = Stored(storage, truncated(case.documents, 64))
        queries = truncated(case.queries, 64)
        judged, timed = stored.rank(queries, 10)[0], stored.search(queries, 10)[0]
        if storage.name == "binary":
            judged = (judged - 64) / 2  # 64 dimensions less twice the Hamming distance
        assert np.allclose(np.sort(judged), np.sort(timed), atol=1e-5), storage.name


def test_rescoring_all_candidates_is_exact_search(case):
    few = case.documents[: 4 * 10]
    exact = Stored(STORAGES["fp32"], few).rank(case.queries, 10)[1]
    rescored = [storage for storage in STORAGES.values() if storage.rescored]
    assert len(rescored) == 2
    for storage in rescored:
        assert np.array_equal(Stored(storage, few).rank(case.queries, 10)[1], exact), storage.name


def test_memory_is_that_of_the_codes_and_of_the_kinds_of_index(case):
    for storage in STORAGES.values():
        memory, disk = storage.megabytes(64)
        if storage.kind in ("flat", "binary"):
            assert memory == estimate_bytes(storage.kind, 1_000_000, 64) / 1e6
        if storage.quantiser is not None and not storage.rescored:
            codes = Stored(storage, truncated(case.documents, 64))._codes
            assert memory == pytest.approx(codes.code_size, rel=1e-4)
        assert (disk == 4 * 64) == storage.rescored
    assert STORAGES["binary"].megabytes(63)[0] == 8.0


def test_the_whole_in_fp32_is_the_evaluation_itself(case, found):
    whole = found["rows"][0]
    assert (whole["dim"], whole["storage"], whole["share"], whole["share_low"]) == (128, "fp32", 1.0, 1.0)
    assert whole["score"] == pytest.approx(score_by(case, case.documents, case.queries), abs=1e-12)
    assert (whole["difference"], whole["difference_ci_low"], whole["difference_ci_high"]) == (0, 0, 0)
    assert {row["dim"] for row in found["rows"]} == {128, 96, 64}
    assert len(found["rows"]) == 3 * len(STORAGES)
    assert all(row["qps"] > 0 for row in found["rows"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_cheapest_rung_keeps_the_share_and_no_cheaper_one_does(case, found):
    for share in (0.3, 0.5, 0.8):
        answer = ladder(*case.arguments, rounds=1, share=share, dims=[96, 64])
        assert answer["count"] >= answer["needed"]
        sure = [row for row in answer["rows"] if row["share_low"] >= share]
        assert answer["cheapest"] in sure
        assert answer["cheapest"]["mb_per_million"] == min(row["mb_per_million"] for row in sure)
        assert f"{answer['cheapest']['dim']} dimensions" in answer["reading"] or answer["cheapest"] == sure[0]
    assert row_of(found, 64, "fp32")["share_low"] < row_of(found, 64, "fp32")["share"]


def test_dimensions_that_hold_nothing_are_not_recommended():
    case = planted(dim=32)
    rng = np.random.default_rng(1)
    # All that tells documents apart stands in the last 32 of 64 dimensions.
    documents, queries = (
        unit(np.hstack([0.01 * rng.normal(size=vectors.shape), vectors])) for vectors in (case.documents, case.queries)
    )
    answer = ladder(documents, queries, *case.arguments[2:], dims=[32], rounds=1, share=0.6)
    assert row_of(answer, 32, "fp32")["share"] < 0.3
    assert answer["cheapest"]["dim"] == 64


def test_few_queries_recommend_nothing(case):
    answer = ladder(case.documents, case.queries[:3], case.document_ids, case.query_ids[:3], case.qrels, rounds=1)
    assert answer["count"] == 3
    assert answer["cheapest"] is None
    assert "3 queries are too few" in answer["reading"]
    assert f"it takes about {answer['needed']:,}" in answer["reading"]
    json.dumps(answer, allow_nan=False)


def test_what_keeps_the_share_on_too_few_queries_is_told_as_that(found):
    assert found["cheapest"] is None
    assert found["needed"] > found["count"] == 80
    seen = min((row for row in found["rows"] if row["share"] >= 0.99), key=lambda row: row["mb_per_million"])
    assert f"On these, {seen['dim']} dimensions in {seen['storage'].replace('+', ' with ')} keep" in found["reading"]


def test_an_encoder_of_64_dimensions_has_one_rung_a_storage():
    case = planted(dim=64)
    answer = ladder(*case.arguments, rounds=1)
    assert [row["storage"] for row in answer["rows"]] == list(STORAGES)
    assert {row["dim"] for row in answer["rows"]} == {64}


def test_equal_vectors_and_scores_of_nothing_still_give_a_ladder():
    case = planted(documents=20, queries=60, dim=64)
    same = np.repeat(case.documents[:1], 20, axis=0)
    json.dumps(ladder(same, case.queries, *case.arguments[2:], rounds=1), allow_nan=False)
    nothing = case.qrels.set_column(1, "corpus_id", pa.array(["elsewhere"] * 60))
    answer = ladder(case.documents, case.queries, case.document_ids, case.query_ids, nothing, rounds=1)
    assert all(row["share"] is None for row in answer["rows"])
    assert answer["cheapest"] is None
    assert "nothing to keep" in answer["reading"]


def test_queries_are_drawn_by_their_ids_whatever_their_order(case, monkeypatch):
    monkeypatch.setattr(climb, "MOST", 55)
    order = np.random.default_rng(3).permutation(len(case.queries))
    answers = [
        ladder(case.documents, case.queries[rows], case.document_ids, [case.query_ids[row] for row in rows], case.qrels,
               rounds=1, dims=[64])
        for rows in (np.arange(len(order)), order)
    ]  # fmt: skip
    scores = [[row["score"] for row in answer["rows"]] for answer in answers]
    assert answers[0]["count"] == 55
    assert scores[0] == pytest.approx(scores[1], abs=1e-12)


def test_rungs_tell_whether_the_model_was_trained_for_them(case):
    answer = ladder(*case.arguments, rounds=1, dims=[96, 64], trained_dims=[64])
    assert {row["dim"]: row["matryoshka_trained"] for row in answer["rows"]} == {128: True, 96: False, 64: True}


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"dims": [256]}, ConfigError, "256"),
        ({"share": 1.5}, ConfigError, "1.5"),
        ({"metric": "accuracy"}, ConfigError, "accuracy"),
    ],
)
def test_settings_that_make_no_ladder_are_refused(case, changed, error, says):
    with pytest.raises(error, match=says):
        ladder(*case.arguments, rounds=1, **changed)


def test_vectors_that_are_no_numbers_are_refused(case):
    broken = case.documents.copy()
    broken[5, 3] = np.nan
    with pytest.raises(DataError, match=r"1 of 300 vectors of documents .* row 5"):
        ladder(broken, *case.arguments[1:])
    with pytest.raises(DataError, match="too few"):
        ladder(case.documents[:5], case.queries, case.document_ids[:5], case.query_ids, case.qrels)


def test_pairs_have_a_ladder_of_correlations(case):
    from scipy.stats import spearmanr

    rng = np.random.default_rng(2)
    pairs = rng.integers(0, len(case.documents), (200, 2))
    cosines = (case.documents[pairs[:, 0]] * case.documents[pairs[:, 1]]).sum(axis=1)
    scores = np.round(cosines + rng.normal(size=200) * 0.1, 1)
    answer = similarity_ladder(case.documents, pairs, scores, share=0.9)
    cut = truncated(case.documents, 64)
    expected = spearmanr((cut[pairs[:, 0]] * cut[pairs[:, 1]]).sum(axis=1), scores).statistic
    assert row_of(answer, 64, "fp32")["score"] == pytest.approx(expected, abs=1e-9)
    signs = np.where(case.documents > 0, 1, -1)
    expected = spearmanr((signs[pairs[:, 0]] * signs[pairs[:, 1]]).sum(axis=1), scores).statistic
    assert row_of(answer, 128, "binary")["score"] == pytest.approx(expected, abs=1e-9)
    assert answer["unit"] == "pairs"
    assert {row["qps"] for row in answer["rows"]} == {None}
    assert answer["cheapest"]["share_low"] >= 0.9
    assert answer["cheapest"] != answer["rows"][0]
    assert answer["needed"] <= 200


def test_evaluations_of_the_bundled_encoder_climb_by_themselves(encoder, garden_data):
    from embedft.data.general import read_general

    retrieval = evaluate_retrieval(encoder, garden_data, "test", metrics=["ndcg@10"], keep_vectors=True)
    answer = ladder_of(retrieval, garden_data, "test", metric="ndcg@10", dims=[64])
    assert answer["rows"][0]["score"] == pytest.approx(retrieval.metrics["ndcg@10"], abs=1e-12)
    pairs = read_general()
    similarity = evaluate_similarity(encoder, pairs, data="general", metrics=["spearman"], keep_vectors=True)
    answer = ladder_of(similarity, None, "test", metric="spearman", dims=[64])
    assert answer["rows"][0]["score"] == pytest.approx(similarity.metrics["spearman"], abs=1e-6)
    without: Evaluation = evaluate_similarity(encoder, pairs, data="general", metrics=["spearman"])
    with pytest.raises(DataError, match="keeps no vectors"):
        ladder_of(without, None, "test", metric="spearman")
