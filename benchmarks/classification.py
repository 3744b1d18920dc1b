"""Accuracy on intents and questions: embedft's heads against the recipe of SetFit.

Methods, all from the bundled encoder and the same labelled texts:

- frozen: a logistic head on the encoder as it is;
- cross_entropy: a linear head trained end to end with it;
- supcon: the encoder trained by supervised contrast, then a logistic head;
- setfit: pairs of texts of one class or two under sentence-transformers' trainer with ``CosineSimilarityLoss``, then
  scikit-learn's LogisticRegression, as SetFit does it (Tunstall et al. 2022), with its learning rate of 2e-5; and with
  the learning rate of embedft. That head's C is 1, which is little for vectors of length 1, so ``accuracy_our_head``
  tells what embedft's, whose C is chosen, makes of the same vectors.

The budget is one for all that train: steps of 64 texts (SetFit: 32 pairs). What embedft holds out for dev is SetFit's
to train on. ``banking77-10`` has ten texts a class, drawn by the seed. Each (data set, method, seed) is stored when it
is done; what is stored is not measured again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from environment import RESULTS, write_result

from embedft import Encoder, RunConfig, train
from embedft.config import DataConfig
from embedft.encoder import BUNDLED_PATH
from embedft.evaluation import ClassificationEvaluation
from embedft.evaluation.calibration import auroc, expected_calibration_error, threshold_for
from embedft.heads.fit import fit_logistic
from embedft.tasks import get_task
from embedft.training.fit import DEV_EVALUATIONS, LEARNING_RATE_TIMES_HIDDEN

BATCH, IN_SCOPE = 64, 0.95
METHODS = ("frozen", "cross_entropy", "supcon", "setfit", "setfit, embedft's rate")
# Of the encoder under SetFit, as in its paper and as its trainer's default.
SETFIT_RATE = 2e-5
STEPS = {"banking77": 320, "clinc150": 470, "trec6": 170, "banking77-10": 150}
NAME = "classification"


def rows_of(folder: Path, split: str) -> list[dict[str, str]]:
    """Rows of text and label; none if there is no such split."""
    path = folder / f"{split}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def few(source: Path, target: Path, shots: int, seed: int) -> Path:
    """A copy of a data set with ``shots`` texts a class in train."""
    rows = rows_of(source, "train")
    taken: dict[str, list[dict[str, str]]] = {}
    for number in np.random.default_rng(seed).permutation(len(rows)).tolist():
        of_class = taken.setdefault(rows[number]["label"], [])
        if len(of_class) < shots:
            of_class.append(rows[number])
    target.mkdir()
    splits = {"train": [row for part in taken.values() for row in part], "test": rows_of(source, "test")}
    for name, part in splits.items():
        (target / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return target


def scope(inside: np.ndarray, outside: np.ndarray, threshold: float | None) -> dict[str, float]:
    """How well scores tell texts out of scope, at a threshold set on dev and at the one that 95 % of the test pass."""
    if not len(outside):
        return {}
    exact = threshold_for(inside, IN_SCOPE)
    found = {"oos_recall_at_95": float((outside < exact).mean())}
    found["oos_auroc"] = auroc(np.concatenate([inside, outside]), np.arange(len(inside) + len(outside)) < len(inside))
    if threshold is not None:
        found |= {
            "oos_recall": float((outside < threshold).mean()),
            "in_scope_kept": float((inside >= threshold).mean()),
        }
    return found


def judged(evaluation: ClassificationEvaluation) -> dict[str, float]:
    """The figures of one of our evaluations."""
    names = ("accuracy", "macro_f1", "ece")
    other = evaluation.out_of_scope.scores if evaluation.out_of_scope is not None else np.empty(0)
    found = {name: evaluation.metrics[name] for name in names} | {"ece_uncalibrated": evaluation.uncalibrated}
    return found | scope(evaluation.scores, other, evaluation.threshold)


def ours(folder: Path, method: str, seed: int, steps: int, scratch: Path) -> dict[str, float]:
    """A head on the frozen encoder, or a run as ``embedft train --task classification`` does it."""
    if method == "frozen":
        task = get_task("classification")
        config = DataConfig(path=folder)
        data = task.prepare(task.read(config), config, seed).data
        return judged(task.evaluate(Encoder.load("bundled"), data, "test", task.metrics, show_progress=False))
    training = {"loss": method, "max_steps": steps, "batch_size": BATCH, "seed": seed, "patience": DEV_EVALUATIONS}
    settings = {
        "task": "classification",
        "data": {"path": folder},
        "training": training,
        "head": {"kind": "linear" if method == "cross_entropy" else "logistic"},
        "evaluation": {"split": "test"},
    }
    return judged(train(RunConfig.model_validate(settings), scratch / "run").evaluation)


def pairs(labels: Sequence[str], count: int, seed: int) -> list[tuple[int, int, float]]:
    """Pairs of rows, in turn of one class (1) and of two (0), as SetFit draws them, without listing all of them."""
    rng = np.random.default_rng(seed)
    codes = np.unique(labels, return_inverse=True)[1]
    members = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    found: list[tuple[int, int, float]] = []
    while len(found) < count:
        left = int(rng.integers(len(codes)))
        same = len(found) % 2 == 0
        right = int(rng.choice(members[codes[left]])) if same else int(rng.integers(len(codes)))
        if right != left and (codes[left] == codes[right]) == same:
            found.append((left, right, float(same)))
    return found


def setfit(folder: Path, rate: float, seed: int, steps: int, scratch: Path) -> dict[str, float]:
    """SetFit's recipe under sentence-transformers' trainer."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
    from sklearn.linear_model import LogisticRegression
    from transformers import PrinterCallback

    from embedft.encoder import fast_bfloat16

    train_rows, dev, test, other = (rows_of(folder, name) for name in ("train", "dev", "test", "oos_test"))
    texts, labels = [row["text"] for row in train_rows], [row["label"] for row in train_rows]
    model = SentenceTransformer(str(BUNDLED_PATH), device="cpu")
    drawn = pairs(labels, steps * BATCH // 2, seed)
    rows = {
        "sentence1": [texts[left] for left, _, _ in drawn],
        "sentence2": [texts[right] for _, right, _ in drawn],
        "score": [score for _, _, score in drawn],
    }
    arguments = SentenceTransformerTrainingArguments(
        str(scratch / "setfit"), max_steps=steps, per_device_train_batch_size=BATCH // 2, learning_rate=rate,
        warmup_steps=steps // 10, seed=seed, use_cpu=True, bf16=fast_bfloat16("cpu"), report_to="none",
        save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model, args=arguments, train_dataset=Dataset.from_dict(rows), loss=CosineSimilarityLoss(model)
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    model.eval()
    vectors = model.encode(texts)
    head = LogisticRegression(max_iter=1000).fit(vectors, labels)
    chosen = fit_logistic(vectors, [(label,) for label in labels], seed=seed)
    number_of = {name: number for number, name in enumerate(head.classes_)}

    def chances(rows: list[dict[str, str]]) -> np.ndarray:
        return head.predict_proba(model.encode([row["text"] for row in rows])) if rows else np.empty((0, 1))

    inside, outside, held = chances(test), chances(other), chances(dev)
    said = chosen.predict(model.encode([row["text"] for row in test]))
    gold = np.array([number_of.get(row["label"], -1) for row in test])
    right = inside.argmax(1) == gold
    from sklearn.metrics import f1_score

    confidence = inside.max(1)
    return {
        "accuracy": float(right.mean()),
        "accuracy_our_head": float(np.mean([of == (row["label"],) for of, row in zip(said, test, strict=True)])),
        "macro_f1": float(f1_score(gold, inside.argmax(1), average="macro")),
        "ece": expected_calibration_error(confidence, right),
        **scope(confidence, outside.max(1), threshold_for(held.max(1), IN_SCOPE) if len(held) else None),
    }


def cell(name: str, method: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """What one method came to on one data set with one seed."""
    steps = options.steps or STEPS[name]
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        base, _, shots = name.partition("-")
        folder = few(options.data / base, scratch / name, int(shots), seed) if shots else options.data / base
        if method.startswith("setfit"):
            rate = SETFIT_RATE if method == "setfit" else LEARNING_RATE_TIMES_HIDDEN / Encoder.load("bundled").dim
            return setfit(folder, rate, seed, steps, scratch)
        return ours(folder, method, seed, steps, scratch)


def table(cells: dict[str, dict[str, float]]) -> dict[str, dict[str, dict[str, float]]]:
    """Data set and method -> figure -> mean and standard deviation over the seeds; printed too."""
    seeds: dict[str, list[dict[str, float]]] = {}
    for key, found in cells.items():
        seeds.setdefault(key.rpartition(" / ")[0], []).append(found)
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for key, parts in seeds.items():
        rows[key] = {}
        for figure in dict.fromkeys(figure for part in parts for figure in part):
            values = [part[figure] for part in parts if figure in part]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            rows[key][figure] = {"mean": statistics.mean(values), "stdev": spread, "seeds": len(values)}
        shown = ", ".join(f"{figure} {of['mean']:.4f} +- {of['stdev']:.4f}" for figure, of in rows[key].items())
        print(f"{key:42} {shown}", flush=True)
    return rows


def main() -> None:
    """Measure what is not stored, print, write ``results/classification.json`` after each cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with banking77, clinc150 and trec6")
    parser.add_argument("--sets", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="of training; by default about two epochs, 150 for ten shots")
    parser.add_argument("--minutes", type=float, help="begin no further cell after so many")
    parser.add_argument("--dry", action="store_true", help="print, but store nothing")
    options = parser.parse_args()
    path = RESULTS / f"{NAME}.json"
    stored = path.is_file() and not options.dry
    cells: dict[str, dict[str, float]] = json.loads(path.read_text())["cells"] if stored else {}
    start = time.monotonic()
    # Seed by seed, so that what is there after a limited time holds every method.
    for seed in options.seeds:
        for name in options.sets:
            for method in options.methods:
                key = f"{name} / {method} / {seed}"
                late = options.minutes is not None and time.monotonic() - start > 60 * options.minutes
                if key in cells or late:
                    continue
                cells[key] = cell(name, method, seed, options)
                print(f"{key}: {json.dumps(cells[key])}", flush=True)
                if not options.dry:
                    write_result(NAME, {"batch": BATCH, "steps": options.steps or STEPS, "cells": cells,
                                        "summary": table(cells)})  # fmt: skip
    table(cells)


if __name__ == "__main__":
    main()
