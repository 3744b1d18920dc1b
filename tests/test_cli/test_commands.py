"""The commands as their users run them: real processes, their JSON, their mistakes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import GARDEN, assert_user_error, heed_interrupts

from embedft.encoder import BUNDLED_PATH

QUICK = ("--set", "training.max_steps=4", "--set", "training.batch_size=16", "--set", "training.eval_every=2")


@pytest.fixture(scope="module")
def run(tmp_path_factory, cli):
    """A run made by the command, and what it printed."""
    path = tmp_path_factory.mktemp("cli") / "run"
    done = cli("train", "--task", "retrieval", "--data", GARDEN, "--model", "bundled", "-o", path, "--json", *QUICK)
    assert done.returncode == 0, done.stderr
    return path, json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def index(tmp_path_factory, cli):
    path = tmp_path_factory.mktemp("cli") / "idx"
    done = cli("index", "build", GARDEN, "--model", "bundled", "-o", path, "--json")
    assert done.returncode == 0, done.stderr
    return path, json.loads(done.stdout)


COMPARED = {"difference", "ci_low", "ci_high", "p_value", "wins", "losses", "ties", "verdict"}
COMPARED |= {"effect_size", "detectable", "test", "tests"}


def test_train_prints_the_stated_shape(run):
    path, answer, log = run
    assert {"run", "best", "seconds", "evaluation"} <= answer.keys()
    assert {"step", "metric", "value"} <= answer["best"].keys()
    assert answer["evaluation"]["queries"] == 24
    assert answer["evaluation"]["comparison"]["ndcg@10"].keys() == COMPARED
    assert answer["evaluation"] == json.loads((path / "metrics.json").read_text())
    assert "training on 56 rows, 4 steps of 16" in log
    # By name alone a path like data/garden could be one of a hub.
    assert json.loads((path / "run.json").read_text())["local"] == {"model": False, "data": True}


def test_evaluate_prints_the_stated_shape_and_keeps_per_query_scores(run, cli, tmp_path):
    path, _, _ = run
    done = cli("evaluate", path / "model", "--data", GARDEN, "--against", "bundled", "-o", tmp_path / "e", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    said = {"format", "model", "data", "split", "task", "unit", "data_sha256", "fingerprint", "metrics", "intervals"}
    assert answer.keys() == said | {"queries", "against", "comparison", "arguments"}
    assert answer["arguments"] == [str(path / "model"), "--data", str(GARDEN), "--against", "bundled"]
    assert answer["against"].keys() == {"model", "fingerprint", "metrics"}
    assert answer["against"]["model"] == "bundled"
    # The first metric counts and is tested alone; the others are corrected.
    first, *others = answer["comparison"].values()
    assert first.keys() == COMPARED and all(value.keys() == COMPARED | {"p_adjusted"} for value in others)
    assert {path.name for path in (tmp_path / "e").iterdir()} == {
        "analysis.json", "metrics.json", "per_query.parquet", "ranking.parquet", "report.html",
    }  # fmt: skip
    assert json.loads((tmp_path / "e" / "metrics.json").read_text()) == answer


def test_evaluate_prints_a_table_for_people(cli):
    done = cli("evaluate", "bundled", "--data", GARDEN, "--metric", "mrr@5")
    assert done.returncode == 0, done.stderr
    assert "mrr@5" in done.stdout
    assert "24 queries" in done.stdout


def test_index_and_search_print_the_stated_shapes(index, cli):
    path, built = index
    assert built["documents"] == 48
    done = cli("search", path, "which soil does a fern want", "-k", "3", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer.keys() == {"query", "hits", "took_ms"}
    assert [hit.keys() for hit in answer["hits"]] == [{"id", "score", "title", "text", "metadata"}] * 3
    assert answer["hits"][0]["id"] == "fern-place"
    assert -1 <= answer["hits"][0]["score"] <= 1


def test_search_answers_a_file_of_queries_one_a_line(index, cli, tmp_path):
    (tmp_path / "q.txt").write_text("water for orchids\n\nuse of mint\n")
    done = cli("search", index[0], "--queries", tmp_path / "q.txt", "--json")
    assert [json.loads(line)["query"] for line in done.stdout.splitlines()] == ["water for orchids", "use of mint"]
    done = cli("search", index[0], "--queries", GARDEN / "queries.jsonl", "-k", "1", "--json")
    assert len(done.stdout.splitlines()) == 96


def test_search_with_another_model_names_both(index, run, cli):
    done = cli("search", index[0], "fern", "--model", run[0] / "model")
    assert_user_error(done, "bundled", str(run[0] / "model"), "cannot be compared")


def test_a_path_with_brackets_is_printed_as_it_is(cli, tmp_path):
    done = cli("index", "build", GARDEN, "--model", "bundled", "-o", tmp_path / "[lr]" / "i[/x]")
    assert done.returncode == 0, done.stderr
    assert f'embedft search {tmp_path / "[lr]" / "i[/x]"} "your query"' in done.stdout


def test_evaluate_says_what_was_left_out(cli, tmp_path):
    root = shutil.copytree(GARDEN, tmp_path / "garden")
    with (root / "qrels" / "test.tsv").open("a") as file:
        file.write("q1\tnowhere\t1\n")
    done = cli("evaluate", "bundled", "--data", root, "--unknown-ids", "drop", "--json")
    assert done.returncode == 0, done.stderr
    assert "left out: " in done.stderr and "corpus-id that the corpus does not have (nowhere)" in done.stderr


def test_search_prints_a_table_for_people(index, cli):
    done = cli("search", index[0], "which soil does a fern want", "-k", "2")
    assert "fern-place" in done.stdout


def test_a_finished_run_is_in_the_way(run, cli):
    done = cli("train", "--data", GARDEN, "-o", run[0])
    assert_user_error(done, "exists already", "--force")


def broken(tmp_path, name):
    """A data set with one fault."""
    root = shutil.copytree(GARDEN, tmp_path / name)
    if name == "empty_corpus":
        (root / "corpus.jsonl").write_text("")
    elif name == "unknown_ids":
        with (root / "qrels" / "train.tsv").open("a") as file:
            file.write("q1\tnowhere\t1\n")
    elif name == "wrong_columns":
        shutil.rmtree(root)
        root.mkdir()
        (root / "train.csv").write_text("left,right\nq,a\n")
    return root


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("empty_corpus", ("corpus.jsonl: is empty",)),
        ("unknown_ids", ("train.tsv: 1 of 57 rows", "does not have (nowhere)", "--unknown-ids drop")),
        ("wrong_columns", ("train.csv:2: cannot tell", "left, right")),
    ],
)
def test_broken_data_is_one_message(cli, tmp_path, name, parts):
    root = broken(tmp_path, name)
    assert_user_error(cli("train", "--data", root, "-o", tmp_path / "run"), *parts)
    assert not (tmp_path / "run").exists()


def test_missing_paths_are_one_message(cli, tmp_path):
    nothing = tmp_path / "nothing"
    assert_user_error(cli("train", "--data", nothing, "-o", tmp_path / "out"), "nothing: no such file")
    assert_user_error(cli("evaluate", "bundled", "--data", nothing), "nothing: no such file")
    assert_user_error(cli("index", "build", nothing, "--model", "bundled", "-o", tmp_path / "out"), "nothing: no such")
    assert_user_error(cli("search", nothing, "q"), "holds no index")
    assert_user_error(cli("train", nothing, "-o", tmp_path / "out"), "nothing: cannot be read")
    assert not (tmp_path / "out").exists()


def test_unknown_models_are_one_message(cli, tmp_path):
    for offline in ("0", "1"):
        done = cli(
            "train", "--data", GARDEN, "--model", "nobody/nothing", "-o", tmp_path / "out", HF_HUB_OFFLINE=offline
        )
        assert_user_error(done, "'nobody/nothing'", "hub cannot be reached")
    done = cli("index", "build", GARDEN, "--model", "nothing", "-o", tmp_path / "out")
    assert_user_error(done, "'nothing': no such folder")
    assert not (tmp_path / "out").exists()


def test_unknown_fields_are_one_message(cli, tmp_path):
    done = cli("train", "--data", GARDEN, "-o", tmp_path / "out", "--set", "training.epoch=3")
    assert_user_error(done, "unknown field 'training.epoch'", "did you mean 'training.epochs'?")
    (tmp_path / "run.yaml").write_text(f"data: {{path: {GARDEN}}}\ntrainin: {{epochs: 3}}\n")
    done = cli("train", tmp_path / "run.yaml", "-o", tmp_path / "out")
    assert_user_error(done, "run.yaml: unknown field 'trainin'")
    assert not (tmp_path / "out").exists()


def test_unknown_options_and_tasks_exit_with_2(cli, tmp_path):
    assert cli("train", "--nonsense").returncode == 2
    assert cli("search", tmp_path).returncode == 2
    done = cli("evaluate", "bundled", "--task", "telepathy", "--data", GARDEN)
    assert_user_error(done, "task 'telepathy' does not exist", "retrieval")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def fill(disk, left):
    """Leave about ``left`` bytes."""
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - left))


def test_a_disk_that_fills_in_training_is_one_message(cli, small_disk):
    done = cli("train", "--data", GARDEN, "-o", small_disk / "run", *QUICK)
    assert_user_error(done, "ran full")
    assert not (small_disk / "run" / "model").exists()
    assert not list(small_disk.rglob("*.tmp"))


def test_a_disk_that_fills_in_a_build_keeps_the_old_index(cli, small_disk, encoder, garden_data):
    from embedft.index import Index

    Index.build(garden_data.corpus, encoder, small_disk / "idx")
    before = sorted(small_disk.rglob("*"))
    fill(small_disk, 60_000)
    done = cli("index", "build", GARDEN, "--model", "bundled", "-o", small_disk / "idx", "--force")
    assert_user_error(done, "ran full")
    # What was embedded stays beside the versions, for the same command with more room.
    after = (path for path in small_disk.rglob("*") if path.name != "ballast" and ".building" not in path.parts)
    assert sorted(after) == before
    assert len(Index.open(small_disk / "idx", encoder)) == 48


def test_control_c_exits_with_130_and_the_run_can_go_on(tmp_path, cli):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "embedft", "train", "--data", str(GARDEN), "-o", str(out)]
    settings = ["--set", "training.max_steps=400", "--set", "training.eval_every=2", "--set", "training.batch_size=8"]
    child = subprocess.Popen(
        [*command, *settings, "--set", "training.patience=999"], stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}, preexec_fn=heed_interrupts,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(out.glob("checkpoints/*/complete.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    assert f"embedft train -o {out} --resume" in stderr
    assert json.loads((out / "run.json").read_text())["status"] == "training"
    assert not (out / "model").exists()
    record = json.loads((out / "run.json").read_text())
    record["config"]["training"]["max_steps"] = 4
    (out / "run.json").write_text(json.dumps(record))
    done = cli("train", "-o", out, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "run.json").read_text())["status"] == "finished"


def test_control_c_while_an_index_is_built_publishes_nothing(tmp_path):
    from embedft.errors import ArtifactError
    from embedft.index import Index

    (tmp_path / "big.jsonl").write_text(
        "\n".join(json.dumps({"_id": str(i), "text": f"{i} " + "filler words " * 100}) for i in range(3000))
    )
    child = subprocess.Popen(
        [sys.executable, "-m", "embedft", "index", "build", tmp_path / "big.jsonl", "--model", str(BUNDLED_PATH),
         "-o", tmp_path / "idx"], stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "idx").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130, stderr
    assert "Traceback" not in stderr
    with pytest.raises(ArtifactError, match=r"holds no index. The build that began it was cut off."):
        Index.open(tmp_path / "idx")


def test_encode_writes_a_vector_a_row(cli, tmp_path, encoder):
    import numpy as np

    texts = tmp_path / "t.txt"
    texts.write_text("ferns\nmoss " + "and moss " * 600 + "\n")
    command = ("encode", texts, "-o", tmp_path / "v.npy", "--precision", "float32")
    done = cli(*command, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer.keys() == {"vectors", "texts", "dim", "truncated", "fingerprint"}
    assert (answer["texts"], answer["dim"], answer["truncated"]) == (2, 384, 1)
    assert answer["fingerprint"] == encoder.fingerprint
    assert "1 texts were longer than 512 tokens" in done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "v.npy")[:1], encoder.encode(["ferns"]), atol=1e-6)
    assert_user_error(cli(*command), "v.npy", "exists already")
    assert "2 vectors of 384 dimensions" in cli(*command, "--force").stdout


def test_encode_names_a_row_without_a_text(cli, tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"body": "b"}\n')
    done = cli("encode", tmp_path / "t.jsonl", "-o", tmp_path / "v.npy")
    assert_user_error(done, "t.jsonl:2", "found columns body")
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]
