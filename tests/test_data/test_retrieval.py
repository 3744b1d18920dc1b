"""BEIR folders and pairs: what is read, what is left out, what is refused."""

import io
import json
import sys

import pytest

from embedft.data import read_retrieval, write_beir
from embedft.errors import DataError


def rewrite(path, change):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in change(rows)))


def test_a_beir_folder_is_read_with_its_splits(garden):
    data = read_retrieval(garden)
    assert data.corpus.num_rows == 48
    assert {split: len(data.judged_queries(split)[0]) for split in data.qrels} == {"train": 56, "dev": 16, "test": 24}
    assert data.document_texts()[0].startswith("Where tomato grows Give it full sun.")
    assert set(data.files) == {"corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/dev.tsv", "qrels/test.tsv"}
    assert data.faults == ()


def test_what_was_written_is_read_back(garden, tmp_path):
    rewrite(garden / "corpus.jsonl", lambda rows: [{**row, "year": 2020, "tags": ["a"]} for row in rows])
    data = read_retrieval(garden)
    write_beir(data, tmp_path / "copy")
    copy = read_retrieval(tmp_path / "copy")
    assert copy.corpus == data.corpus
    assert copy.queries == data.queries
    assert dict(copy.qrels) == dict(data.qrels)


def test_training_pairs_are_the_relevant_ones(garden):
    with (garden / "qrels" / "train.tsv").open("a") as file:
        file.write("q1\tfern-place\t0\n")
    pairs = read_retrieval(garden).training_pairs().to_pylist()
    assert len(pairs) == 56
    assert pairs[0]["anchor"] == "how much light and which soil does tomato want"
    assert pairs[0]["positive"].startswith("Where tomato grows")
    assert pairs[0]["negatives"] == []


def test_a_few_bad_rows_are_left_out_and_listed(garden):
    with (garden / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "extra", "text": null}\n{"_id": cut off\n')
    data = read_retrieval(garden, max_bad=0.05)
    assert data.corpus.num_rows == 48
    assert [(fault.kind, fault.line) for fault in data.faults] == [
        ("text is null", 49),
        ("not valid JSON: cut off", 50),
    ]
    with pytest.raises(DataError, match=r"corpus\.jsonl: 2 of 50 rows are bad"):
        read_retrieval(garden, max_bad=0.01)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"\xff\xfe{}\n", "not valid JSON: plain text"),
        (b"[1, 2]\n", "not a JSON object"),
        (b'{"text": "no id"}\n', "_id is missing"),
        (b'{"_id": "tomato-place", "text": "again"}\n', "_id stands twice"),
        (b'{"_id": "x", "text": "\\ud83d"}\n', "lone surrogate"),
        (b'{"_id": "x", "text": 5}\n', "text is a number"),
        (b'{"_id": "x"}\n', "text is missing"),
    ],
)
def test_each_kind_of_bad_row_is_named_with_its_line(garden, line, kind):
    with (garden / "corpus.jsonl").open("ab") as file:
        file.write(line)
    (fault,) = read_retrieval(garden).faults
    assert kind in fault.kind
    assert fault.line == 49


def test_numeric_ids_and_a_byte_order_mark_are_read(garden):
    rewrite(garden / "queries.jsonl", lambda rows: [{**row, "_id": int(row["_id"][1:])} for row in rows])
    for split in ("train", "dev", "test"):
        file = garden / "qrels" / f"{split}.tsv"
        file.write_text(file.read_text().replace("\nq", "\n"))
    content = (garden / "queries.jsonl").read_bytes()
    (garden / "queries.jsonl").write_bytes(b"\xef\xbb\xbf" + content)
    assert len(read_retrieval(garden).judged_queries("test")[0]) == 24


