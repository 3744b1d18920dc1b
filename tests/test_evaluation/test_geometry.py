"""The geometry of vectors: the measures are their definitions, and find what was planted."""

import json

import numpy as np
import pytest
from ladder_cases import unit

from embedft.errors import ConfigError, DataError
from embedft.evaluation import evaluate_retrieval, evaluate_similarity
from embedft.evaluation.geometry import (
    Cloud,
    alignment,
    anisotropy,
    describe,
    geometry,
    geometry_of,
    hubness,
    measures,
    spectrum,
    uniformity,
)


def around(centre: float, count: int = 400, dim: int = 32, seed: int = 0) -> np.ndarray:
    """Unit vectors around one direction; all round where ``centre`` is 0."""
    drawn = np.random.default_rng(seed).normal(size=(count, dim))
    drawn[:, 0] += centre
    return unit(drawn)


def cloud(vectors, positives=()):
    count = len(vectors)
    pairs = np.array(positives, np.int64).reshape(-1, 2)
    return Cloud(vectors, [f"text {row}" for row in range(count)], ["text"] * count, np.arange(count), pairs)


@pytest.mark.parametrize("block", [7, 1024])
def test_measures_of_all_pairs_are_their_definitions(monkeypatch, block):
    monkeypatch.setattr(measures, "BLOCK_ROWS", block)
    vectors = around(2.0, count=60, dim=8)
    doubled = vectors.astype(np.float64)
    pairs = [(i, j) for i in range(60) for j in range(i)]
    cosines = [doubled[i] @ doubled[j] for i, j in pairs]
    distances = [((doubled[i] - doubled[j]) ** 2).sum() for i, j in pairs]
    assert anisotropy(vectors) == pytest.approx(np.mean(cosines), abs=1e-6)
    assert uniformity(vectors) == pytest.approx(np.log(np.mean(np.exp(-2 * np.array(distances)))), abs=1e-5)
    assert alignment(vectors[:30], vectors[30:]) == pytest.approx(
        np.mean([((a - b) ** 2).sum() for a, b in zip(doubled[:30], doubled[30:], strict=True)]), abs=1e-9
    )


def test_uniformity_is_what_wang_and_isola_publish():
    import torch

    vectors = around(1.0, count=200)
    # Their code, from the appendix of the paper.
    published = torch.pdist(torch.from_numpy(vectors), p=2).pow(2).mul(-2).exp().mean().log()
    assert uniformity(vectors) == pytest.approx(float(published), abs=1e-5)


def test_hubness_counts_neighbours_as_defined():
    vectors = around(0.0, count=120)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    counts = np.bincount(np.argsort(-cosines, axis=1)[:, :10].ravel(), minlength=120)
    centred = counts - counts.mean()
    assert hubness(vectors) == pytest.approx((centred**3).mean() / (centred**2).mean() ** 1.5, abs=1e-9)


def test_vectors_all_round_are_isotropic_and_a_cone_is_not():
    even, cone = around(0.0, count=4000), around(10.0, count=4000)
    assert abs(anisotropy(even)) < 0.01
    assert anisotropy(cone) > 0.7
    assert uniformity(even) < -3 < uniformity(cone)
    assert spectrum(even).effective_dimensions > 31
    assert spectrum(even).participation_ratio > 31
    assert spectrum(even).first_component < 2 / 32


@pytest.mark.parametrize("rank", [2, 5, 12])
def test_effective_dimensions_find_a_known_rank(rank):
    rng = np.random.default_rng(rank)
    basis = np.linalg.qr(rng.normal(size=(64, rank)))[0]
    found = spectrum(unit(rng.normal(size=(20_000, rank)) @ basis.T))
    for value in (found.effective_dimensions, found.participation_ratio, found.rankme):
        assert value == pytest.approx(rank, rel=0.02)
    assert found.first_component == pytest.approx(1 / rank, rel=0.1)


def test_the_spectrum_is_that_of_singular_values():
    vectors = around(2.0)
    singular = np.linalg.svd(vectors.astype(np.float64), compute_uv=False)
    shares = singular / singular.sum()
    assert spectrum(vectors).rankme == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
    variances = np.linalg.eigvalsh(np.cov(vectors.T.astype(np.float64)))
    assert spectrum(vectors).participation_ratio == pytest.approx(variances.sum() ** 2 / (variances**2).sum(), rel=1e-6)
    assert spectrum(vectors).first_component == pytest.approx(variances.max() / variances.sum(), rel=1e-6)


def test_a_planted_hub_shows_in_hubness():
    rng = np.random.default_rng(0)
    vectors = around(10.0, count=500, dim=128)
    # In a cone its middle is nearer to each vector than any other one is.
    hubs = unit(vectors.mean(axis=0) + 0.01 * rng.normal(size=(5, 128)))
    assert hubness(np.concatenate([vectors, hubs])) > hubness(vectors) + 3


