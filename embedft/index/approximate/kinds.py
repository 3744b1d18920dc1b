"""The kinds of approximate index: what FAISS builds for each, how large it becomes, which are tried.

Speed at a recall@10, as a multiple of exact search, on 12,000 sentences of documentation (bundled encoder) and 20,000
vectors around 200 random centres, 384 dimensions, one thread: 1,600 queries at once, and one at a time (in brackets).

    kind         bytes/vector   sentences at 0.95   at 0.99     synthetic at 0.95   at 0.99
    hnsw                1,808        2.4 (2.9)     1.0 (2.2)         4.6 (8.7)     3.7 (8.0)
    hnsw-fp16           1,040        2.7 (3.5)     1.8 (2.7)         4.9 (9.0)     4.9 (9.0)
    hnsw-sq8              656        3.6 (3.7)     1.7 (3.0)         7.6 (9.8)     5.4 (8.6)
    ivf-sq8               392        1.5 (2.8)     0.8 (2.1)         8.6 (9.6)     7.2 (9.0)
    ivf-pq                 56        1.7 (3.1)     1.0 (2.5)         6.2 (8.3)     5.8 (8.3)
    ivf-rabitq             64        0.9 (2.9)     0.3 (2.0)         8.7 (8.6)     7.2 (8.2)
    truncated             368        0.5 (1.7)     0.1 (0.6)         4.3 (6.4)     2.0 (4.4)
    binary                 48        1.2 (3.0)     0.8 (2.5)         1.9 (6.2)     1.5 (5.0)

Another run on the same machine, which was busy, differed by up to a half. Exact search of so few vectors is fast; the
multiples grow with their number. The encoder was not trained to be truncated.

Tried and left out: PQ of two dimensions a part (slower at each recall than of four), RaBitQ of four bits (slower than
one bit with more candidates), RaBitQ fast-scan (its set-up for each list costs more than it saves), HNSW over bits (of
320 bytes), a larger efConstruction (100 and 200 build two and four times as long and gain nothing for so few vectors).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from embedft.errors import ConfigError

Floats = npt.NDArray[np.float32]
Dial = Literal["efSearch", "nprobe"]

FLAT = "flat"
# Links of a node of HNSW32: 64 in the lowest layer, 32 in each further one, which one node in 32 reaches, of 4 bytes;
# beside them where they begin, 8 bytes, and how many layers there are, 4 bytes.
GRAPH_BYTES = 4 * (64 + 32 / 31) + 12
# FAISS warns below so many training vectors for each list.
ROWS_PER_LIST = 39
# The lists of the fast-scan layout are filled up to whole blocks.
BLOCK_ROWS = 32
# Exact search of so many bytes takes 1.6 ms for one query on one thread (20,000 x 384): nothing to gain.
FAST_FLAT_BYTES = 32 << 20
# From so many vectors on a graph is built with more effort.
LARGE_GRAPH = 100_000
# Of each family the first that fits is tried: graphs, lists, the smallest codes. As candidates are scored exactly,
# codes of 8 bits recall as much as larger ones and are read faster: hnsw and hnsw-fp16 are for those who ask for them.
FAMILIES = (("hnsw-sq8", "truncated"), ("ivf-sq8", "ivf-pq"), ("ivf-rabitq", "binary"))


@dataclass(frozen=True)
class Point:
    """Where a stage is searched.

    Attributes:
        effort: HNSW's efSearch, IVF's nprobe; 0 where the stage has no such dial.
        factor: candidates that are scored exactly, as a multiple of the hits asked for; at least 1.
    """

    effort: int
    factor: float

    def candidates(self, k: int) -> int:
        """How many candidates are scored exactly for ``k`` hits."""
        return max(k, math.ceil(self.factor * k))


@dataclass(frozen=True)
class Kind:
    """A kind of stage.

    Attributes:
        recipe: FAISS factory string, with {lists} and {parts} of PQ where it has them.
        class_name: of the index that FAISS makes of it.
        code_bytes: dimension -> bytes of a vector's code.
        factors: that are tried in tuning, smallest first.
        dial: what effort means; None where every vector is looked at.
        encode: what is done to unit vectors before FAISS sees them, (n, dim).
        encoded_dim: dimension -> the dimension that FAISS is told.
        binary: codes are bits, and compared by Hamming distance.
    """

    recipe: str
    class_name: str
    code_bytes: Callable[[int], int]
    factors: tuple[float, ...]
    dial: Dial | None
    encode: Callable[[Floats], npt.NDArray[np.generic]] = np.ascontiguousarray
    encoded_dim: Callable[[int], int] = int
    binary: bool = False

    def factory(self, size: int, dim: int) -> str:
        """What FAISS is asked to build of ``size`` vectors of ``dim`` dimensions."""
        return self.recipe.format(lists=lists_of(size), parts=_parts(dim))


def lists_of(size: int) -> int:
    """Lists of an IVF index of ``size`` vectors: 4 times the square root, if each has enough to be trained on."""
    return max(1, min(int(4 * math.sqrt(size)), size // ROWS_PER_LIST))


def effort_of_building(size: int) -> int:
    """HNSW's efConstruction for a graph of ``size`` vectors: FAISS' 40, and 100 from 100,000 vectors on.

    Embedded sentences, 384 dimensions, with 40, 100 and 200: among 200,000 vectors a query computes 1,190, 940 and 930
    distances at a recall@10 of 0.953, and building took 46, 70 and 146 s on a busy machine; among a million that recall
    asks for an efSearch of about 70, 52 and 36.
    """
    return 40 if size < LARGE_GRAPH else 100


def _bits(vectors: Floats) -> npt.NDArray[np.uint8]:
    return np.packbits(vectors > 0, axis=1)


def kept_dims(dim: int) -> int:
    """First dimensions that the truncated kind searches: a quarter, at least 32."""
    return min(dim, max(32, dim // 4))


def _truncated(vectors: Floats) -> Floats:
    first = vectors[:, : kept_dims(vectors.shape[1])]
    norms = np.linalg.norm(first, axis=1, keepdims=True)
    # A vector without any length in these dimensions stays zero: it has no direction there.
    return np.ascontiguousarray(first / np.where(norms > 0, norms, 1), dtype=np.float32)


def _parts(dim: int) -> int:
    """Parts that PQ codes by 4 bits each: of four dimensions, or the next larger that divide ``dim``."""
    return max(parts for parts in range(1, max(dim // 4, 1) + 1) if dim % parts == 0)


KINDS: dict[str, Kind | None] = {
    FLAT: None,
    "hnsw": Kind("HNSW32,Flat", "IndexHNSWFlat", lambda d: 4 * d, (1,), "efSearch"),
    "hnsw-fp16": Kind("HNSW32,SQfp16", "IndexHNSWSQ", lambda d: 2 * d, (1, 2), "efSearch"),
    "hnsw-sq8": Kind("HNSW32,SQ8", "IndexHNSWSQ", lambda d: d, (1, 2, 4), "efSearch"),
    "ivf-sq8": Kind("IVF{lists},SQ8", "IndexIVFScalarQuantizer", lambda d: d, (1, 2, 4), "nprobe"),
    "ivf-pq": Kind(
        "IVF{lists},PQ{parts}x4fs",
        "IndexIVFPQFastScan",
        lambda d: (_parts(d) + 1) // 2,
        (2, 4, 8, 16, 32),
        "nprobe",
    ),
    # A bit for each dimension and two numbers that correct for the rounding (Gao and Long 2024, arXiv:2405.12497).
    "ivf-rabitq": Kind(
        "IVF{lists},RaBitQ",
        "IndexIVFRaBitQ",
        lambda d: (d + 7) // 8 + 8,
        (2, 4, 8, 16, 32),
        "nprobe",
    ),
    # Matryoshka representations (Kusupati et al. 2022, arXiv:2205.13147).
    "truncated": Kind(
        "HNSW32,SQ8",
        "IndexHNSWSQ",
        kept_dims,
        (2, 4, 8, 16, 32, 64),
        "efSearch",
        encode=_truncated,
        encoded_dim=kept_dims,
    ),
    "binary": Kind(
        "BFlat",
        "IndexBinaryFlat",
        lambda d: (d + 7) // 8,
        (2, 4, 8, 16, 32, 64, 128),
        None,
        encode=_bits,
        encoded_dim=lambda d: (d + 7) // 8 * 8,
        binary=True,
    ),
}


def stage_kind(name: str) -> Kind:
    """The kind of stage of that name.

    Raises:
        ConfigError: there is none; flat search needs none.
    """
    kind = KINDS.get(name)
    if kind is None:
        stages = ", ".join(known for known, kind in KINDS.items() if kind is not None)
        raise ConfigError(f"{name!r} is no kind of approximate index.", hint=f"choose of {stages}.")
    return kind


def factory(kind: str, size: int, dim: int) -> str:
    """What FAISS builds for a kind, as its factory string; for the truncated kind with the dimensions it keeps.

    Args:
        kind: of ``KINDS``.
        size: number of vectors.
        dim: their dimension.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind == FLAT:
        return "Flat"
    recipe = stage_kind(kind).factory(size, dim)
    return f"Truncate{kept_dims(dim)},{recipe}" if kind == "truncated" else recipe


