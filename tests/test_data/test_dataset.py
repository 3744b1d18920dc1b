"""Reading what was written gives the same rows; splitting is a partition that no order changes."""

import gzip
import io
import json
import sys
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedft.data.check import check
from embedft.data.clean import CleanConfig, clean, clean_text
from embedft.data.dataset import read_dataset
from embedft.data.near import duplicate_groups, near_pairs, normalised
from embedft.data.roles import MissingColumnError, named_columns, parse_columns
from embedft.data.split import SplitConfig, row_keys, split
from embedft.data.store import write_dataset
from embedft.errors import ConfigError, DataError

RATIOS = {"train": 60.0, "dev": 20.0, "test": 20.0}
# What a UTF-8 file can hold: everything but lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda text: text.strip(
        "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\u202a\u202b\u202c\u202d\u202e\ufe0f\0"
    ).strip()
)
WORDS = ["ab", "cd", "ef", "gh", "ij", "kl"]
relaxed = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(data):
    return {
        name: [{key: value for key, value in row.items() if key not in ("file", "line")} for row in table.to_pylist()]
        for name, table in data.splits.items()
    }


KINDS = {
    "labelled": st.fixed_dictionaries({"text": texts, "label": st.lists(texts.map(str.strip), min_size=1, max_size=3)}),
    "scored": st.fixed_dictionaries({"sentence1": texts, "sentence2": texts, "score": st.floats(0, 1)}),
    "pairs": st.fixed_dictionaries(
        {
            "anchor": texts.map("a {}".format),
            "positive": texts.map("p {}".format),
            "negatives": st.lists(texts.map("n {}".format)),
        }
    ),
    "documents": st.fixed_dictionaries({"title": texts, "text": texts, "extra": st.integers()}),
}


@pytest.mark.parametrize("kind", KINDS)
@relaxed
@given(data=st.data())
def test_what_was_written_is_read_again(kind, data, tmp_path):
    rows = data.draw(st.lists(KINDS[kind], min_size=1, max_size=8))
    if kind == "scored":
        rows.append({"sentence1": "low", "sentence2": "high", "score": 1.0})
    first = read_dataset(write_rows(tmp_path / "train.jsonl", rows))
    assert not first.faults
    write_dataset(first, tmp_path / "out", made_by="test", force=True)
    assert rows_of(read_dataset(tmp_path / "out")) == rows_of(first)


@relaxed
@given(text=st.text(max_size=80))
def test_a_text_that_was_cleaned_stays_as_it_is(text):
    steps = (*CleanConfig.steps, "lower", "punctuation")
    for chosen in (CleanConfig.steps, steps):
        once = clean_text(text, chosen)
        assert clean_text(once, chosen) == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a&amp;lt;b&amp;gt;bold&amp;lt;/b&amp;gt; c", "a bold c"),
        ("caf\u0065\u0301 \u200bol\u00e9", "caf\u00e9 ol\u00e9"),
        ("f\u00c3\u00bcr", "f\u00fcr"),
        ("one\u00a0two\ttwo   three \n\n\n\nfour ", "one two two three\n\nfour"),
        ("def f(x):\n    return  x < 3", "def f(x):\n    return x < 3"),
        ("if a<b and c>d then", "if a<b and c>d then"),
        ("List<i> and Map<a, b>, i<code.length and j>3", "List<i> and Map<a, b>, i<code.length and j>3"),
        ("<b>bold</b> <I>too</I> cut</i>", "bold too cut"),
        ('<a href="x?a>b">one</a> <td nowrap>two<br /> <p class=c id = "d">three', "one two three"),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467 stay", "\U0001f468\u200d\U0001f469\u200d\U0001f467 stay"),
    ],
)
def test_texts_are_mended(text, expected):
    assert clean_text(text, CleanConfig.steps) == expected


