"""What masks and mined negatives are worth on MedQuAD, and masks where positives repeat; three seeds each.

python benchmarks/retrieval.py --data MEDQUAD [--seeds 0,1,2] [--steps 40] [--minutes 60] [--dry]

Every cell trains the bundled encoder for the same number of steps of 64 pairs with multiple-negatives ranking: plain
(each other positive of the batch is a negative, as in sentence-transformers), with masks (duplicates and known
positives are none), and with masks and one mined negative a row. The sets ``repeated``: 30 % of the rows have one of 30
documents as their positive, each with sentences of that document as anchors, as pages of frequent questions have.
Judged over the whole corpus on the test queries, texts cut at 128 tokens. A finished cell is kept, so the benchmark
goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from environment import RESULTS, write_result

from embedft import Encoder, RunConfig, evaluate_retrieval
from embedft.data import read_retrieval
from embedft.data.edits import edit
from embedft.evaluation import compare_scores
from embedft.training.fit import fit
from embedft.training.mining.mined import with_negatives
from embedft.training.run import open_job
from embedft.training.rundir import RunDirectory, environment

METRIC = "ndcg@10"
MAX_LENGTH = 128
METHODS: dict[str, dict[str, Any]] = {
    "plain": {"loss_options": {"mask": False}},
    "masks": {},
    "mined": {"hard_negatives": {"num_negatives": 1, "relative_margin": 0.05}},
}
SETS = {"medquad": ("plain", "masks", "mined"), "repeated": ("plain", "masks")}
REPEATED_SHARE, REPEATED_DOCUMENTS = 0.3, 30
# Of questions that are edited: enough words for as many different edits as are needed.
FEWEST_WORDS, EDITS = 8, ("deletion", "typos", "crop")
# What is compared with what, on the same queries.
STEPS = [("medquad", "masks", "plain"), ("medquad", "mined", "masks"), ("repeated", "masks", "plain")]


def main() -> None:
    """Run what is missing, then print and write all there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="BEIR folder of MedQuAD")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=600, help="begin no cell after this time")
    parser.add_argument("--cells", type=Path, default=RESULTS / "retrieval-cells.json", help="where cells are kept")
    parser.add_argument("--dry", action="store_true", help="write no result")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    cells = json.loads(options.cells.read_text()) if options.cells.is_file() else {}
    for seed in map(int, options.seeds.split(",")):
        for name, methods in SETS.items():
            for method in methods:
                key = f"{name}/{method}/{seed}/{options.steps}"
                if key in cells or time.monotonic() > end:
                    continue
                cells = _read(options.cells) | {key: cell(options.data, name, method, seed, options.steps)}
                options.cells.write_text(json.dumps(cells))
                print(key, round(float(np.mean(cells[key]["scores"])), 4), f"{cells[key]['seconds']:.0f} s", flush=True)
    if "base" not in cells:
        cells["base"] = {"scores": scores_of(Encoder.load("bundled", max_length=MAX_LENGTH), options.data)}
        options.cells.write_text(json.dumps(cells))
    result = summary(cells, options.steps)
    print(json.dumps(result, indent=1))
    if not options.dry:
        write_result("retrieval", {"steps": options.steps, "batch": 64, "max_length": MAX_LENGTH, **result})


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def cell(data: Path, name: str, method: str, seed: int, steps: int) -> dict[str, Any]:
    """Train one encoder; its nDCG@10 of each test query, and the seconds of training."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = repeated(data, Path(scratch) / "data") if name == "repeated" else data
        config = RunConfig.model_validate(
            {
                "data": {"path": folder},
                "model": {"max_length": MAX_LENGTH},
                "training": {
                    **METHODS[method], "seed": seed, "max_steps": steps, "eval_every": steps // 2,
                    "max_length": MAX_LENGTH, "batch_size": 64,
                },
                "evaluation": {"dev_documents": 1000},
            }
        )  # fmt: skip
        directory = RunDirectory(Path(scratch) / "run")
        directory.path.mkdir()
        start = time.monotonic()
        job = open_job(config, directory, show_progress=True)
        directory.start(config.model_dump(mode="json"), {"environment": environment()}, force=False)
        fit(with_negatives(job))
        seconds = time.monotonic() - start
        return {"scores": scores_of(Encoder.load(directory.model), data), "seconds": seconds}


def scores_of(encoder: Encoder, data: Path) -> list[float]:
    """The metric of each test query over the whole corpus."""
    evaluation = evaluate_retrieval(encoder, read_retrieval(data), "test", metrics=[METRIC], show_progress=True)
    return [float(score) for score in evaluation.per_query[METRIC]]


def repeated(data: Path, target: Path) -> Path:
    """The data with further training rows, so that 30 % of all have one of 30 documents as their positive."""
    shutil.copytree(data, target)
    found = read_retrieval(data)
    train = found.split("train")
    wanted = int(REPEATED_SHARE / (1 - REPEATED_SHARE) * train.num_rows / REPEATED_DOCUMENTS)
    random = Random(0)
    text_of = dict(zip(found.queries["id"].to_pylist(), found.queries["text"].to_pylist(), strict=True))
    long = [row for row in train.to_pylist() if len(text_of[row["query_id"]].split()) >= FEWEST_WORDS]
    (target / "queries.jsonl").chmod(0o644)
    (target / "qrels" / "train.tsv").chmod(0o644)
    with (target / "queries.jsonl").open("a") as queries, (target / "qrels" / "train.tsv").open("a") as qrels:
        for row in random.sample(long, REPEATED_DOCUMENTS):
            number, question = row["corpus_id"], text_of[row["query_id"]]
            others: dict[str, None] = {}
            while len(others) < wanted:
                others[edit(edit(question, "swap", 0.2, random), random.choice(EDITS), 0.2, random)] = None
            for place, other in enumerate(others):
                queries.write(json.dumps({"_id": f"repeated-{number}-{place}", "text": other}) + "\n")
                qrels.write(f"repeated-{number}-{place}\t{number}\t1\n")
    return target


def summary(cells: dict[str, Any], steps: int) -> dict[str, Any]:
    """Mean and spread over seeds of each method, and each step's difference, over the seeds that both have."""
    answer: dict[str, Any] = {"base": float(np.mean(cells["base"]["scores"])), "methods": {}, "differences": {}}
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for key, found in cells.items():
        if key.endswith(f"/{steps}"):
            name, method, seed, _ = key.split("/")
            runs.setdefault(f"{name}/{method}", {})[int(seed)] = found
    for name, of_seed in runs.items():
        each = {seed: float(np.mean(run["scores"])) for seed, run in sorted(of_seed.items())}
        seconds = float(np.median([run["seconds"] for run in of_seed.values()]))
        answer["methods"][name] = {"mean": float(np.mean(list(each.values()))), "seeds": each, "seconds": seconds}
    for name, better, worse in STEPS:
        first, second = runs.get(f"{name}/{better}", {}), runs.get(f"{name}/{worse}", {})
        shared = sorted(first.keys() & second.keys())
        if shared:
            # Of each query its mean over the seeds.
            scores = [np.mean([of[seed]["scores"] for seed in shared], axis=0) for of in (first, second)]
            answer["differences"][f"{name}: {better} - {worse}"] = {
                "seeds": shared, **compare_scores(scores[0], scores[1]).as_dict(),
            }  # fmt: skip
    return answer


if __name__ == "__main__":
    main()