def test_unknown_ids_in_qrels_are_refused_or_dropped(garden):
    with (garden / "qrels" / "test.tsv").open("a") as file:
        file.write("q1\tnowhere\t1\nnobody\tfern-care\t1\n")
    with pytest.raises(DataError, match=r"test\.tsv: 2 of 26 rows name ids") as caught:
        read_retrieval(garden)
    assert "test.tsv:26: corpus-id that the corpus does not have (nowhere)" in caught.value.message
    assert "drop" in caught.value.hint
    data = read_retrieval(garden, unknown_ids="drop")
    assert data.qrels["test"].num_rows == 24
    assert len(data.faults) == 2


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (lambda root: (root / "corpus.jsonl").write_text(""), "corpus.jsonl: is empty"),
        (lambda root: (root / "queries.jsonl").unlink(), "queries.jsonl: no such file"),
        (lambda root: (root / "corpus.jsonl").unlink(), "corpus.jsonl: no such file"),
        (lambda root: [file.unlink() for file in (root / "qrels").iterdir()], "holds none of train.tsv"),
        (lambda root: (root / "qrels" / "test.tsv").write_text("a\tb\tc\n1\t2\t3\n"), "test.tsv:1: needs the columns"),
        (lambda root: (root / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n"), "test.tsv: is empty"),
        (
            lambda root: (root / "qrels" / "test.tsv").write_text(
                "query-id\tcorpus-id\tscore\nq1\tfern-care\thigh\nq2\n"
            ),
            "2 of 2 rows are bad",
        ),
    ],
)
def test_a_broken_folder_is_refused_by_name(garden, break_it, named):
    break_it(garden)
    with pytest.raises(DataError) as caught:
        read_retrieval(garden)
    assert named in caught.value.message
    assert caught.value.hint


def test_a_missing_path_and_a_missing_split_are_named(garden, tmp_path):
    with pytest.raises(DataError, match="nothing: no such file or folder"):
        read_retrieval(tmp_path / "nothing")
    (garden / "qrels" / "train.tsv").unlink()
    with pytest.raises(DataError, match="has no split 'train'; it has dev, test"):
        read_retrieval(garden).training_pairs()


PAIRS = [
    {"anchor": "a1", "positive": "p1", "negative": "n1", "negative_2": "p2"},
    {"anchor": "a2", "positive": "p2", "negative": "n2", "negative_2": "n3"},
    {"anchor": "a1", "positive": "p3", "negative": "n1", "negative_2": "n3"},
]


def write_pairs(path, order=("negative_2", "positive", "anchor", "negative")):
    """The pairs with their columns in an unusual order: roles go by name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{name: row[name] for name in order} for row in PAIRS]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        separator = "," if path.suffix == ".csv" else "\t"
        path.write_text("\n".join(separator.join(row) for row in [order, *(row.values() for row in rows)]) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_pairs_are_read_by_column_name_in_every_format(tmp_path, suffix):
    data = read_retrieval(write_pairs(tmp_path / f"pairs{suffix}"))
    assert data.corpus.num_rows == 6
    assert data.judged_queries("train")[1] == ["a1", "a2"]
    assert data.qrels["train"].num_rows == 3
    rows = data.training_pairs().to_pylist()
    assert [(row["anchor"], row["positive"], set(row["negatives"])) for row in rows] == [
        ("a1", "p1", {"n1", "p2"}),
        ("a2", "p2", {"n2", "n3"}),
        ("a1", "p3", {"n1", "n3"}),
    ]


def test_csv_quotes_hold_commas_and_line_breaks_and_tsv_has_no_quotes(tmp_path):
    (tmp_path / "a.csv").write_text('anchor,positive\n"one, two","line\nbreak ""quoted"""\n')
    (tmp_path / "a.tsv").write_text('anchor\tpositive\n"one\ta "quoted" word\n')
    assert read_retrieval(tmp_path / "a.csv").training_pairs().to_pylist()[0]["positive"] == 'line\nbreak "quoted"'
    assert read_retrieval(tmp_path / "a.tsv").training_pairs().to_pylist()[0]["anchor"] == '"one'


def test_a_folder_of_pairs_has_its_files_as_splits(tmp_path):
    write_pairs(tmp_path / "train.jsonl")
    write_pairs(tmp_path / "test.csv")
    data = read_retrieval(tmp_path)
    assert set(data.qrels) == {"train", "test"}
    assert data.queries.num_rows == 4


