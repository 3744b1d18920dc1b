"""Spearman on STS-B before and after training: embedft against sentence-transformers' trainer, both with CoSENT.

Both start from the bundled encoder, take the same training pairs for the same number of steps in batches of one size,
with one learning rate, warm-up, weight decay and schedule (embedft's defaults, unless said otherwise), judge themselves
on dev equally often and keep the best step. What differs is the system: order of the batches, precision (each its own
default; the peer in bf16 as a third), padding. One evaluator then judges all models in fp32, on STS-B test and on
sts12..14 without any pair that STS-B holds, exactly, swapped or nearly. Each system and seed is stored when it is done;
what is stored is not trained again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from environment import RESULTS, write_result
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from sentence_transformers.sentence_transformer.losses import CoSENTLoss
from transformers import PrinterCallback

from embedft import Encoder, RunConfig, train
from embedft.data.clean import CleanConfig, clean
from embedft.data.dataset import Dataset, read_dataset
from embedft.encoder import BUNDLED_PATH
from embedft.evaluation import evaluate_similarity
from embedft.training.fit import DEV_EVALUATIONS, peak_learning_rate, total_steps
from embedft.training.run import open_job
from embedft.training.rundir import RunDirectory

SYSTEMS = ("embedft", "sentence-transformers", "sentence-transformers bf16")
OTHERS = ("sts12", "sts13", "sts14")


def without(data: Dataset, known: Dataset) -> tuple[pa.Table, int]:
    """All rows of ``data`` that do not stand in ``known``, and how many do."""
    rows = pa.concat_tables(data.splits.values())
    joined = replace(data, splits={"train": rows, "known": pa.concat_tables(known.splits.values())})
    kept, changes = clean(joined, CleanConfig(steps=(), duplicates="keep", leakage="drop"))
    return kept.splits["train"], len(changes.dropped)


def judged_sets(data: Path) -> dict[str, dict[str, Any]]:
    """Name -> rows and how many pairs were taken out, of STS-B test and of the sets beside it."""
    known = read_dataset(data)
    found: dict[str, dict[str, Any]] = {"stsb_test": {"rows": known.splits["test"], "taken_out": 0}}
    for name in OTHERS:
        if (data.parent / name).is_dir():
            rows, taken_out = without(read_dataset(data.parent / name), known)
            found[name] = {"rows": rows, "taken_out": taken_out}
            print(f"{name}: {taken_out} pairs of STS-B taken out, {rows.num_rows} left", flush=True)
    return found


def scores(folder: Path, judged: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Spearman on each set, of the model in ``folder``."""
    encoder = Encoder.load(folder, precision="float32")
    return {
        name: evaluate_similarity(encoder, of["rows"], data=name, metrics=["spearman"]).metrics["spearman"]
        for name, of in judged.items()
    }


def train_ours(data: Path, settings: dict[str, Any], seed: int, folder: Path) -> Path:
    """Our run, as ``embedft train --task similarity`` does it; gives the folder of its model."""
    config = RunConfig.model_validate(
        {
            "task": "similarity",
            "data": {"path": data},
            # Its own judgement at the end is not part of training: dev is the cheapest.
            "evaluation": {"split": "dev"},
            "training": {**settings, "patience": DEV_EVALUATIONS, "seed": seed},
        }
    )
    return train(config, folder / "run").run / "model"


