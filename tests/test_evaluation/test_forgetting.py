"""What a training has cost elsewhere: a loss is seen where it is, and nowhere else."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from embedft.data.general import GENERAL_PATH, read_general
from embedft.encoder import Encoder
from embedft.errors import DataError
from embedft.evaluation import evaluate_retrieval, evaluate_similarity
from embedft.evaluation.comparison import compare_scores
from embedft.evaluation.forgetting import _reading, check_guard, forgetting
from embedft.tasks import Looked


@pytest.fixture(scope="module")
def spoilt():
    """The bundled encoder with the sign turned of what three of its layers add: it knows less of everything."""
    import torch

    encoder = Encoder.load("bundled", precision="float32")
    with torch.no_grad():
        for layer in encoder.sentence_transformer[0].model.layers[-3:]:
            layer.mlp.Wo.weight.mul_(-1)
    return encoder.of(encoder.sentence_transformer, precision="float32")


def test_the_same_encoder_has_forgotten_nothing(encoder):
    found = forgetting(encoder, encoder)
    assert found["verdict"] == "no difference"
    assert (found["difference"], found["ci_low"], found["ci_high"], found["p_value"]) == (0, 0, 0, 1)
    assert (found["count"], found["unit"]) == (180, "pairs")
    assert "No forgetting is seen" in found["reading"]
    assert found["detectable"] is None
    json.dumps(found, allow_nan=False)


def test_a_spoilt_encoder_has_forgotten_on_the_bundled_set(encoder, spoilt):
    found = forgetting(encoder, spoilt)
    before = evaluate_similarity(encoder, read_general(), data="general", metrics=["spearman"]).metrics["spearman"]
    assert found["before"] == pytest.approx(before)
    assert found["difference"] == pytest.approx(found["after"] - before)
    assert found["ci_low"] < found["difference"] < found["ci_high"] < 0
    assert found["verdict"] == "worse"
    assert "has forgotten" in found["reading"]
    assert f"With 180 pairs you could see a difference of {found['detectable']:.2g}" in found["reading"]


def test_other_scored_pairs_guard_as_well(encoder, spoilt, tmp_path: Path):
    lines = GENERAL_PATH.read_text(encoding="utf-8").splitlines()[:60]
    path = tmp_path / "guard.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = forgetting(encoder, spoilt, path)
    assert (found["count"], found["data"], found["metric"]) == (60, str(path), "spearman")


def test_a_folder_of_queries_and_documents_guards_by_its_ranking(encoder, spoilt, garden, garden_data):
    found = forgetting(encoder, spoilt, garden)
    assert (found["metric"], found["unit"]) == ("ndcg@10", "queries")
    assert "pairs" not in found
    expected = evaluate_retrieval(encoder, garden_data, "test", metrics=["ndcg@10"]).metrics["ndcg@10"]
    assert found["before"] == pytest.approx(expected)
    assert found["after"] < found["before"]


def test_data_that_cannot_guard_is_refused_before_a_training(garden, tmp_path: Path):
    check_guard(garden)
    check_guard(GENERAL_PATH)
    other = tmp_path / "labels.jsonl"
    other.write_text('{"text": "a red bicycle", "label": "bicycle"}\n' * 5, encoding="utf-8")
    for path in (other, tmp_path / "missing"):
        with pytest.raises(DataError):
            check_guard(path)


def test_a_guard_on_which_few_queries_differ_is_not_called_alike():
    after = np.full(30, 0.5)
    after[:2] = 0.0
    found = compare_scores(after, np.full(30, 0.5))
    first, second = (
        SimpleNamespace(metrics={"ndcg@10": score}, count=30, unit="queries") for score in (0.5, after.mean())
    )
    said = _reading(found, "a folder", "ndcg@10", first, second)
    assert "alike" not in said
    assert "differ on 2 of 30 queries" in said


def test_qrels_of_a_guard_that_name_unknown_ids_are_refused_or_dropped(encoder, garden):
    expected = forgetting(encoder, encoder, garden)
    with (garden / "qrels" / "test.tsv").open("a") as file:
        file.write("q73\tnowhere\t1\n")
    with pytest.raises(DataError, match="1 of 25 rows"):
        check_guard(garden)
    check_guard(garden, unknown_ids="drop")
    looked = Looked(None, None, "ndcg@10", (encoder, encoder), (None, None), ({}, {}))
    assert looked.analysis(errors=False, guard=garden, unknown_ids="drop")["guard"] == expected
    assert looked.analysis(errors=False, guard=garden)["guard"] is None
