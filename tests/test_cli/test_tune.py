"""``embedft tune`` as its users run it: its JSON, its report, its mistakes, and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import GARDEN, assert_user_error, heed_interrupts

QUICK = ("--set", "training.max_steps=2", "--set", "training.batch_size=16", "--set", "training.eval_every=1")
SEARCH = ("--search", "training.learning_rate=1e-5..5e-4:log")


@pytest.fixture(scope="module")
def study(tmp_path_factory, cli):
    """A study of the configuration as it is, and what the command printed."""
    path = tmp_path_factory.mktemp("cli") / "tune"
    done = cli("tune", "--data", GARDEN, "--trials", "1", "-o", path, "--json", *QUICK, *SEARCH)
    assert done.returncode == 0, done.stderr
    return path, json.loads(done.stdout), done.stderr


@pytest.mark.slow
def test_tune_prints_the_stated_shape_and_writes_a_report(study):
    path, answer, log = study
    assert answer["tune"] == str(path)
    assert answer["best"].keys() == {"trial", "value", "parameters"}
    (trial,) = answer["trials"]
    assert {"trial", "state", "value", "parameters", "seconds", "reason", "curve"} <= trial.keys()
    assert answer["final"] == json.loads((path / "best" / "metrics.json").read_text())
    assert answer["final"]["split"] == "test"
    assert "trial 0 (1 of 1): the configuration as it is" in log
    assert "trial 0 (1 of 1): complete ndcg@10" in log
    assert "Best on dev: trial 0" in (path / "report.html").read_text()
    assert json.loads((path / "tune.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_a_finished_study_is_printed_again_as_a_table_for_people(study, cli):
    path, answer, _ = study
    before = (path / "report.html").stat().st_ino
    done = cli("tune", "-o", path, "--resume")
    assert done.returncode == 0, done.stderr
    assert (path / "report.html").stat().st_ino != before, "replaced as a whole, not written over"
    assert "0 (as configured)" in done.stdout
    assert f"best on dev: trial 0, ndcg@10 {answer['best']['value']:.4f}" in done.stdout
    assert "optimistic" in done.stdout
    assert str(path / "report.html") in done.stdout


@pytest.mark.slow
def test_a_study_that_is_there_is_not_replaced(study, cli):
    done = cli("tune", "--data", GARDEN, "--trials", "1", "-o", study[0])
    assert_user_error(done, "exists already", "--force")
    done = cli("tune", "-o", study[0], "--resume", "--data", "elsewhere")
    assert_user_error(done, "data.path was", "now 'elsewhere'")


@pytest.mark.slow
def test_mistakes_are_one_message_and_leave_nothing(cli, tmp_path):
    out = tmp_path / "tune"
    start = ("tune", "--data", GARDEN, "--trials", "2", "-o", out)
    done = cli(*start, "--search", "training.epoch=1..3")
    assert_user_error(done, "unknown field 'training.epoch'", "did you mean 'training.epochs'?")
    (tmp_path / "space.yaml").write_text("training.epochs: 3\n")
    assert_user_error(cli(*start, "--space", tmp_path / "space.yaml"), "space.yaml: training.epochs is 3")
    assert_user_error(cli("tune", "-o", out, "--resume"), "holds no study")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    done = cli(*start[:-1], tmp_path / "mine", "--force", *SEARCH)
    assert_user_error(done, "holds files that embedft did not write")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    done = cli(*start[:3], "-o", out)
    assert done.returncode == 2 and "--trials 20" in done.stderr
    assert not out.exists()


@pytest.mark.slow
def test_control_c_ends_the_trial_and_leaves_a_study_to_go_on_with(cli, tmp_path):
    out = tmp_path / "tune"
    child = subprocess.Popen(
        [sys.executable, "-m", "embedft", "tune", "--data", GARDEN, "--trials", "2", "-o", out, *QUICK, *SEARCH],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    for line in child.stderr:
        if line.startswith("trial 1 (2 of 2): ndcg@10"):
            break
    child.send_signal(signal.SIGINT)
    stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    assert f"embedft tune -o {out} --resume" in stderr
    assert (out / "report.html").is_file()
    done = cli("tune", "-o", out, "--resume", "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    assert [trial["state"] for trial in json.loads(done.stdout)["trials"]] == ["complete", "complete"]
    assert "trial 0" not in done.stderr.replace("in trial 0", "").replace("of trial 0", "")
