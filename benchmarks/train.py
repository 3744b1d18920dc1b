"""Seconds a training step takes, and its memory: embedft against sentence-transformers' trainer on the same pairs.

All train the bundled encoder with multiple-negatives ranking; a pair is the first 5 to 13 words of a docstring and the
docstring (see texts.py for the lengths). Two cases: 64 pairs a step, and 512 pairs a step with gradient caching.
Variants take turns in each round; a trainer's first step of 64 pairs is not counted (512 pairs take long enough that
warming up does not show). Peak memory is measured in a process of its own each, above what it held before training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from datasets import Dataset
from environment import peak_memory_mb, summary, write_result
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from texts import docstrings
from transformers import PrinterCallback, TrainerCallback

from embedft.encoder import Encoder, fast_bfloat16
from embedft.training.losses.registry import build_loss
from embedft.training.trainer import PairTrainer

BATCH, CACHED_BATCH, MAX_LENGTH = 64, 512, 512
# Name -> (sentence-transformers or embedft, bf16 or not); the first is what the others are compared with.
VARIANTS = {
    "sentence-transformers fp32 (its default)": ("theirs", False),
    "embedft fp32": ("ours", False),
    "sentence-transformers bf16": ("theirs", True),
    "embedft bf16": ("ours", True),
}


class StepClock(TrainerCallback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        """Start."""
        self.start = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Stop."""
        self.seconds.append(time.perf_counter() - self.start)


def training_pairs(count: int) -> list[dict[str, Any]]:
    """Rows of anchor, positive, negatives."""
    words = np.random.default_rng(0).integers(5, 14, count)
    texts = docstrings(count)
    return [
        {"anchor": " ".join(text.split()[:number]), "positive": text, "negatives": []}
        for text, number in zip(texts, words, strict=True)
    ]


def step_seconds(pairs: list[dict[str, Any]], kind: str, bf16: bool, seed: int, batch: int, steps: int) -> list[float]:
    """Seconds of each of ``steps`` steps of a trainer made for it."""
    encoder = Encoder.load("bundled", max_length=MAX_LENGTH, precision="float32")
    model = encoder.sentence_transformer
    clock = StepClock()
    cached = batch == CACHED_BATCH
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            folder, max_steps=steps, per_device_train_batch_size=batch, learning_rate=1e-5, seed=seed, bf16=bf16,
            use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, logging_steps=1000,
            dataloader_pin_memory=False, **({"optim": "adamw_torch_fused"} if kind == "ours" else {}),
        )  # fmt: skip
        common = {"args": arguments, "callbacks": [clock]}
        if kind == "ours":
            loss = build_loss("mnrl", {}, model, gradient_cache=cached)
            rows = Dataset.from_list(pairs)
            trainer: Any = PairTrainer(encoder=encoder, max_length=MAX_LENGTH, train_dataset=rows, loss=loss, **common)
        else:
            rows = Dataset.from_list(pairs).select_columns(["anchor", "positive"])
            loss = CachedMultipleNegativesRankingLoss(model) if cached else MultipleNegativesRankingLoss(model)
            trainer = SentenceTransformerTrainer(model, train_dataset=rows, loss=loss, **common)
            trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.seconds


def measure(pairs: list[dict[str, Any]], rounds: int, batch: int) -> dict[str, dict[str, float]]:
    """Rows of the table."""
    warm = 0 if batch == CACHED_BATCH else 1
    variants = {name: kind for name, kind in VARIANTS.items() if fast_bfloat16("cpu") or not kind[1]}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds):
        for name, (kind, bf16) in variants.items():
            seconds[name].append(step_seconds(pairs, kind, bf16, number, batch, warm + 1)[-1])
            print(f"round {number + 1}: {name:42} {seconds[name][-1]:6.2f} s", flush=True)
    peer = summary(seconds[next(iter(variants))])["median"]
    rows = {}
    for name, values in seconds.items():
        row = summary(values)
        row |= {"pairs_per_second": batch / row["median"], "times_peer": peer / row["median"]}
        rows[name] = row
    for name, row in rows.items():
        print(
            f"{batch} pairs, {name:42} {row['median']:7.2f} s a step [{row['min']:.2f} .. {row['max']:.2f}]"
            f" {row['pairs_per_second']:6.1f} pairs/s {row['times_peer']:6.2f} x",
            flush=True,
        )
    return rows


def add_memory(rows: dict[str, dict[str, float]], batch: int) -> None:
    """Measure the peak memory of each variant, and put it into its row."""
    for name, row in rows.items():
        row["peak_memory_mb"] = _peak_memory(name, batch)
        row["memory_of_peer"] = row["peak_memory_mb"] / rows[next(iter(rows))]["peak_memory_mb"]
        print(f"{batch} pairs, {name:42} {row['peak_memory_mb']:7.0f} MB ({row['memory_of_peer']:.2f} x)", flush=True)


def _peak_memory(name: str, batch: int) -> float:
    command = [sys.executable, __file__, "--memory-of", name, "--batch", str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["mb"])


def _print_memory(name: str, batch: int) -> None:
    """The peak of this process in one step, above what it held before."""
    pairs = training_pairs(batch)
    Encoder.load("bundled", precision="float32").sentence_transformer.encode(["warm"])
    before = peak_memory_mb()
    step_seconds(pairs, *VARIANTS[name], 0, batch, 1)
    print(json.dumps({"mb": peak_memory_mb() - before}))


def main() -> None:
    """Measure, print, write ``results/train.json`` or ``results/train-cached.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cached", action="store_true", help="512 pairs with gradient caching")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    parser.add_argument("--no-memory", action="store_true", help="times alone")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        _print_memory(options.memory_of, options.batch)
        return
    batch = CACHED_BATCH if options.cached else BATCH
    rows = measure(training_pairs(8 * batch if not options.cached else 2 * batch), options.rounds, batch)
    if not options.no_memory:
        add_memory(rows, batch)
    if not options.dry:
        write_result(
            "train-cached" if options.cached else "train",
            {"peer": next(iter(VARIANTS)), "batch": batch, "max_length": MAX_LENGTH, "variants": rows},
        )


if __name__ == "__main__":
    main()
