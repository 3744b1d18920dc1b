"""Parts of what was judged: every item in at most one, none too small, intervals that hold the truth."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.evaluation.errors.fields import FEW_KINDS, MOST_FIELDS, by_fields
from embedft.evaluation.errors.slices import SMALLEST, by_amount, by_kind, differing, sliced_means
from embedft.evaluation.significance import bootstrap_interval


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 6), st.integers(0, 10_000), st.just(None)), min_size=0, max_size=300))
def test_parts_by_amount_are_large_enough_ordered_and_hold_every_known_value_once(values):
    known = np.array([np.nan if value is None else float(value) for value in values])
    slicing = by_amount("size", known, "words")
    sizes = [(slicing.part == number).sum() for number in range(len(slicing.labels))]
    assert all(size >= SMALLEST for size in sizes)
    if slicing.labels:
        assert sum(sizes) == (~np.isnan(known)).sum()
        spans = [known[slicing.part == number] for number in range(len(sizes))]
        assert all(one.max() < other.min() for one, other in pairwise(spans))
    else:
        assert slicing.why
        assert (slicing.part == -1).all()


def test_the_label_of_a_part_names_its_ends_and_a_single_value_once():
    slicing = by_amount("size", np.repeat([1.0, 1, 1, 2, 3, 9], 20), "words")
    assert slicing.labels == ("1 word", "2 to 3 words", "9 words")


def test_three_items_are_not_sliced_and_that_is_said():
    slicing = by_amount("query length", np.array([1.0, 2, 3]), "words")
    assert slicing.labels == ()
    assert "3 queries are too few" in slicing.why


def test_rare_kinds_are_joined_and_those_too_few_for_a_slice_are_said():
    slicing = by_kind("source", ["a"] * 30 + ["b"] * 25 + [f"rare{number}" for number in range(22)])
    assert slicing.labels == ("a", "b", "22 others")
    slicing = by_kind("source", ["a"] * 30 + ["b"] * 25 + ["c"] * 3 + [None] * 2)
    assert slicing.labels == ("a", "b")
    assert "1 rare kind (3 queries in all)" in slicing.why
    assert "not known of 2" in slicing.why


def test_means_of_a_slice_are_those_of_its_items_and_its_interval_is_that_of_the_bootstrap():
    random = np.random.default_rng(0)
    scores, against = random.random(400), random.random(400)
    slicing = by_kind("source", ["a"] * 100 + ["b"] * 300)
    rows = sliced_means([slicing], scores, against)
    # "b" has more, so it comes first.
    first = scores[100:]
    assert rows[0]["label"] == "b"
    assert rows[0]["score"] == pytest.approx(first.mean())
    assert rows[0]["difference"] == pytest.approx((first - against[100:]).mean())
    assert (rows[0]["ci_low"], rows[0]["ci_high"]) == pytest.approx(bootstrap_interval(first), abs=0.005)
    low, high = bootstrap_interval(scores[:100] - against[:100])
    assert (rows[1]["difference_ci_low"], rows[1]["difference_ci_high"]) == pytest.approx((low, high), abs=0.012)


def test_parts_are_told_apart_where_they_differ_and_seldom_where_they_do_not():
    random = np.random.default_rng(0)
    slicing = by_kind("source", ["a"] * 100 + ["b"] * 100)
    apart = np.concatenate([random.normal(0, 1, 100), random.normal(1, 1, 100)])
    assert differing([slicing], apart)
    alarms = sum(bool(differing([slicing], random.normal(size=200))) for _ in range(200))
    assert alarms <= 20  # of 10 expected at 5 %, this many by chance in 0.1 %
    assert differing([slicing], np.ones(200)) == []


def test_fields_of_few_kinds_and_of_numbers_are_found_and_names_are_not():
    rows = [
        json.dumps({"source": "ab"[number % 2], "year": 1900 + number, "name": f"n{number}", "tags": ["x"], "same": 1})
        for number in range(200)
    ]
    found = {one.by: one.labels for one in by_fields("document", rows)}
    assert set(found) == {"document source", "document year"}
    assert found["document source"] == ("a", "b")
    assert found["document year"][0] == "1900 to 1949"


def test_the_number_of_fields_is_bounded_and_broken_metadata_counts_as_none():
    rows = [json.dumps({f"f{field}": number % 2 for field in range(50)}) for number in range(100)]
    assert len(by_fields("query", rows)) == MOST_FIELDS
    assert by_fields("query", ["{broken", None, "[1]"] * 50) == []
    nested = '{"kind":' + "[" * 100_000 + "]" * 100_000 + "}"
    assert by_fields("query", [nested, '{"kind": ' + "9" * 5000 + "}"] * 50) == []
    many = [json.dumps({"kind": f"k{number % (FEW_KINDS + 1)}"}) for number in range(2000)]
    assert by_fields("query", many) == []


def test_numbers_too_large_and_texts_that_no_file_holds_are_sliced_all_the_same():
    odd = [10**400, float("inf"), float("nan")]
    amounts = [json.dumps({"size": odd[number % 3] if number < 9 else number}) for number in range(200)]
    (sizes,) = by_fields("document", amounts)
    assert sizes.labels[0].startswith("9 to ")
    assert "not known of 9 queries" in sizes.why
    (halves,) = by_fields(
        "document", [json.dumps({"\ud800": "a\ud800" if number % 2 else "b"}) for number in range(100)]
    )
    assert (halves.by, *halves.labels) == ("document ?", "b", "a?")
    assert json.dumps([halves.by, *halves.labels], ensure_ascii=False).encode()
