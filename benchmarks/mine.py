"""Hard negatives against sentence-transformers' ``mine_hard_negatives``, with and without FAISS, on the same vectors.

    python benchmarks/mine.py [--rows 50000] [--rounds 3] [--vectors sentences|clustered] [--dry]

As many anchors as documents, at 384 dimensions. ``sentences`` are neighbouring lines of ``../shared/corpus``, embedded
once by the bundled encoder; ``clustered`` are unit vectors around 1,000 directions, in which an anchor lies near its
positive. Encoding is not timed: both sides get the stored vectors from an object that stands in for the encoder, and
both make rows of text out of them. Each run has a process of its own, whose peak memory includes the libraries (half
of a GB for sentence-transformers' own imports and datasets) and the vectors.

What is compared: the negatives of each anchor. Where two documents' scores differ by less than fp32 rounding, either
may be chosen; anchors that differ in more than that count as different, and there must be none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from data import sentences
from environment import peak_memory_mb, summary, write_result
from texts import CORPUS

from embedft.config import HardNegativesConfig

DIM, CLUSTERS = 384, 1000
# By how much rounding may turn two scores around.
ROUNDING = 2e-6
QUERIES, DOCUMENTS = "queries.npy", "documents.npy"
OPTIONS: dict[str, dict[str, Any]] = {
    "3 negatives": {"num_negatives": 3, "range_max": None, "relative_margin": None},
    "5 of the nearest 100, margin": {"num_negatives": 5, "range_max": 100, "relative_margin": 0.05},
}
PEERS = {"sentence-transformers": False, "sentence-transformers, FAISS": True}
OURS = "embedft"


class Stored:
    """Stands in for an encoder of either library; texts are ``q7`` and ``d7``, their vectors row 7."""

    device = "cpu"

    def __init__(self, folder: Path) -> None:
        self.queries, self.documents = np.load(folder / QUERIES), np.load(folder / DOCUMENTS)

    def encode_queries(self, texts: list[str], **_: Any) -> np.ndarray:
        """The name that embedft asks for."""
        return _rows(self.queries, texts)

    def encode_documents(self, texts: list[str], **_: Any) -> np.ndarray:
        """The name that embedft asks for."""
        return _rows(self.documents, texts)

    encode_query, encode_document = encode_queries, encode_documents

    def get_embedding_dimension(self) -> int:
        """For FAISS."""
        return int(self.queries.shape[1])

    def similarity(self, queries: Any, documents: Any) -> Any:
        """As every model of cosine similarity does it."""
        from sentence_transformers.util import cos_sim

        return cos_sim(queries, documents)

    def similarity_pairwise(self, queries: Any, documents: Any) -> Any:
        """The same for pairs."""
        from sentence_transformers.util import pairwise_cos_sim

        return pairwise_cos_sim(queries, documents)


def _rows(vectors: np.ndarray, texts: list[str]) -> np.ndarray:
    numbers = np.fromiter((int(text[1:]) for text in texts), np.int64, len(texts))
    # All of them in order, as both libraries ask for them, are not copied.
    return vectors if np.array_equal(numbers, np.arange(len(vectors))) else vectors[numbers]


def make_vectors(kind: str, rows: int, folder: Path) -> None:
    """Write the vectors of ``rows`` anchors and their positives."""
    if kind == "sentences":
        from embedft.encoder import Encoder

        texts = list(islice(dict.fromkeys(sentences()), 2 * rows))
        vectors = Encoder.load("bundled", max_length=64).encode(texts, show_progress=True)
        queries, documents = vectors[0::2], vectors[1::2]
    else:
        drawn = np.random.default_rng(0)
        centres = drawn.normal(size=(CLUSTERS, DIM)) + drawn.normal(size=DIM)
        documents = centres[drawn.integers(0, CLUSTERS, rows)] + drawn.normal(size=(rows, DIM))
        queries = documents + drawn.normal(size=(rows, DIM))
        queries, documents = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (queries, documents))
    np.save(folder / QUERIES, np.ascontiguousarray(queries, np.float32))
    np.save(folder / DOCUMENTS, np.ascontiguousarray(documents, np.float32))


def one_run(variant: str, options: dict[str, Any], folder: Path) -> None:
    """Mine once; print seconds and peak memory, write the rows of the negatives, (anchors, num_negatives)."""
    model = Stored(folder)
    count = len(model.queries)
    anchors, positives = [f"q{row}" for row in range(count)], [f"d{row}" for row in range(count)]
    for library in ("faiss", "torch", "embedft.training" if variant == OURS else "sentence_transformers.util"):
        import_module(library)  # loading it is not what is timed
    if variant == OURS:
        seconds, peak, pairs = embedft(model, anchors, positives, options)
    else:
        seconds, peak, pairs = sentence_transformers(model, anchors, positives, options, use_faiss=PEERS[variant])
    found = np.full((count, options["num_negatives"]), -1, np.int64)
    filled = np.zeros(count, np.int64)
    for anchor, negative in pairs:
        row = int(anchor[1:])
        found[row, filled[row]] = int(negative[1:])
        filled[row] += 1
    np.save(folder / "found.npy", found)
    print(json.dumps({"seconds": seconds, "peak_memory_mb": peak}))


Pairs = list[tuple[str, str]]


def embedft(
    model: Stored, anchors: list[str], positives: list[str], options: dict[str, Any]
) -> tuple[float, float, Pairs]:
    """Seconds, peak memory, and (anchor, negative) of each negative."""
    from embedft.data.retrieval import CORPUS_SCHEMA, PAIRS_SCHEMA, QUERIES_SCHEMA, RetrievalData
    from embedft.training.mining.mine import mine_negatives

    rows = pa.table([anchors, positives, [[]] * len(anchors)], schema=PAIRS_SCHEMA)
    data = RetrievalData(
        Path("vectors"), CORPUS_SCHEMA.empty_table(), QUERIES_SCHEMA.empty_table(), {}, pairs={"train": rows}
    )
    config = HardNegativesConfig(**options, near_duplicates=None)
    start = time.perf_counter()
    mined = mine_negatives(model, data, rows, config)  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    return (
        seconds,
        peak_memory_mb(),
        [(row["anchor"], text) for row in mined.rows.to_pylist() for text in row["negatives"]],
    )


def sentence_transformers(
    model: Stored, anchors: list[str], positives: list[str], options: dict[str, Any], *, use_faiss: bool
) -> tuple[float, float, Pairs]:
    """The same by the peer."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    rows = Dataset.from_dict({"anchor": anchors, "positive": positives})
    start = time.perf_counter()
    mined = mine_hard_negatives(rows, model, use_faiss=use_faiss, verbose=False, **options)
    seconds = time.perf_counter() - start
    return seconds, peak_memory_mb(), list(zip(mined["anchor"], mined["negative"], strict=True))


