"""Exact search equals numpy, ties included."""

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.encoder.precision import fast_bfloat16
from embedft.errors import DataError
from embedft.index import exact, exact_search, nearest
from embedft.index.exact import PART_DOCUMENTS, ordered_search, useful_threads


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 60), st.integers(1, 12))
def test_equals_a_stable_sort_of_all_scores(seed, documents, k, dim):
    rng = np.random.default_rng(seed)
    # Small integers make many exact ties and no rounding.
    queries = rng.integers(-2, 3, (5, dim)).astype(np.float32)
    vectors = rng.integers(-2, 3, (documents, dim)).astype(np.float32)
    scores, rows = exact_search(queries, vectors, k)
    everything = queries @ vectors.T
    expected = np.argsort(-everything, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(everything, expected, axis=1))


def test_a_thousand_equal_documents_come_in_row_order():
    vectors = np.ones((1000, 4), dtype=np.float32)
    assert exact_search(vectors[:2], vectors, 10)[1].tolist() == [list(range(10))] * 2


@pytest.mark.parametrize("k", [1, 4, 5])
def test_a_vector_that_is_no_number_is_never_a_hit_before_one_that_is(k):
    vectors = np.ones((6, 4), dtype=np.float32)
    vectors[[0, 3]] = np.nan
    scores, rows = exact_search(vectors[1:2], vectors, k)
    assert rows[0, :4].tolist() == [1, 2, 4, 5][:k]
    assert (scores[0, :4] == 4).all()


def test_no_query_and_no_document_give_empty_answers():
    some, none = np.ones((3, 4), dtype=np.float32), np.empty((0, 4), dtype=np.float32)
    assert exact_search(none, some, 2)[1].shape == (0, 2)
    assert exact_search(some, none, 2)[1].shape == (3, 0)


def test_wrong_shapes_and_k_are_refused():
    some = np.ones((3, 4), dtype=np.float32)
    with pytest.raises(DataError, match=r"\(3, 4\) and documents \(3, 3\)"):
        exact_search(some, some[:, :3], 1)
    with pytest.raises(DataError, match="k is 0"):
        exact_search(some, some, 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 60), st.sampled_from([1, 30]), st.floats(0, 1))
def test_where_not_all_are_allowed_the_others_are_as_if_they_were_alone(seed, documents, k, queries, share):
    rng = np.random.default_rng(seed)
    asked = rng.integers(-2, 3, (queries, 4)).astype(np.float32)
    vectors = rng.integers(-2, 3, (documents, 4)).astype(np.float32)
    allowed = rng.random(documents) < share
    scores, rows = exact_search(asked, vectors, k, allowed)
    assert rows.shape == scores.shape == (queries, min(k, documents))
    known = np.flatnonzero(allowed)
    alone_scores, alone = exact_search(asked, vectors[known], k)
    found = alone.shape[1]
    np.testing.assert_array_equal(rows[:, :found], known[alone] if found else alone)
    np.testing.assert_array_equal(scores[:, :found], alone_scores)
    assert (rows[:, found:] == -1).all() and np.isneginf(scores[:, found:]).all()


@pytest.mark.parametrize("queries", [1, 5, 40])
def test_parts_of_the_documents_on_several_threads_give_what_one_thread_gives(queries):
    rng = np.random.default_rng(queries)
    # Small integers make many exact ties, also between documents of different parts and across the cut.
    vectors = rng.integers(-1, 2, (2 * PART_DOCUMENTS + 7, 6)).astype(np.float32)
    asked = rng.integers(-1, 2, (queries, 6)).astype(np.float32)
    before, found = faiss.omp_get_max_threads(), {}
    try:
        for threads in (1, 2, 5):
            faiss.omp_set_num_threads(threads)
            found[threads] = exact_search(asked, vectors, 50)
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    expected = np.argsort(-(asked @ vectors.T), axis=1, kind="stable")[:, :50]
    for scores, rows in found.values():
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_array_equal(scores, np.take_along_axis(asked @ vectors.T, expected, axis=1))