@relaxed
@given(
    words=st.lists(
        st.lists(st.sampled_from(["ab", "cd", "ef", "gh", "ij", "kl"]), min_size=1, max_size=4),
        min_size=12,
        max_size=40,
    ),
    order=st.randoms(use_true_random=False),
)
def test_a_split_is_a_partition_whatever_the_order(words, order, tmp_path):
    rows = [{"text": f"{' '.join(row)} {number % 9}", "label": f"c{number % 2}"} for number, row in enumerate(words)]
    sides = []
    for _ in range(2):
        whole = read_dataset(write_rows(tmp_path / "train.jsonl", rows))
        try:
            done = split(whole, SplitConfig(RATIOS))
        except DataError:
            return
        sides.append({name: sorted(row["text"] for row in table) for name, table in rows_of(done).items()})
        order.shuffle(rows)
    assert sides[0] == sides[1]
    assert sorted(text for side in sides[0].values() for text in side) == sorted(row["text"] for row in rows)
    for one, other in combinations(sides[0].values(), 2):
        assert not {normalised(text) for text in one} & {normalised(text) for text in other}


def shingles(text):
    return frozenset(text[i : i + 5] for i in range(max(len(text) - 4, 1)))


def jaccard(left, right):
    one, other = shingles(left), shingles(right)
    return len(one & other) / len(one | other)


def test_near_duplicates_are_those_that_brute_force_finds(shared):
    rows = read_dataset(shared / "classification" / "banking77").splits["train"]["text"].to_pylist()[:1500]
    distinct = list(dict.fromkeys(map(normalised, rows)))
    found = {tuple(pair) for pair in near_pairs(distinct, 0.7).tolist()}
    expected = {
        (left, right)
        for left, right in combinations(range(len(distinct)), 2)
        if 0.6 * len(distinct[left]) < len(distinct[right]) < len(distinct[left]) / 0.6
        and jaccard(distinct[left], distinct[right]) >= 0.7
    }
    assert found <= expected
    assert len(found) >= 0.97 * len(expected)


def test_groups_hold_exact_normalised_and_near_copies():
    long = "the quick brown fox jumps over the lazy dog while it rains in spain on every single day of the week"
    exact, same, near = duplicate_groups([long, long, long.upper() + "!", long + "s", "something else entirely"])
    assert exact.tolist() == [0, 0, 2, 3, 4]
    assert same.tolist() == [0, 0, 0, 3, 4]
    assert near.tolist() == [0, 0, 0, 0, 4]


def test_no_near_duplicate_question_stands_on_two_sides(shared):
    done = split(read_dataset(shared / "retrieval" / "medquad"), SplitConfig({"train": 80, "dev": 10, "test": 10}))
    retrieval = done.retrieval
    text_of = dict(zip(retrieval.queries["id"].to_pylist(), retrieval.queries["text"].to_pylist(), strict=True))
    sides = [
        [
            frozenset(text[i : i + 5] for i in range(max(len(text) - 4, 1)))
            for text in {normalised(text_of[q]) for q in ids}
        ]
        for ids in (set(table["query_id"].to_pylist()) for table in retrieval.qrels.values())
    ]
    assert all(len(side) > 500 for side in sides)
    for one, other in combinations(sides, 2):
        for left in one:
            for right in other:
                shared_count = len(left & right) if 0.85 <= len(left) / len(right) <= 1 / 0.85 else 0
                assert shared_count < 0.85 * (len(left) + len(right) - shared_count)


def test_classes_keep_their_shares_and_shots_their_number(shared):
    whole = read_dataset(shared / "classification" / "trec6")
    done = split(whole, SplitConfig(RATIOS))
    for name, share in (("train", 0.6), ("dev", 0.2), ("test", 0.2)):
        labels = done.splits[name]["labels"].combine_chunks().flatten().to_pylist()
        assert labels.count("NUM") == pytest.approx(share * 1009, rel=0.05)
    few = split(whole, SplitConfig(RATIOS, shots=8)).splits["train"]["labels"].combine_chunks().flatten().to_pylist()
    assert {label: few.count(label) for label in set(few)} == dict.fromkeys(set(few), 8)


def test_shots_are_not_divided_by_time():
    with pytest.raises(ConfigError, match="by time or by shots"):
        SplitConfig(RATIOS, time="day", shots=3)


def test_classes_with_fewer_rows_than_shots_are_named(tmp_path, caplog):
    nearly = "this is nearly the same text of one class number {} and so on and on"
    copies = [{"text": nearly.format(number), "label": "a"} for number in range(8)]
    others = [{"text": f"quite {n} other {n * 7919 % 997}", "label": "b"} for n in range(20)]
    done = split(read_dataset(write_rows(tmp_path / "train.jsonl", copies + others)), SplitConfig(RATIOS, shots=5))
    assert {name: table.num_rows for name, table in done.splits.items()} == {"train": 5, "test": 23}
    assert "fewer than 5 rows of train for a (0)" in caplog.text


