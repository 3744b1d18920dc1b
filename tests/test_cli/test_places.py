"""Where ``embedft evaluate`` and ``embedft compare`` write: what cannot be written is refused before the work."""

import json
import os
import shutil

import click
import numpy as np
import pytest
from conftest import GARDEN

from embedft.cli.compare import compare, distinct_names
from embedft.cli.dataset import require_new
from embedft.cli.evaluate import evaluate
from embedft.cli.report import report
from embedft.encoder import Encoder
from embedft.errors import ArtifactError, ConfigError, DataError, ModelError
from embedft.evaluation import RetrievalEvaluation, comparison_dict, ranking_of_run
from embedft.evaluation.geometry import projection
from embedft.evaluation.records import read_record, write_record
from embedft.evaluation.runfile import read_run, write_run


def run(command, *arguments):
    command.main(args=[str(argument) for argument in arguments], standalone_mode=False)


class BegunError(Exception):
    """The work has begun: a model is loaded."""


@pytest.fixture
def stopped(monkeypatch):
    """No model is loaded."""

    def load(*_, **__):
        raise BegunError

    monkeypatch.setattr(Encoder, "load", load)


@pytest.fixture
def stored(tmp_path):
    """Two evaluations, beside a run."""
    for place, name in enumerate(("e1", "e2")):
        ids = [f"q{row}" for row in range(20)]
        scores = {"ndcg@10": np.linspace(0, 0.8, 20) + 0.1 * place}
        found = ranking_of_run({query: {"d": 1.0} for query in ids})
        evaluation = RetrievalEvaluation("model", "garden", "test", ids, scores, found, data_sha256="a" * 64)
        (tmp_path / name).mkdir()
        write_record(tmp_path / name, comparison_dict(evaluation, None, {}), evaluation, None)
    shutil.copytree(tmp_path / "e1", tmp_path / "r1")
    (tmp_path / "r1" / "run.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "bad", "--run-file", "bad/x.trec"), "bad/x.trec: stands in bad"),
        (("-o", "bad/x", "--run-file", "bad"), "bad: stands in bad/x"),
        (("--run-file", "e1/run.trec"), "e1 holds a run or an evaluation"),
        (("--run-file", "e1/metrics.json/x.trec"), "metrics.json is a file"),
        (("--run-file", "notes.txt", "--force"), "notes.txt: is not what is to be written there"),
        (("--run-file", "old.trec"), "old.trec: exists already"),
        (("-o", "notes.txt/e"), "notes.txt is a file"),
        (("-o", "r1", "--force"), "r1: is a run"),
        (("-o", "r1"), "r1: is a run"),
    ],
)
def test_what_an_evaluation_cannot_write_is_refused_before_a_model_is_loaded(
    stored, stopped, monkeypatch, arguments, said
):
    monkeypatch.chdir(stored)
    (stored / "notes.txt").write_text("my notes\n")
    (stored / "old.trec").write_text("q Q0 d 1 0.5 old\n")
    with pytest.raises(ArtifactError) as caught:
        run(evaluate, "bundled", "--data", GARDEN, *arguments)
    assert said in caught.value.message
    assert (stored / "notes.txt").read_text() == "my notes\n"
    with pytest.raises(BegunError):
        run(evaluate, "bundled", "--data", GARDEN, "--run-file", "old.trec", "--force", "-o", "new")


def test_ids_that_lines_cannot_hold_are_refused_before_a_model_is_loaded(garden, stopped, tmp_path):
    for file in (garden / "queries.jsonl", *(garden / "qrels").glob("*.tsv")):
        file.write_text(file.read_text().replace("q73", "q 73"))
    with pytest.raises(DataError, match="the id 'q 73' has a space"):
        run(evaluate, "bundled", "--data", garden, "--run-file", tmp_path / "x.trec")
    with pytest.raises(BegunError):
        run(evaluate, "bundled", "--data", garden, "--run-file", tmp_path / "x.json")


def test_a_run_file_that_fails_costs_neither_the_evidence_nor_the_scores(encoder, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Encoder, "load", lambda *_, **__: encoder)
    output, run_file = tmp_path / "e", tmp_path / "x" / "y.trec"

    def full(path, *_, **__):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("embedft.evaluation.runfile.write_run", full)
    with pytest.raises(OSError, match=r"y\.trec"):
        run(evaluate, "bundled", "--data", GARDEN, "--metric", "mrr@10", "-o", output, "--run-file", run_file, "--json")
    assert (
        json.loads(capsys.readouterr().out)["metrics"] == json.loads((output / "metrics.json").read_text())["metrics"]
    )


def test_the_folders_of_a_run_file_are_made(tmp_path):
    path = tmp_path / "x" / "y" / "z.trec"
    write_run(path, ["q"], ranking_of_run({"q": {"d": 1.0}}))
    assert read_run(path).hits == {"q": {"d": 1.0}}


