"""What a geometry is said to mean: what was planted is told, and what chance makes is not."""

import numpy as np
import pytest
from ladder_cases import unit

from embedft.evaluation.geometry import Cloud, geometry
from embedft.evaluation.geometry.intervals import alignment_interval, pseudo_values, uniformity_interval
from embedft.evaluation.geometry.measures import distances, potentials, uniformity

TEXTS, PAIRS = 600, 40


def cloud(vectors, pairs=()):
    count = len(vectors)
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return Cloud(unit(vectors), [f"text {row}" for row in range(count)], ["text"] * count, np.arange(count), rows)


def drawn(count=400, dim=32, centre=0.0, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    vectors[:, 0] += centre
    return vectors


def with_hubs():
    """In a cone its middle is nearer to each vector than any other one is."""
    vectors = unit(drawn(500, 128, centre=10.0))
    middle = vectors.mean(axis=0) + 0.01 * np.random.default_rng(0).normal(size=(5, 128))
    return np.concatenate([vectors, middle])


def paired(noise, seed=0, spread=1.0, centre=0.0):
    """Texts around a direction, the first of which come in pairs that differ by noise."""
    rng = np.random.default_rng(seed)
    vectors = spread * np.random.default_rng(1).normal(size=(TEXTS, 32))
    vectors[1 : 2 * PAIRS : 2] = vectors[0 : 2 * PAIRS : 2] + noise * rng.normal(size=(PAIRS, 32))
    vectors[:, 0] += centre
    return cloud(vectors, [(row, row + 1) for row in range(0, 2 * PAIRS, 2)])


def read(own, against=None):
    return " ".join(geometry(own, against)["reading"])


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (drawn(), "point all round"),
        (drawn(centre=4.0), "usual where all texts are about one subject"),
        (drawn(centre=20.0), "a narrow cone, in which"),
        (drawn(), "31 effective dimensions of 32."),
        (drawn(20, 64), "(19 are possible with so few texts)"),
        (drawn(dim=64) * np.array([0.01] * 59 + [1.0] * 5), "few, so shorter vectors would do"),
        (drawn() * np.array([9.0] + [1.0] * 31), "of the variance lies along one direction"),
        (with_hubs(), "near neighbours of unusually many others"),
        (np.ones((30, 8)), "the same vector"),
    ],
)
def test_one_model_is_read_by_its_vectors(vectors, says):
    assert says in read(cloud(vectors))


def test_what_is_usual_gives_no_warning():
    own = geometry(cloud(drawn()))["reading"]
    assert len(own) == 2
    assert geometry(cloud(drawn()), cloud(drawn()))["reading"] == own


@pytest.mark.parametrize(
    ("own", "against", "says"),
    [
        (paired(0.3), paired(0.6), "belong together lie closer together than with the other model, which is not shown"),
        (paired(0.6), paired(0.3), "belong together lie farther apart than with the other model, which is not shown"),
        (paired(0.6, centre=4.0), paired(0.6), "lie closer together than with the other model, and so do all texts"),
        (paired(0.6), paired(0.6, centre=4.0), "lie farther apart than with the other model, and so do all texts"),
        (
            paired(0.3),
            paired(0.9, centre=2.0),
            "closer together than with the other model, while all texts lie farther",
        ),
        (cloud(drawn(centre=4.0)), cloud(drawn()), "All texts lie closer together than with the other model"),
        (cloud(drawn() * np.array([0.1] * 20 + [1.0] * 12)), cloud(drawn()), "fewer dimensions than with the other"),
    ],
)
def test_two_models_are_read_beside_each_other(own, against, says):
    assert says in read(own, against)


def test_a_difference_has_an_interval_and_its_ends_change_with_the_sides():
    there, back = geometry(paired(0.3), paired(0.6)), geometry(paired(0.6), paired(0.3))
    for name in ("alignment", "uniformity"):
        value, (low, high) = there["difference"][name], there["difference"][f"{name}_ci"]
        assert value == pytest.approx(there["model"][name] - there["against"][name])
        assert low <= value <= high
        assert back["difference"][f"{name}_ci"] == pytest.approx([-high, -low], abs=0.02)
        assert there["model"][f"{name}_ci"][0] < there["model"][name] < there["model"][f"{name}_ci"][1]
    assert geometry(paired(0.3))["difference"] is None
    few = geometry(cloud(drawn(9), [(0, 1)]), cloud(drawn(9, seed=1), [(0, 1)]))
    assert few["difference"]["alignment_ci"] is few["model"]["uniformity_ci"] is None
    assert "other model" not in " ".join(few["reading"])


@pytest.mark.parametrize("count", [10, 50])
def test_models_that_differ_by_chance_alone_are_seldom_told_apart(count):
    """Two models of the same texts, each with noise of its own: no interval should exclude 0 more than 1 time in 20."""
    rng = np.random.default_rng(count)
    samples, apart, alike = 100, 0, 0
    for _ in range(samples):
        texts = rng.normal(size=(2 * count, 16)) + np.eye(16)[0]
        models = [unit(texts + 0.7 * rng.normal(size=texts.shape)) for _ in range(2)]
        own, other = (distances(vectors[:count], vectors[count:]) for vectors in models)
        ends = alignment_interval(own - other, np.arange(count))
        apart += ends[0] > 0 or ends[1] < 0
        own, other = (pseudo_values(potentials(vectors)) for vectors in models)
        ends = uniformity_interval(own - other, uniformity(models[0]) - uniformity(models[1]))
        alike += ends[0] > 0 or ends[1] < 0
    # 5 are allowed on average; 13 is four standard errors above that.
    assert max(apart, alike) <= 13


def test_a_difference_by_chance_alone_is_seldom_told():
    """Of ten pairs two such models differ by more than two decimals hide nearly always."""
    samples, told, differ = 40, 0, 0
    for sample in range(samples):
        rng = np.random.default_rng(sample)
        texts = rng.normal(size=(20, 16)) + np.eye(16)[0]
        models = [
            cloud(texts + 0.7 * rng.normal(size=texts.shape), [(row, row + 10) for row in range(10)]) for _ in range(2)
        ]
        found = geometry(*models)
        differ += abs(found["difference"]["alignment"]) > 0.02
        told += any("than with the other model" in sentence for sentence in found["reading"])
    assert differ > samples / 2
    assert told <= samples / 5


def test_pairs_of_one_query_count_as_one():
    rng = np.random.default_rng(3)
    owners = np.repeat(np.arange(20), 30)
    values = np.repeat(rng.normal(size=20), 30) + 0.01 * rng.normal(size=600)
    wide, narrow = alignment_interval(values, owners), alignment_interval(values, np.arange(600))
    assert wide[1] - wide[0] > 4 * (narrow[1] - narrow[0])