def test_groups_stay_together_and_time_runs_forward(tmp_path):
    rows = [
        {
            "text": f"text number {number} of {number * 7919 % 101}",
            "label": "x",
            "user": number % 10,
            "day": f"2026-01-{number:02}",
        }
        for number in range(1, 31)
    ]
    whole = read_dataset(write_rows(tmp_path / "train.jsonl", rows))
    users = [
        {json.loads(row["metadata"])["user"] for row in table}
        for table in rows_of(split(whole, SplitConfig(RATIOS, group="user", threshold=1))).values()
    ]
    assert not any(one & other for one, other in combinations(users, 2))
    in_time = rows_of(split(whole, SplitConfig(RATIOS, time="day", threshold=1)))
    days = [[json.loads(row["metadata"])["day"] for row in in_time[name]] for name in RATIOS]
    assert max(days[0]) < min(days[1])
    assert max(days[1]) < min(days[2])


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".jsonl.gz", ".tsv.zst"])
def test_every_format_gives_the_same_rows(tmp_path, ending):
    rows = [{"question": f"what is {n}?", "label": f"c{n % 2}"} for n in range(9)]
    path = tmp_path / f"train{ending}"
    if ending in (".parquet", ".arrow"):
        table = pa.Table.from_pylist(rows)
        if ending == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(table, path)
        else:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
    elif ending == ".json":
        path.write_text(json.dumps(rows))
    elif ending.startswith(".jsonl"):
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    else:
        separator = "," if ending == ".csv" else "\t"
        content = "\n".join(
            separator.join(row) for row in [["question", "label"], *(r.values() for r in rows)]
        ).encode()
        if ending.endswith(".zst"):
            with pa.CompressedOutputStream(str(path), "zstd") as stream:
                stream.write(content)
        else:
            path.write_bytes(content)
    data = read_dataset(path)
    assert data.kind == "labelled texts"
    assert [row["text"] for row in rows_of(data)["train"]] == [row["question"] for row in rows]


def test_a_datasets_folder_and_a_glob_are_read(tmp_path):
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    part = datasets.Dataset.from_dict({"text": ["one", "two"], "label": [1, 0]}, features=features)
    datasets.DatasetDict({"train": part, "validation": part}).save_to_disk(str(tmp_path / "saved"))
    read = rows_of(read_dataset(tmp_path / "saved"))
    assert set(read) == {"train", "dev"}
    assert [row["labels"] for row in read["train"]] == [["yes"], ["no"]]
    for number in range(3):
        write_rows(tmp_path / f"train-0000{number}-of-00003.jsonl", [{"text": f"t{number}", "label": "x"}])
    assert read_dataset(str(tmp_path / "train-*.jsonl")).splits["train"].num_rows == 3


def test_standard_input_is_told_by_its_first_bytes(monkeypatch):
    content = b'{"text": "one", "label": "x"}\n{"text": "two", "label": "y"}\n'
    stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))
    monkeypatch.setattr(sys, "stdin", stream)
    assert read_dataset("-").splits["train"].num_rows == 2


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"query": "q", "question": "q", "answer": "a"}, "'query' and 'question' may each be the anchor"),
        ({"sentence1": "a", "sentence2": "b", "label": 1}, "may be a pair with a score, or a pair with a label"),
        ({"left": "a", "right": "b"}, "cannot tell what the columns left, right hold"),
        ({"query": "q", "answer": "a", "negative": "n", "score": 1}, "both scores and negatives"),
    ],
)
def test_two_readings_are_asked_about(tmp_path, row, match):
    path = write_rows(tmp_path / "train.jsonl", [row])
    with pytest.raises(DataError, match=match):
        read_dataset(path)


def test_columns_say_what_names_do_not(tmp_path):
    path = write_rows(tmp_path / "train.jsonl", [{"left": "a", "right": "b", "wrong": "c", "worse": "d"}])
    data = read_dataset(path, columns=parse_columns("anchor=left,positive=right,negative=wrong,negative=worse"))
    (row,) = rows_of(data)["train"]
    assert (row["anchor"], row["positive"], row["negatives"]) == ("a", "b", ["c", "d"])


