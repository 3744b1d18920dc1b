"""What a plan says is what the run then does; what training refuses, a plan refuses with the same words."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import GARDEN

from embedft import RunConfig, train
from embedft.config import EvaluationConfig
from embedft.data import read_retrieval
from embedft.errors import ConfigError, DataError, EmbedftError
from embedft.training.fit import DEV_EVALUATIONS
from embedft.training.mining.mined import with_negatives
from embedft.training.planning.plan import Plan, measured_time, plan
from embedft.training.planning.probe import (
    Judging,
    Probe,
    StandIn,
    Steps,
    final_judging,
    open_stepped,
    run_steps,
    silent_trainer,
)
from embedft.training.planning.schedule import Schedule
from embedft.training.planning.workload import Workload

SMALL = {"batch_size": 16, "epochs": 1, "eval_every": 3}


def config(path=GARDEN, *, task="retrieval", **sections):
    values = {"task": task, "data": {"path": str(path)}, "training": SMALL, "model": {"precision": "float32"}}
    for name, fields in sections.items():
        values[name] = {**values.get(name, {}), **fields}
    return RunConfig.model_validate(values)


@pytest.fixture(scope="module")
def planned():
    return plan(config(), probe=False)


def rows(path, pairs):
    path.write_text("".join(json.dumps({"anchor": left, "positive": right}) + "\n" for left, right in pairs))
    return path


def test_steps_and_evaluations_are_those_of_the_run(planned, tmp_path):
    train(config(), tmp_path / "run")
    log = [json.loads(line) for line in (tmp_path / "run" / "train_log.jsonl").read_text().splitlines()]
    assert planned.steps == max(entry["step"] for entry in log)
    assert planned.evaluations == sum("eval_ndcg@10" in entry for entry in log)
    assert planned.rows == {"own": read_retrieval(GARDEN).training_pairs("train").num_rows}


def test_accumulation_makes_fewer_and_larger_steps(planned):
    found = plan(config(training={"gradient_accumulation": 2}), probe=False)
    assert (found.steps, found.rows_a_step) == (planned.steps // 2, 32)
    assert found.workload["tokens_mean"] == pytest.approx(2 * planned.workload["tokens_mean"], rel=1e-3)


def test_the_tokens_of_an_epoch_are_those_of_the_training_texts(planned, encoder):
    pairs = read_retrieval(GARDEN).training_pairs("train")
    ids = [
        *encoder.tokenize(pairs["anchor"].to_pylist(), encoder.prompts["query"]),
        *encoder.tokenize(pairs["positive"].to_pylist(), encoder.prompts["document"]),
    ]
    work = planned.workload
    assert work["batches_counted"] == planned.steps == 4
    assert 4 * work["tokens_mean"] == pytest.approx(sum(map(len, ids)), abs=1)
    assert 4 * work["texts"] == len(ids)


def test_texts_of_one_length_have_no_padding_to_leave_out(tmp_path):
    even = rows(tmp_path / "even.jsonl", [(f"a {number:02d}", f"b {number:02d}") for number in range(40)])
    assert plan(config(even), probe=False).workload["padding_saved"] == 0


def test_cut_texts_are_counted_with_what_they_lose(tmp_path):
    # A word is one token, a number of two digits too, and two more stand around each text.
    pairs = [(f"short {n}", f"{'word ' * (1000 if n < 20 else 5)}{n}") for n in range(10, 50)]
    (tmp_path / "long").mkdir()
    rows(tmp_path / "long" / "train.jsonl", pairs)
    rows(tmp_path / "long" / "dev.jsonl", [(f"other {number}", f"reply {number}") for number in range(5)])
    cut = plan(config(tmp_path / "long", training={"max_length": 64}), probe=False).cut
    assert (cut["texts"], cut["cut"], cut["max_length"], cut["longest"]) == (80, 10, 64, 1003)
    assert cut["cut_share"] == 10 / 80
    assert cut["tokens_lost_share"] == pytest.approx(10 * (1003 - 64) / (10 * 1003 + 30 * 8 + 40 * 4), abs=1e-4)


def test_a_batch_of_pairs_is_explained_by_its_candidates_and_masks(tmp_path):
    # Every positive stands five times: four of the others are no negatives of a row.
    pairs = [(f"question {number}", f"answer {number // 5}") for number in range(40)]
    (tmp_path / "twice").mkdir()
    rows(tmp_path / "twice" / "train.jsonl", pairs)
    rows(tmp_path / "twice" / "dev.jsonl", [(f"other {number}", f"reply {number}") for number in range(5)])
    batch = plan(config(tmp_path / "twice", training={"batch_size": 40}), probe=False).batch
    assert (batch["loss"], batch["needs"]) == ("mnrl", "pairs")
    assert (batch["in_batch"], batch["explicit"], batch["masked"], batch["masked_mean"]) == (39, 0, 4, 4.0)
    assert any("needs no negatives of yours" in sentence for sentence in batch["says"])
    unmasked = plan(
        config(tmp_path / "twice", training={"batch_size": 40, "loss_options": {"mask": False}}), probe=False
    )
    assert "masked" not in unmasked.batch


@pytest.mark.parametrize(
    ("loss", "options", "said", "not_said"),
    [
        ("mnrl", {}, ["picking one of 10 blindly costs 2.30"], ["as well", "one candidate"]),
        ("gist", {}, ["the 9 other anchors as well", "the 9 other positives as well"], ["blindly", "one candidate"]),
        ("gist", {"contrast_anchors": False}, ["the 9 other positives as well"], ["anchors as well", "blindly"]),
        ("distil_kl", {}, ["one candidate, which leaves 2 in this batch"], ["as well", "blindly"]),
    ],
)
def test_each_loss_is_explained_by_what_it_does_with_the_candidates(tmp_path, loss, options, said, not_said):
    (tmp_path / "data").mkdir()
    rows(tmp_path / "data" / "train.jsonl", [(f"question {number}", f"answer {number % 2}") for number in range(10)])
    rows(tmp_path / "data" / "dev.jsonl", [(f"other {number}", f"reply {number}") for number in range(5)])
    guide = {} if loss == "mnrl" else {"guide": "bundled"}
    training = {"loss": loss, "loss_options": options, "batch_size": 10, **guide}
    sentences = " ".join(plan(config(tmp_path / "data", training=training), probe=False).batch["says"])
    assert all(words in sentences for words in said)
    assert not any(words in sentences for words in not_said)


def test_a_guide_that_scores_listed_candidates_is_explained_without_the_rest_of_the_batch(tmp_path):
    lines = [{"anchor": f"question {n}", "positive": f"answer {n}", "negative": f"reply {n}"} for n in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    listed = {"loss": "distil_kl", "loss_options": {"in_batch": False}, "guide": "bundled"}
    batch = plan(config(tmp_path / "pairs.jsonl", training=listed), probe=False).batch
    assert batch["needs"] == "pairs with negatives"
    assert any("rows without any are left out" in sentence for sentence in batch["says"])
    assert "in_batch" not in batch


def test_a_guide_may_be_that_of_a_further_set_alone(tmp_path):
    more = rows(tmp_path / "more.jsonl", [(f"question {number}", f"answer {number}") for number in range(40)])
    also = {"also": [{"path": str(more), "loss": "gist"}]}
    with pytest.raises(ConfigError, match=r"data\.also\[0\]\.loss is 'gist', which needs a second encoder"):
        plan(config(data=also), probe=False)
    assert plan(config(data=also, training={"guide": "bundled"}), probe=False).rows["also-1"] == 40
    with pytest.raises(ConfigError, match=r"training\.guide is bundled, but the loss mnrl asks none"):
        plan(config(training={"guide": "bundled"}), probe=False)


def test_a_further_set_needs_no_classes_beside_texts_that_have_some(tmp_path):
    more = rows(tmp_path / "more.jsonl", [(f"question {number}", f"answer {number}") for number in range(40)])
    settings = {"training": {"loss": "supcon"}, "data": {"also": [{"path": str(more)}]}}
    found = plan(config(labelled(tmp_path / "classes"), task="classification", **settings), probe=False)
    assert found.rows == {"own": 40, "also-1": 40}


def test_dev_is_judged_eight_times_at_most_where_nothing_else_is_set():
    assert plan(config(training={"eval_every": None, "max_steps": 9}), probe=False).evaluations == 5
    assert all(-(-steps // -(-steps // DEV_EVALUATIONS)) == DEV_EVALUATIONS for steps in (15, *range(50, 3000)))


def test_scored_pairs_are_explained_without_negatives(tmp_path):
    lines = [{"sentence1": f"a {n}", "sentence2": f"b {n % 7}", "score": n % 5} for n in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    batch = plan(config(tmp_path / "pairs.jsonl", task="similarity"), probe=False).batch
    assert batch["loss"] == "cosent"
    assert batch["row"].keys() == {"sentence1", "sentence2", "score"}
    assert "in_batch" not in batch


@pytest.mark.parametrize(
    "sections",
    [
        {"evaluation": {"metric": "ndgc@10"}},
        {"training": {"loss": "cosent"}},
        {"training": {"loss": "triplet"}},
        {"training": {"loss_options": {"scale": 20.0, "scael": 1.0}}},
        {"evaluation": {"split": "train"}},
        {"model": {"name": "/nowhere"}},
        {"data": {"path": "/nowhere"}},
    ],
)
def test_what_training_refuses_is_refused_with_the_same_words(tmp_path, sections):
    with pytest.raises(EmbedftError) as trained:
        train(config(**sections), tmp_path / "run")
    with pytest.raises(type(trained.value)) as found:
        plan(config(**sections), probe=False)
    assert str(found.value) == str(trained.value)


def test_a_refusal_of_the_child_arrives_as_its_own_kind():
    with pytest.raises(ConfigError, match=r"ndgc@10") as found:
        plan(config(evaluation={"metric": "ndgc@10"}), probe=True)
    assert found.value.hint


@pytest.fixture(scope="module")
def probed():
    return plan(config(), probe=True)


def test_a_probe_measures_time_and_memory(probed, planned):
    assert replace(probed, memory=planned.memory, time=planned.time) == planned
    assert probed.time["measured"]
    assert probed.memory["measured"]
    parts = [probed.time[name] for name in ("setup", "steps", "dev", "checkpoints", "final")]
    assert probed.time["total"] == pytest.approx(sum(parts), abs=0.1)
    assert probed.time["low"] <= probed.time["total"] <= probed.time["high"]
    assert probed.time["earliest"] <= probed.time["total"]
    held = [probed.memory[name] for name in ("weights", "gradients", "optimizer")]
    assert probed.memory["peak"] > sum(held) == 4 * 4 * probed.parameters


def test_a_plan_is_its_json(probed):
    assert Plan(**json.loads(json.dumps(probed.as_dict()))) == probed


def test_recomputed_activations_and_smaller_batches_need_less_memory(planned):
    large = {"batch_size": 56}
    whole = plan(config(training={**large, "max_length": 256}), probe=False)
    layers = plan(config(training={**large, "gradient_checkpointing": True}), probe=False)
    assert layers.memory["activations"] < whole.memory["activations"]
    assert planned.memory["activations"] < whole.memory["activations"]


PROBE = Probe(
    step_seconds=[1.0, 2.0, 3.0],
    step_tokens=[100, 200, 300],
    encoded_tokens_per_second=50.0,
    dev=Judging(10, 100, 1.0),
    final=Judging(20, 200, 6.0),
    checkpoint_seconds=0.5,
    before_steps=None,
    peak=None,
    gpu_peak=None,
)


def test_time_is_that_of_every_part():
    work = Workload(2, np.array([4, 4]), np.array([100, 300]), np.array([200, 400]))
    schedule = Schedule(
        steps=10, an_epoch=2, accumulation=2, eval_every=4, patience=1, mixtures=0, refresh_every=4, setup=5.0,
        mining=3.0,
    )  # fmt: skip
    found = measured_time(PROBE, work, schedule)
    # A hundredth of a second a token, 400 tokens a step; dev takes 1 s and 100 tokens; steps 4, 8 and 10 are judged.
    assert (found["step"], found["steps"]) == (4.0, 40.0)
    assert (found["dev"], found["checkpoints"], found["final"]) == (4 * 3.0, 1.5, 10.0)
    # Mined again after steps 4 and 8.
    assert found["mining"] == 6.0
    assert found["total"] == 5 + 40 + 6 + 12 + 1.5 + 10
    assert found["low"] == found["high"] == found["total"]
    # Two evaluations without a gain, at steps 4 and 8, end it.
    assert found["earliest"] == 5 + 32 + 3 + 9 + 1.0 + 10
    assert replace(schedule, refresh_every=None).refreshes == 0


def test_the_old_weights_are_judged_among_the_mixtures():
    arguments = SimpleNamespace(max_steps=8, gradient_accumulation_steps=1, eval_steps=4)
    trainer = SimpleNamespace(args=arguments, get_train_dataloader=lambda: range(4))
    settings = config(training={"anchor": {"shares": [0.5, 1.0]}}).training
    assert Schedule.of(trainer, settings, setup=0.0, mining=0.0).mixtures == 3


def test_memory_that_was_not_measured_is_the_sum_of_its_parts(planned):
    memory = planned.memory
    assert not memory["measured"]
    names = ("weights", "gradients", "optimizer", "activations", "rest")
    assert memory["peak"] == sum(memory[name] for name in names)


def test_a_stand_in_counts_equal_texts_once(encoder):
    stand_in = StandIn(encoder)
    vectors = stand_in.encode_documents(["a fern", "a rose", "a fern"])
    assert vectors.shape == (3, encoder.dim)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert stand_in.texts == 2
    assert stand_in.tokens == sum(len(ids) for ids in encoder.tokenize(["a fern", "a rose"]))
    assert stand_in.name == encoder.name


def labelled(folder):
    folder.mkdir()
    for split, count in (("train", 40), ("dev", 12), ("test", 12)):
        lines = [
            {"text": f"{split} {n} {'rose' if n % 2 else 'fern'}", "label": f"class {n % 2}"} for n in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.slow
def test_a_head_trained_with_the_encoder_is_planned(tmp_path):
    head = {"head": {"kind": "linear"}, "training": {"loss": "cross_entropy"}}
    found = plan(config(labelled(tmp_path / "classes"), task="classification", **head), probe=True)
    assert found.batch["loss"] == "cross_entropy"
    assert found.workload["texts"] == pytest.approx(40 / 3, abs=0.1)
    assert found.time["measured"]


def test_runs_that_take_no_steps_are_told_apart(tmp_path):
    with pytest.raises(ConfigError, match="no steps") as found:
        classes = {"task": "classification", "data": {"path": str(labelled(tmp_path / "classes"))}}
        plan(RunConfig.model_validate(classes), probe=False)
    assert "cross_entropy" in found.value.hint
    with pytest.raises(ConfigError, match="behind the queries"):
        plan(config(training={"freeze": ["documents"]}), probe=False)


def test_mined_negatives_are_in_the_plan(planned):
    negatives = {"num_negatives": 2, "relative_margin": None, "refresh_every": 3}
    mined = plan(config(training={"hard_negatives": negatives}), probe=False)
    assert mined.batch["explicit"] > 0
    assert mined.workload["texts"] > planned.workload["texts"]
    assert mined.time["mining"] > 0 == planned.time["mining"]


def test_a_probe_mines_nothing_between_its_steps(tmp_path):
    settings = config(training={"hard_negatives": {"refresh_every": 1}, "max_length": 16, "max_steps": 9})
    job = with_negatives(open_stepped(settings, tmp_path))
    clock = Steps([], most=3)
    run_steps(silent_trainer(job, 9), clock)
    assert len(clock.step_seconds) == 3
    assert list(tmp_path.rglob("negatives-*")) == []


def test_what_is_looked_into_at_the_end_is_in_the_plan(tmp_path):
    job = open_stepped(config(), tmp_path)
    silent = job.config.model_copy(update={"evaluation": EvaluationConfig(report=False)})
    told, untold = (final_judging(each, compared=True) for each in (job, replace(job, config=silent)))
    assert told.texts > untold.texts, "the texts of the guard"


def test_a_single_row_of_a_further_set_is_refused_by_its_name(tmp_path):
    more = {"also": [{"path": str(rows(tmp_path / "more.jsonl", [("question", "answer")]))}]}
    with pytest.raises(DataError, match="also-1: has 1 row to train on; a batch holds at least 2"):
        plan(config(data=more), probe=False)


def test_a_temperature_without_sets_to_mix_is_refused():
    with pytest.raises(ConfigError, match=r"training\.mixing_temperature is 3, and there is no data\.also"):
        plan(config(training={"mixing_temperature": 3.0}), probe=False)
