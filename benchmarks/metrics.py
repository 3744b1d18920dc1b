"""Ranking metrics against ranx and trec_eval, and a whole evaluation against sentence-transformers', without encoding.

    python benchmarks/metrics.py [--queries 5000] [--documents 200000] [--rounds 5] [--evaluations 3] [--dry]

*Metrics*: nDCG, MRR, recall, precision and MAP, each at 1, 3, 5, 10, 20, 50 and 100, of the best 100 documents of each
query. Three ways are timed, all on the same results: from each library's own structures, made beforehand (ours: a
`Ranking` and `Judgments`; ranx: ``Run`` and ``Qrels``, whose ids are hashed by then; pytrec_eval: a run and an
evaluator); with our structures made of a ranking and the table of the qrels; and with all structures made of plain
dictionaries. ranx has compiled itself before. It also writes each query's scores into the run, one at a time, unless
told not to; both are timed, and the ratios are those of its default. The ways take turns of a tenth of a second; the
first call of a turn, which finds the caches full of what the others needed, is told too.

*Evaluation*: exact search of all documents and the metrics that `InformationRetrievalEvaluator` computes by default,
from stored vectors. Each run is a process of its own; memory is its peak, less what it held when the vectors and the
libraries were loaded. The vectors are those of ``index.synthetic``, rounded to multiples of 1/4096, so that fp32 holds
every inner product exactly: both libraries then see the same scores, whatever the order they add in, and their figures
must be equal, ties included. Ten documents are relevant to a query, five of them among its nearest 200.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from environment import peak_memory_mb, summary, write_result
from index import DIM, synthetic

DEPTH, NEAR, RELEVANT = 100, 200, 10
KINDS = ("ndcg", "mrr", "recall", "precision", "map")
CUT_OFFS = (1, 3, 5, 10, 20, 50, 100)
METRICS = [f"{kind}@{k}" for kind in KINDS for k in CUT_OFFS]
# What the peer's evaluator computes by default, beside accuracy, by our names and by its own.
DEFAULTS = {f"{kind}@{k}": (f"{kind}@k", k) for kind in ("precision", "recall") for k in (1, 3, 5, 10)}
DEFAULTS |= {"mrr@10": ("mrr@k", 10), "ndcg@10": ("ndcg@k", 10), "map@100": ("map@k", 100)}
# A power of two, and its square no more than fp32 counts to without a gap: sums of products stay exact.
STEPS = 4096
# Seconds that a way is repeated for before the next one has its turn.
TURN = 0.1
QUERIES, DOCUMENTS, JUDGED, ROWS = "queries.npy", "documents.npy", "relevant.npy", "rows.npy"
OURS, RANX, RANX_BARE, TREC = "embedft", "ranx", "ranx, scores not kept", "pytrec_eval"
ST = "sentence-transformers"
TREC_NAMES = {"ndcg": "ndcg_cut", "recall": "recall", "precision": "P", "map": "map_cut"}

Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]


def make_vectors(queries: int, documents: int, folder: Path) -> None:
    """Write the vectors, the best documents of each query, and its relevant ones, (queries, RELEVANT)."""
    from embedft.index.exact import exact_search

    sides = synthetic(documents, queries, seed=0)
    # A hair below 1 in length: rounding up must not take a product beyond what is exact.
    corpus, asked = (np.round(side * (STEPS - 32)).astype(np.float32) / STEPS for side in sides)
    _, near = exact_search(asked, corpus, NEAR)
    drawn = np.random.default_rng(1)
    own = np.take_along_axis(near, np.argsort(drawn.random(near.shape), axis=1)[:, : RELEVANT // 2], axis=1)
    others = drawn.integers(0, documents, (queries, RELEVANT - own.shape[1]))
    np.save(folder / QUERIES, asked)
    np.save(folder / DOCUMENTS, corpus)
    np.save(folder / ROWS, near[:, :DEPTH])
    np.save(folder / JUDGED, np.concatenate([own, others], axis=1))


def names_of(kind: str, count: int) -> list[str]:
    """Ids; as strings they do not come in the order of their numbers."""
    return [f"{kind}{number}" for number in range(count)]


def qrels_of(relevant: np.ndarray, *, graded: bool) -> Qrels:
    """Query id -> document id -> grade: 1, or 1 to 3."""
    return {
        f"q{query}": {f"d{row}": 1 + place % 3 if graded else 1 for place, row in enumerate(rows)}
        for query, rows in enumerate(relevant.tolist())
    }


def table_of(qrels: Qrels) -> pa.Table:
    """The same as a table."""
    rows = [(query, name, grade) for query, grades in qrels.items() for name, grade in grades.items()]
    return pa.table([list(column) for column in zip(*rows, strict=True)], names=["query_id", "corpus_id", "grade"])


def one_evaluation(variant: str, folder: Path) -> None:
    """Evaluate once; print seconds, memory and metrics."""
    queries, documents = np.load(folder / QUERIES), np.load(folder / DOCUMENTS)
    qrels = qrels_of(np.load(folder / JUDGED), graded=False)
    for library in ("faiss", "torch", "embedft.evaluation" if variant == OURS else "sentence_transformers"):
        import_module(library)  # loading it is not what is measured
    run = (by_embedft if variant == OURS else by_sentence_transformers)(queries, documents, qrels)
    held = _resident_mb()
    start = time.perf_counter()
    metrics = run()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "memory_mb": peak_memory_mb() - held, "metrics": metrics}))


def _resident_mb() -> float:
    """What this process holds now; its peak so far must not be far from it, or the difference means nothing."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def by_embedft(queries: np.ndarray, documents: np.ndarray, qrels: Qrels) -> Callable[[], dict[str, float]]:
    """As `evaluate_retrieval` does it once the vectors are there."""
    from embedft.evaluation import rank, score_ranking

    query_ids, document_ids, table = names_of("q", len(queries)), names_of("d", len(documents)), table_of(qrels)

    def run() -> dict[str, float]:
        ranking = rank(query_ids, queries, document_ids, documents, DEPTH)
        return {name: float(scores.mean()) for name, scores in score_ranking(ranking, table, list(DEFAULTS)).items()}

    return run


