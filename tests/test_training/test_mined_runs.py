"""Runs with mined negatives: what stays beside the run, and that an interruption changes nothing."""

import json
import os
import signal
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import GARDEN
from transformers import TrainerState

from embedft import Encoder, RunConfig, train
from embedft.config import DataConfig
from embedft.errors import ConfigError
from embedft.training.mining.mined import RefreshedNegatives
from embedft.training.run import open_job
from embedft.training.rundir import RunDirectory

QUICK = {"max_steps": 8, "batch_size": 16, "eval_every": 2, "patience": 9}

TRAIN_AND_DIE = """
import os, signal, sys
from embedft import RunConfig, train
from embedft.training import trainer
save = trainer.RunCallback.on_step_end
def die(self, args, state, control, **kwargs):
    save(self, args, state, control, **kwargs)
    if state.global_step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
trainer.RunCallback.on_step_end = die
train(RunConfig.model_validate_json(sys.argv[1]), sys.argv[2])
"""


def config(negatives, **training):
    return RunConfig.model_validate(
        {
            "data": {"path": str(GARDEN)}, "model": {"precision": "float32"},
            "training": {**QUICK, "hard_negatives": negatives, **training}, "evaluation": {"report": False},
        }
    )  # fmt: skip


def test_what_was_mined_stays_beside_the_run(tmp_path):
    result = train(config({"num_negatives": 2}, max_steps=2), tmp_path / "run")
    mined = pq.read_table(result.run / "negatives.parquet")
    report = json.loads((result.run / "run.json").read_text())["negatives"]
    assert sum(len(row) for row in mined["negatives"].to_pylist()) == report["found"] > 0
    assert all(row["positive"] not in row["negatives"] for row in mined.to_pylist())


@pytest.mark.parametrize("loss", ["triplet", "distil_margin_mse"])
def test_losses_that_need_negatives_are_trained_on_mined_ones(tmp_path, loss):
    guide = {"guide": "bundled"} if loss.startswith("distil") else {}
    result = train(config({"num_negatives": 1}, loss=loss, max_steps=2, **guide), tmp_path / "run")
    assert json.loads((result.run / "run.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_refreshed_negatives_of_a_killed_run_are_those_of_an_uninterrupted_one(tmp_path):
    settings = config({"num_negatives": 1, "refresh_every": 3, "relative_margin": None})
    whole = train(settings, tmp_path / "whole")
    child = subprocess.run(
        [sys.executable, "-c", TRAIN_AND_DIE, settings.model_dump_json(), tmp_path / "run"],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}, check=False,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL
    resumed = train(settings, tmp_path / "run", resume=True)
    assert Encoder.load(resumed.run / "model").fingerprint == Encoder.load(whole.run / "model").fingerprint


def test_of_refreshed_negatives_stay_those_that_are_in_use_or_that_a_checkpoint_goes_on_with(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "dev"):
        rows = [{"anchor": f"{split} question {n}", "positive": f"{split} answer {n}"} for n in range(4)]
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = config({"num_negatives": 1, "refresh_every": 2, "relative_margin": None})
    settings = settings.model_copy(update={"data": DataConfig(path=data)})
    job = open_job(settings, RunDirectory(tmp_path / "run"), show_progress=False)
    folder = job.directory.checkpoints
    (folder / "checkpoint-3").mkdir(parents=True)
    negatives = RefreshedNegatives(job, lambda: job.base, lambda rows: None)
    for step in range(1, 9):
        negatives.on_step_end(None, TrainerState(global_step=step, max_steps=9), None)
    assert {path.name for path in folder.glob("negatives*")} == {f"negatives-{step}.parquet" for step in (2, 6, 8)}
    for step, found in ((3, {-1, 2}), (8, {6, 8})):
        resumed = RefreshedNegatives(job, lambda: job.base, lambda rows: None)
        resumed.on_train_begin(None, TrainerState(global_step=step), None)
        assert set(resumed.found) == found


def test_negatives_of_a_step_are_those_mined_before_the_step_before():
    negatives = RefreshedNegatives.__new__(RefreshedNegatives)
    negatives.found = {-1: pa.chunked_array([[["old"]]]), 3: pa.chunked_array([[["new"]]])}
    assert [negatives.of([0], step)[0][0] for step in range(6)] == ["old"] * 4 + ["new"] * 2


def test_batches_of_a_step_are_counted_anew_in_each_epoch():
    from embedft.training.batches import SetCollator

    class Sampler:
        def __len__(self):
            return 5

    collator = SetCollator({}, batches_a_step=2)
    collator.sampler = Sampler()
    steps = []
    for epoch in range(2):
        for number in range(5):
            collator.sampler.place = (epoch, number)
            steps.append(collator._step())
    assert steps == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"hard_negatives": {"range_min": 5, "range_max": 5}}, "range_min"),
        ({"hard_negatives": {"min_score": 0.9, "max_score": 0.1}}, "min_score"),
        ({"hard_negatives": {"refresh_every": 2}, "loss": "triplet"}, "refresh_every"),
    ],
)
def test_limits_that_leave_nothing_are_refused_before_the_first_step(tmp_path, sections, said):
    settings = RunConfig.model_validate({"data": {"path": tmp_path / "nowhere"}, "training": sections})
    with pytest.raises(ConfigError, match=said):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()
