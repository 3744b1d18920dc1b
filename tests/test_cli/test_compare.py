"""``embedft compare`` and what ``embedft evaluate`` writes for it."""

import csv
import io
import json
import logging
import shutil
import subprocess

import pytest
from conftest import GARDEN, assert_user_error

from embedft.cli.compare import distinct_names
from embedft.cli.evidence import print_analysis
from embedft.cli.main import main
from embedft.cli.output import print_json
from embedft.evaluation.analysis import PARTS, read_analysis
from embedft.evaluation.records import read_record


@pytest.fixture(scope="module")
def judged(cli, other_model, tmp_path_factory):
    """Two evaluations as the command writes them, and the run file of the second."""
    path = tmp_path_factory.mktemp("judged")
    fp32 = ("--precision", "float32")
    done = cli("evaluate", other_model, "--data", GARDEN, "--against", "bundled", "-o", path / "one", "--json", *fp32)
    assert done.returncode == 0, done.stderr
    run = path / "found.trec"
    more = cli("evaluate", "bundled", "--data", GARDEN, "-o", path / "two", "--run-file", run, "--json", *fp32)
    assert more.returncode == 0, more.stderr
    return path


@pytest.fixture
def command(capsys, monkeypatch):
    """The command in this process: its arguments, output and status, without a start of its own."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    logger = logging.getLogger("embedft")
    before = logger.propagate, logger.level, list(logger.handlers)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code, printed.out, printed.err)

    yield run
    logger.propagate, logger.handlers = before[0], before[2]
    logger.setLevel(before[1])


def answered(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_stored_evaluations_are_compared_without_their_models(cli, judged):
    answer = answered(cli("compare", judged / "one", judged / "two", "--json"))
    assert [system["name"] for system in answer["systems"]] == ["one", "two"]
    assert (answer["baseline"], answer["task"], answer["count"]) == ("one", "retrieval", 24)
    stored = json.loads((judged / "one" / "metrics.json").read_text())
    for metric, value in answer["systems"][0]["metrics"].items():
        assert value["score"] == stored["metrics"][metric]
    found = {entry["metric"]: entry for entry in answer["comparisons"]}
    for metric, entry in stored["comparison"].items():
        assert found[metric]["difference"] == entry["difference"]
        assert found[metric]["p_value"] == entry["p_value"]
        assert found[metric].get("p_adjusted") == entry.get("p_adjusted")
    assert [metric for metric, entry in found.items() if "p_adjusted" not in entry] == ["ndcg@10"]


def test_a_run_file_a_model_and_a_base_are_the_systems_that_they_came_from(command, judged):
    arguments = ("--data", GARDEN, "--base", "--precision", "float32", "--json")
    answer = answered(command("compare", judged / "one", f"lines={judged / 'found.trec'}", "bundled", *arguments))
    names = [system["name"] for system in answer["systems"]]
    # The base of the first is the model that is named beside it: it stands once.
    assert names == ["one", "lines", "bundled"]
    lines, bundled = (answer["systems"][place]["metrics"] for place in (1, 2))
    for metric, value in lines.items():
        assert value["score"] == pytest.approx(bundled[metric]["score"], abs=1e-12)
    stored = json.loads((judged / "one" / "metrics.json").read_text())["against"]["metrics"]
    assert {metric: value["score"] for metric, value in bundled.items()} == pytest.approx(stored)


def test_the_base_of_an_evaluation_stands_behind_the_systems(command, judged):
    done = command(
        "compare", judged / "one", "--base", "--metric", "mrr@10", "--format", "csv", "--baseline", "bundled"
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["system"], row["metric"], row["baseline"]) for row in rows] == [
        ("one", "mrr@10", "bundled"), ("bundled", "mrr@10", "bundled"),
    ]  # fmt: skip


def test_people_see_both_tables_and_what_could_have_been_seen(command, judged):
    done = command("compare", judged / "one", judged / "two")
    assert done.returncode == 0, done.stderr
    for part in ("baseline: one", "recall@100", "effect size", "Letters, of", "ndcg@10 by itself", "24 queries"):
        assert part in done.stdout
    assert "…" not in done.stdout


@pytest.mark.parametrize(("ending", "part"), [("md", "| :-- |"), ("tex", r"\begin{tabular}"), ("csv", "p_adjusted")])
def test_a_file_is_written_in_the_form_of_its_ending_and_never_over_another(command, judged, tmp_path, ending, part):
    path = tmp_path / f"table.{ending}"
    done = command("compare", judged / "one", judged / "two", "-o", path)
    assert done.returncode == 0, done.stderr
    assert part in path.read_text()
    assert_user_error(command("compare", judged / "one", judged / "two", "-o", path), "exists already")


def test_other_data_is_refused_unless_it_is_asked_for(command, judged, garden, tmp_path):
    queries = (garden / "qrels" / "test.tsv").read_text().splitlines()
    (garden / "qrels" / "test.tsv").write_text("\n".join(queries[:-4]) + "\n")
    other = tmp_path / "fewer"
    done = command("evaluate", "bundled", "--data", garden, "-o", other, "--json")
    assert done.returncode == 0, done.stderr
    done = command("compare", judged / "one", other)
    assert_user_error(done, "one was judged on", "fewer on other data", "--allow-different")
    answer = answered(command("compare", judged / "one", other, "--allow-different", "--json"))
    assert answer["count"] == 20
    assert "share 20 queries; they judged 24 and 20" in " ".join(answer["differs"])


def test_what_cannot_be_compared_says_what_is_missing(command, judged, tmp_path):
    assert_user_error(command("compare", judged / "one"), "1 system is named", "--base")
    assert_user_error(
        command("compare", judged / "one", judged / "found.trec"), "needs data", f"--data DATA of {GARDEN}"
    )
    assert_user_error(
        command("compare", judged / "one", judged / "two", "--metric", "map@7"), "was not scored by map@7"
    )
    assert_user_error(command("compare", judged / "one", tmp_path / "nope"), "nope: no such file or folder")
    assert_user_error(command("compare", judged / "one", "bundled"), "bundled: is no run", "--data DATA")
    old = tmp_path / "old"
    shutil.copytree(judged / "one", old)
    answer = json.loads((old / "metrics.json").read_text())
    (old / "metrics.json").write_text(json.dumps({"metrics": answer["metrics"]}))
    assert_user_error(command("compare", judged / "one", old), "earlier embedft", "embedft evaluate")


def test_json_knows_no_number_that_is_none(capsys):
    print_json({"auroc": float("nan"), "ends": [float("inf"), 0.5]})
    assert json.loads(capsys.readouterr().out) == {"auroc": None, "ends": [None, 0.5]}


def test_names_are_the_shortest_ends_that_tell_systems_apart():
    assert distinct_names(["runs/a", "runs/b"]) == ["a", "b"]
    assert distinct_names(["x/run", "y/run", "z"]) == ["x/run", "y/run", "z"]
    assert distinct_names(["x/run/model", "y/model"]) == ["run", "y"]
    assert distinct_names(["a", "a", "org/name"]) == ["a", "a (2)", "name"]


def test_an_evaluation_looks_into_errors_and_geometry_and_has_a_page(judged):
    analysis = read_analysis(judged / "one")
    assert list(analysis) == ["format", *PARTS]
    assert analysis["errors"]["task"] == "retrieval"
    assert analysis["geometry"]["against"]["texts"] == 48
    assert [analysis[name] for name in ("ladder", "guard", "stress")] == [None] * 3
    assert read_analysis(judged / "two")["geometry"]["against"] is None
    assert "<html" in (judged / "one" / "report.html").read_text()
    assert read_record(judged / "one").evaluation.vectors is None


def test_stress_ladder_and_guard_are_printed_and_told_as_json(command, other_model, capsys):
    looks = ("--stress", "--ladder", "--guard", "bundled", "--metric", "ndcg@10")
    answer = answered(command("evaluate", other_model, "--data", GARDEN, "--against", "bundled", *looks, "--json"))
    assert {"ladder", "guard", "stress"} <= answer.keys()
    assert answer["stress"]["against"]["model"] == "bundled"
    assert answer["guard"]["count"] == 180
    print_analysis({name: answer[name] for name in ("ladder", "guard", "stress")})
    shown = capsys.readouterr().out
    for part in ("Cost against ndcg@10", "Forgetting", "Stress: ndcg@10", answer["guard"]["reading"]):
        assert part in shown


def test_a_guard_that_is_not_there_is_refused_before_the_work(command, tmp_path):
    guard = ("--against", "bundled", "--guard", tmp_path / "nothing.jsonl")
    assert_user_error(command("evaluate", "bundled", "--data", GARDEN, *guard), "nothing.jsonl")


def test_options_that_do_not_go_together_are_refused(command):
    for arguments, said in (
        (("--guard", "bundled"), "--guard needs --against"),
        (("--index", "IDX", "--stress"), "--index is compared with exact search"),
        (("--task", "similarity", "--run-file", "f.trec"), "--run-file is of retrieval"),
    ):
        done = command("evaluate", "bundled", "--data", GARDEN, *arguments)
        assert done.returncode == 2 and said in done.stderr