def test_two_files_for_one_split_are_refused(tmp_path):
    write_pairs(tmp_path / "train.jsonl")
    write_pairs(tmp_path / "train.csv")
    with pytest.raises(DataError, match=r"train\.csv and train\.jsonl; which is meant"):
        read_retrieval(tmp_path)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"anchor": "a", "positive": "p", "negative": "p"}, "a negative equals the positive"),
        ({"anchor": "a", "positive": "a"}, "the positive equals the anchor"),
        ({"anchor": " ", "positive": "p"}, "anchor is white space only"),
        ({"anchor": "a", "positive": None}, "positive is null"),
        ({"anchor": "a", "positive": "p", "negative": ["n", ""]}, "negative is empty"),
    ],
)
def test_a_bad_pair_is_a_fault_of_its_line(tmp_path, row, kind):
    good = [{"anchor": f"a{i}", "positive": f"p{i}"} for i in range(40)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(item) + "\n" for item in [*good, row]))
    (fault,) = read_retrieval(tmp_path / "p.jsonl").faults
    assert kind in fault.kind
    assert fault.line == 41


def test_a_table_without_known_columns_is_refused_with_what_it_has(tmp_path):
    (tmp_path / "p.csv").write_text("left,right\nq,a\n")
    with pytest.raises(DataError, match="cannot tell what the columns left, right hold"):
        read_retrieval(tmp_path / "p.csv")


def test_pairs_are_read_from_a_pattern_and_from_standard_input(tmp_path, monkeypatch):
    for name in ("train", "testing"):
        write_pairs(tmp_path / f"{name}.jsonl")
    assert set(read_retrieval(tmp_path / "t*.jsonl").qrels) == {"train", "test"}
    with pytest.raises(DataError, match="matches no file"):
        read_retrieval(tmp_path / "x*.jsonl")
    typed = (tmp_path / "train.jsonl").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(typed))))
    assert read_retrieval("-").training_pairs().num_rows == 3


def test_columns_are_named_for_pairs_and_not_for_a_beir_folder(tmp_path, garden):
    (tmp_path / "p.csv").write_text("left,right\nq,a\n")
    columns = {"anchor": ("left",), "positive": ("right",)}
    (pair,) = read_retrieval(tmp_path / "p.csv", columns=columns).training_pairs().to_pylist()
    assert (pair["anchor"], pair["positive"]) == ("q", "a")
    with pytest.raises(DataError, match="is a BEIR folder"):
        read_retrieval(garden, columns=columns)


def test_rows_of_another_task_name_it(tmp_path):
    (tmp_path / "s.csv").write_text("sentence1,sentence2,score\na,b,1\n")
    with pytest.raises(DataError, match="holds scored pairs") as caught:
        read_retrieval(tmp_path / "s.csv")
    assert "--task similarity" in caught.value.hint


def test_the_usual_names_of_pairs_are_known(tmp_path):
    (tmp_path / "p.csv").write_text("answer,question\na,q\n")
    (pair,) = read_retrieval(tmp_path / "p.csv").training_pairs().to_pylist()
    assert (pair["anchor"], pair["positive"]) == ("q", "a")


def test_the_public_sets_have_the_counts_they_state(shared):
    stated = {"cranfield": (1400, 225), "cacm": (3204, 52), "liveqa_med": (1935, 96), "trecqa": (7052, 89)}
    for name, (documents, queries) in stated.items():
        data = read_retrieval(shared / "retrieval" / name)
        assert (data.corpus.num_rows, len(data.judged_queries("test")[0])) == (documents, queries)
        assert data.faults == ()


def test_qrels_in_utf16_are_read(garden):
    expected = read_retrieval(garden).qrels["test"]
    file = garden / "qrels" / "test.tsv"
    file.write_bytes(file.read_text().encode("utf-16"))
    assert read_retrieval(garden).qrels["test"] == expected
