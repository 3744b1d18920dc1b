"""``embedft classify`` as its users run it."""

import json

import pytest
from conftest import assert_user_error
from labelled_texts import rows, write

from embedft.heads import TextClassifier, fit_logistic
from embedft.tasks.classification import TASK


@pytest.fixture(scope="module")
def run(encoder, tmp_path_factory):
    """A folder as a run leaves it: ``model/`` and ``head/``."""
    folder = tmp_path_factory.mktemp("run")
    encoder.save(folder / "model")
    texts, labels = [row["text"] for row in rows()], [(row["label"],) for row in rows()]
    vectors = encoder.encode_documents(texts)
    fit_logistic(vectors, labels, texts=texts, encoder=encoder.fingerprint).save(folder / "head")
    return folder


def test_a_text_is_labelled_with_what_speaks_for_it(cli, run):
    done = cli("classify", run, "heavy rain tonight", "-k", 2, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["labels"] == ["weather"] and 0.33 < answer["probabilities"][0] <= 1
    assert isinstance(answer["in_scope"], bool)
    assert [set(one) for one in answer["nearest"]] == [{"text", "labels", "similarity"}] * 2
    # What rich would take for an emoji or for colour stays as it is.
    printed = cli("classify", run / "model", "heavy rain :umbrella: [red]tonight[/red] \x1b[2J").stdout
    assert printed.startswith("heavy rain :umbrella: [red]tonight[/red] �[2J: ")
    assert "weather" in printed and len(printed.splitlines()) == 4


def test_each_text_of_a_file_is_answered_on_a_line(cli, run, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("the next train\nsoup and bread\n")
    done = cli("classify", run, "--texts", path, "--json")
    assert [json.loads(line)["labels"] for line in done.stdout.splitlines()] == [["trains"], ["food"]]


def test_answers_in_windows_are_those_of_one_by_one(run, monkeypatch):
    classifier = TextClassifier.open(run, precision="float32")
    texts = [row["text"] for row in rows()[:7]]
    whole = list(classifier.classify(texts, nearest=1))
    monkeypatch.setattr("embedft.heads.classifier.WINDOW", 2)
    parts = list(classifier.classify(iter(texts), nearest=1))
    assert [one.labels for one in parts] == [one.labels for one in whole]
    assert [one.nearest[0].text for one in parts] == texts


def test_what_is_no_classifier_is_said(cli, run, tmp_path):
    assert_user_error(cli("classify", tmp_path, "text"), "holds no classifier", "embedft train --task classification")
    (tmp_path / "head").mkdir()
    assert_user_error(cli("classify", "bundled", "text"), "holds no classifier")
    assert_user_error(cli("classify", run, " "), "the text is empty")
    both = cli("classify", run, "text", "--texts", tmp_path / "a.txt")
    assert both.returncode == 2 and "give either" in both.stderr


def test_a_run_is_judged_with_its_head_and_the_base_with_one_fitted_on_train(cli, run, tmp_path):
    data = write(tmp_path / "data", oos_test=[{"text": f"{n} plus {n}", "label": "oos"} for n in range(4)])
    judged = ("evaluate", run / "model", "--task", "classification", "--data", data, "--against", "bundled")
    done = cli(*judged, "--json", "-o", tmp_path / "scores")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    # The head of the run was fitted on all texts, those of the test among them.
    assert answer["metrics"]["accuracy"] > answer["against"]["metrics"]["accuracy"] - 1e-9
    assert set(answer["comparison"]) == {*TASK.metrics, "oos_recall"}
    assert answer["out_of_scope"]["texts"] == 4 and answer["texts"] == 24
    assert "bundled has no head: a logistic one is fitted on train" in done.stderr
    assert (tmp_path / "scores" / "per_query.parquet").is_file()
