"""nDCG@10 of search by vectors, by words, and by both, on test queries, with intervals.

python benchmarks/hybrid.py --data RETRIEVAL [--sets cranfield medquad trecqa liveqa_med] [--work FOLDER] [--dry]

One index a set, of the bundled encoder, exact. Hybrid search fuses by reciprocal ranks, which knows nothing of the set;
and by scores weighted as `embedft index fuse` tunes them on the set's dev queries, where it has some. Each is compared,
query by query, with the better of vectors and words.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from environment import write_result

from embedft import Encoder, Index
from embedft.data import RetrievalData, read_retrieval
from embedft.evaluation import compare_scores, score_ranking
from embedft.evaluation.ranking import Ranking
from embedft.index.fusing import tune_fusion
from embedft.index.snapshot import Snapshot
from embedft.index.storage import rollback

METRIC = "ndcg@10"
DEPTH = 10
SETS = ("cranfield", "medquad", "trecqa", "liveqa_med")


def judged(data: RetrievalData, scores: np.ndarray, ids: list[list[str]]) -> np.ndarray:
    """The metric of each test query."""
    queries = data.judged_queries("test")[0]
    known = sorted(data.corpus["id"].to_pylist())
    row_of = {name: row for row, name in enumerate(known)}
    rows = np.array([[row_of.get(name, -1) for name in found] for found in ids])
    return score_ranking(Ranking(queries, known, rows, scores), data.split("test"), [METRIC])[METRIC]


def measure(data: RetrievalData, index: Index, encoder: Encoder) -> dict[str, Any]:
    """Scores of each way of searching, and hybrid against the better of the other two."""
    texts = data.judged_queries("test")[1]
    snapshot = Snapshot.open(index.path)
    word_scores, rows = snapshot.search_words(texts, DEPTH, None)
    found = {
        "vectors": judged(data, *index.rank(texts, DEPTH)),
        "words": judged(data, word_scores, snapshot.ids(rows)),
        "hybrid, ranks": judged(data, *index.rank(texts, DEPTH, hybrid=True)),
    }
    weight = None
    if "dev" in data.qrels:
        ids, dev_texts = data.judged_queries("dev")
        grades: dict[str, dict[str, int]] = {name: {} for name in ids}
        for row in data.split("dev").to_pylist():
            if row["query_id"] in grades:
                grades[row["query_id"]][row["corpus_id"]] = row["grade"]
        weight = tune_fusion(index.path, encoder, dev_texts, list(grades.values()))["weight"]
        index.refresh()
        found["hybrid, weighted"] = judged(data, *index.rank(texts, DEPTH, hybrid=True))
        # As it was, for the next time.
        rollback(index.path)
    better = max(("vectors", "words"), key=lambda name: found[name].mean())
    return {
        "documents": len(index),
        "queries": len(texts),
        METRIC: {name: float(scores.mean()) for name, scores in found.items()},
        "weight": weight,
        "better": better,
        "against_the_better": {
            name: compare_scores(scores, found[better]).as_dict()
            for name, scores in found.items()
            if name.startswith("hybrid")
        },
    }


def main() -> None:
    """Measure each set, print, and write ``results/hybrid.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of BEIR folders")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--work", type=Path, help="where indexes are kept, and used again")
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    encoder = Encoder.load(options.model)
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        for name in options.sets:
            data = read_retrieval(options.data / name)
            path = work / name
            index = (
                Index.open(path, encoder)
                if (path / "CURRENT").exists()
                else Index.build(data.corpus, encoder, path, kind="flat", show_progress=True)
            )
            results[name] = measure(data, index, encoder)
            shown = "  ".join(f"{way} {value:.3f}" for way, value in results[name][METRIC].items())
            gains = "  ".join(
                f"{way} {one['difference']:+.3f} ({one['ci_low']:+.3f} .. {one['ci_high']:+.3f}) {one['verdict']}"
                for way, one in results[name]["against_the_better"].items()
            )
            print(f"{name:11} {shown}\n{'':11} against {results[name]['better']}: {gains}", flush=True)
    if not options.dry:
        write_result("hybrid", {"model": options.model, "sets": results})


if __name__ == "__main__":
    main()
