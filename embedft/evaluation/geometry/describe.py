"""The geometry of a model's vectors, beside that of another model: numbers, a map, and what they mean in sentences."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from embedft.errors import DataError
from embedft.evaluation.geometry.clouds import Cloud, Rows, cloud_of
from embedft.evaluation.geometry.intervals import Doubles, alignment_interval, pseudo_values, uniformity_interval
from embedft.evaluation.geometry.measures import anisotropy, distances, hubness, potentials, spectrum, uniformity_of
from embedft.evaluation.geometry.projection import Method, project
from embedft.evaluation.geometry.reading import reading

SAMPLE = 10_000
NO_SPECTRUM = {"effective_dimensions": None, "participation_ratio": None, "rankme": None, "first_component": None}


def geometry_of(
    evaluation: Any, against: Any, data: Any, split: str, *, method: Method = "pca", seed: int = 0
) -> dict[str, Any]:
    """The geometry of what was evaluated, of `geometry`.

    Args:
        evaluation: with its vectors.
        against: of another model, with its vectors; or None.
        data: that was evaluated.
        split: of it.
        method: of the map.
        seed: of samples.

    Raises:
        ConfigError, DataError: as `geometry`, or an evaluation keeps no vectors.
    """
    other = cloud_of(against, data, split) if against is not None else None
    return geometry(cloud_of(evaluation, data, split), other, method=method, seed=seed)


def geometry(own: Cloud, against: Cloud | None = None, *, method: Method = "pca", seed: int = 0) -> dict[str, Any]:
    """The geometry, for JSON: model, against (or None), difference (or None), map, reading (sentences).

    Of a model: texts (how many the numbers are of, at most `SAMPLE`), dim, anisotropy, uniformity, alignment,
    effective_dimensions, participation_ratio, rankme, first_component, hubness, as `measures` defines them; None for
    what these vectors have no value of. uniformity_ci and alignment_ci are 95 % intervals, [low, high]; None of fewer
    than 10 texts, or queries with a pair. The difference has uniformity and alignment of the first model minus those of
    the other, and both intervals, on the same texts. The map is of the first model, as `project` makes it.

    Args:
        own: vectors of one model.
        against: of another, of the same texts in the same order.
        method: of the map, pca or umap.
        seed: of samples.

    Raises:
        ConfigError: another method, or umap-learn is not installed.
        DataError: fewer than two texts, or the two are not of the same ones.
    """
    if len(own.measured) < 2:
        raise DataError(f"{len(own.measured)} texts have no geometry.", hint="give two at least.")
    if against is not None and list(own.texts) != list(against.texts):
        raise DataError("the vectors of the two models are not of the same texts.", hint="encode the same data.")
    rows, pairs = _sample(own.measured, seed), _sample(own.positives, seed)
    first = _Measured(own, rows, pairs, seed)
    second = _Measured(against, rows, pairs, seed) if against is not None else None
    difference = first.minus(second) if second is not None else None
    return {
        "model": first.numbers,
        "against": second.numbers if second is not None else None,
        "difference": difference,
        "map": project(own.vectors, own.texts, own.groups, method=method, seed=seed),
        "reading": reading(first.numbers, second.numbers if second is not None else None, difference),
    }


class _Measured:
    """The numbers of a cloud, and what its intervals are made of."""

    def __init__(self, cloud: Cloud, rows: Rows, pairs: Rows, seed: int) -> None:
        vectors = np.ascontiguousarray(cloud.vectors[rows])
        found = spectrum(vectors)
        sums = potentials(vectors)
        self._owners, self._seed = pairs[:, 0], seed
        self._distances = distances(*(cloud.vectors[side] for side in pairs.T))
        self._pseudo = pseudo_values(sums) if len(sums) > 2 else sums
        self.numbers: dict[str, Any] = {
            "texts": len(vectors),
            "dim": vectors.shape[1],
            "anisotropy": anisotropy(vectors),
            **self._told(uniformity_of(sums), self._pseudo, self._distances),
            **(NO_SPECTRUM if found is None else asdict(found)),
            "hubness": hubness(vectors),
        }

    def minus(self, other: _Measured) -> dict[str, Any]:
        """Differences of uniformity and alignment, on the same texts."""
        value = self.numbers["uniformity"] - other.numbers["uniformity"]
        return self._told(value, self._pseudo - other._pseudo, self._distances - other._distances)

    def _told(self, value: float, pseudo: Doubles, apart: Doubles) -> dict[str, Any]:
        return {
            "uniformity": value,
            "uniformity_ci": uniformity_interval(pseudo, value, seed=self._seed),
            "alignment": float(apart.mean()) if len(apart) else None,
            "alignment_ci": alignment_interval(apart, self._owners, seed=self._seed) if len(apart) else None,
        }


def _sample(rows: Rows, seed: int) -> Rows:
    """Up to `SAMPLE` of them, in order."""
    if len(rows) <= SAMPLE:
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), SAMPLE, replace=False))]