def estimate_bytes(kind: str, size: int, dim: int) -> int:
    """Bytes that must stay in memory for a kind to be searched at its speed.

    For a stage these are the bytes of its file. The memory-mapped vectors are not counted: candidates touch a few pages
    of them, which the system may drop. Flat search reads all vectors for each query, so there they count.

    Args:
        kind: of ``KINDS``.
        size: number of vectors.
        dim: their dimension.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind == FLAT:
        return 4 * size * dim
    made = stage_kind(kind)
    code = made.code_bytes(dim)
    if made.dial == "efSearch":
        return int(size * (code + GRAPH_BYTES))
    if made.dial is None:
        return size * code
    lists = lists_of(size)
    # Fast-scan lists are half a block too long on average; its tables are 16 entries a part.
    filled, tables = (lists * BLOCK_ROWS // 2, 64 * dim) if "x4fs" in made.recipe else (0, 0)
    # Beside each code the number of its vector, beside each list its centroid.
    return size * (code + 8) + filled * code + tables + 4 * lists * dim


def candidates_for(size: int, dim: int, *, memory: int | None = None) -> list[str]:
    """Kinds in the order in which they are to be tried for so many vectors.

    Flat search comes first where it is fast, and last otherwise: it meets any recall. Before it stands the first of
    each family that fits.

    Args:
        size: number of vectors.
        dim: their dimension.
        memory: bytes, as ``estimate_bytes`` counts them; None for no limit.

    Raises:
        ConfigError: no kind fits ``memory``.
    """

    def fits(kind: str) -> bool:
        return memory is None or estimate_bytes(kind, size, dim) <= memory

    first_fitting = (next(filter(fits, family), None) for family in FAMILIES)
    flat = [FLAT] if fits(FLAT) else []
    # Without a limit the smallest codes have nothing to offer.
    stages = [kind for kind in first_fitting if kind is not None][: 2 if memory is None else None]
    order = flat + stages if estimate_bytes(FLAT, size, dim) <= FAST_FLAT_BYTES else stages + flat
    if not order:
        smallest = min(KINDS, key=lambda kind: estimate_bytes(kind, size, dim))
        needed = estimate_bytes(smallest, size, dim)
        raise ConfigError(
            f"no index of {size:,} vectors of {dim} dimensions fits {memory:,} bytes; "
            f"the smallest, {smallest}, needs {needed:,}.",
            hint=f"allow at least {math.ceil(needed / 1e6):,} MB, or index fewer documents or dimensions.",
        )
    return order
