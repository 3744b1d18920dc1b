"""What query-only tuning gains on a retrieval set, with not one vector of a document changed.

The corpus is embedded once, by the base encoder. Then, for each seed, an adapter and a tower are trained as
``embedft train`` trains them with ``training.freeze: [documents]``, and the test queries of each are ranked over those
same vectors. That documents are the same is shown twice: by the fingerprint of the documents' side, and by encoding a
sample of them with the saved encoder and comparing the bytes. Seconds are those of training alone: the vectors of
documents are what an index has already.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from environment import write_result

from embedft import Encoder, RunConfig
from embedft.data import RetrievalData, read_retrieval
from embedft.evaluation import compare_scores, rank, score_ranking
from embedft.training.queries.query_only import DOCUMENT_VECTORS, fit_queries, training_texts
from embedft.training.run import open_job
from embedft.training.rundir import RunDirectory

METRICS = ("ndcg@10", "mrr@10", "recall@100")
SIDES = ("adapter", "tower")
SAMPLE = 500


class Corpus:
    """The data with the vectors of its documents by the base encoder."""

    def __init__(self, path: Path, model: str, precision: str, vectors: Path) -> None:
        self.path, self.model, self.precision = path, model, precision
        self.data: RetrievalData = read_retrieval(path)
        self.base = Encoder.load(model, precision=precision)
        self.texts = self.data.document_texts()
        if not vectors.exists():
            prompt = self.base.prompts["document"]
            self.base.encode_to(vectors, self.texts, prompt=prompt, resume=True, show_progress=True)
        self.vectors = np.load(vectors)
        again = self.base.encode_documents(self.texts[:20])
        if len(self.vectors) != len(self.texts) or not np.allclose(self.vectors[:20], again, atol=1e-5):
            raise SystemExit(f"{vectors} holds other vectors: name another file.")
        self.row_of = {text: row for row, text in enumerate(self.texts)}
        self.before = self.scores(self.base)

    def scores(self, encoder: Encoder) -> dict[str, np.ndarray]:
        """Metric -> scores of the test queries, encoded by ``encoder`` and ranked over the vectors of the base."""
        ids, texts = self.data.judged_queries("test")
        ranking = rank(ids, encoder.encode_queries(texts), self.data.corpus["id"].to_pylist(), self.vectors, 100)
        return score_ranking(ranking, self.data.split("test"), METRICS)

    def same_documents(self, encoder: Encoder) -> bool:
        """Whether ``encoder`` gives every byte of the base's vectors for a sample of the documents."""
        rows = np.random.default_rng(0).choice(len(self.texts), min(SAMPLE, len(self.texts)), replace=False)
        sample = [self.texts[row] for row in rows]
        ours, theirs = encoder.encode_documents(sample), self.base.encode_documents(sample)
        return ours.tobytes() == theirs.tobytes() and encoder.document_fingerprint == self.base.fingerprint


def run(corpus: Corpus, side: str, seed: int, folder: Path) -> dict[str, Any]:
    """One training and what it came to on test."""
    config = RunConfig.model_validate(
        {
            "data": {"path": str(corpus.path)},
            "model": {"name": corpus.model, "precision": corpus.precision},
            "training": {"freeze": ["documents"], "query_side": side, "seed": seed},
        }
    )
    directory = RunDirectory(folder)
    folder.mkdir()
    job = open_job(config, directory, show_progress=True)
    directory.start(config.model_dump(mode="json"), {}, force=False)
    directory.checkpoints.mkdir()
    dev = job.task.dev_view(job.data, config.evaluation.dev_documents, seed)
    stored = list(dict.fromkeys([*training_texts(job.sets[0].rows), *dev.document_texts()]))
    np.save(directory.checkpoints / DOCUMENT_VECTORS, corpus.vectors[[corpus.row_of[text] for text in stored]])
    start = time.perf_counter()
    fit_queries(job)
    seconds = time.perf_counter() - start
    tuned = Encoder.load(directory.model, precision=config.model.precision)
    after = corpus.scores(tuned)
    found = {name: compare_scores(after[name], corpus.before[name]).as_dict() for name in METRICS}
    result = {
        "seed": seed,
        "seconds": seconds,
        "best": directory.read()["best"],
        "after": {name: float(after[name].mean()) for name in METRICS},
        "comparison": found,
        "documents_unchanged": corpus.same_documents(tuned),
    }
    difference = found["ndcg@10"]
    print(
        f"{side:8} seed {seed}: ndcg@10 {corpus.before['ndcg@10'].mean():.4f} -> {result['after']['ndcg@10']:.4f} "
        f"({difference['ci_low']:+.3f} .. {difference['ci_high']:+.3f}), step {result['best']['step']}, "
        f"{seconds:.0f} s, documents {'unchanged' if result['documents_unchanged'] else 'CHANGED'}",
        flush=True,
    )
    return result


def summarise(corpus: Corpus, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Means and spreads over the seeds."""
    sides = {}
    for side, found in runs.items():
        values = {name: [one["after"][name] for one in found] for name in METRICS}
        sides[side] = {
            "after": {name: statistics.mean(each) for name, each in values.items()},
            "spread": {name: max(each) - min(each) for name, each in values.items()},
            "seconds": statistics.median(one["seconds"] for one in found),
            "runs": found,
        }
        print(f"{side:8} ndcg@10 {sides[side]['after']['ndcg@10']:.4f} +- {sides[side]['spread']['ndcg@10'] / 2:.4f}")
    return {
        "data": corpus.path.name,
        "model": corpus.model,
        "precision": corpus.precision,
        "documents": len(corpus.texts),
        "queries": len(corpus.before["ndcg@10"]),
        "before": {name: float(scores.mean()) for name, scores in corpus.before.items()},
        "sides": sides,
    }


def main() -> None:
    """Train, score, print, and write ``results/query_only.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="BEIR folder, for example of medquad")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--vectors", type=Path, help="of the corpus by the model, .npy: kept there, and used again")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--full", type=Path, help="metrics.json of a run that trained both sides, for orientation")
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        vectors = options.vectors or Path(folder) / "corpus.npy"
        corpus = Corpus(options.data, options.model, options.precision, vectors)
        runs = {
            side: [run(corpus, side, seed, Path(folder) / f"{side}-{seed}") for seed in options.seeds]
            for side in options.sides
        }
    result = summarise(corpus, runs)
    if options.full:
        result["full_fine_tuning"] = json.loads(options.full.read_text())["metrics"]
    if not options.dry:
        write_result("query_only", result)


if __name__ == "__main__":
    main()
