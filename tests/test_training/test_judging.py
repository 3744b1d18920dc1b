"""What lies behind a run's scores is written beside them, and never costs the run."""

import json
import logging
import math
import shutil
from types import SimpleNamespace

import pytest
from conftest import GARDEN
from labelled_texts import write

from embedft import RunConfig, compare, train
from embedft.errors import ConfigError, DataError
from embedft.evaluation.analysis import PARTS, analyse, read_analysis
from embedft.evaluation.records import read_record
from embedft.training import run as runs
from embedft.training.rundir import RunDirectory, number


def config(path, task="retrieval", evaluation=None, **training):
    return RunConfig.model_validate(
        {
            "task": task, "data": {"path": str(path)}, "model": {"precision": "float32", "max_length": 24},
            "training": training, "evaluation": evaluation or {},
        }
    )  # fmt: skip


def quick(**evaluation):
    return config(GARDEN, max_steps=2, batch_size=8, eval_every=2, evaluation=evaluation)


@pytest.fixture(scope="module")
def garden_run(tmp_path_factory):
    return train(quick(ladder=True), tmp_path_factory.mktemp("judged") / "run")


@pytest.fixture
def trained_run(garden_run, tmp_path, monkeypatch):
    """A run that is trained and not yet judged, of an embedft that knew no fields of ``evaluation`` but the metrics.

    What its judging will find is known already, which spares the encoding.
    """
    record = read_record(garden_run.run)
    found = SimpleNamespace(evaluations=(record.evaluation, record.against))
    monkeypatch.setattr(runs, "judged", lambda job, tuned, base: found)
    run = RunDirectory(tmp_path / "trained")
    shutil.copytree(garden_run.run, run.path)
    for file in (run.metrics, run.analysis):
        file.unlink()
    record = run.read()
    record["config"]["evaluation"] = {name: record["config"]["evaluation"][name] for name in ("metric", "metrics")}
    run.record.write_text(json.dumps({**record, "status": "trained", "fingerprint": None}))
    return run


def test_a_run_tells_errors_geometry_forgetting_and_cost(garden_run):
    analysis = read_analysis(garden_run.run)
    assert list(analysis) == ["format", *PARTS]
    assert analysis["errors"]["against"] == pytest.approx(garden_run.against.metrics["ndcg@10"])
    assert analysis["geometry"]["against"] is not None
    assert analysis["guard"]["count"] == 180
    assert {row["dim"] for row in analysis["ladder"]["rows"]} >= {384, 64}
    assert analysis["stress"] is None


def test_a_run_is_read_back_as_the_evaluations_that_it_returned(garden_run):
    record = read_record(garden_run.run)
    assert record.evaluation.metrics == garden_run.evaluation.metrics
    assert compare(record.evaluation, record.against) == garden_run.comparison
    assert record.evaluation.vectors is garden_run.evaluation.vectors is garden_run.against.vectors is None


def test_a_run_of_labelled_texts_names_the_nearest_texts_it_learnt_from(tmp_path, caplog):
    logging.getLogger("embedft").propagate = True
    data = write(tmp_path / "data")
    result = train(config(data, "classification", {"ladder": True}, loss="frozen"), tmp_path / "run")
    analysis = read_analysis(result.run)
    assert analysis["errors"]["task"] == "classification"
    assert analysis["guard"]["verdict"] == "no difference"
    assert analysis["ladder"] is None
    assert "ladder: left out" in caplog.text
    record = read_record(result.run)
    assert record.evaluation.metrics == result.evaluation.metrics
    assert record.against.metrics == result.against.metrics


