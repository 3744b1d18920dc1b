"""Several batches a step, and several processes: what one process does with one batch."""

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import GARDEN
from sentence_transformers import SentenceTransformer

from embedft import RunConfig, train


def settings(**training):
    values = {"max_steps": 4, "batch_size": 8, "eval_every": 2, "learning_rate": 1e-4, **training}
    return RunConfig.model_validate({"data": {"path": GARDEN}, "training": values, "model": {"precision": "float32"},
                                     "evaluation": {"report": False}})  # fmt: skip


def log_of(run):
    return [json.loads(line) for line in (run / "train_log.jsonl").read_text().splitlines()]


def weights(run):
    return SentenceTransformer(str(run / "model"), device="cpu").state_dict()


def test_a_step_of_two_batches_has_the_mean_loss_of_both(tmp_path):
    two = log_of(train(settings(gradient_accumulation=2, max_steps=1, eval_every=1), tmp_path / "two").run)
    # At a rate of next to nothing the second of two steps sees the weights of the first.
    still = {"learning_rate": 1e-12, "max_steps": 2, "eval_every": 1}
    one = log_of(train(settings(**still), tmp_path / "one").run)
    first = next(entry["loss"] for entry in one if "loss" in entry)
    mean = next(entry["train_loss"] for entry in one if "train_loss" in entry)
    accumulated = next(entry["loss"] for entry in two if "loss" in entry)
    assert accumulated == pytest.approx(mean, abs=2e-4)  # the log rounds to 4 digits
    assert abs(accumulated - first) > 1e-3


def launch(path, *overrides):
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0",
            "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "-m", "embedft",
            "train", "--data", str(GARDEN), "-o", str(path), "--json", *overrides,
        ],
        capture_output=True, text=True, timeout=280, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_two_processes_are_at_the_loss_of_one_set_together(tmp_path):
    # Its last batch, which stands anywhere in the epoch, is a short one.
    rows = [{"sentence1": f"plant {n}", "sentence2": f"tree {n % 7}", "score": n % 2} for n in range(60)]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = launch(
        tmp_path / "run", "--set", f"data.also=[{{path: {tmp_path / 'more.jsonl'}}}]",
        "--set", "training.batch_size=8", "--set", "training.epochs=1",
    )  # fmt: skip
    assert json.loads(done.stdout)["run"] == str(tmp_path / "run")
    # 3 and 4 batches for each process.
    assert max(entry["step"] for entry in log_of(tmp_path / "run") if "eval_ndcg@10" in entry) == 7


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one_with_the_joint_batch(tmp_path):
    joint = train(settings(batch_size=16, max_steps=3, eval_every=3), tmp_path / "one")
    fields = {"batch_size": 8, "max_steps": 3, "eval_every": 3, "learning_rate": 1e-4}
    done = launch(
        tmp_path / "two", "--set", "model.precision=float32",
        *(part for name, value in fields.items() for part in ("--set", f"training.{name}={value}")),
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["best"]["step"] == joint.best_step
    expected, found = weights(tmp_path / "one"), weights(tmp_path / "two")
    base = SentenceTransformer(str(GARDEN.parents[2] / "embedft" / "models" / "modernbert-mini")).state_dict()
    moved = max(float((expected[name] - base[name]).abs().max()) for name in expected)
    apart = max(float((expected[name] - found[name]).abs().max()) for name in expected)
    assert moved > 1e-5
    assert apart < moved / 20
    assert all(torch.isfinite(value).all() for value in found.values())
