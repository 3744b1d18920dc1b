"""The map of vectors: bounded, drawn evenly from its groups, the same for the same seed."""

import sys

import numpy as np
import pytest
from ladder_cases import unit

from embedft.errors import ConfigError
from embedft.evaluation.geometry import project, projection
from embedft.evaluation.geometry.projection import GROUPS, OTHERS, draw_evenly, largest_groups, pca, shortened


def clusters(sizes, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = 3 * rng.normal(size=(len(sizes), dim))
    vectors = [centre + 0.3 * rng.normal(size=(size, dim)) for centre, size in zip(centres, sizes, strict=True)]
    groups = [f"group {number}" for number, size in enumerate(sizes) for _ in range(size)]
    return unit(np.concatenate(vectors)), [f"text {row}" for row in range(len(groups))], groups


def test_pca_is_that_of_scikit_learn():
    from sklearn.decomposition import PCA

    vectors = clusters([30, 40])[0].astype(np.float64)
    places, explained = pca(vectors)
    fitted = PCA(2).fit(vectors)
    assert explained == pytest.approx(fitted.explained_variance_ratio_.tolist())
    assert np.allclose(np.abs(places), np.abs(fitted.transform(vectors)), atol=1e-9)


def test_a_map_has_no_more_points_than_a_page_bears_and_all_small_groups(monkeypatch):
    monkeypatch.setattr(projection, "POINTS", 60)
    vectors, texts, groups = clusters([500, 20, 5])
    points = project(vectors, texts, groups)["points"]
    counts = [sum(point["group"] == f"group {number}" for point in points) for number in range(3)]
    assert len(points) == 60
    assert counts[2] == 5
    assert counts[1] == 20
    assert all(groups[int(point["text"].split()[1])] == point["group"] for point in points)


def test_the_draw_is_even_and_depends_on_the_seed_alone():
    groups = ["a"] * 100 + ["b"] * 100 + ["c"] * 3
    drawn = draw_evenly(groups, 43)
    assert drawn == draw_evenly(groups, 43)
    assert drawn == sorted(set(drawn))
    assert [sum(groups[row] == name for row in drawn) for name in "abc"] == [20, 20, 3]
    assert drawn != draw_evenly(groups, 43, seed=1)
    assert draw_evenly(groups, 1000) == list(range(203))


def test_many_labels_share_a_colour_beside_the_largest():
    groups = [f"label {number}" for number in range(77) for _ in range(number + 1)]
    shown = largest_groups(groups)
    assert len(set(shown)) == GROUPS
    assert OTHERS in shown
    assert {"label 76", "label 66"} <= set(shown)
    assert largest_groups(["a", "b"]) == ["a", "b"]


def test_texts_are_cut_to_what_hovers():
    assert shortened("a\n  b") == "a b"
    assert len(shortened("word " * 100)) == 120


def test_vectors_of_one_place_and_of_one_dimension_still_have_a_map():
    same = np.repeat(clusters([1])[0], 5, axis=0)
    found = project(same, ["t"] * 5, ["g"] * 5)
    assert found["explained"] == [0, 0]
    assert {(point["x"], point["y"]) for point in found["points"]} == {(0, 0)}
    narrow = project(np.array([[1.0], [-1.0]], np.float32), ["a", "b"], ["g", "g"])
    assert [abs(point["x"]) for point in narrow["points"]] == [1, 1]


@pytest.mark.slow
def test_umap_keeps_clusters_together_and_repeats_itself():
    pytest.importorskip("umap", reason="umap-learn is not installed")
    vectors, texts, groups = clusters([25, 25, 25])
    found = project(vectors, texts, groups, method="umap", seed=3)
    assert found["explained"] is None
    assert found == project(vectors, texts, groups, method="umap", seed=3)
    places = np.array([(point["x"], point["y"]) for point in found["points"]])
    nearest = [np.argsort(np.linalg.norm(places - place, axis=1))[1] for place in places]
    assert np.mean([groups[row] == groups[near] for row, near in enumerate(nearest)]) > 0.95


def test_umap_that_is_missing_or_has_too_few_texts_says_what_to_do(monkeypatch):
    vectors, texts, groups = clusters([10])
    with pytest.raises(ConfigError, match="10 texts"):
        project(vectors, texts, groups, method="umap")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ConfigError) as caught:
        project(vectors, texts, groups, method="umap")
    assert "pip install 'embedft[map]'" in caught.value.hint