def test_a_map_that_cannot_be_made_is_refused_before_a_model_is_loaded(stopped, monkeypatch, tmp_path):
    with pytest.raises(click.UsageError, match="--map needs -o"):
        run(evaluate, "bundled", "--data", GARDEN, "--map", "umap")
    monkeypatch.setattr(projection, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="umap-learn, which is not installed"):
        run(evaluate, "bundled", "--data", GARDEN, "--map", "umap", "-o", tmp_path / "e")
    monkeypatch.setattr(projection, "find_spec", lambda _: "there")
    with pytest.raises(BegunError):
        run(evaluate, "bundled", "--data", GARDEN, "--map", "umap", "-o", tmp_path / "e")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("r1/metrics.json", "r1 holds a run or an evaluation"),
        ("e1/table.md", "e1 holds a run or an evaluation"),
        ("notes.md", "notes.md: is not what is to be written there"),
        ("paper.tex", "paper.tex: is not what is to be written there"),
        ("other.json", "other.json: is not what is to be written there"),
        ("notes.md/table.md", "notes.md is a file"),
    ],
)
def test_a_table_replaces_nothing_but_a_table(stored, monkeypatch, file, said):
    monkeypatch.chdir(stored)
    (stored / "notes.md").write_text("# Notes\n\n| name | system |\n")
    (stored / "paper.tex").write_text("\\documentclass{article}\n\\begin{table}\n\\centering\n\\caption{Mine}\n")
    (stored / "other.json").write_text('{"format": 1}')
    with pytest.raises(ArtifactError) as caught:
        run(compare, "e1", "e2", "-o", file, "--force")
    assert said in caught.value.message


def test_every_form_is_known_again_and_replaced_with_force(stored, monkeypatch, capsys):
    monkeypatch.chdir(stored)
    for ending in ("md", "tex", "csv", "json"):
        file = stored / "new" / "tables" / f"table.{ending}"
        run(compare, "e1", "e2", "-o", file)
        first = file.read_text()
        with pytest.raises(ArtifactError, match="exists already"):
            run(compare, "e1", "e2", "-o", file)
        run(compare, "e2", "e1", "-o", file, "--force")
        assert file.read_text() != first
    capsys.readouterr()


def test_a_file_has_the_form_of_its_ending_or_of_format_and_no_other(stored, monkeypatch, capsys):
    monkeypatch.chdir(stored)
    for file in ("o.xyz", "o"):
        with pytest.raises(ConfigError) as caught:
            run(compare, "e1", "e2", "-o", file)
        assert ".md, .tex, .csv, .json" in caught.value.hint
    run(compare, "e1", "e2", "-o", "o.xyz", "--format", "latex")
    assert (stored / "o.xyz").read_text().startswith("\\begin{table}")
    capsys.readouterr()
    run(compare, "e1", "e2", "-o", "o.csv", "--json")
    assert (stored / "o.csv").read_text().startswith("system,")
    assert json.loads(capsys.readouterr().out)["baseline"] == "e1"


def test_links_are_called_as_they_are_called(stored, monkeypatch, capsys):
    monkeypatch.chdir(stored)
    for link in ("s1", "s2"):
        (stored / link).symlink_to("e1")
    run(compare, "s1", "./e2/../s2", "--json")
    assert [system["name"] for system in json.loads(capsys.readouterr().out)["systems"]] == ["s1", "s2"]
    (stored / "s1" / "model").mkdir()
    assert distinct_names(["s1/model", "e2"]) == ["s1", "e2"]


def test_a_device_is_never_replaced_by_a_page(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="is a link or a device"):
        require_new(tmp_path / "pipe", "<!", force=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data", "garden"), "--data: for models and run files"),
        (("--split", "dev"), "--split: for"),
        (("--task", "similarity", "--precision", "float32"), "--task, --precision: for"),
        (("--unknown-ids", "drop"), "--unknown-ids: for"),
        (("--base",), "--base: none of these is a run"),
    ],
)
def test_options_that_stored_results_have_no_use_for_are_refused(stored, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(stored)
    with pytest.raises(click.UsageError) as caught:
        run(compare, "e1", "e2", *arguments)
    assert caught.value.message.startswith(said)
    # What they were judged on may be said.
    run(compare, "e1", "e2", "--split", "test", "--task", "retrieval", "--metric", "ndcg@10", "--metric", "ndcg@10")
    assert "baseline: e1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("x=e1", "x=bundled"), "two systems are named 'x'"),
        (("e1", "bundled", "--baseline", "e3"), "no system is named 'e3'"),
        (("bundled",), "1 system is named"),
    ],
)
def test_names_are_checked_before_a_model_is_loaded(stored, stopped, monkeypatch, arguments, said):
    monkeypatch.chdir(stored)
    with pytest.raises(ConfigError) as caught:
        run(compare, *arguments, "--data", GARDEN)
    assert caught.value.message.startswith(said)
    with pytest.raises(BegunError):
        run(compare, "e1", "bundled", "--baseline", "bundled", "--data", GARDEN)


