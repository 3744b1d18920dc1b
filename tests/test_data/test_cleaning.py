"""What cleaning leaves is what a reader takes, and what it leaves out was repeated, empty or leaking."""

import json

import pytest

from embedft.data import find_leakage, read_retrieval
from embedft.data.check import check
from embedft.data.clean import CleanConfig, clean, clean_text
from embedft.data.dataset import read_dataset
from embedft.data.near import normalised
from embedft.data.store import write_dataset
from embedft.errors import ConfigError, DataError

LONG = " ".join(f"word{number} about the thing that is told here" for number in range(40))
EVERYTHING = CleanConfig(steps=(*CleanConfig.steps, "lower", "punctuation"))


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def beir(folder, queries, qrels):
    """A BEIR folder of 40 documents; queries d to text, and split to rows of (query, document, grade)."""
    write(
        folder / "corpus.jsonl",
        [{"_id": f"d{n}", "title": "", "text": f"text {n} {n * 7919 % 997}"} for n in range(40)],
    )
    write(folder / "queries.jsonl", [{"_id": name, "text": text} for name, text in queries.items()])
    (folder / "qrels").mkdir()
    for split, rows in qrels.items():
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in rows)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def rows_of(data, split="train"):
    return data.splits[split].to_pylist()


def test_triplets_with_other_negatives_are_no_duplicates(tmp_path):
    rows = [{"anchor": "q", "positive": "p", "negatives": [f"n{n}", "m"]} for n in range(5)]
    rows.append({"anchor": "q", "positive": "p", "negatives": ["m", "n0"]})
    kept, changes = clean(read_dataset(write(tmp_path / "train.jsonl", rows)))
    assert [row["negatives"][0] for row in rows_of(kept)] == [f"n{n}" for n in range(5)]
    assert [fault.line for fault in changes.dropped] == [6], "the order of negatives says nothing"


def test_questions_of_one_long_answer_are_no_near_duplicates(tmp_path):
    asked = ["when to water", "which soil", "how to prune in winter", "why do leaves turn yellow"]
    near = [
        ("how often should a fern be watered in summer", LONG),
        ("How often should a fern be watered in summers?", LONG),
    ]
    rows = [{"anchor": anchor, "positive": positive} for anchor, positive in [*((q, LONG) for q in asked), *near]]
    data = read_dataset(write(tmp_path / "train.jsonl", rows))
    kept, _ = clean(data, CleanConfig(duplicates="near"))
    assert [row["line"] for row in rows_of(kept)] == [1, 2, 3, 4, 5]
    assert check(data).count("near duplicate") == 1


def test_documents_of_one_text_are_told_apart_by_their_titles(tmp_path):
    rows = [
        {"id": str(n), "title": title, "text": "See."} for n, title in enumerate(["Basil &amp; co", "Thyme", "Thyme"])
    ]
    kept, _ = clean(read_dataset(write(tmp_path / "train.jsonl", rows)))
    assert [row["title"] for row in rows_of(kept)] == ["Basil & co", "Thyme"]


def test_cleaned_pairs_are_read_again(tmp_path):
    rows = [{"anchor": f"q{n}", "positive": f"p{n}", "negatives": ["<br>", f"n{n}"]} for n in range(3)]
    rows.append({"anchor": "Tea &amp; cake", "positive": "Tea & cake"})
    rows.append({"anchor": "q", "positive": "What is basil?", "negatives": ["what is basil"]})
    rows.append({"anchor": "q", "positive": "\ufe0f&nbsp;\ufe0f"})
    kept, changes = clean(read_dataset(write(tmp_path / "train.jsonl", rows)), EVERYTHING)
    assert [row["negatives"] for row in rows_of(kept)] == [["n0"], ["n1"], ["n2"]]
    assert sorted(fault.kind for fault in changes.dropped) == [
        "a negative equals the positive after cleaning",
        "positive is empty after cleaning",
        "the positive equals the anchor after cleaning",
    ]
    write_dataset(kept, tmp_path / "out", made_by="test")
    assert read_dataset(tmp_path / "out", max_bad=0).splits["train"].num_rows == 3


def test_an_emptied_query_goes_with_its_judgments(tmp_path):
    queries = {"q0": "water", "q1": "<br>"}
    folder = beir(tmp_path / "in", queries, {"train": [("q0", "d0", 1), ("q1", "d1", 1)], "test": [("q1", "d2", 1)]})
    kept, changes = clean(read_dataset(folder))
    assert [fault.kind for fault in changes.dropped] == [
        "query is empty after cleaning",
        *["its query was left out"] * 2,
    ]
    write_dataset(kept, tmp_path / "out", made_by="test")
    assert {name: table.num_rows for name, table in read_retrieval(tmp_path / "out").qrels.items()} == {"train": 1}
    assert json.loads((tmp_path / "out" / "manifest.yaml").read_text())["rows"] == {"train": 1, "test": 0}