def different(found: np.ndarray, expected: np.ndarray, folder: Path) -> dict[str, int]:
    """Anchors whose negatives differ by rounding alone, and those that differ in more."""
    queries, documents = (np.load(folder / name) for name in (QUERIES, DOCUMENTS))
    rows = np.flatnonzero((found != expected).any(1))
    by_rounding = 0
    for row in rows.tolist():
        scores = [
            np.where(chosen[row] >= 0, documents[chosen[row]] @ queries[row], -np.inf) for chosen in (found, expected)
        ]
        by_rounding += bool(np.allclose(*scores, rtol=0, atol=ROUNDING))
    return {"by_rounding": by_rounding, "in_more": len(rows) - by_rounding}


def measure(name: str, rounds: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Rows of the table for one set of options."""
    seconds: dict[str, list[float]] = {variant: [] for variant in (*PEERS, OURS)}
    peaks, found = {}, {}
    for number in range(rounds):
        for variant, values in seconds.items():
            command = [sys.executable, __file__, "--run", variant, "--options", name, "--folder", str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
            answer = json.loads(done.stdout.strip().splitlines()[-1])
            values.append(answer["seconds"])
            peaks[variant] = max(peaks.get(variant, 0.0), answer["peak_memory_mb"])
            found[variant] = np.load(folder / "found.npy")
            print(f"round {number + 1}: {name}: {variant:30} {values[-1]:7.2f} s", flush=True)
    ours = summary(seconds[OURS])["median"]
    table: dict[str, dict[str, Any]] = {}
    for variant, values in seconds.items():
        table[variant] = summary(values) | {
            "peak_memory_mb": peaks[variant],
            "negatives": int((found[variant] >= 0).sum()),
        }
        table[variant]["of_embedft"] = table[variant]["median"] / ours
        line = f"{name}: {variant:30} {table[variant]['median']:7.2f} s, {table[variant]['of_embedft']:.2f} x embedft"
        if variant != OURS:
            table[variant]["different_anchors"] = different(found[OURS], found[variant], folder)
            line += f", other negatives: {table[variant]['different_anchors']}"
        print(f"{line}, peak {peaks[variant]:,.0f} MB, {table[variant]['negatives']:,} negatives", flush=True)
    return table


def main() -> None:
    """Measure, print, write ``results/mine.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vectors", choices=["sentences", "clustered"], default="sentences")
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--options", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        one_run(options.run, OPTIONS[options.options], options.folder)
        return
    kind = options.vectors if CORPUS.is_dir() else "clustered"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_vectors(kind, options.rows, folder)
        table = {name: measure(name, options.rounds, folder) for name in OPTIONS}
    if not options.dry:
        write_result("mine", {"rows": options.rows, "dim": DIM, "vectors": kind, "options": OPTIONS, "table": table})


if __name__ == "__main__":
    main()