def train_theirs(data: Path, settings: dict[str, Any], seed: int, folder: Path, bf16: bool) -> Path:
    """The peer's run with the best step on dev kept; gives the folder of its model."""
    import datasets

    known = read_dataset(data)
    model = SentenceTransformer(str(BUNDLED_PATH), device="cpu")
    dev = known.splits["dev"]
    steps = settings["max_steps"]
    arguments = SentenceTransformerTrainingArguments(
        str(folder / "checkpoints"), max_steps=steps, per_device_train_batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"], warmup_steps=int(settings["warmup"] * steps),
        weight_decay=settings["weight_decay"], lr_scheduler_type="linear", seed=seed, bf16=bf16, use_cpu=True,
        eval_strategy="steps", eval_steps=settings["eval_every"], save_strategy="steps",
        save_steps=settings["eval_every"], save_total_limit=2, load_best_model_at_end=True,
        metric_for_best_model="eval_dev_spearman_cosine", greater_is_better=True, report_to="none", disable_tqdm=True,
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model,
        args=arguments,
        train_dataset=datasets.Dataset(known.splits["train"].select(["sentence1", "sentence2", "score"])),
        loss=CoSENTLoss(model),
        evaluator=EmbeddingSimilarityEvaluator(
            *(dev[column].to_pylist() for column in ("sentence1", "sentence2", "score")), name="dev"
        ),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def cell(system: str, seed: int, data: Path, settings: dict[str, Any], judged: dict[str, Any]) -> dict[str, Any]:
    """What one training came to: seconds, the dev evaluations in them included, and Spearman on each set."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        if system == "embedft":
            model = train_ours(data, settings, seed, folder)
        else:
            model = train_theirs(data, settings, seed, folder, system.endswith("bf16"))
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "spearman": scores(model, judged)}


def resolved(data: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of every system: those given, and our defaults for the others."""
    config = RunConfig.model_validate({"task": "similarity", "data": {"path": data}, "training": given})
    job = open_job(config, RunDirectory(Path("nowhere")), show_progress=False)
    steps = total_steps(job)
    return {
        "batch_size": config.training.batch_size,
        "max_steps": steps,
        "learning_rate": peak_learning_rate(job),
        "warmup": config.training.warmup,
        "weight_decay": config.training.weight_decay,
        "eval_every": max(steps // DEV_EVALUATIONS, 1),
    }


def table(cells: dict[str, Any], base: dict[str, float]) -> dict[str, Any]:
    """System -> set -> mean, spread and gain over the base; printed too."""
    rows: dict[str, Any] = {}
    for system in SYSTEMS:
        done = [of for key, of in cells.items() if key.rpartition(" / ")[0] == system]
        if not done:
            continue
        row: dict[str, Any] = {"seeds": len(done), "seconds": statistics.median(of["seconds"] for of in done)}
        for name, before in base.items():
            values = [of["spearman"][name] for of in done]
            mean = statistics.fmean(values)
            row[name] = {
                "mean": mean,
                "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
                "min": min(values),
                "max": max(values),
                "gain": mean - before,
            }
        rows[system] = row
        shown = "  ".join(f"{name} {row[name]['mean']:.4f} (sd {row[name]['sd']:.4f})" for name in base)
        print(f"{system:28} {shown}  {row['seconds']:6.0f} s", flush=True)
    return rows


def main() -> None:
    """Train what is not stored yet, print, write ``results/similarity.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder stsb_en; sts12..14 are looked for beside it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--name", default="similarity", help="of the file in results/")
    options = parser.parse_args()
    names = ("epochs", "max_steps", "batch_size", "learning_rate")
    settings = resolved(options.data, {name: getattr(options, name) for name in names if getattr(options, name)})
    judged = judged_sets(options.data)
    path = RESULTS / f"{options.name}.json"
    stored = json.loads(path.read_text()) if path.is_file() else {}
    if stored.get("settings", settings) != settings:
        parser.error(f"{path} holds other settings: {stored['settings']}; give another --name.")
    base = stored.get("base") or scores(BUNDLED_PATH, judged)
    cells = stored.get("cells", {})
    print("base:", {name: round(value, 4) for name, value in base.items()}, settings, flush=True)
    sets = {name: {"pairs": of["rows"].num_rows, "taken_out": of["taken_out"]} for name, of in judged.items()}
    for seed in options.seeds:
        for system in options.systems:
            key = f"{system} / {seed}"
            if key in cells:
                continue
            cells[key] = cell(system, seed, options.data, settings, judged)
            print(key, cells[key], flush=True)
            rows = table(cells, base)
            result = {"settings": settings, "sets": sets, "base": base, "systems": rows, "cells": cells}
            write_result(options.name, result)
    table(cells, base)


if __name__ == "__main__":
    main()
