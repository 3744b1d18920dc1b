"""The nearest documents of many queries: what comparing everything finds, whatever the number format."""

from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest
import torch

from embedft.errors import DataError
from embedft.index import nearest as nearest_module
from embedft.index.nearest import nearest, paired_scores


def unit(rows, dim, seed):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def search(queries, documents, k, **options):
    found = list(nearest(queries, documents, k, **options))
    return np.concatenate([part.scores for part in found]), np.concatenate([part.rows for part in found])


def brute_force(queries, documents, k):
    everything = np.tile(np.arange(len(documents)), (len(queries), 1))
    scores = paired_scores(queries, documents, everything)
    order = np.lexsort((everything, -scores))[:, :k]
    return np.take_along_axis(scores, order, 1), order


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("block_mb", [1, 256])
@pytest.mark.parametrize(
    ("documents", "queries", "k", "dim"), [(1, 3, 1, 8), (3000, 40, 11, 16), (20_000, 30, 5, 24), (30_000, 20, 101, 64)]
)
def test_what_is_found_is_what_comparing_everything_finds(documents, queries, k, dim, precision, block_mb):
    corpus = unit(documents, dim, 0)
    corpus[documents // 2 :] = corpus[: documents - documents // 2]  # so that every score but one stands twice
    asked = unit(queries, dim, 1)
    found = search(asked, corpus, k, precision=precision, block_mb=block_mb)
    for ours, exact in zip(found, brute_force(asked, corpus, k), strict=True):
        assert np.array_equal(ours, exact)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_vectors_of_any_length_and_many_ties_are_searched_exactly(precision):
    random_numbers = np.random.default_rng(0)
    corpus = random_numbers.integers(-2, 3, (5000, 6)).astype(np.float32) * 37
    asked = random_numbers.integers(-2, 3, (50, 6)).astype(np.float32) / 9
    found = search(asked, corpus, 20, precision=precision)
    for ours, exact in zip(found, brute_force(asked, corpus, 20), strict=True):
        assert np.array_equal(ours, exact)


def test_a_document_that_bf16_cannot_tell_from_others_is_found():
    """All scores are equal in bf16; the order is in the last bits of fp32."""
    corpus = np.ones((4000, 4), np.float32)
    corpus[:, 0] += np.random.default_rng(0).permutation(4000).astype(np.float32) * 2.0**-20
    found = search(np.ones((3, 4), np.float32), corpus, 7, precision="bfloat16")[1]
    assert np.array_equal(found, np.tile(np.argsort(-corpus[:, 0])[:7], (3, 1)))


def test_fewer_documents_than_asked_are_filled_up_with_nothing():
    scores, rows = search(unit(4, 8, 0), unit(3, 8, 1), 5)
    assert (np.sort(rows[:, :3], 1) == np.arange(3)).all()
    assert (rows[:, 3:] == -1).all()
    assert np.isneginf(scores[:, 3:]).all()


def test_vectors_may_lie_in_a_file(tmp_path):
    queries, documents = unit(20, 8, 0), unit(500, 8, 1)
    np.save(tmp_path / "q.npy", queries)
    np.save(tmp_path / "d.npy", documents)
    mapped = (np.load(tmp_path / name, mmap_mode="r") for name in ("q.npy", "d.npy"))
    for ours, exact in zip(search(*mapped, 9), search(queries, documents, 9), strict=True):
        assert np.array_equal(ours, exact)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_a_vector_that_is_not_finite_is_refused(value, side):
    vectors = unit(900, 8, 0), unit(900, 8, 1)
    vectors[side][3, 2] = value
    with pytest.raises(DataError, match="not finite"):
        search(*vectors, 2)


def test_a_search_leaves_the_number_of_threads_alone():
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    search(unit(300, 8, 0), unit(300, 8, 1), 2)
    assert (torch.get_num_threads(), faiss.omp_get_max_threads()) == before
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == before[0]


def test_threads_that_begin_during_a_search_have_as_many_as_ever():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with nearest_module._lone_threads(3) as pool, ThreadPoolExecutor(1) as other:
            assert list(pool.map(lambda _: torch.get_num_threads(), range(6))) == [1] * 6
            assert other.submit(torch.get_num_threads).result() == 3
        with pytest.raises(KeyError), nearest_module._lone_threads(2):
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_one_query_with_many_candidates_does_not_widen_all_of_them():
    """64 queries of 3 candidates would take as much memory as 64 of 5,000."""
    queries, documents = unit(64, 8, 0), unit(5000, 8, 1)
    documents[2500:] = documents[0]
    queries[7] = documents[0]
    scores = torch.from_numpy(queries @ documents.T)
    coded = [nearest_module._Coded.of(side, torch.float32) for side in (queries, documents)]
    best = np.zeros((64, 3), np.uint64)
    bound = nearest_module._Bound.of(*coded)
    assert nearest_module._candidates(scores, best, bound, 64 * 2500) is None
    table = nearest_module._candidates(scores, best, bound, 64 * 5000)
    assert table.shape == (64, 2501)
    for ours, exact in zip(search(queries, documents, 3, block_mb=1), brute_force(queries, documents, 3), strict=True):
        assert np.array_equal(ours, exact)


def test_documents_that_are_all_alike_are_searched_in_little_memory():
    documents = np.ones((20_000, 8), np.float32)
    found = search(unit(40, 8, 0), documents, 3, block_mb=1)[1]
    assert (found == np.arange(3)).all()


def test_vectors_of_two_dimensions_are_refused():
    with pytest.raises(DataError, match="one dim"):
        search(unit(2, 8, 1), unit(2, 9, 1), 2)
