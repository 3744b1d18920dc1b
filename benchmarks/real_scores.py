"""Per-query scores of real systems on real data, computed once and kept: what benchmarks/coverage.py draws from."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from embedft import Encoder
from embedft.data import RetrievalData, read_retrieval
from embedft.data.dataset import read_dataset
from embedft.evaluation import rank, score_ranking
from embedft.evaluation.ranking import Ranking
from embedft.index.lexical.bm25 import Lexical

SETS = ("medquad", "cranfield", "xquad_en")
METRICS = ("ndcg@10", "mrr@10", "recall@100", "mrr@1")
# What the bundled encoder is compared with: the same one cut short, which agrees on most queries, and another kind.
CUT, WORDS = "64 dimensions", "BM25"
OURS = "bundled"
DEPTH = 100

Scores = dict[str, np.ndarray]


def real_scores(data: Path, kept: Path) -> Scores:
    """``set/system/metric`` -> scores of all judged queries; ``stsb/gold`` and ``stsb/system`` -> scores and cosines.

    Args:
        data: folder that holds ``retrieval/`` and ``sts/``.
        kept: .npz that is read if it is there, else written.
    """
    if not kept.exists():
        encoder = Encoder.load("bundled")
        found = _pairs(data / "sts" / "stsb_en", encoder)
        for name in SETS:
            found |= _queries(data / "retrieval" / name, encoder)
            print(f"{name} is scored", flush=True)
        np.savez_compressed(kept, **found)
    with np.load(kept) as stored:
        return dict(stored)


def _queries(path: Path, encoder: Encoder) -> Scores:
    data = read_retrieval(path)
    texts, ids = data.document_texts(), data.corpus["id"].to_pylist()
    documents = encoder.encode_documents(texts, show_progress=True)
    parts: dict[str, list[np.ndarray]] = {}
    with tempfile.TemporaryDirectory() as folder:
        Lexical.write(texts, Path(folder) / "words")
        words = Lexical.open(Path(folder) / "words")
        for split in data.qrels:
            query_ids, query_texts = data.judged_queries(split)
            queries = encoder.encode_queries(query_texts)
            rankings = {
                OURS: rank(query_ids, queries, ids, documents, DEPTH),
                CUT: rank(query_ids, _cut(queries), ids, _cut(documents), DEPTH),
                WORDS: Ranking(query_ids, *_by_id(ids, *words.search(query_texts, DEPTH))),
            }
            for key, values in _judged(path.name, data, split, rankings).items():
                parts.setdefault(key, []).append(values)
    return {key: np.concatenate(values) for key, values in parts.items()}


def _judged(name: str, data: RetrievalData, split: str, rankings: dict[str, Ranking]) -> Scores:
    return {
        f"{name}/{system}/{metric}": scores
        for system, ranking in rankings.items()
        for metric, scores in score_ranking(ranking, data.split(split), METRICS).items()
    }


def _by_id(ids: list[str], scores: Any, rows: Any) -> tuple[list[str], Any, Any]:
    """Documents ascending, as a ranking has them, and rows that point into them."""
    order = np.argsort(np.array(ids, object), kind="stable")
    place = np.empty(len(ids), np.int64)
    place[order] = np.arange(len(ids))
    return [ids[row] for row in order], np.where(rows < 0, -1, place[rows]), scores


def _pairs(path: Path, encoder: Encoder) -> Scores:
    rows = read_dataset(path).splits["test"]
    sides = [encoder.encode_documents(rows[name].to_pylist()) for name in ("sentence1", "sentence2")]
    return {
        "stsb/gold": rows["score"].to_numpy().astype(np.float64),
        f"stsb/{OURS}": (sides[0] * sides[1]).sum(1).astype(np.float64),
        f"stsb/{CUT}": (_cut(sides[0]) * _cut(sides[1])).sum(1).astype(np.float64),
    }


def _cut(vectors: np.ndarray) -> np.ndarray:
    short = vectors[:, :64]
    return short / np.maximum(np.linalg.norm(short, axis=1, keepdims=True), 1e-12)