def by_sentence_transformers(
    queries: np.ndarray, documents: np.ndarray, qrels: Qrels
) -> Callable[[], dict[str, float]]:
    """The same by the peer; the vectors are given, so its model is asked for those of the queries alone."""
    import torch
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
    from sentence_transformers.util import dot_score

    class Stored:
        def encode_query(self, *_: Any, **__: Any) -> torch.Tensor:
            return torch.from_numpy(queries)

    query_ids, document_ids = names_of("q", len(queries)), names_of("d", len(documents))
    evaluator = InformationRetrievalEvaluator(
        dict.fromkeys(query_ids, ""),
        dict.fromkeys(document_ids, ""),
        {query: set(grades) for query, grades in qrels.items()},
        score_functions={"dot": dot_score},
    )

    def run() -> dict[str, float]:
        found = evaluator.compute_all_metrics(Stored(), corpus_embeddings=torch.from_numpy(documents))["dot"]
        return {ours: float(found[name][k]) for ours, (name, k) in DEFAULTS.items()}

    return run


def measure_evaluations(rounds: int, folder: Path) -> dict[str, Any]:
    """Rows of the table of whole evaluations."""
    answers: dict[str, list[dict[str, Any]]] = {ST: [], OURS: []}
    for number in range(rounds):
        for variant, found in answers.items():
            command = [sys.executable, __file__, "--run", variant, "--folder", str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
            found.append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(f"round {number + 1}: {variant:22} {found[-1]['seconds']:6.2f} s", flush=True)
    table: dict[str, Any] = {
        variant: summary([one["seconds"] for one in found])
        | {"memory_mb": max(one["memory_mb"] for one in found), "metrics": found[-1]["metrics"]}
        for variant, found in answers.items()
    }
    ours, peer = table[OURS], table[ST]
    ratios = [one["seconds"] / other["seconds"] for one, other in zip(answers[OURS], answers[ST], strict=True)]
    table["share_of_time"] = ours["median"] / peer["median"]
    table["share_of_time_spread"] = [min(ratios), max(ratios)]
    table["share_of_memory"] = ours["memory_mb"] / peer["memory_mb"]
    table["largest_difference"] = max(abs(ours["metrics"][name] - peer["metrics"][name]) for name in DEFAULTS)
    for variant in answers:
        print(
            f"{variant:22} {table[variant]['median']:7.2f} s, {table[variant]['memory_mb']:8,.0f} MB over the vectors"
        )
    print(
        f"embedft takes {table['share_of_time']:.2f} of the time [{min(ratios):.2f} .. {max(ratios):.2f}] and "
        f"{table['share_of_memory']:.3f} of the memory; metrics differ by {table['largest_difference']:.1e} at most"
    )
    return table


def trec_evaluator(qrels: Qrels) -> Any:
    """trec_eval with the same metrics; its reciprocal rank has no cut-off and is computed once."""
    import pytrec_eval

    cut_offs = ",".join(map(str, CUT_OFFS))
    return pytrec_eval.RelevanceEvaluator(
        qrels, {*(f"{name}.{cut_offs}" for name in TREC_NAMES.values()), "recip_rank"}
    )


def by_trec_eval(evaluator: Any, run: Run) -> dict[str, float]:
    """Means over the queries, as its users take them."""
    found = evaluator.evaluate(run)
    names = {f"{kind}@{k}": f"{trec}_{k}" for kind, trec in TREC_NAMES.items() for k in CUT_OFFS} | {
        "mrr@100": "recip_rank"
    }
    return {ours: float(np.mean([scores[name] for scores in found.values()])) for ours, name in names.items()}


def timed(compute: Callable[[], dict[str, float]]) -> tuple[float, float, dict[str, float]]:
    """Seconds of the first call, seconds of one as the mean of as many as fill a turn, and the answer."""
    start = time.perf_counter()
    found = compute()
    first = passed = time.perf_counter() - start
    calls = 1
    while passed < TURN:
        compute()
        calls, passed = calls + 1, time.perf_counter() - start
    return first, passed / calls, found


def measure_metrics(rounds: int, folder: Path) -> dict[str, Any]:
    """Rows of the table of metrics: way -> library -> seconds."""
    # numba, which ranx stands on, would take the benchmark beside this one for the package that it asks for.
    sys.modules.setdefault("coverage", None)  # type: ignore[arg-type]
    import ranx

    from embedft.evaluation import Judgments, ranking_of_run, score_ranking

    qrels = qrels_of(np.load(folder / JUDGED), graded=True)
    rows = np.load(folder / ROWS)
    # Scores tell the order outright, so that every library has the same.
    run: Run = {
        f"q{query}": {f"d{row}": 1.0 - place / 1000 for place, row in enumerate(found)}
        for query, found in enumerate(rows.tolist())
    }
    table, ranking = table_of(qrels), ranking_of_run(run)
    judgments = Judgments.of(table, ranking.query_ids, ranking.document_ids)
    of_ranx, evaluator = (ranx.Qrels(qrels), ranx.Run(run)), trec_evaluator(qrels)

    def ours(ranking: Any, qrels: Any) -> dict[str, float]:
        return {name: float(scores.mean()) for name, scores in score_ranking(ranking, qrels, METRICS).items()}

    ways: dict[str, dict[str, Callable[[], dict[str, float]]]] = {
        "own structures": {
            RANX: lambda: ranx.evaluate(*of_ranx, METRICS),
            RANX_BARE: lambda: ranx.evaluate(*of_ranx, METRICS, save_results_in_run=False),
            TREC: lambda: by_trec_eval(evaluator, run),
            OURS: lambda: ours(ranking, judgments),
        },
        "ranking and table of qrels": {OURS: lambda: ours(ranking, table)},
        "dictionaries": {
            RANX: lambda: ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), METRICS),
            TREC: lambda: by_trec_eval(trec_evaluator(qrels), run),
            OURS: lambda: ours(ranking_of_run(run), table_of(qrels)),
        },
    }
    expected = ways["own structures"][OURS]()
    # The first turn compiles ranx, and is not timed.
    seconds: dict[str, dict[str, list[float]]] = {way: {name: [] for name in each} for way, each in ways.items()}
    firsts: dict[str, dict[str, list[float]]] = {way: {name: [] for name in each} for way, each in ways.items()}
    largest: dict[str, float] = {}
    for number in range(rounds + 1):
        for way, each in ways.items():
            for name, compute in each.items():
                first, took, found = timed(compute)
                if number:
                    seconds[way][name].append(took)
                    firsts[way][name].append(first)
                difference = max(abs(float(value) - expected[metric]) for metric, value in found.items())
                largest[name] = max(largest.get(name, 0.0), difference)
    result: dict[str, Any] = {"metrics": len(METRICS), "largest_difference": largest}
    for way, each in seconds.items():
        # What is not made beforehand is compared with ranx making its own.
        of = "dictionaries" if way == "dictionaries" else "own structures"
        result[way] = {name: summary(values) for name, values in each.items()}
        for name, row in result[way].items():
            row["times_ranx"] = statistics.median(seconds[of][RANX]) / row["median"]
            row["first_call"] = statistics.median(firsts[way][name])
            row["first_call_times_ranx"] = statistics.median(firsts[of][RANX]) / row["first_call"]
            milliseconds = [1000 * row[key] for key in ("median", "min", "max", "first_call")]
            print(
                f"{way:28} {name:22} {milliseconds[0]:9.2f} ms [{milliseconds[1]:.2f} .. {milliseconds[2]:.2f}] "
                f"{row['times_ranx']:7.1f} x ranx; first call of a turn {milliseconds[3]:.2f} ms, "
                f"{row['first_call_times_ranx']:.1f} x",
                flush=True,
            )
    print(f"largest difference of a mean from embedft's: {largest}")
    return result


def main() -> None:
    """Measure, print, write ``results/metrics.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=9, help="of the metrics")
    parser.add_argument("--evaluations", type=int, default=3, help="rounds of whole evaluations")
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        one_evaluation(options.run, options.folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_vectors(options.queries, options.documents, folder)
        evaluations = measure_evaluations(options.evaluations, folder)
        metrics = measure_metrics(options.rounds, folder)
    if not options.dry:
        sizes = {"queries": options.queries, "documents": options.documents, "dim": DIM, "depth": DEPTH}
        write_result("metrics", sizes | {"relevant": RELEVANT, "metrics": metrics, "evaluations": evaluations})


if __name__ == "__main__":
    main()