def test_a_text_with_many_copies_is_not_its_own_neighbour():
    rng = np.random.default_rng(0)
    # Halves multiply without rounding, so that equal cosines are equal; forty copies hide a text from itself.
    vectors = rng.choice(np.array([-0.5, 0.5], np.float32), (60, 4))
    copies = np.concatenate([np.repeat(vectors[:1], 40, axis=0), vectors])
    cosines = copies @ copies.T
    np.fill_diagonal(cosines, -np.inf)
    counts = np.bincount(np.argsort(-cosines, axis=1, kind="stable")[:, :10].ravel(), minlength=100)
    centred = counts - counts.mean()
    assert hubness(copies) == pytest.approx((centred**3).mean() / (centred**2).mean() ** 1.5, abs=1e-9)


def test_a_collapsed_set_is_told_without_numbers_that_it_lacks():
    same = np.repeat(around(0.0, count=1), 50, axis=0)
    found = geometry(cloud(same))
    assert found["model"]["anisotropy"] == pytest.approx(1, abs=1e-6)
    assert found["model"]["uniformity"] == pytest.approx(0, abs=1e-5)
    assert found["model"]["effective_dimensions"] is None
    assert found["model"]["first_component"] is None
    assert any("the same vector" in sentence for sentence in found["reading"])
    json.dumps(found, allow_nan=False)


def test_two_models_are_measured_on_the_same_sample(monkeypatch):
    monkeypatch.setattr(describe, "SAMPLE", 50)
    vectors = around(1.0)
    found = geometry(cloud(vectors, [(0, 1), (2, 3)]), cloud(vectors, [(0, 1), (2, 3)]))
    assert found["model"] == found["against"]
    assert found["model"]["texts"] == 50
    assert found["model"]["alignment"] == pytest.approx(alignment(vectors[[0, 2]], vectors[[1, 3]]))
    assert found == geometry(cloud(vectors, [(0, 1), (2, 3)]), cloud(vectors, [(0, 1), (2, 3)]))


def test_three_texts_have_a_geometry_and_one_has_none():
    found = geometry(cloud(around(0.0, count=3)))
    assert found["model"]["hubness"] is None
    json.dumps(found, allow_nan=False)
    with pytest.raises(DataError, match="1 texts"):
        geometry(cloud(around(0.0, count=1)))


def test_broken_vectors_and_other_texts_are_refused():
    vectors = around(0.0, count=20)
    broken = vectors.copy()
    broken[7, 0] = np.inf
    with pytest.raises(DataError, match=r"1 of 20 vectors of texts .* row 7"):
        cloud(broken)
    with pytest.raises(DataError, match="same texts"):
        geometry(cloud(vectors), cloud(vectors[:10]))
    with pytest.raises(ConfigError, match="tsne"):
        geometry(cloud(vectors), method="tsne")


def test_retrieval_measures_documents_and_aligns_queries_with_their_own(encoder, garden_data):
    evaluation = evaluate_retrieval(encoder, garden_data, "test", metrics=["ndcg@10"], keep_vectors=True)
    found = geometry_of(evaluation, evaluation, garden_data, "test")
    documents = garden_data.corpus.num_rows
    assert found["model"]["texts"] == documents
    ids = garden_data.corpus["id"].to_pylist()
    pairs = [
        (evaluation.query_ids.index(row["query_id"]), ids.index(row["corpus_id"]))
        for row in garden_data.split("test").to_pylist()
        if row["grade"] > 0
    ]
    queries, rows = np.array(pairs).T
    expected = alignment(evaluation.vectors.queries[queries], evaluation.vectors.documents[rows])
    assert found["model"]["alignment"] == pytest.approx(expected, abs=1e-9)
    groups = [point["group"] for point in found["map"]["points"]]
    assert groups.count("document") == documents
    assert groups.count("query") == len(evaluation.query_ids)
    texts = {point["text"] for point in found["map"]["points"] if point["group"] == "query"}
    assert texts <= {" ".join(text.split())[:120] for text in garden_data.queries["text"].to_pylist()}


def test_similarity_aligns_the_pairs_that_mean_the_same(encoder):
    from embedft.data.general import read_general

    pairs = read_general()
    evaluation = evaluate_similarity(encoder, pairs, data="general", metrics=["spearman"], keep_vectors=True)
    found = geometry_of(evaluation, None, None, "test")
    same = evaluation.vectors.rows[evaluation.scores >= 0.8]
    expected = alignment(*(evaluation.vectors.documents[side] for side in same.T))
    assert found["model"]["alignment"] == pytest.approx(expected)
    assert found["against"] is None
    assert found["reading"]