def test_a_run_of_scored_pairs_tells_its_worst_pairs(tmp_path):
    words = ("rain", "trains", "soup", "the sea", "old books", "a garden")
    rows = [
        {"sentence1": f"{one} in {place}", "sentence2": f"{two} in {place}", "score": float(one == two)}
        for place in ("Oslo", "Lima", "Rome", "Kyoto")
        for one in words
        for two in words[:3]
    ]
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name, part in (("train", rows[:48]), ("test", rows[48:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    result = train(config(folder, "similarity", max_steps=2, batch_size=8, eval_every=2), tmp_path / "run")
    analysis = read_analysis(result.run)
    assert analysis["errors"]["worst"]
    record = read_record(result.run)
    assert compare(record.evaluation, record.against) == result.comparison


def test_a_fault_of_ours_in_the_analysis_leaves_the_run_finished_and_resuming_makes_it(
    trained_run, monkeypatch, caplog
):
    logging.getLogger("embedft").propagate = True
    with monkeypatch.context() as patched:
        patched.setattr(runs, "analysis", lambda job, looked: {"share": 1 / 0})
        result = train(quick(), trained_run.path, resume=True)
    assert "ZeroDivisionError" in caplog.text and "the run stands" in caplog.text
    record = trained_run.read()
    assert record["status"] == "finished" and record["fingerprint"]
    assert read_record(trained_run.path).evaluation.metrics == result.evaluation.metrics
    assert not trained_run.analysis.exists()
    monkeypatch.setattr(runs, "analysis", lambda job, looked: analyse({"errors": lambda: {"failed": []}}))
    train(quick(), trained_run.path, resume=True)
    assert read_analysis(trained_run.path)["errors"] == {"failed": []}


def test_only_the_first_of_several_processes_compares_and_its_answer_is_made_once(garden_run, trained_run, monkeypatch):
    assert garden_run.as_dict()["evaluation"] is garden_run.as_dict()["evaluation"]
    monkeypatch.setenv("RANK", "1")
    assert train(quick(), trained_run.path, resume=True).comparison == {}
    assert not trained_run.metrics.exists()


def test_a_run_of_an_earlier_embedft_has_the_defaults_of_the_fields_that_it_did_not_know(trained_run):
    record = trained_run.read()
    files, base = record["data"]["files"], record["base_fingerprint"]
    trained_run.check_resumable(quick().model_dump(mode="json"), files, base)
    with pytest.raises(ConfigError, match=r"evaluation\.ladder was False, now True"):
        trained_run.check_resumable(quick(ladder=True).model_dump(mode="json"), files, base)


def test_a_number_that_is_none_is_null_in_the_record_and_read_back_as_none(trained_run):
    trained_run.update(base_value=float("nan"))
    assert '"base_value": null' in trained_run.record.read_text()
    assert math.isnan(number(trained_run.read()["base_value"])) and number(0.5) == 0.5


def test_a_new_run_in_the_place_of_an_old_one_begins_without_its_evidence(garden_run, tmp_path):
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(garden_run.run, run.path)
    run.report.write_text("<html>")
    record = run.read()
    run.start(record["config"], {}, force=True)
    assert sorted(path.name for path in run.path.iterdir() if not path.name.startswith(".")) == ["model", "run.json"]
    assert read_analysis(run.path)["errors"] is None


def test_a_guard_that_is_not_there_is_refused_before_the_training(tmp_path):
    settings = config(GARDEN, max_steps=1, evaluation={"guard": tmp_path / "nothing.jsonl"})
    with pytest.raises(DataError, match=r"nothing\.jsonl"):
        train(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_fault_of_the_data_costs_its_part_alone_and_a_fault_of_ours_is_not_hidden(caplog):
    logging.getLogger("embedft").propagate = True

    def refused():
        raise DataError("too few texts.", hint="add some.")

    found = analyse({"errors": refused, "guard": lambda: {"verdict": "worse", "p_value": float("nan")}})
    assert found == {
        "format": 1, "errors": None, "geometry": None, "ladder": None,
        "guard": {"verdict": "worse", "p_value": None}, "stress": None,
    }  # fmt: skip
    assert "errors: left out: too few texts." in caplog.text
    with pytest.raises(ZeroDivisionError):
        analyse({"errors": lambda: {"share": 1 / 0}})