def test_columns_of_a_configuration_are_those_of_the_command_line():
    named = {"sentence1": ["left"], "positive": ["right"], "negative": ["wrong", "worse"]}
    assert named_columns(named) == parse_columns("sentence1=left,positive=right,negative=wrong,negative=worse")
    assert named_columns({}) is None
    for broken, match in (({"anker": ["a"]}, "'anker' is no role"), ({"text": ["a", "b"]}, "two columns for text")):
        with pytest.raises(DataError, match=match):
            named_columns(broken)


def test_columns_are_not_named_for_a_beir_folder(garden):
    with pytest.raises(MissingColumnError, match="is a BEIR folder"):
        read_dataset(garden, columns=parse_columns("anchor=q"))


def test_rows_with_a_text_are_documents_where_documents_are_asked_for(tmp_path):
    path = write_rows(tmp_path / "all.jsonl", [{"id": "a", "text": "ferns", "label": "x", "query": "q", "answer": "p"}])
    (row,) = rows_of(read_dataset(path, as_documents=True))["train"]
    assert (row["id"], row["text"]) == ("a", "ferns")
    assert json.loads(row["metadata"]) == {"label": "x", "query": "q", "answer": "p"}


@pytest.mark.parametrize(("share", "bad"), [(0.29, 29), (0.57, 57), (0.05, 5)])
def test_a_share_allows_as_many_bad_rows_as_it_says(tmp_path, share, bad):
    rows = [{"text": "fern" if number >= bad else "", "label": "x"} for number in range(100)]
    path = write_rows(tmp_path / "train.jsonl", rows)
    assert read_dataset(path, max_bad=share).splits["train"].num_rows == 100 - bad
    with pytest.raises(DataError, match=f"{bad} of 100 rows are bad") as caught:
        read_dataset(path, max_bad=share - 0.01)
    assert f"--max-bad {bad}%" in caught.value.hint
    assert f"data.max_bad: {share:g}" in caught.value.hint


def test_long_names_of_splits_are_known_and_compared(tmp_path):
    for name in ("training", "validation", "testing"):
        write_rows(tmp_path / f"{name}.jsonl", [{"text": f"ferns like shade {n}", "label": "x"} for n in range(3)])
    data = read_dataset(tmp_path)
    assert set(data.splits) == {"train", "dev", "test"}
    assert {(leak.kind, leak.split) for leak in check(data).leakage} == {("exact", "dev"), ("exact", "test")}


def test_where_nothing_is_compared_leakage_is_not_said_to_be_absent(tmp_path):
    rows = [{"text": "ferns like shade", "label": "x"}, {"text": "moss is soft", "label": "y"}]
    alone, other = (read_dataset(write_rows(tmp_path / f"{name}.jsonl", rows)) for name in ("train", "other"))
    assert check(alone).as_dict()["leakage"] is None
    assert {leak.kind for leak in check(alone, against=other).leakage} == {"exact"}


def test_augmented_rows_stay_with_their_parents(tmp_path):
    rows = [
        {"text": f"{word} stands alone here", "label": "x"}
        for word in ["one", "two", "three", "four", "five", "six", "seven"]
    ]
    rows += [
        {"text": f"quite other words {n}", "label": "x", "augmented_from": rows[n]["text"], "augmented_by": "hand"}
        for n in range(7)
    ]
    whole = read_dataset(write_rows(tmp_path / "train.jsonl", rows))
    done = split(whole, SplitConfig(RATIOS, threshold=0.99))
    made = 0
    for name, table in done.splits.items():
        keys = set(row_keys(done, table))
        parents = [json.loads(text)["augmented_from"] for text in table["metadata"].to_pylist() if text]
        assert keys.issuperset(parents)
        assert name == "train" or not parents, "what judges was written by people"
        made += len(parents)
    assert made == sum(json.loads(text or "{}") == {} for text in done.splits["train"]["metadata"].to_pylist())


def test_conflicting_labels_go_by_majority(tmp_path):
    rows = [{"text": "same", "label": label} for label in "aab"] + [{"text": "other", "label": label} for label in "ab"]
    whole = read_dataset(write_rows(tmp_path / "train.jsonl", rows))
    kept, changes = clean(whole, CleanConfig(conflicts="majority", duplicates="exact"))
    assert [row["labels"] for row in rows_of(kept)["train"]] == [["a"]]
    assert len(changes.dropped) == 4
    assert np.all([fault.line > 0 for fault in changes.dropped])
