"""A map of vectors in two dimensions, of a bounded sample of texts, for a page on which one points at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from embedft.errors import ConfigError
from embedft.index.exact import Floats

Doubles = npt.NDArray[np.float64]
Method = Literal["pca", "umap"]

METHODS: tuple[Method, ...] = ("pca", "umap")
# More points cover each other on a page, and weigh on it: these are about 300 kB with their texts.
POINTS = 1500
TEXT_LENGTH = 120
# As many as people tell apart by colour; the smallest groups share one.
GROUPS = 12
OTHERS = "(others)"
NEIGHBOURS = 15


def project(
    vectors: Floats, texts: Sequence[str], groups: Sequence[str], *, method: Method = "pca", seed: int = 0
) -> dict[str, Any]:
    """The map, for JSON: method, points (x, y, group, text), explained.

    Up to `POINTS` texts are drawn, as evenly from the groups as they allow, so that a few queries are seen beside many
    documents. "explained" is the share of the sample's variance along x and along y; of UMAP None, whose axes and
    distances between clusters mean nothing.

    Args:
        vectors: unit vectors, (n, dim).
        texts: (n,), cut for hovering.
        groups: (n,), a colour each.
        method: pca, or umap (McInnes et al. 2018, arXiv:1802.03426).
        seed: of the sample, and of UMAP.

    Raises:
        ConfigError: another method, or umap-learn is not installed.
    """
    require_method(method)
    named = largest_groups(groups)
    rows = draw_evenly(named, POINTS, seed=seed)
    sample = np.asarray(vectors[rows], np.float64)
    if method == "umap":
        places, explained = _umap(sample, seed), None
    else:
        places, explained = pca(sample)
    points = [
        {"x": round(float(x), 4), "y": round(float(y), 4), "group": named[row], "text": shortened(texts[row])}
        for row, (x, y) in zip(rows, places, strict=True)
    ]
    return {"method": method, "points": points, "explained": explained}


def pca(vectors: Doubles) -> tuple[Doubles, list[float]]:
    """Places along the two directions of the largest variance, (n, 2), and the shares of the variance along them.

    The sign of a direction is free; the one is taken whose largest weight is positive, so that maps can be compared.
    Where there is no variance along a direction, places there are 0.
    """
    centred = vectors - vectors.mean(axis=0)
    values, directions = np.linalg.eigh(centred.T @ centred)
    first = directions[:, ::-1][:, :2]
    first = first * np.sign(first[np.abs(first).argmax(axis=0), np.arange(first.shape[1])])
    total = float(values.sum())
    shares = [max(float(value), 0.0) / total if total > 0 else 0.0 for value in values[::-1][:2]]
    places = np.zeros((len(vectors), 2))
    places[:, : first.shape[1]] = centred @ first
    return places, [*shares, 0.0][:2]


def largest_groups(groups: Sequence[str]) -> list[str]:
    """The groups, but `OTHERS` for all beside the largest where there are more than `GROUPS`."""
    counts = Counter(groups)
    if len(counts) <= GROUPS:
        return list(groups)
    shown = {group for group, _ in counts.most_common(GROUPS - 1)}
    return [group if group in shown else OTHERS for group in groups]


def draw_evenly(groups: Sequence[str], most: int, *, seed: int = 0) -> list[int]:
    """Rows of up to ``most`` of them, in order: from each group as many as from the others, as far as it has them."""
    drawn = np.random.default_rng(seed).permutation(len(groups))
    turns: Counter[str] = Counter()
    order = []
    for row in drawn.tolist():
        order.append((turns[groups[row]], row))
        turns[groups[row]] += 1
    # Each group's first row comes before any group's second one.
    return sorted(row for _, row in sorted(order, key=lambda pair: pair[0])[:most])


def shortened(text: str) -> str:
    """The text in one line, cut to `TEXT_LENGTH` characters."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_LENGTH else f"{line[: TEXT_LENGTH - 1]}…"


def require_method(method: Method) -> None:
    """Raise ConfigError if this map cannot be made here: before long work, not after it."""
    if method not in METHODS:
        raise ConfigError(f"no map is named {method!r}.", hint=f"use {' or '.join(METHODS)}.")
    if method == "umap" and find_spec("umap") is None:
        raise ConfigError(
            "a map by UMAP needs umap-learn, which is not installed.", hint="pip install 'embedft[map]', or use pca."
        )


def _umap(vectors: Doubles, seed: int) -> Doubles:
    if len(vectors) <= NEIGHBOURS:
        raise ConfigError(f"UMAP cannot place {len(vectors)} texts.", hint=f"it takes {NEIGHBOURS + 1}; use pca.")
    from umap import UMAP

    # One thread: with several, the same seed gives another map.
    made = UMAP(n_components=2, n_neighbors=NEIGHBOURS, metric="cosine", init="pca", random_state=seed, n_jobs=1)
    return np.asarray(made.fit_transform(vectors), np.float64)
