"""The linear map from the vectors of one model to those of another, and what it is said to keep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.errors import DataError
from embedft.index.mapping import PARTS, STRENGTHS, apply_map, fit_map, require_sample


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def drawn(seed, count, dim):
    return unit(np.random.default_rng(seed).standard_normal((count, dim)))


def test_vectors_that_were_turned_are_turned_back():
    old = drawn(0, 400, 16)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))[0].astype(np.float32)
    matrix, kept = fit_map(old, old @ turn, drawn(2, 50, 16))
    assert kept.cosine > 0.9999
    assert kept.recall > 0.99
    np.testing.assert_allclose(apply_map(old, matrix), old @ turn, atol=0.01)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.0, 3.0), st.sampled_from([(8, 8), (8, 12), (12, 6)]), st.integers(1, 15))
def test_what_is_kept_is_what_brute_force_over_the_held_out_documents_counts(seed, noise, dims, k):
    random = np.random.default_rng(seed)
    old = drawn(seed, 200, dims[0])
    new = unit(old @ random.standard_normal(dims) + noise * random.standard_normal((200, dims[1])))
    queries = drawn(seed + 1, 30, dims[1])
    matrix, kept = fit_map(old, new, queries, k)
    held_out = slice(int(PARTS[1] * 200), None)
    mapped, true = apply_map(old[held_out], matrix), new[held_out]
    assert (kept.sample, kept.judged, kept.queries, kept.k) == (200, len(true), 30, k)
    shares = []
    for query in queries:
        best = [set(np.argsort(-(vectors @ query), kind="stable")[:k].tolist()) for vectors in (true, mapped)]
        shares.append(len(best[0] & best[1]) / k)
    assert kept.recall == pytest.approx(np.mean(shares))
    assert kept.cosine == pytest.approx((mapped * true).sum(1).mean(), abs=1e-6)
    assert 0 <= kept.ci_low <= kept.recall <= kept.ci_high <= 1


def test_a_map_between_vectors_that_have_nothing_in_common_is_not_praised():
    kept = fit_map(drawn(0, 1000, 16), drawn(1, 1000, 16), drawn(2, 100, 16))[1]
    # Ten of 200 by chance; an interval around it.
    assert kept.recall < 0.15
    assert kept.cosine < 0.3
    assert kept.strength in STRENGTHS


def test_held_out_documents_do_not_shape_the_map():
    old, new, queries = drawn(0, 300, 8), drawn(1, 300, 8), drawn(2, 20, 8)
    changed = new.copy()
    changed[int(PARTS[1] * 300) :] = drawn(3, 300 - int(PARTS[1] * 300), 8)
    np.testing.assert_array_equal(fit_map(old, new, queries)[0], fit_map(old, changed, queries)[0])


def ridge(old, new, strength):
    """Least squares with rows of the square root of the penalty added."""
    dim = old.shape[1]
    penalty = strength * np.square(old).sum() / dim
    wide = np.concatenate([old, np.sqrt(penalty) * np.eye(dim)])
    return np.linalg.lstsq(wide, np.concatenate([new, np.zeros((dim, new.shape[1]))]), rcond=None)[0]


@pytest.mark.parametrize("noise", [0.0, 1.0, 10.0])
def test_the_map_is_ridge_regression_of_the_strength_that_suits_other_documents_best(noise):
    random = np.random.default_rng(3)
    old = drawn(0, 100, 5)
    new = unit(old @ random.standard_normal((5, 7)) + noise * random.standard_normal((100, 7)))
    matrix, kept = fit_map(old, new, drawn(2, 20, 7))
    fitted, chosen = (slice(0, int(PARTS[0] * 100)), slice(int(PARTS[0] * 100), int(PARTS[1] * 100)))
    np.testing.assert_allclose(matrix, ridge(old[fitted], new[fitted], kept.strength), atol=1e-5)
    cosines = {
        strength: (unit(old[chosen] @ ridge(old[fitted], new[fitted], strength)) * new[chosen]).sum(1).mean()
        for strength in STRENGTHS
    }
    assert cosines[kept.strength] == pytest.approx(max(cosines.values()), abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9))
def test_mapped_vectors_have_length_1(seed, old_dim, new_dim):
    matrix = np.random.default_rng(seed).standard_normal((old_dim, new_dim)).astype(np.float32)
    mapped = apply_map(drawn(seed, 20, old_dim), matrix)
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)


def test_too_few_documents_are_refused_with_the_number_that_is_enough():
    with pytest.raises(DataError, match="384 dimensions cannot be fitted on 1151") as caught:
        require_sample(1151, 384)
    assert "1152" in caught.value.hint
    require_sample(1152, 384)
    with pytest.raises(DataError, match="8 dimensions"):
        fit_map(drawn(0, 20, 8), drawn(1, 20, 8), drawn(2, 5, 8))
