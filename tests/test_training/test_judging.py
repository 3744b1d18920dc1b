"""What lies behind a run's scores is written beside them, and never costs the run."""

import json
import logging
import shutil

import pytest
from conftest import GARDEN
from labelled_texts import write

from embedft import RunConfig, compare, train
from embedft.errors import DataError
from embedft.evaluation.analysis import PARTS, analyse, read_analysis
from embedft.evaluation.records import read_record
from embedft.training.rundir import RunDirectory


def config(path, task="retrieval", evaluation=None, **training):
    return RunConfig.model_validate(
        {
            "task": task, "data": {"path": str(path)}, "model": {"precision": "float32", "max_length": 24},
            "training": training, "evaluation": evaluation or {},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def garden_run(tmp_path_factory):
    settings = config(GARDEN, max_steps=2, batch_size=8, eval_every=2, evaluation={"ladder": True})
    return train(settings, tmp_path_factory.mktemp("judged") / "run")


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
