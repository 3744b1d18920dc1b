"""``embedft mine`` as its users run it."""

import json
import logging
import subprocess

import pyarrow.parquet as pq
import pytest
from conftest import GARDEN, assert_user_error

from embedft.cli.main import main
from embedft.data import read_dataset, read_retrieval

QUICK = ("--set", "training.max_steps=2", "--set", "training.batch_size=16", "--set", "training.eval_every=1")


@pytest.fixture
def here(capsys):
    """The command in this process: a new one imports for seconds."""

    logger = logging.getLogger("embedft")

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        logger.handlers.clear()  # each run writes to the standard error of its own time
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code, out, err)

    yield run
    # What the command set for its process.
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def mined(tmp_path_factory, cli):
    """A file of tuples, and what the command printed about it."""
    path = tmp_path_factory.mktemp("mine") / "mined.jsonl"
    done = cli("mine", "bundled", "--data", GARDEN, "-o", path, "--num-negatives", 2, "--audit", 3, "--json")
    assert done.returncode == 0, done.stderr
    return path, json.loads(done.stdout)


def test_mine_prints_the_stated_shape(mined):
    path, answer = mined
    assert {"output", "written", "rows", "asked", "found", "short_rows", "rejected", "scores", "audit"} <= answer.keys()
    assert answer["output"] == str(path)
    assert (answer["written"], answer["asked"], answer["found"]) == (56, 112, 112)
    suspects = answer["audit"]
    assert [suspect.keys() for suspect in suspects] == [
        {"anchor", "positive", "negative", "positive_score", "negative_score"}
    ] * 3


def test_what_is_written_is_data_with_the_mined_negatives(mined):
    path, _ = mined
    pairs = read_retrieval(GARDEN).training_pairs()
    data = read_dataset(path)
    assert (data.kind, data.faults) == ("pairs", ())
    rows = data.splits["train"].to_pylist()
    known = {(row["anchor"], row["positive"]) for row in pairs.to_pylist()}
    assert [(row["anchor"], row["positive"]) for row in rows] == [
        (row["anchor"], row["positive"]) for row in pairs.to_pylist()
    ]
    for row in rows:
        assert len(set(row["negatives"])) == 2
        assert not {(row["anchor"], text) for text in row["negatives"]} & known


def test_what_is_written_is_trained_on(mined, here, tmp_path):
    path, _ = mined
    done = here("train", "--task", "retrieval", "--data", path, "--model", "bundled", "-o", tmp_path / "run", *QUICK)
    assert done.returncode == 0, done.stderr


def test_triplets_and_parquet_hold_the_same_negatives(mined, here, tmp_path):
    path, _ = mined
    file = tmp_path / "triplets.parquet"
    shared = ("mine", "bundled", "--data", GARDEN, "--num-negatives", 2, "--format")
    done = here(*shared, "triplets", "-o", file)
    assert done.returncode == 0, done.stderr
    assert "112 of 112" in done.stdout
    assert "likely false negatives" in done.stdout
    assert "112 triplets" in done.stdout
    tuples = read_dataset(path).splits["train"].to_pylist()
    triplets = pq.read_table(file)
    assert triplets.column_names == ["anchor", "positive", "negative"]
    assert triplets.to_pylist() == [
        {"anchor": row["anchor"], "positive": row["positive"], "negative": text}
        for row in tuples
        for text in row["negatives"]
    ]


