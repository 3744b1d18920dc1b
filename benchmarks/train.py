"""Seconds a training step takes: embedft against sentence-transformers' trainer, same pairs, same process.

Both train the bundled encoder with multiple-negatives ranking on 64 pairs a step, texts cut at 256 tokens, on the
docstrings of the installed packages. Variants take turns in each round; the first step of each turn is not counted.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from environment import summary, write_result
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import PrinterCallback, TrainerCallback

from embedft.data.docstrings import docstring_data
from embedft.encoder import Encoder, fast_bfloat16
from embedft.training.losses import build_loss
from embedft.training.trainer import PairTrainer

ROUNDS, STEPS, BATCH, MAX_LENGTH = 5, 3, 64, 256


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


def arguments(folder: str, seed: int, bf16: bool) -> SentenceTransformerTrainingArguments:
    """The same for both; only ``optim`` is ours."""
    return SentenceTransformerTrainingArguments(
        folder, max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=1e-5, seed=seed, bf16=bf16,
        use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, logging_steps=1000,
        dataloader_pin_memory=False,
    )  # fmt: skip


def theirs(pairs: Any, seed: int, bf16: bool) -> list[float]:
    """The default trainer, loss and collator."""
    model = Encoder.load("bundled", max_length=MAX_LENGTH, precision="float32").sentence_transformer
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = SentenceTransformerTrainer(
            model, arguments(folder, seed, bf16), Dataset(pairs.select(["anchor", "positive"])),
            loss=MultipleNegativesRankingLoss(model), callbacks=[clock],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.seconds[1:]


def ours(pairs: Any, seed: int, bf16: bool) -> list[float]:
    """As ``embedft train`` does it."""
    encoder = Encoder.load("bundled", max_length=MAX_LENGTH, precision="float32")
    model = encoder.sentence_transformer
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        settings = arguments(folder, seed, bf16)
        settings.optim = "adamw_torch_fused"
        trainer = PairTrainer(
            encoder=encoder, max_length=MAX_LENGTH, args=settings, train_dataset=Dataset(pairs),
            loss=build_loss("mnrl", {}, model), callbacks=[clock],
        )  # fmt: skip
        trainer.train()
    return clock.seconds[1:]


def main() -> None:
    """Measure, print, write."""
    pairs = docstring_data().training_pairs()
    variants = {"sentence-transformers fp32 (its default)": (theirs, False), "embedft fp32": (ours, False)}
    if fast_bfloat16("cpu"):
        variants |= {"sentence-transformers bf16": (theirs, True), "embedft bf16": (ours, True)}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for round_number in range(ROUNDS):
        for name, (run, bf16) in variants.items():
            seconds[name].append(statistics.mean(run(pairs, round_number, bf16)))
    peer = statistics.median(seconds["sentence-transformers fp32 (its default)"])
    rows = {
        name: {**summary(values), "pairs_per_second": BATCH / statistics.median(values),
               "times_peer": peer / statistics.median(values)}
        for name, values in seconds.items()
    }  # fmt: skip
    for name, row in rows.items():
        print(
            f"{name:42} {row['median']:6.2f} s a step [{row['min']:.2f} .. {row['max']:.2f}]"
            f" {row['pairs_per_second']:6.1f} pairs/s {row['times_peer']:5.2f} x"
        )
    write_result("train", {"peer": "sentence-transformers", "batch": BATCH, "max_length": MAX_LENGTH, "variants": rows})


if __name__ == "__main__":
    Path(__file__).parent.joinpath("results").mkdir(exist_ok=True)
    main()
