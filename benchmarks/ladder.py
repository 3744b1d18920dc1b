"""The ladder of dimensions and storages on real data, beside sentence-transformers' cut and quantised vectors.

OMP_NUM_THREADS=1 python benchmarks/ladder.py --data DATA [--models bundled minilm] [--sets cranfield medquad stsb_en]
                                              [--work FOLDER] [--rounds 5] [--dry]

DATA holds ``retrieval/NAME`` (BEIR folders) and ``sts/NAME`` (scored pairs). The peer has the same vectors, cut by
`truncate_embeddings` and normalised, quantised by `quantize_embeddings` and searched by `semantic_search_faiss`, as its
documentation shows; of pairs, the cosines that its evaluator takes. Scores of fp32 and of binary search are equal, but
for the order of equal distances. Where the peer does something else, its score differs:

    int8               queries are codes too, and codes are compared without their ranges; then the best 4 k are
                       rescored by what the codes stand for, which is our int8 if no hit was missed. Of pairs, cosines
                       are those of the codes.
    binary             of pairs, bits are 0 and 1 instead of -1 and 1, so that cosines depend on how many are 1.
    binary+rescoring   4 k candidates are rescored by the query's fp32 vector and their bits alone, which needs no
                       vectors on disk; ours by the fp32 vectors.

Queries a second are of one batch, in turns with the peer, and its Python lists of hits count. No peer is known for
fp16 and for int8+rescoring.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from environment import write_result
from models import folder_of
from sentence_transformers.util import truncate_embeddings
from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss

from embedft.data import RetrievalData, read_retrieval
from embedft.data.dataset import read_dataset
from embedft.encoder import Encoder
from embedft.evaluation.ladder import STORAGES, Stored, ladder, similarity_ladder, truncated
from embedft.evaluation.ladder.storages import BATCH, FACTOR, seconds_of
from embedft.evaluation.metrics import parse_metrics
from embedft.evaluation.ranking import Ranking
from embedft.evaluation.similarity import spearman

SETS = ("cranfield", "medquad", "stsb_en")
RETRIEVAL, PAIRS = "ndcg@10", "spearman"
K = 10
PEERS = {"fp32": "float32", "int8": "uint8", "binary": "ubinary", "binary+rescoring": "ubinary"}
RESCORING = ("int8", "binary+rescoring")

Arrays = dict[str, np.ndarray]


def cut(vectors: np.ndarray, dim: int) -> np.ndarray:
    """The peer's cut, normalised."""
    found = np.asarray(truncate_embeddings(vectors, dim))
    return np.ascontiguousarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def peer_search(storage: str, documents: np.ndarray) -> Callable[[np.ndarray], list[list[dict[str, Any]]]]:
    """The peer's search for ``K`` hits of one storage, its index made beforehand."""
    precision = PEERS[storage]
    ranges = np.stack([documents.min(axis=0), documents.max(axis=0)])
    quantised = quantize_embeddings(documents, precision, ranges=ranges)
    settings: dict[str, Any] = {
        "corpus_precision": precision, "top_k": K, "ranges": ranges, "rescore": storage in RESCORING,
        "rescore_multiplier": FACTOR,
    }  # fmt: skip
    one = np.ascontiguousarray(documents[:1])
    _, _, index = semantic_search_faiss(one, corpus_embeddings=quantised, output_index=True, **settings)
    return lambda queries: semantic_search_faiss(queries, corpus_index=index, **settings)[0]


def beside_the_peer(arrays: Arrays, data: RetrievalData, found: dict[str, Any], rounds: int) -> list[dict[str, Any]]:
    """Score and speed of each rung that the peer has, and of ours in the same turns."""
    [metric] = parse_metrics([RETRIEVAL])
    ids, query_ids = data.corpus["id"].to_pylist(), data.judged_queries("test")[0]
    order = np.argsort(np.array(ids, dtype=object), kind="stable")
    known, sorted_documents = [ids[row] for row in order], arrays["documents"][order]
    rows = []
    for row in found["rows"]:
        if row["storage"] not in PEERS:
            continue
        documents, queries = (cut(vectors, row["dim"]) for vectors in (sorted_documents, arrays["queries"]))
        search = peer_search(row["storage"], documents)
        hits = search(queries)
        places = np.array([[hit["corpus_id"] for hit in of_query] for of_query in hits])
        scores = np.array([[hit["score"] for hit in of_query] for of_query in hits])
        score = float(metric(Ranking(query_ids, known, places, scores).judge(data.split("test"))).mean())
        ours = Stored(STORAGES[row["storage"]], truncated(sorted_documents, row["dim"]))
        ratios, speeds = [], []
        for _ in range(rounds):
            start = time.perf_counter()
            search(queries[:BATCH])
            seconds = time.perf_counter() - start
            ratios.append(seconds / seconds_of(ours, queries[:BATCH], K))
            speeds.append(min(BATCH, len(queries)) / seconds)
        rows.append(
            {"dim": row["dim"], "storage": row["storage"], "score": score, "ours_minus_peer": row["score"] - score,
             "qps": statistics.median(speeds), "ours_times_faster": statistics.median(ratios),
             "lowest": min(ratios), "highest": max(ratios)}
        )  # fmt: skip
    return rows


