"""Maximal marginal relevance equals the loop of the textbook."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.errors import DataError
from embedft.index.lexical import mmr


def textbook(vectors, relevance, k, trade_off):
    chosen = []
    while len(chosen) < min(k, len(vectors)):
        rest = [one for one in range(len(vectors)) if one not in chosen]

        def worth(one):
            similar = max((float(vectors[one] @ vectors[other]) for other in chosen), default=0.0)
            return trade_off * float(relevance[one]) - (1 - trade_off) * similar

        chosen.append(max(rest, key=worth))
    return chosen


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 15), st.integers(1, 18), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
def test_equals_the_textbook(seed, candidates, k, trade_off):
    rng = np.random.default_rng(seed)
    # Small integers make ties and no rounding.
    vectors = rng.integers(-2, 3, (candidates, 4)).astype(np.float32)
    relevance = rng.integers(-4, 5, candidates).astype(np.float32)
    assert mmr(vectors, relevance, k, trade_off).tolist() == textbook(vectors, relevance, k, trade_off)


def test_a_trade_off_of_one_is_the_order_of_relevance():
    vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    relevance = vectors[:, 0]
    assert mmr(vectors, relevance, 30, 1.0).tolist() == np.argsort(-relevance, kind="stable").tolist()


def test_a_copy_of_the_best_hit_waits():
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    relevance = np.array([0.9, 0.9, 0.5], np.float32)
    assert mmr(vectors, relevance, 3).tolist() == [0, 2, 1]


def test_the_arguments_stay_as_they_are():
    vectors, relevance = np.eye(3, dtype=np.float32), np.ones(3, np.float32)
    mmr(vectors, relevance, 2, 1.0)
    assert (relevance == 1).all()


@pytest.mark.parametrize(
    ("relevance", "k", "trade_off", "message"),
    [([1.0], 1, 0.5, "relevance"), ([1.0, 1.0], 0, 0.5, "k is 0"), ([1.0, 1.0], 1, 1.5, "trade-off is 1.5")],
)
def test_what_does_not_fit_is_refused(relevance, k, trade_off, message):
    with pytest.raises(DataError, match=message):
        mmr(np.eye(2, dtype=np.float32), np.array(relevance, np.float32), k, trade_off)
