"""Whole runs with adapters, mean weights, layer-wise rates, recomputed activations, alarms and trackers."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from conftest import GARDEN, run_cli
from sentence_transformers import SentenceTransformer

from embedft import Encoder, RunConfig, train
from embedft.errors import ConfigError, TrainingError

QUICK = {"max_steps": 9, "batch_size": 16, "eval_every": 3, "patience": 9}
CASES = {
    "lora": {"lora": {"rank": 4, "dropout": 0.1}, "learning_rate": 2e-3},
    "mean": {"ema": 0.9, "freeze": ["embeddings"]},
    "all": {"lora": {"rank": 4}, "ema": 0.9, "layer_decay": 0.8, "gradient_checkpointing": True, "freeze": ["layers:2"],
            "loss_options": {"learn_scale": True}, "gradient_accumulation": 2, "max_steps": 6, "eval_every": 2},
}  # fmt: skip

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


def config(**training):
    values = {"data": {"path": str(GARDEN)}, "training": {**QUICK, **training}, "model": {"precision": "float32"}}
    values["evaluation"] = {"report": False}
    return RunConfig.model_validate(values)


def log_of(run):
    return [json.loads(line) for line in (run / "train_log.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_ends_with_the_weights_of_an_uninterrupted_run(tmp_path, case):
    settings = config(**CASES[case])
    whole = train(settings, tmp_path / "whole")
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    child = subprocess.run(
        [sys.executable, "-c", TRAIN_AND_DIE, settings.model_dump_json(), tmp_path / "run"],
        env={**os.environ, **threads}, check=False,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL
    resumed = train(settings, tmp_path / "run", resume=True)
    assert Encoder.load(resumed.run / "model").fingerprint == Encoder.load(whole.run / "model").fingerprint
    assert resumed.best_step == whole.best_step
    theirs, ours = log_of(whole.run), log_of(resumed.run)
    scores = [entry["eval_ndcg@10"] for entry in theirs if "eval_ndcg@10" in entry]
    assert scores == [entry["eval_ndcg@10"] for entry in ours if "eval_ndcg@10" in entry]
    # What was judged on dev is what was kept.
    assert whole.best_value == max([*scores, whole.base_value])


def test_a_run_with_adapters_saves_a_plain_folder_and_logs_cosines(tmp_path):
    result = train(config(lora={"rank": 4}, learning_rate=2e-3, max_steps=3), tmp_path / "run")
    texts = ["how to water a fern", "a fern wants constantly moist roots"]
    theirs = SentenceTransformer(str(result.run / "model"), device="cpu")
    assert not any("lora" in name for name in theirs.state_dict())
    ours = Encoder.load(result.run / "model", precision="float32").encode(texts)
    assert abs(ours - theirs.encode(texts)).max() < 1e-5
    first = log_of(result.run)[0]
    logged = {"loss", "grad_norm", "cosine_pairs", "cosine_pairs_p10", "cosine_others_p90", "cosine_documents"}
    assert logged <= set(first)
    assert first["cosine_pairs"] > first["cosine_others"]


def test_a_run_that_diverges_says_where_and_stops(tmp_path, caplog):
    with pytest.raises(TrainingError) as caught:
        train(config(learning_rate=1e6, warmup=0.0, max_grad_norm=1e9, max_steps=60, eval_every=60), tmp_path / "run")
    assert "rows " in caught.value.message
    assert "which begin with '" in caught.value.message
    assert "lower training.learning_rate, which is 1e+06" in caught.value.hint


def test_settings_that_do_not_fit_are_refused_before_anything_is_written(tmp_path):
    for training, found in (
        ({"freeze": ["layer:2"]}, "training.freeze has 'layer:2'"),
        ({"report_to": ["tensorbord"]}, "training.report_to has 'tensorbord'"),
    ):
        with pytest.raises(ConfigError, match=found.replace(".", r"\.")):
            train(config(**training), tmp_path / "run")
        assert not (tmp_path / "run").exists()
    for number, (training, found) in enumerate((
        ({"freeze": ["layers:9"]}, "has 'layers:9', but the model has 6 layers"),
        ({"lora": {"targets": ["q_proj"]}}, "training.lora.targets has 'q_proj'"),
        ({"freeze": ["embeddings", "layers:6"]}, "leaves nothing to train"),
    )):  # fmt: skip
        with pytest.raises(ConfigError, match=found):
            train(config(**training), tmp_path / str(number))
        assert not (tmp_path / str(number) / "checkpoints").exists()


@pytest.mark.slow
def test_trackers_write_into_the_run_and_not_to_standard_output(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sets = [f"--set=training.{name}={value}" for name, value in {**QUICK, "max_steps": 3}.items()]
    done = run_cli(
        "train", "--task", "retrieval", "--data", GARDEN, "-o", tmp_path / "run", "--json", *sets,
        "--set=training.report_to=[tensorboard]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == str(tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "trackers" / "tensorboard")).Reload()
    assert {"train/loss", "train/cosine_pairs", "eval/ndcg@10"} <= set(events.Tags()["scalars"])