def test_a_split_that_leaks_as_a_whole_is_not_written(tmp_path):
    judged = [(f"q{n}", f"d{n}", 1) for n in range(3)]
    folder = beir(tmp_path / "in", {f"q{n}": f"query {n}" for n in range(3)}, {"train": judged, "test": judged})
    kept, _ = clean(read_dataset(folder), CleanConfig(leakage="drop"))
    write_dataset(kept, tmp_path / "out", made_by="test")
    assert list(read_retrieval(tmp_path / "out").qrels) == ["test"]
    gone = beir(tmp_path / "all", {"q0": "<br>"}, {"train": [("q0", "d0", 1)]})
    with pytest.raises(DataError, match="no row is left"):
        write_dataset(clean(read_dataset(gone))[0], tmp_path / "nothing", made_by="test")


def leaky_queries(folder):
    question = "when and how often should a tomato be watered in a hot and dry summer"
    queries = {
        "a": question,
        "b": question.replace("dry", "dryer"),
        "c": "Where do ferns grow?",
        "d": "where do ferns grow",
    }
    return beir(folder, queries, {"train": [("a", "d0", 1), ("c", "d1", 1)], "test": [("b", "d2", 1), ("d", "d3", 1)]})


def leaky_pairs(folder):
    question = "how do I repot an old and very large fern without help"
    trained = [
        ("how do I water a fern", "With rain."),
        (question, "Use a pot."),
        ("When it is warm.", "Seeds then begin to grow."),
        ("why are leaves green", "Of chlorophyll."),
    ]
    tested = [
        ("How do I water  a fern", "At the roots."),
        (question + "?", "In spring."),
        ("when to sow", "When it is warm."),
    ]
    for split, rows in (("train", trained), ("test", tested)):
        write(folder / f"{split}.jsonl", [{"anchor": anchor, "positive": positive} for anchor, positive in rows])
    return folder


def leaky_sentences(folder):
    for split, row in (("train", ("apple", "Banana")), ("test", ("Apple", "banana"))):
        rows = [
            {"sentence1": row[0], "sentence2": row[1], "score": 1},
            {"sentence1": split, "sentence2": "b", "score": 0},
        ]
        write(folder / f"{split}.jsonl", rows)
    return folder


@pytest.mark.parametrize("made", [leaky_queries, leaky_pairs, leaky_sentences])
def test_what_check_calls_severe_is_what_clean_takes_out(tmp_path, made):
    data = read_dataset(made(tmp_path / "data"))
    assert any(leak.severe for leak in check(data).leakage)
    kept, changes = clean(data, CleanConfig(duplicates="keep", leakage="drop"))
    assert changes.dropped
    assert not [leak for leak in check(kept).leakage if leak.severe]


def test_pairs_leak_for_check_as_they_do_for_training(tmp_path):
    folder = leaky_pairs(tmp_path / "data")
    told = {leak.kind: leak.count for leak in check(read_dataset(folder)).leakage}
    assert told == {"query text": 1, "document is trained query": 1, "normalised": 1}
    trained = find_leakage(read_retrieval(folder))
    assert {leak.kind: leak.count for leak in trained}.items() <= told.items()
    kept, _ = clean(read_dataset(folder), CleanConfig(leakage="drop"))
    assert [row["anchor"] for row in rows_of(kept)] == ["why are leaves green"]


def test_a_shared_answer_is_no_severe_leak(tmp_path):
    write(tmp_path / "train.jsonl", [{"anchor": "which soil", "positive": LONG}])
    write(tmp_path / "test.jsonl", [{"anchor": "when to water", "positive": LONG}])
    assert [(leak.kind, leak.severe) for leak in check(read_dataset(tmp_path)).leakage] == [("positive text", False)]


@pytest.mark.parametrize(("one", "other"), [("दिन", "दीन"), ("ที่ดี", "ทีดี"), ("x\u0302", "x\u030c")])
def test_marks_belong_to_their_letters(tmp_path, one, other):
    assert normalised(f"{one}!") == one
    assert clean_text(f"{one}, {other}.", ("punctuation",)) == f"{one} {other}"
    rows = [{"text": text, "label": text} for text in (one, other)]
    kept, changes = clean(read_dataset(write(tmp_path / "train.jsonl", rows)), CleanConfig(conflicts="drop"))
    assert kept.splits["train"].num_rows == 2
    assert not changes.dropped


def test_the_form_of_an_emoji_is_no_difference():
    assert normalised("water ❤\ufe0f well") == normalised("Water ❤ well")


@pytest.mark.parametrize(
    "config", [CleanConfig(min_chars=3), CleanConfig(max_chars=3), EVERYTHING], ids=["min", "max", "steps"]
)
def test_tokens_are_not_cleaned(tmp_path, config):
    data = read_dataset(write(tmp_path / "train.jsonl", [{"tokens": ["Anna", "smiles"], "tags": ["B-PER", "O"]}]))
    with pytest.raises(ConfigError, match="holds tags"):
        clean(data, config)