@pytest.fixture
def rounded_search(monkeypatch):
    """Few queries and documents are rounded to bf16 too, whatever the processor is."""
    monkeypatch.setattr(exact, "fast_bfloat16", lambda device: True)
    monkeypatch.setattr(exact, "ROUNDED_QUERIES", 1)
    monkeypatch.setattr(exact, "ROUNDED_DOCUMENTS", 1)
    monkeypatch.setattr(nearest, "resolve_precision", lambda precision, device: torch.bfloat16)


@pytest.mark.usefixtures("rounded_search")
@pytest.mark.parametrize("k", [1, 10, 3000])
def test_rounding_first_changes_no_hit_and_no_order_of_ties(k):
    rng = np.random.default_rng(k)
    vectors = rng.integers(-2, 3, (3000, 6)).astype(np.float32)
    asked = rng.integers(-2, 3, (20, 6)).astype(np.float32)
    everything = asked @ vectors.T
    scores, rows = exact_search(asked, vectors, k)
    expected = np.argsort(-everything, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(everything, expected, axis=1))
    place = rng.permutation(3000)
    rows = ordered_search(asked, vectors, k, place)[1]
    expected = [np.lexsort((place, -scores))[:k] for scores in everything]
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.usefixtures("rounded_search")
def test_ties_that_rows_have_decided_are_not_looked_at_again(monkeypatch):
    monkeypatch.setattr(exact, "_settle_ties", None)
    vectors = np.ones((1000, 4), np.float32)
    assert exact_search(vectors[:5], vectors, 3)[1].tolist() == [[0, 1, 2]] * 5


@pytest.mark.usefixtures("rounded_search")
def test_where_rounding_has_no_bound_faiss_searches():
    vectors = np.ones((50, 4), dtype=np.float32)
    vectors[[0, 3]] = np.nan
    assert exact_search(vectors[1:3], vectors, 4)[1].tolist() == [[1, 2, 4, 5]] * 2
    vectors = np.diag([1e-20, 2e20, 3e20]).astype(np.float32)
    assert exact_search(np.ones((2, 3), np.float32), vectors, 2)[1].tolist() == [[2, 1]] * 2


@pytest.mark.skipif(not fast_bfloat16("cpu"), reason="this processor does not multiply bf16 fast")
def test_a_search_that_may_not_use_all_threads_does_not_round(monkeypatch):
    monkeypatch.setattr(exact, "nearest", None)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(exact.ROUNDED_DOCUMENTS, 8)).astype(np.float32)
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    try:
        torch.set_num_threads(2)
        faiss.omp_set_num_threads(1)
        if torch.get_num_threads() == 1:
            pytest.skip("torch and FAISS have one OpenMP here, so what FAISS may use torch may")
        assert exact_search(vectors[: exact.ROUNDED_QUERIES], vectors, 1)[1].shape == (exact.ROUNDED_QUERIES, 1)
        faiss.omp_set_num_threads(2)
        with pytest.raises(TypeError):
            exact_search(vectors[: exact.ROUNDED_QUERIES], vectors, 1)
    finally:
        torch.set_num_threads(before[0])
        faiss.omp_set_num_threads(before[1])


@pytest.mark.parametrize("queries", [3, 40])
def test_numbers_of_double_precision_are_searched_too(queries):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(100, 8))
    allowed = rng.random(100) < 0.5
    expected = exact_search(vectors[:queries].astype(np.float32), vectors.astype(np.float32), 5, allowed)
    for ours, same in zip(exact_search(vectors[:queries], vectors, 5, allowed), expected, strict=True):
        np.testing.assert_array_equal(ours, same)


def test_one_query_can_use_several_threads_where_documents_are_many():
    assert useful_threads(1, PART_DOCUMENTS - 1) == useful_threads(0, 0) == 1
    assert useful_threads(1, 3 * PART_DOCUMENTS) == 3
    assert useful_threads(8, 3 * PART_DOCUMENTS) == 8
