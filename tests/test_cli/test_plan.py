"""`embedft plan` as its users run it: a table, JSON, a curve, and their mistakes."""

import json

import pytest
from conftest import GARDEN, assert_user_error

QUICK = ("--set", "training.batch_size=8", "--set", "training.max_steps=4", "--set", "model.precision=float32")


@pytest.mark.slow
def test_a_plan_prints_json_of_what_the_run_will_take(cli):
    done = cli("plan", "--data", GARDEN, "--json", *QUICK)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["steps"] == 4
    assert answer["time"]["measured"]
    assert answer["time"]["total"] > 0
    assert answer["memory"]["peak"] > 0
    assert answer["batch"]["loss"] == "mnrl"


def test_a_plan_of_a_file_prints_a_table_and_explains_a_row(cli, tmp_path):
    (tmp_path / "run.yaml").write_text(f"data:\n  path: {GARDEN}\ntraining:\n  batch_size: 8\n  max_steps: 4\n")
    done = cli("plan", tmp_path / "run.yaml", "--no-probe")
    assert done.returncode == 0, done.stderr
    for said in ("tokens a step", "padding left out", "memory", "a rough estimate", "anchor:", "needs no negatives"):
        assert said in done.stdout


@pytest.mark.slow
def test_the_finder_prints_a_rate_and_writes_its_curve(cli, tmp_path):
    curve = tmp_path / "curve.html"
    done = cli("plan", "--data", GARDEN, "--find-lr", "--steps", "20", "-o", curve, *QUICK)
    assert done.returncode == 0, done.stderr
    assert "configured rate" in done.stdout
    page = curve.read_text()
    assert "<svg" in page
    assert "<script" not in page
    refused = cli("plan", "--data", GARDEN, "--find-lr", "-o", curve, *QUICK)
    assert_user_error(refused, "there already")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data", "/nowhere"), "/nowhere"),
        (("--data", GARDEN, "--set", "training.los=mnrl"), "training.los"),
        (("--data", GARDEN, "--find-lr", "--steps", "2"), "--steps is 2"),
    ],
)
def test_mistakes_are_told_without_a_traceback(cli, arguments, said):
    assert_user_error(cli("plan", *arguments), said)
