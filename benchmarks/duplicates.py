"""nDCG@10 of in-batch negatives with and without masks, on data as it is and on data with repeated positives.

Some answers fit many questions: a help page, a standard reply. A batch then holds an answer several times, and every
copy but a row's own is a negative of it, although it is right. To show what that costs, a few documents of train get
more questions, typed a little differently, until a share of all rows has one of them for its positive. The loss with
masks (the default) knows the copies by the identity of their texts; ``mask: false`` is plain in-batch negatives, as
everywhere else. All runs take the same number of steps; dev chooses the step, the untouched test split judges. Each
run is stored when it is done; what is stored is not trained again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

from environment import RESULTS, write_result

from embedft import RunConfig, train
from embedft.data.edits import edit

LOSSES = {"masked": {}, "plain": {"mask": False}}
CHANGED_WORDS = 0.2


def with_repeated_positives(data: Path, folder: Path, share: float, documents: int, seed: int) -> int:
    """Copy a BEIR folder and add questions to ``documents`` of train; gives how many were added."""
    shutil.copytree(data, folder)
    texts = {row["_id"]: row["text"] for row in map(json.loads, (folder / "queries.jsonl").open())}
    head, *rows = [line.rstrip("\n").split("\t") for line in (folder / "qrels" / "train.tsv").open()]
    asked: dict[str, list[str]] = defaultdict(list)
    for query, document, *_ in rows:
        asked[document].append(query)
    random = Random(seed)
    often = random.sample(sorted(asked), documents)
    there = sum(len(asked[document]) for document in often)
    wanted = round((share * len(rows) - there) / (1 - share))
    queries, judgments = [], []
    for number in range(wanted):
        document = often[number % documents]
        text = edit(texts[random.choice(asked[document])], random.choice(("typos", "deletion")), CHANGED_WORDS, random)
        queries.append(json.dumps({"_id": f"again-{number}", "text": text}))
        judgments.append(f"again-{number}\t{document}\t1")
    with (folder / "queries.jsonl").open("a") as file:
        file.write("\n".join([*queries, ""]))
    lines = ["\t".join(head), *("\t".join(row) for row in rows), *judgments]
    (folder / "qrels" / "train.tsv").write_text("\n".join([*lines, ""]))
    return wanted


def judged(data: Path, settings: dict[str, Any], loss: str, seed: int, folder: Path) -> dict[str, Any]:
    """What one training came to on the test split."""
    config = RunConfig.model_validate(
        {
            "data": {"path": data},
            "training": {**settings, "loss": "mnrl", "loss_options": LOSSES[loss], "seed": seed},
            "evaluation": {"metrics": ["ndcg@10", "recall@10"]},
        }
    )
    result = train(config, folder)
    compared = result.comparison["ndcg@10"].as_dict()
    return {"metrics": result.evaluation.metrics, "step": result.best_step, "over the base": compared}


def summary(cells: dict[str, Any]) -> dict[str, Any]:
    """Data -> loss -> mean and spread of nDCG@10, and the difference that masks make, seed by seed; printed too."""
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for key, cell in cells.items():
        data, loss, seed = key.split(" / ")
        found[data][loss][int(seed)] = cell["metrics"]["ndcg@10"]
    table: dict[str, Any] = {}
    for data, losses in found.items():
        table[data] = {
            loss: {
                "mean": statistics.fmean(by_seed.values()),
                "min": min(by_seed.values()),
                "max": max(by_seed.values()),
            }
            for loss, by_seed in losses.items()
        }
        both = losses["masked"].keys() & losses["plain"].keys()
        table[data]["masked - plain"] = {seed: losses["masked"][seed] - losses["plain"][seed] for seed in sorted(both)}
        print(data, json.dumps(table[data]), flush=True)
    return table


def main() -> None:
    """Train what is not stored yet, print, write ``results/duplicates.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="BEIR folder with train, dev and test, such as medquad"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--share", type=float, default=0.3, help="of the rows, with a repeated positive")
    parser.add_argument("--documents", type=int, default=40, help="that are positives again and again")
    parser.add_argument("--max-steps", type=int, default=148, help="an epoch of medquad as it is")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--name", default="duplicates", help="of the file in results/")
    options = parser.parse_args()
    settings = {"max_steps": options.max_steps, "batch_size": options.batch_size}
    asked = {**settings, "share": options.share, "documents": options.documents}
    path = RESULTS / f"{options.name}.json"
    stored = json.loads(path.read_text()) if path.is_file() else {}
    if stored.get("settings", asked) != asked:
        parser.error(f"{path} holds other settings: {stored['settings']}; give another --name.")
    cells = stored.get("cells", {})
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as name:
            repeated = Path(name) / "data"
            added = with_repeated_positives(options.data, repeated, options.share, options.documents, seed)
            print(f"seed {seed}: {added} rows added", flush=True)
            for data, source in (("as it is", options.data), ("repeated", repeated)):
                for loss in LOSSES:
                    key = f"{data} / {loss} / {seed}"
                    if key not in cells:
                        cells[key] = judged(source, settings, loss, seed, Path(name) / f"{data} {loss}")
                        write_result(options.name, {"settings": asked, "summary": summary(cells), "cells": cells})
    summary(cells)


if __name__ == "__main__":
    main()
