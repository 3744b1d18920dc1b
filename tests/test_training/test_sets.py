"""Several sets of rows in one run: what is mixed in which share, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from conftest import GARDEN

from embedft import RunConfig, train
from embedft.config import ModelConfig
from embedft.data import read_retrieval
from embedft.errors import ConfigError, DataError
from embedft.training.batches import MixedBatchSampler, SeededBatchSampler, shares
from embedft.training.sets import further_sets


def scored(path):
    rows = [
        {"sentence1": f"plant number {n}", "sentence2": f"the plant with number {n % 7}", "score": (n % 6) / 5}
        for n in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(**fields):
    training = {"max_steps": 6, "batch_size": 16, "eval_every": 3, **fields.pop("training", {})}
    values = {"data": {"path": GARDEN, **fields}, "training": training, "model": {"precision": "float32"}}
    return RunConfig.model_validate({**values, "evaluation": {"report": False}})


class Sized:
    def __init__(self, count):
        self.datasets = count
        self.count = count

    def __len__(self):
        return self.count


def mixed(sizes, temperature, batch_size=10):
    samplers = [SeededBatchSampler(Sized(size), batch_size, seed=3) for size in sizes]
    whole = Sized(sum(sizes))
    whole.datasets = samplers
    return MixedBatchSampler(whole, samplers, seed=3, temperature=temperature)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 100.0])
def test_every_batch_is_of_one_set_and_shares_follow_the_temperature(temperature):
    sizes = np.array([900, 100])
    sampler = mixed(sizes.tolist(), temperature)
    places = [{int(row >= 900) for row in batch} for batch in sampler]
    assert all(len(place) == 1 for place in places)
    expected = sizes ** (1 / temperature) / (sizes ** (1 / temperature)).sum()
    found = np.bincount([place.pop() for place in places], minlength=2) / len(places)
    assert abs(found - expected).max() < 0.02
    assert len(places) == len(sampler) == 100


def test_at_temperature_1_an_epoch_sees_each_row_once_and_epochs_differ():
    sampler = mixed([300, 70], 1.0)
    first = [tuple(batch) for batch in sampler]
    assert sorted(row for batch in first for row in batch) == list(range(370))
    assert [tuple(batch) for batch in sampler] == first
    sampler.set_epoch(1)
    assert [tuple(batch) for batch in sampler] != first


def test_a_small_set_that_is_drawn_more_often_comes_in_another_order_each_time():
    sampler = mixed([400, 40], 1000.0)
    small = [tuple(row for row in batch) for batch in sampler if batch[0] >= 400]
    passes = [small[start : start + 4] for start in range(0, len(small), 4)]
    assert len(passes) > 4
    assert sorted(row for batch in passes[0] for row in batch) == list(range(400, 440))
    assert passes[0] != passes[1]


@pytest.mark.parametrize("sizes", [(38, 17, 95), (38,), (17, 95)])
def test_two_processes_get_every_batch_between_them(monkeypatch, sizes):
    from accelerate.data_loader import BatchSamplerShard

    monkeypatch.setenv("WORLD_SIZE", "2")
    sampler = mixed(sizes, 1.0)
    ranks = [list(BatchSamplerShard(sampler, 2, rank, even_batches=False)) for rank in (0, 1)]
    # The last batch of each set is short, and stands anywhere.
    assert [batch for pair in zip(*ranks, strict=True) for batch in pair] == list(sampler)
    assert sorted(row for batches in ranks for batch in batches for row in batch) == list(range(sum(sizes)))
    assert all(len(batches) == len(BatchSamplerShard(sampler, 2, 0)) for batches in ranks)


@pytest.mark.parametrize("temperature", [0.5, 1, 3, 1e6])
def test_no_set_is_left_out(temperature):
    counts = shares([1000, 3, 1], [10000, 30, 10], temperature)
    assert min(counts) >= 1
    assert sum(counts) >= 1004


def test_pairs_and_scored_pairs_train_one_encoder(tmp_path):
    result = train(settings(also=[{"path": scored(tmp_path / "more.jsonl")}]), tmp_path / "run")
    record = json.loads((result.run / "run.json").read_text())
    assert "also-1/more.jsonl" in record["data"]["files"]
    assert record["status"] == "finished"


@pytest.mark.slow
def test_a_further_set_changes_what_is_learned(tmp_path):
    more = settings(also=[{"path": scored(tmp_path / "more.jsonl"), "loss": "cosine"}])
    losses = [
        [json.loads(line).get("loss") for line in (run / "train_log.jsonl").read_text().splitlines()]
        for run in (train(more, tmp_path / "more").run, train(settings(), tmp_path / "alone").run)
    ]
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        ({"loss": "mnrl"}, ConfigError, "holds scored pairs, which the loss 'mnrl' does not take"),
        ({"loss": "cosine", "loss_options": {"scale": 3}}, ConfigError, "loss_options"),
        ({"path": "/nowhere.jsonl"}, DataError, "/nowhere.jsonl"),
    ],
)
def test_a_set_that_does_not_fit_is_refused_before_the_first_step(tmp_path, entry, error, message):
    with pytest.raises(error, match=message):
        train(settings(also=[{"path": scored(tmp_path / "more.jsonl"), **entry}]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("unknown_ids", ["error", "drop"])
def test_judgments_of_unknown_documents_are_refused_in_a_further_set_too(tmp_path, unknown_ids):
    other = tmp_path / "other"
    shutil.copytree(GARDEN, other)
    qrels = other / "qrels" / "train.tsv"
    lines = qrels.read_text().splitlines()
    qrels.write_text("\n".join([*lines, lines[1].split("\t")[0] + "\tnowhere\t1"]) + "\n")
    config = settings(also=[{"path": other}], unknown_ids=unknown_ids, max_bad=0.5)
    if unknown_ids == "drop":
        assert [part.name for part in further_sets(config, read_retrieval(GARDEN))] == ["also-1"]
        return
    with pytest.raises(DataError, match="nowhere"):
        further_sets(config, read_retrieval(GARDEN))


def test_a_further_set_has_columns_of_its_own(tmp_path):
    rows = [{"left": f"about fern {number}", "right": f"fern {number} likes shade"} for number in range(4)]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    also = [{"path": tmp_path / "more.jsonl", "columns": {"anchor": "left", "positive": "right"}}]
    (part,) = further_sets(settings(also=also), read_retrieval(GARDEN))
    assert part.rows["anchor"].to_pylist() == [row["left"] for row in rows]


def test_a_set_whose_loss_does_not_take_the_dimensions_is_refused_before_the_first_step(tmp_path):
    also = [{"path": scored(tmp_path / "more.jsonl"), "loss": "angle"}]
    odd = settings(also=also).model_copy(update={"model": ModelConfig(truncate_dim=255, precision="float32")})
    with pytest.raises(ConfigError, match="the loss angle needs even numbers of dimensions, not 255"):
        train(odd, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_set_that_holds_what_judges_is_told_or_refused(tmp_path):
    queries = read_retrieval(GARDEN).judged_queries("test")[1][:3]
    rows = [{"anchor": text, "positive": f"an answer to {text}"} for text in [*queries, "one", "two", "three"]]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    also = [{"path": tmp_path / "pairs.jsonl"}]
    result = train(settings(also=also, training={"max_steps": 1, "batch_size": 4}), tmp_path / "run")
    assert any("also-1" in leak.kind and leak.split.endswith("test") and leak.count == 3 for leak in result.leakage)
    with pytest.raises(DataError, match=r"pairs\.jsonl leaks"):
        train(settings(also=also, leakage="fail"), tmp_path / "other")