def test_a_pair_that_gets_no_negative_stays_a_pair(here, tmp_path):
    pairs = [
        {"anchor": f"about {word}", "positive": f"all there is to know about {word}"} for word in ("figs", "plums")
    ]
    pairs.append({"anchor": "about figs", "positive": pairs[1]["positive"]})
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    for form, ending in (("triplets", "jsonl"), ("tuples", "parquet")):
        file = tmp_path / f"{form}.{ending}"
        done = here(
            *("mine", "bundled", "--data", data, "-o", file, "--format", form, "--relative-margin", "none"),
            *("--near-duplicates", "none", "--range-max", "none", "--json"),
        )
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert (answer["found"], answer["short_rows"], answer["empty_rows"]) == (1, 2, 2)
        assert "2 of 3 rows got fewer than 1" in done.stderr
        negatives = read_dataset(file).splits["train"]["negatives"].to_pylist()
        assert negatives == [[], [pairs[0]["positive"]], []]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--range-min", 100), ("range_min is 100, but range_max is 100",)),
        (("--min-score", 0.9, "--max-score", 0.1), ("min_score is 0.9, but max_score is 0.1",)),
        (("--num-negatives", 9, "--range-max", 5), ("num_negatives is 9",)),
        (("--max-score", "nan"), ("training.hard_negatives.max_score",)),
        (("--split", "dev2"), ("no split 'dev2'",)),
        (("--min-score", 0.999), ("no negative was found", "min_score took", "loosen min_score")),
        (("--cross-encoder", "nowhere-at-all"), ("cross-encoder 'nowhere-at-all'",)),
    ],
    ids=str,
)
def test_mistakes_are_named_and_nothing_is_written(here, tmp_path, arguments, parts):
    file = tmp_path / "mined.jsonl"
    assert_user_error(here("mine", "bundled", "--data", GARDEN, "-o", file, *arguments), *parts)
    assert list(tmp_path.iterdir()) == []


def test_limits_are_refused_before_anything_is_read_or_opened(here, tmp_path):
    done = here("mine", "no-model", "--data", tmp_path / "no-data", "-o", tmp_path / "m.jsonl", "--range-min", 100)
    assert_user_error(done, "range_min is 100")


def test_only_what_embedft_wrote_is_replaced(here, tmp_path):
    file = tmp_path / "mined.jsonl"
    file.write_text("my notes\n")
    shared = ("mine", "bundled", "--data", GARDEN, "-o")
    assert_user_error(here(*shared, file), "exists already")
    assert_user_error(here(*shared, file, "--force"), "only what embedft wrote")
    assert file.read_text() == "my notes\n"
    assert_user_error(here(*shared, tmp_path / "mined.csv"), "no ending that tells its format")
    file.write_text('{"anchor": "a", "positive": "b"}\n')
    done = here(*shared, file, "--force")
    assert done.returncode == 0, done.stderr
    assert len(file.read_text().splitlines()) == 56


@pytest.fixture
def odd_columns(tmp_path):
    """Pairs of the garden under names that tell nothing."""
    rows = read_retrieval(GARDEN).training_pairs().to_pylist()[:24]
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps({"left": row["anchor"], "right": row["positive"]}) + "\n" for row in rows))
    return path


def test_rows_with_columns_of_other_names_are_mined_and_judged(here, tmp_path, odd_columns):
    refused = here("mine", "bundled", "--data", odd_columns, "-o", tmp_path / "m.jsonl")
    assert_user_error(refused, "cannot tell what the columns left, right hold", "--columns anchor=COLUMN")
    columns = ("--columns", "anchor=left,positive=right")
    done = here("mine", "bundled", "--data", odd_columns, "-o", tmp_path / "m.jsonl", *columns)
    assert done.returncode == 0, done.stderr
    assert read_dataset(tmp_path / "m.jsonl").splits["train"].num_rows == 24
    done = here("evaluate", "bundled", "--data", odd_columns, "--split", "train", "--json", *columns)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["queries"] == 24
    assert answer["arguments"][-2:] == list(columns)


def test_a_run_keeps_the_names_of_columns_and_goes_on_with_them(here, tmp_path, odd_columns):
    quick = (*QUICK, "--set", "evaluation.report=false", "--set", "training.batch_size=8")
    command = ("train", "--data", odd_columns, "-o", tmp_path / "run", *quick, "--json")
    done = here(*command, "--columns", "anchor=left,positive=right")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"]["data"]["columns"] == {"anchor": ["left"], "positive": ["right"]}
    named = ("--set", "data.columns.anchor=left", "--set", "data.columns.positive=right")
    assert here(*command, *named, "--resume").returncode == 0
