"""``embedft train --task similarity`` and the losses of scored pairs and triplets, as their users run them."""

import json

import pytest
from conftest import GARDEN, assert_user_error

from embedft import RunConfig, train
from embedft.data.dataset import read_dataset
from embedft.errors import EmbedftError
from embedft.training.losses.registry import rows_for

QUICK = ("--set", "training.max_steps=6", "--set", "training.batch_size=8", "--set", "training.eval_every=3")
TOPICS = {
    "the weather": ("it rains in {}", "the sun shines over {}", "a storm comes to {}"),
    "trains": ("a train leaves for {}", "the railway to {} is closed", "tickets to {} are cheap"),
}
PLACES = ("Oslo", "Lima", "Cairo", "Vienna", "Kyoto", "Rome", "Lisbon", "Quito")


def write(folder, top=5):
    """Scored pairs: one topic and one place is high, neither is low."""
    rows = []
    for topic, forms in TOPICS.items():
        for other, others in TOPICS.items():
            for n, place in enumerate(PLACES):
                second = PLACES[(n * 3 + 1) % len(PLACES)] if n % 2 else place
                score = top * (topic == other) if top == 1 else 3 * (topic == other) + 2 * (second == place)
                left, right = forms[n % 3].format(place), others[(n + 1) % 3].format(second)
                rows.append({"sentence1": left, "sentence2": f"{right}, number {len(rows)}", "score": score})
    folder.mkdir()
    for name, part in (("train", rows[::2]), ("test", rows[1::2])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return folder


SLOW = [pytest.param(loss, marks=pytest.mark.slow) for loss in ("angle", "cosine")]


@pytest.mark.parametrize("loss", [None, *SLOW])
def test_a_run_ends_with_a_comparison_on_the_test_split(cli, tmp_path, loss):
    data = write(tmp_path / "data")
    chosen = ("--set", f"training.loss={loss}") if loss else ()
    command = ("train", "--task", "similarity", "--data", data, "-o", tmp_path / "run", *QUICK, *chosen)
    done = cli(*command, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["best"]["metric"] == "spearman"
    assert result["best"]["value"] >= result["best"]["base"]
    assert result["evaluation"]["pairs"] == 16
    assert set(result["evaluation"]["comparison"]) == {"spearman", "pearson"}
    assert len(result["evaluation"]["worst"]) == 10
    log = [json.loads(line) for line in (tmp_path / "run" / "train_log.jsonl").read_text().splitlines()]
    assert any("loss" in entry for entry in log)
    if loss is None:
        judged = (
            "evaluate",
            tmp_path / "run" / "model",
            "--task",
            "similarity",
            "--data",
            data,
            "--against",
            "bundled",
        )
        again = json.loads(cli(*judged, "--json").stdout)
        assert again["metrics"] == pytest.approx(result["evaluation"]["metrics"], abs=1e-6)
        assert "16 pairs" in cli(*judged).stdout


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["contrastive", "online_contrastive"])
def test_binary_losses_take_binary_scores_alone(cli, tmp_path, loss):
    chosen = ("--task", "similarity", "-o", tmp_path / "run", *QUICK, "--set", f"training.loss={loss}", "--data")
    graded = cli("train", *chosen, write(tmp_path / "graded"))
    assert_user_error(graded, "are neither 0 nor 1", "cosent")
    done = cli("train", *chosen, write(tmp_path / "binary", top=1), "--json")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_triplets_take_one_row_for_each_negative(tmp_path, cli):
    path = tmp_path / "train.jsonl"
    rows = [
        {
            "anchor": f"where is {place}",
            "positive": f"{place} lies by the sea",
            "negatives": [f"no {place}", f"{n} fish"],
        }
        for n, place in enumerate(PLACES * 2)
    ]
    rows = [
        {**row, "anchor": f"{row['anchor']} {n}", "positive": f"{row['positive']} {n}"} for n, row in enumerate(rows)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = read_dataset(path).splits["train"].select(["anchor", "positive", "negatives"])
    exploded = rows_for("triplet", table)
    assert exploded.num_rows == 32
    assert {len(row) for row in exploded["negatives"].to_pylist()} == {1}
    command = ("train", "--data", path, "-o", tmp_path / "run", *QUICK, "--set", "training.loss=triplet")
    done = cli(*command, "--json")
    assert done.returncode == 0, done.stderr


REFUSED = {
    "a loss of pairs": ("similarity", {"training": {"loss": "mnrl"}}, "training.loss is 'mnrl'", "cosent"),
    "a metric of ranks": (
        "similarity", {"evaluation": {"metric": "ndcg@10"}}, "no metric of scored pairs", "spearman",
    ),
    "a cache the loss has not": (
        "similarity", {"training": {"gradient_cache": True, "loss": "cosine"}},
        "none for the loss cosine", "leave it out",
    ),
    "a split that is not there": ("similarity", {"evaluation": {"split": "devel"}}, "has no split 'devel'", "train"),
    "data of another task": ("similarity", {"data": {"path": str(GARDEN)}}, "holds retrieval", "sentence1"),
    "a loss of scored pairs": ("retrieval", {"training": {"loss": "cosent"}}, "training.loss is 'cosent'", "mnrl"),
    "a loss of 0 and 1": ("similarity", {"training": {"loss": "contrastive"}}, "are neither 0 nor 1", "cosent"),
    "triplets without negatives": ("retrieval", {"training": {"loss": "triplet"}}, "have 0 negatives", "mnrl"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_refused_before_the_first_step(tmp_path, case):
    task, sections, found, hint = REFUSED[case]
    path = GARDEN if task == "retrieval" else write(tmp_path / "data")
    config = RunConfig.model_validate({"task": task, "data": {"path": str(path)}, **sections})
    with pytest.raises(EmbedftError, match=found) as refused:
        train(config, tmp_path / "run")
    assert hint in f"{refused.value} {refused.value.hint}"
    assert not (tmp_path / "run" / "run.json").exists()
