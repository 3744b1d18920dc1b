"""A run from end to end on small data: its evidence, its resumption, and what is refused before the first step."""

import json
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedft import Encoder, RunConfig, train
from embedft.errors import ArtifactError, ConfigError, DataError, ModelError
from embedft.training.rundir import RunDirectory

# 4 batches an epoch, a checkpoint every 3 steps: runs resume in the middle of an epoch.
QUICK = {"max_steps": 12, "batch_size": 16, "eval_every": 3, "patience": 9}


def config(path, **sections):
    values = {"data": {"path": str(path)}, "training": QUICK, "model": {"precision": "float32"}}
    values["evaluation"] = {"report": False}
    for name, fields in sections.items():
        values[name] = {**values.get(name, {}), **fields}
    return RunConfig.model_validate(values)


def weights(run):
    return SentenceTransformer(str(run / "model"), device="cpu").state_dict()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run."""
    from conftest import GARDEN

    path = tmp_path_factory.mktemp("run") / "run"
    return train(config(GARDEN), path)


def test_a_run_keeps_its_evidence(finished):
    run = json.loads((finished.run / "run.json").read_text())
    assert run["status"] == "finished"
    assert run["config"]["training"]["max_steps"] == 12
    assert set(run["data"]["files"]) >= {"corpus.jsonl", "qrels/train.tsv"}
    assert run["environment"]["threads"] == torch.get_num_threads()
    assert run["fingerprint"] == Encoder.load(finished.run / "model").fingerprint
    table = pq.read_table(finished.run / "per_query.parquet")
    assert table.num_rows == 24
    assert {"query_id", "ndcg@10", "against:ndcg@10"} <= set(table.column_names)
    metrics = json.loads((finished.run / "metrics.json").read_text())
    assert metrics["metrics"]["ndcg@10"] == pytest.approx(sum(table["ndcg@10"].to_pylist()) / 24)
    assert metrics["comparison"]["ndcg@10"]["verdict"] in ("better", "no difference", "worse")
    log = [json.loads(line) for line in (finished.run / "train_log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log if "eval_ndcg@10" in entry] == [3, 6, 9, 12]
    assert sorted(path.name for path in finished.run.iterdir() if not path.name.startswith(".")) == [
        "metrics.json", "model", "per_query.parquet", "ranking.parquet", "run.json", "train_log.jsonl",
    ]  # fmt: skip


def test_the_best_step_on_dev_is_kept(finished):
    log = [json.loads(line) for line in (finished.run / "train_log.jsonl").read_text().splitlines()]
    by_step = {entry["step"]: entry["eval_ndcg@10"] for entry in log if "eval_ndcg@10" in entry}
    assert finished.best_value == max([*by_step.values(), finished.base_value])
    if finished.best_step:
        assert by_step[finished.best_step] == finished.best_value


def test_sentence_transformers_gives_the_same_vectors(finished):
    texts = ["how to water a fern", "a fern wants constantly moist roots"]
    ours = Encoder.load(finished.run / "model", precision="float32").encode(texts)
    theirs = SentenceTransformer(str(finished.run / "model"), device="cpu").encode(texts)
    assert abs(ours - theirs).max() < 1e-5


TRAIN_AND_STALL = """
import sys, time
from pathlib import Path
from embedft import RunConfig, train
from embedft.training import trainer
save = trainer.RunCallback.on_step_end
def stall(self, args, state, control, **kwargs):
    save(self, args, state, control, **kwargs)
    if state.global_step == 8:
        # A checkpoint that is cut off in the middle.
        (Path(args.output_dir) / "checkpoint-8").mkdir()
        (Path(args.output_dir) / "checkpoint-8" / "model.safetensors").write_bytes(b"half")
        print("step 8", flush=True)
        time.sleep(120)