def pairs_beside_the_peer(arrays: Arrays, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Spearman of the cosines that the peer's evaluator takes, on the rungs that it has."""
    rows = []
    for row in found["rows"]:
        if row["storage"] not in PEERS:
            continue
        vectors = quantize_embeddings(cut(arrays["documents"], row["dim"]), PEERS[row["storage"]])
        if row["storage"] == "binary":
            vectors = np.unpackbits(vectors, axis=1)
        left, right = (vectors[side].astype(np.float64) for side in arrays["rows"].T)
        lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        score = float(spearman((left * right).sum(axis=1) / lengths, arrays["scores"]))
        rows.append(
            {"dim": row["dim"], "storage": row["storage"], "score": score, "ours_minus_peer": row["score"] - score}
        )
    return rows


def encoded(model: str, folder: Path, name: str, data: Path, work: Path) -> tuple[Arrays, Any]:
    """Vectors of a set, kept in ``work``; and the set."""
    file = work / f"{model}-{name}.npz"
    if (data / "sts" / name).is_dir():
        pairs = read_dataset(data / "sts" / name).splits["test"]
        judged: Any = pairs
    else:
        judged = read_retrieval(data / "retrieval" / name)
    if not file.is_file():
        encoder = Encoder.load(folder)
        if isinstance(judged, RetrievalData):
            arrays = {
                "documents": encoder.encode_documents(judged.document_texts(), show_progress=True),
                "queries": encoder.encode_queries(judged.judged_queries("test")[1]),
            }
        else:
            left, right = judged["sentence1"].to_pylist(), judged["sentence2"].to_pylist()
            row_of = {text: row for row, text in enumerate(dict.fromkeys([*left, *right]))}
            arrays = {
                "documents": encoder.encode_documents(list(row_of), show_progress=True),
                "rows": np.array([(row_of[one], row_of[two]) for one, two in zip(left, right, strict=True)]),
                "scores": judged["score"].to_numpy(),
            }
        np.savez(file, **arrays)
    return dict(np.load(file)), judged


def measure(arrays: Arrays, judged: Any, rounds: int) -> dict[str, Any]:
    """The ladder of one model on one set, and the peer's."""
    if not isinstance(judged, RetrievalData):
        found = similarity_ladder(arrays["documents"], arrays["rows"], arrays["scores"], metric=PAIRS)
        return found | {"peer": pairs_beside_the_peer(arrays, found)}
    found = ladder(
        arrays["documents"], arrays["queries"], judged.corpus["id"].to_pylist(), judged.judged_queries("test")[0],
        judged.split("test"), metric=RETRIEVAL, rounds=rounds,
    )  # fmt: skip
    return found | {"peer": beside_the_peer(arrays, judged, found, rounds)}


def show(model: str, name: str, found: dict[str, Any]) -> None:
    """Print the rungs, and the peer beside them."""
    peers = {(row["dim"], row["storage"]): row for row in found["peer"]}
    print(f"{model}, {name}: {found['count']} {found['unit']}, {found['documents']} vectors")
    for row in found["rows"]:
        qps = "" if row["qps"] is None else f"{row['qps']:9,.0f} queries/s"
        peer = peers.get((row["dim"], row["storage"]))
        beside = "" if peer is None else f"  peer {peer['score']:.4f} ({peer['ours_minus_peer']:+.4f})"
        if peer is not None and "qps" in peer:
            beside += f" {peer['ours_times_faster']:.1f} x [{peer['lowest']:.1f} .. {peer['highest']:.1f}] its speed"
        print(
            f"  {row['dim']:4} {row['storage']:17} {row['score']:.4f} [{row['ci_low']:.4f} .. {row['ci_high']:.4f}] "
            f"{100 * row['share']:5.1f} % (at least {100 * row['share_low']:5.1f}) {row['mb_per_million']:7,.0f} MB"
            f" {qps}{beside}"
        )
    print(f"  {found['reading']}", flush=True)


def main() -> None:
    """Measure each model on each set, print, and write ``results/ladder.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with retrieval/ and sts/")
    parser.add_argument("--models", nargs="+", default=["bundled", "minilm"])
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--work", type=Path, help="where vectors are kept, and used again")
    parser.add_argument("--rounds", type=int, default=5, help="of timing")
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    # The peer warns of each search without rescoring.
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        for model in options.models:
            folder = folder_of(model, Path(scratch))
            if folder is None:
                print(f"{model}: its package is not installed")
                continue
            for name in options.sets:
                found = measure(*encoded(model, folder, name, options.data, work), options.rounds)
                results.setdefault(model, {})[name] = found
                show(model, name, found)
    if not options.dry:
        write_result("ladder", {"peer": "sentence-transformers", "models": results})


if __name__ == "__main__":
    main()