def test_the_base_of_an_evaluation_may_be_the_baseline_before_all_is_judged(stored, stopped, monkeypatch):
    monkeypatch.chdir(stored)
    e1, e2 = (read_record(stored / name).evaluation for name in ("e1", "e2"))
    (stored / "both").mkdir()
    write_record(stored / "both", comparison_dict(e1, e2, e1.compare(e2)), e1, e2)
    with pytest.raises(BegunError):
        run(compare, "both", "bundled", "--base", "--baseline", "model", "--data", GARDEN)
    with pytest.raises(ConfigError, match="no system is named 'modle'"):
        run(compare, "both", "bundled", "--base", "--baseline", "modle", "--data", GARDEN)


def test_all_models_and_run_files_are_opened_before_one_is_judged(encoder, monkeypatch, tmp_path):
    def load(name, **_):
        if name == "bundled":
            return encoder
        raise ModelError(f"model {name!r}: no such folder.")

    def begin(*_, **__):
        raise BegunError

    monkeypatch.setattr(Encoder, "load", load)
    monkeypatch.setattr("embedft.tasks.retrieval.evaluate_retrieval", begin)
    (tmp_path / "broken.trec").write_text("q73 Q0 d\n")
    with pytest.raises(ModelError, match="missing"):
        run(compare, "bundled", "missing", "--data", GARDEN)
    with pytest.raises(DataError, match="has 3 columns"):
        run(compare, "bundled", tmp_path / "broken.trec", "--data", GARDEN)
    with pytest.raises(BegunError):
        run(compare, "bundled", "again=bundled", "--data", GARDEN)


def test_qrels_with_unknown_ids_may_be_left_out_wherever_they_are_read(garden, stopped):
    with (garden / "qrels" / "test.tsv").open("a") as file:
        file.write("q73\tnowhere\t1\n")
    guard = ("bundled", "--data", GARDEN, "--against", "bundled", "--guard", garden)
    for command, arguments in ((compare, ("bundled", "other", "--data", garden)), (evaluate, guard)):
        with pytest.raises(DataError, match="1 of 25 rows"):
            run(command, *arguments)
        with pytest.raises(BegunError):
            run(command, *arguments, "--unknown-ids", "drop")


def test_a_ladder_of_a_head_is_refused_before_the_data_is_read():
    with pytest.raises(click.UsageError, match="no ladder for classification"):
        run(evaluate, "bundled", "--data", "nowhere", "--task", "classification", "--ladder")


def test_a_page_that_was_not_written_is_not_named(encoder, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Encoder, "load", lambda *_, **__: encoder)
    arguments = ("bundled", "--data", GARDEN, "--metric", "mrr@10", "-o", tmp_path / "e")
    monkeypatch.setattr("embedft.cli.evidence.write_pages", lambda _: None)
    run(evaluate, *arguments)
    assert capsys.readouterr().out.rstrip().endswith(f"evidence: {tmp_path / 'e'}")


def test_a_card_that_cannot_be_made_costs_no_page(stored, monkeypatch):
    monkeypatch.chdir(stored)
    (stored / "e1" / "report.html").write_text("as it was")
    with pytest.raises(ArtifactError, match="holds no run with a model"):
        run(report, "e1", "--card")
    assert (stored / "e1" / "report.html").read_text() == "as it was"


def test_a_page_of_several_stands_in_no_evaluation(stored, monkeypatch, capsys):
    monkeypatch.chdir(stored)
    with pytest.raises(ArtifactError, match="e1 holds a run or an evaluation"):
        run(report, "e1", "e2", "-o", "e1/cmp.html")
    run(report, "e1", "e2", "-o", "new/cmp.html")
    with pytest.raises(ArtifactError, match="exists already"):
        run(report, "e1", "e2", "-o", "new/cmp.html")
    (stored / "notes.html").write_text("<p>my notes</p>")
    with pytest.raises(ArtifactError, match="is not what is to be written there"):
        run(report, "e1", "e2", "-o", "notes.html", "--force")
    for _ in range(2):
        run(report, "e1", "-o", "e1/report.html")
    assert "written: e1/report.html" in capsys.readouterr().out


def test_what_a_kill_left_in_an_evaluation_is_not_in_the_way(stored, stopped):
    (stored / "e1" / ".report.html.0123abcd.tmp").touch()
    with pytest.raises(BegunError):
        run(evaluate, "bundled", "--data", GARDEN, "-o", stored / "e1", "--force")
    (stored / "e1" / ".mine.html.0123abcd.tmp").touch()
    with pytest.raises(ArtifactError, match="files that embedft did not write"):
        run(evaluate, "bundled", "--data", GARDEN, "-o", stored / "e1", "--force")