trainer.RunCallback.on_step_end = stall
train(RunConfig.model_validate_json(sys.argv[1]), sys.argv[2])
"""


def test_killed_and_resumed_ends_with_the_weights_of_an_uninterrupted_run(finished, tmp_path):
    from conftest import GARDEN

    settings = config(GARDEN)
    # As many threads as here: sums depend on how they are split.
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    child = subprocess.Popen(
        [sys.executable, "-c", TRAIN_AND_STALL, settings.model_dump_json(), tmp_path / "run"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, **threads},
    )  # fmt: skip
    assert child.stdout.readline().strip() == "step 8"
    with pytest.raises(ArtifactError, match="another process is training"):
        train(settings, tmp_path / "run", resume=True)
    child.send_signal(signal.SIGKILL)
    child.wait()
    with pytest.raises(ArtifactError, match="unfinished run"):
        train(settings, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"training\.seed was 0, now 1"):
        train(config(GARDEN, training={"seed": 1}), tmp_path / "run", resume=True)
    before = json.loads((tmp_path / "run" / "run.json").read_text())["seconds"]
    resumed = train(settings, tmp_path / "run", resume=True)
    seconds = json.loads((tmp_path / "run" / "run.json").read_text())["seconds"]
    assert before > 0 and seconds == pytest.approx(before + resumed.seconds, abs=0.5)
    expected, found = weights(finished.run), weights(resumed.run)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert resumed.evaluation.metrics == finished.evaluation.metrics
    log = [json.loads(line) for line in (resumed.run / "train_log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log if "eval_ndcg@10" in entry] == [3, 6, 9, 12]


def test_the_seconds_of_a_finished_run_are_kept(finished, tmp_path):
    import shutil

    from conftest import GARDEN

    run = shutil.copytree(finished.run, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "seconds": 1234.5}))
    train(config(GARDEN), run, resume=True)
    assert json.loads((run / "run.json").read_text())["seconds"] == 1234.5


def test_a_finished_run_is_not_replaced_without_force(finished, garden):
    before = (finished.run / "run.json").read_bytes()
    with pytest.raises(ArtifactError, match="exists already"):
        train(config(garden), finished.run)
    assert (finished.run / "run.json").read_bytes() == before


def test_a_training_that_only_harms_keeps_the_base_model(garden, tmp_path, encoder):
    harmful = config(garden, training={"learning_rate": 0.5, "max_steps": 4, "eval_every": 2})
    result = train(harmful, tmp_path / "run")
    assert result.best_step == 0
    assert result.best_value == result.base_value
    assert Encoder.load(tmp_path / "run" / "model").fingerprint == encoder.fingerprint
    assert result.comparison["ndcg@10"].verdict == "no difference"


def test_training_stops_when_dev_no_longer_improves(garden, tmp_path):
    settings = config(garden, training={"learning_rate": 0.5, "max_steps": 40, "eval_every": 1, "patience": 2})
    train(settings, tmp_path / "run")
    log = [json.loads(line) for line in (tmp_path / "run" / "train_log.jsonl").read_text().splitlines()]
    values = [entry["eval_ndcg@10"] for entry in log if "eval_ndcg@10" in entry]
    assert len(values) < 40
    assert max(values[-2:]) <= max(values[:-2])


def test_pairs_without_a_dev_split_hold_one_out(tmp_path):
    lines = "".join(f"what is the number {i},the number {i} is {i * i} squared\n" for i in range(60))
    (tmp_path / "pairs.csv").write_text("anchor,positive\n" + lines)
    result = train(config(tmp_path / "pairs.csv", training={"max_steps": 2}), tmp_path / "run")
    assert result.evaluation.split == "dev"
    assert len(result.evaluation.query_ids) == 6


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"evaluation": {"metric": "ndgc@10"}}, "ndgc@10"),
        ({"evaluation": {"metrics": ["accuracy"]}}, "accuracy"),
        ({"training": {"loss": "cosent"}}, "cosent"),
        ({"evaluation": {"split": "train"}}, "trained on"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(garden, tmp_path, sections, named):
    with pytest.raises(ConfigError, match=named):
        train(config(garden, **sections), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_leaking_queries_are_reported_dropped_or_fatal(garden, tmp_path):
    with (garden / "qrels" / "test.tsv").open("a") as file:
        file.write("q1\ttomato-place\t1\n")
    with pytest.raises(DataError, match="1 x query id in test"):
        train(config(garden, data={"leakage": "fail"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    start = time.monotonic()
    result = train(config(garden, training={"max_steps": 1}), tmp_path / "run")
    assert [(leak.kind, leak.count) for leak in result.leakage if leak.severe] == [("query id", 1)]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["leakage"][0]["kind"] == "query id"
    assert 0 < result.seconds <= time.monotonic() - start


def test_the_record_tells_what_was_dropped_and_what_leakage_is_left(garden, tmp_path):
    from embedft.training import run as module

    with (garden / "qrels" / "test.tsv").open("a") as file:
        file.write("q1\ttomato-place\t1\n")
    (tmp_path / "run").mkdir()
    job = module.open_job(config(garden, data={"leakage": "drop"}), RunDirectory(tmp_path / "run"), show_progress=False)
    module._begin(job, resume=False, force=False)
    record = job.directory.read()
    assert record["leakage_dropped"] == job.dropped > 0
    assert not any(leak["severe"] for leak in record["leakage"])


def test_processes_meet_before_the_model_is_opened(garden, tmp_path, monkeypatch):
    from embedft.training import run as module

    done = []
    monkeypatch.setattr(module, "join", lambda device: done.append(f"join {device}"))
    monkeypatch.setattr(module, "open_base", lambda _: done.append("open") or sys.exit())
    with pytest.raises(SystemExit):
        train(config(garden, model={"device": "cpu"}), tmp_path / "run")
    assert done == ["join cpu", "open"]


@pytest.mark.parametrize(
    ("device", "processes", "training", "said"),
    [
        ("cuda:1", 1, {}, "training takes the first GPU that it sees"),
        ("cuda:1", 1, {"freeze": ["documents"], "query_side": "tower"}, "CUDA_VISIBLE_DEVICES=1"),
        ("cuda:0", 2, {}, "each of 2 processes takes a GPU of its own"),
        ("cuda:1", 2, {"freeze": ["documents"]}, "each of 2 processes takes a GPU of its own"),
        ("cuda:1", 1, {"freeze": ["documents"]}, None),
        ("cuda:0", 1, {}, None),
        ("cuda", 2, {}, None),
    ],
)
def test_a_gpu_that_training_would_not_take_is_refused(garden, monkeypatch, device, processes, training, said):
    from embedft.training.run import check

    monkeypatch.setenv("WORLD_SIZE", str(processes))
    settings = config(garden, model={"device": device}, training=training)
    if said is None:
        check(settings)
        return
    with pytest.raises(ConfigError) as caught:
        check(settings)
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_a_new_run_is_recorded_when_nothing_of_the_old_one_can_be_resumed_from(tmp_path, monkeypatch):
    from embedft.training import rundir

    directory = RunDirectory(tmp_path / "run")
    (directory.checkpoints / "checkpoint-3").mkdir(parents=True)
    for file in (directory.checkpoints / "documents.npy", directory.negatives, directory.metrics):
        file.write_text("old")
    directory.record.write_text(json.dumps({"format": 1, "status": "finished", "config": {}}))
    write = rundir.write_json

    def killed(path, value):
        write(path, value)
        raise KeyboardInterrupt

    monkeypatch.setattr(rundir, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        directory.start({}, {}, force=True)
    assert directory.read()["status"] == "training"
    assert not directory.checkpoints.exists() and not directory.negatives.exists()


@pytest.mark.parametrize(
    ("sections", "inside"),
    [
        ({"model": {"name": "{run}/checkpoints/checkpoint-50"}}, "checkpoints/checkpoint-50"),
        ({"model": {"name": "{run}/model"}}, "model"),
        ({"data": {"path": "{run}/negatives.parquet"}}, "negatives.parquet"),
        ({"training": {"loss": "gist", "guide": "{run}/model"}}, "model"),
        ({"training": {"hard_negatives": {"cross_encoder": "{run}/model"}}}, "model"),
    ],
)
def test_a_run_that_reads_from_the_directory_it_would_replace_is_refused(garden, tmp_path, sections, inside):
    run = tmp_path / "run"
    (run / inside).mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"format": 1, "status": "training", "config": {}}))
    settings = config(garden, **json.loads(json.dumps(sections).replace("{run}", str(run))))
    with pytest.raises(ConfigError, match=f"{inside}, which lies in .*run, whose content would be replaced"):
        train(settings, run, force=True)
    assert (run / inside).is_dir()
    assert json.loads((run / "run.json").read_text())["status"] == "training"


@pytest.mark.parametrize(
    "training",
    [
        {"loss": "gist", "guide": "no/where/at/all"},
        {"hard_negatives": {"guide": "no/where/at/all"}},
        {"hard_negatives": {"cross_encoder": "no/where/at/all"}},
    ],
)
def test_a_guide_that_is_nowhere_leaves_the_older_run(garden, tmp_path, training):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"format": 1, "status": "finished", "config": {}}))
    with pytest.raises(ModelError, match="no/where/at/all"):
        train(config(garden, training=training), run, force=True)
    assert (run / "checkpoints").is_dir()
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("force", [False, True])
def test_a_run_whose_record_is_damaged_is_told_and_left(garden, tmp_path, force):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{")
    with pytest.raises(ArtifactError) as caught:
        train(config(garden), run, force=force)
    assert "add --force" not in str(caught.value)
    assert "name another path" in str(caught.value)
    assert (run / "run.json").read_text() == "{"


def test_a_refused_run_leaves_no_folder_above_it_but_those_of_others(tmp_path):
    (tmp_path / "there").mkdir()
    for path in ("there/new/run", "new/below/run"):
        with pytest.raises(DataError, match="nowhere"):
            train(config("/nowhere"), tmp_path / path)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_changed_data_is_refused_on_resume(finished, garden, tmp_path):
    import shutil

    run = shutil.copytree(finished.run, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record["status"], record["config"]["data"]["path"] = "training", str(garden)
    (run / "run.json").write_text(json.dumps(record))
    with (garden / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "new", "text": "new"}\n')
    with pytest.raises(ConfigError, match=r"data has changed since the run began: corpus\.jsonl"):
        train(config(garden), run, resume=True)


@pytest.mark.parametrize(("precision", "expected"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_training_computes_in_the_precision_of_the_model(garden, tmp_path, monkeypatch, precision, expected):
    from embedft.training import trainer

    seen = set()
    begin = trainer.RunCallback.on_train_begin

    def watch(self, args, state, control, model=None, **kwargs):
        layer = model[0].model.layers[0].mlp.Wo
        layer.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype) if model.training else None)
        begin(self, args, state, control, model=model, **kwargs)

    monkeypatch.setattr(trainer.RunCallback, "on_train_begin", watch)
    train(config(garden, training={"max_steps": 1}, model={"precision": precision}), tmp_path / "run")
    assert seen == {expected}
    saved = weights(tmp_path / "run")
    assert {weight.dtype for weight in saved.values() if weight.is_floating_point()} == {torch.float32}


@pytest.mark.slow
def test_a_run_killed_after_it_stopped_early_trains_no_further(garden, tmp_path, monkeypatch):
    from embedft.training import fit as module

    settings = config(garden, training={"learning_rate": 0.5, "max_steps": 40, "eval_every": 1, "patience": 2})
    expected = train(settings, tmp_path / "whole")

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "atomic_directory", killed)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "run")
    monkeypatch.undo()
    log = (tmp_path / "run" / "train_log.jsonl").read_text()
    resumed = train(settings, tmp_path / "run", resume=True)
    assert resumed.best_step == expected.best_step
    assert (tmp_path / "run" / "train_log.jsonl").read_text() == log
    found, wanted = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_run_is_replaced_without_touching_what_is_not_its_own(finished, garden, tmp_path):
    import shutil

    run = shutil.copytree(finished.run, tmp_path / "run")
    (run / "index").mkdir()
    (run / "index" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="would be replaced"):
        train(config(garden, model={"name": str(run / "model")}), run, force=True)
    train(config(garden, training={"max_steps": 1}), run, force=True)
    assert (run / "index" / "notes.txt").read_text() == "mine"
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "run.json").write_text('{"name": "my app"}')
    with pytest.raises(ArtifactError):
        train(config(garden), tmp_path / "app", force=True)
    assert (tmp_path / "app" / "run.json").read_text() == '{"name": "my app"}'


def test_the_old_model_stays_until_the_new_one_is_there(finished, garden, tmp_path, monkeypatch):
    import shutil

    from embedft.training import run as module

    run = shutil.copytree(finished.run, tmp_path / "run")

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config(garden), run, force=True)
    assert Encoder.load(run / "model").fingerprint == Encoder.load(finished.run / "model").fingerprint


def test_a_changed_base_model_is_refused_on_resume(garden, tmp_path, encoder):
    encoder.save(tmp_path / "base")
    settings = config(garden, model={"name": str(tmp_path / "base")}, training={"max_steps": 1})
    train(settings, tmp_path / "run")
    Encoder.load("bundled", max_length=99).save(tmp_path / "base", force=True)
    with pytest.raises(ConfigError, match="model that the run began with has changed"):
        train(settings, tmp_path / "run", resume=True)


def test_training_on_the_first_dimensions_is_judged_on_them(garden, tmp_path):
    train(config(garden, model={"truncate_dim": 64}, training={"max_steps": 2}), tmp_path / "run")
    assert Encoder.load(tmp_path / "run" / "model").dim == 64


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"training": {"loss": "frozen"}}, "training.loss is 'frozen'"),
        ({"training": {"loss": "mnlr", "hard_negatives": {}}}, "training.loss is 'mnlr'"),
        ({"training": {"query_side": "tower"}}, "training.query_side is tower"),
        ({"head": {"kind": "mlp"}}, "head is set"),
    ],
)
def test_settings_without_a_meaning_here_are_refused(garden, tmp_path, sections, said):
    with pytest.raises(ConfigError, match=said):
        train(RunConfig.model_validate({"data": {"path": garden}, **sections}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
