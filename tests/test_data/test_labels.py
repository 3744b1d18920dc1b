"""Typos of labels: those that comparing each label with each finds, in a time that many labels do not blow up."""

import time
from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.data.labels import RARER, _difference, typos

labels = st.text("abcAB_- é1", min_size=1, max_size=8)


def by_comparing_all(counts):
    order, found = counts.most_common(), {}
    for label, count in order:
        meant = ((_difference(label, other), other) for other, frequent in order if frequent >= RARER * count)
        first = next((pair for pair in meant if pair[0]), None)
        if first:
            found[label] = first
    return found


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(labels, st.sampled_from([1, 2, 5, 10, 50]), max_size=12), st.data())
def test_typos_are_those_that_comparing_all_labels_finds(counts, data):
    for label in list(counts):
        place = data.draw(st.integers(0, len(label)))
        counts.setdefault(label[:place] + data.draw(labels)[:1] + label[place + 1 :], 1)
        counts.setdefault(label[:place] + label[place + 1 :] or "x", 1)
        counts.setdefault(label[:place] + label[place : place + 2][::-1] + label[place + 2 :], 1)
    assert typos(Counter(counts)) == by_comparing_all(Counter(counts))


def test_labels_of_another_vowel_are_no_other_separators():
    assert typos(Counter({"दिन": 50, "दीन": 1})) == {}


def test_thousands_of_labels_take_no_minute():
    draw = Random(0)
    counts = Counter({"".join(draw.choices("abcdefghij_", k=12)): 1 + 9 * (n % 2) for n in range(4000)})
    began = time.perf_counter()
    typos(counts)
    assert time.perf_counter() - began < 5, "comparing all of them takes 30 s"
