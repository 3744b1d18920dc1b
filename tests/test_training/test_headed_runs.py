"""Runs of classification from end to end: which head is kept, with what it is compared, and what is refused."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from labelled_texts import write

from embedft import Encoder, RunConfig, train
from embedft.errors import ConfigError
from embedft.heads.classifier import TextClassifier
from embedft.heads.head import Head

QUICK = {"max_steps": 4, "batch_size": 16, "eval_every": 2}


def config(data, *, head=None, **training):
    return RunConfig.model_validate(
        {
            "task": "classification", "data": {"path": data}, "model": {"precision": "float32"}, "head": head or {},
            "training": training, "evaluation": {"report": False},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write(tmp_path_factory.mktemp("texts") / "data")


@pytest.fixture(scope="module")
def frozen(texts, tmp_path_factory):
    return train(config(texts), tmp_path_factory.mktemp("frozen") / "run")


@pytest.fixture(scope="module")
def linear(texts, tmp_path_factory):
    return train(config(texts, head={"kind": "linear"}, **QUICK), tmp_path_factory.mktemp("linear") / "run")


def test_a_frozen_run_keeps_the_encoder_and_its_head(frozen, encoder):
    assert Encoder.load(frozen.run / "model").fingerprint == encoder.fingerprint
    assert Head.load(frozen.run / "head").kind == "logistic"
    assert frozen.against.model == "bundled, nearest centroid"
    record = json.loads((frozen.run / "run.json").read_text())
    assert (record["status"], record["best"]["step"]) == ("finished", 0)
    confusion = json.loads((frozen.run / "confusion.json").read_text())
    assert np.sum(confusion["matrix"]) == frozen.evaluation.count
    assert {"text", "label"} <= set(pq.read_table(frozen.run / "per_query.parquet").column_names)


@pytest.mark.parametrize("kind", ["frozen", "linear"])
def test_what_is_saved_says_what_was_judged(kind, request):
    result = request.getfixturevalue(kind)
    classifier = TextClassifier.open(result.run, precision="float32")
    answers = list(classifier.classify(result.evaluation.texts))
    predicted = [result.evaluation.classes[row.argmax()] for row in result.evaluation.probabilities]
    assert [answer.labels for answer in answers] == [(name,) for name in predicted]


def test_the_head_of_the_kept_step_is_the_one_that_was_judged_on_dev(linear, texts):
    assert linear.against.model == "bundled, logistic head"
    log = [json.loads(line) for line in (linear.run / "train_log.jsonl").read_text().splitlines()]
    by_step = {entry["step"]: entry["eval_accuracy"] for entry in log if "eval_accuracy" in entry}
    assert sorted(by_step) == [2, 4]
    assert linear.best_value == max([*by_step.values(), linear.base_value])


def test_an_end_to_end_head_fits_its_encoder_alone(linear, encoder):
    head = Head.load(linear.run / "head")
    assert head.kind == "linear"
    assert head.encoder == Encoder.load(linear.run / "model").fingerprint


@pytest.mark.parametrize("loss", ["supcon", "paired"])
def test_contrastive_training_ends_with_a_logistic_head(texts, tmp_path, loss):
    result = train(config(texts, loss=loss, **QUICK), tmp_path / "run")
    assert Head.load(result.run / "head").kind == "logistic"
    assert result.evaluation.metrics["accuracy"] > 0.8


@pytest.mark.slow
def test_texts_of_several_labels_and_a_hidden_layer(tmp_path):
    data = write(tmp_path / "data", several=True)
    result = train(
        config(data, head={"kind": "mlp", "hidden": 32, "class_weight": "balanced"}, **QUICK), tmp_path / "a"
    )
    assert Head.load(result.run / "head").several
    assert "confusion" in result.evaluation.as_dict()


@pytest.mark.parametrize(
    ("head", "training", "said"),
    [
        ({"kind": "logistic"}, {"loss": "cross_entropy"}, "head.kind is logistic"),
        ({"kind": "mlp"}, {"loss": "supcon"}, "head.kind is mlp"),
        ({"kind": "mlp"}, {"loss": "frozen"}, "head.kind is mlp"),
        ({}, {"loss": "mnrl"}, "training.loss is 'mnrl'"),
        ({}, {"loss": "supcon", "hard_negatives": {}}, "training.hard_negatives is set"),
        ({"kind": "linear"}, {"anchor": {}}, "training.anchor is set"),
        ({}, {"loss_options": {"scale": 3}}, "training.loss_options is set"),
        ({}, {"hard_negatives": {}}, "training.hard_negatives is set"),
        ({}, {"anchor": {}}, "training.anchor is set"),
        ({}, {"lora": {}}, "training.lora is set"),
        ({}, {"max_steps": 9}, "training.max_steps is set"),
        ({}, {"batch_size": 16}, "training.batch_size is set"),
        ({}, {"query_side": "tower"}, "training.query_side is set"),
        ({"kind": "linear", "dropout": 0.3}, {}, "head.dropout is set"),
        ({"kind": "mlp", "regularisation": 3.0}, {}, "head.regularisation is set"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_read(tmp_path, head, training, said):
    with pytest.raises(ConfigError, match=said) as caught:
        train(config(tmp_path / "nowhere", head=head, **training), tmp_path / "run")
    assert caught.value.hint
    assert not (tmp_path / "run").exists()


def test_a_step_is_not_chosen_by_a_metric_of_which_less_is_better(texts, tmp_path):
    settings = config(texts, loss="supcon", **QUICK)
    settings.evaluation.metric = "ece"
    with pytest.raises(ConfigError, match="less is better"):
        train(settings, tmp_path / "run")
