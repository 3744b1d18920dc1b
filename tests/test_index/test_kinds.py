"""The catalogue of kinds: sizes as stated, kinds by size and memory."""

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedft.errors import ConfigError
from embedft.index.approximate import KINDS, Point, Stage, candidates_for, estimate_bytes, factory

STAGES = [name for name, kind in KINDS.items() if kind is not None]


pytestmark = pytest.mark.usefixtures("one_thread")


def unit(rng, rows, dim):
    vectors = rng.normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("dim", [48, 100])
@pytest.mark.parametrize("kind", STAGES)
def test_a_stage_takes_the_bytes_that_were_estimated(kind, dim, tmp_path):
    stage = Stage.build(kind, unit(np.random.default_rng(0), 3000, dim))
    stage.save(tmp_path / "stage")
    written = (tmp_path / "stage").stat().st_size
    assert estimate_bytes(kind, 3000, dim) == pytest.approx(written, rel=0.25)


@pytest.mark.parametrize("kind", STAGES)
@pytest.mark.parametrize("dim", [8, 31, 384, 1024])
@pytest.mark.parametrize("size", [16, 1000, 10**6])
def test_faiss_takes_each_factory_string(kind, dim, size):
    recipe = factory(kind, size, dim)
    if recipe.startswith("B"):
        assert faiss.index_binary_factory(-(-dim // 8) * 8, recipe).ntotal == 0
        return
    if kind == "truncated":
        kept, recipe = recipe.split(",", 1)
        assert kept == f"Truncate{min(dim, max(32, dim // 4))}"
    assert faiss.index_factory(dim, recipe, faiss.METRIC_INNER_PRODUCT).ntotal == 0


def test_flat_needs_no_stage_but_all_its_vectors():
    assert factory("flat", 1000, 8) == "Flat"
    assert estimate_bytes("flat", 1000, 8) == 32_000


@given(st.integers(1, 10**7), st.integers(1, 2048))
def test_without_a_limit_flat_is_always_among_the_kinds(size, dim):
    order = candidates_for(size, dim)
    assert order.count("flat") == 1
    assert len(set(order)) == len(order)
    assert set(order) <= set(KINDS)


@given(st.integers(1, 10**7), st.integers(1, 2048), st.integers(1, 10**11))
def test_with_a_limit_each_kind_fits_it_or_an_error_says_what_would(size, dim, memory):
    try:
        order = candidates_for(size, dim, memory=memory)
    except ConfigError:
        assert all(estimate_bytes(kind, size, dim) > memory for kind in KINDS)
    else:
        assert order
        assert all(estimate_bytes(kind, size, dim) <= memory for kind in order)


def test_a_small_corpus_is_searched_flat_and_a_large_one_by_a_graph_first():
    assert candidates_for(5_000, 384)[0] == "flat"
    assert candidates_for(1_000_000, 384) == ["hnsw-sq8", "ivf-sq8", "flat"]


def test_less_memory_leaves_smaller_codes():
    assert candidates_for(1_000_000, 384, memory=500_000_000) == ["truncated", "ivf-sq8", "ivf-rabitq"]
    assert candidates_for(1_000_000, 384, memory=60_000_000) == ["binary"]


def test_too_little_memory_names_the_smallest_kind_and_its_size():
    with pytest.raises(ConfigError, match=r"fits 1,000 bytes; the smallest, binary, needs 48,000,000") as caught:
        candidates_for(1_000_000, 384, memory=1_000)
    assert "48 MB" in caught.value.hint


@pytest.mark.parametrize("kind", ["flat", "annoy"])
def test_what_is_no_kind_of_stage_is_refused_by_name(kind):
    with pytest.raises(ConfigError, match=f"'{kind}' is no kind of approximate index"):
        Stage.build(kind, np.ones((20, 4), np.float32))


@given(st.floats(0, 50), st.integers(1, 100))
def test_there_are_never_fewer_candidates_than_hits(factor, k):
    assert Point(0, factor).candidates(k) >= max(k, factor * k)
