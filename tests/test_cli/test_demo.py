"""The demo, whole: the claim of the README."""

import json

import pytest
from conftest import assert_user_error


@pytest.mark.slow
def test_the_demo_ends_with_better(cli, tmp_path):
    done = cli("demo", "-o", tmp_path / "demo", "--json", timeout=900)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    found = answer["evaluation"]["comparison"]["ndcg@10"]
    assert found["verdict"] == "better"
    assert found["p_value"] < 0.01
    assert [leak for leak in answer["leakage"] if leak["severe"]] == []
    assert cli("search", tmp_path / "demo" / "index", "sort an array", "--json").returncode == 0


def test_a_model_that_is_not_there_leaves_no_folder(cli, tmp_path):
    assert_user_error(cli("demo", "-o", tmp_path / "new", "--model", "x[/y]"), "'x[/y]'")
    assert not (tmp_path / "new").exists()


def test_the_demo_never_takes_a_users_folder_for_its_own(cli, tmp_path):
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "corpus.jsonl").write_text("precious")
    assert_user_error(cli("demo", "-o", tmp_path / "mine", "--force"), "did not write")
    assert (tmp_path / "mine" / "data" / "corpus.jsonl").read_text() == "precious"
