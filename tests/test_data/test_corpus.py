"""Documents to index, out of every kind of source."""

import io
import json
import logging
import sys
from pathlib import Path

import pytest
from conftest import GARDEN
from hypothesis import given
from hypothesis import strategies as st

from embedft.data import read_indexable
from embedft.data.corpus import _is_number, _number, read_documents
from embedft.errors import DataError


def read(path):
    """The rows of a source with their metadata, and what was left out."""
    faults = []
    rows = read_indexable(path, faults).to_pylist()
    for row in rows:
        row["metadata"] = json.loads(row["metadata"]) if row["metadata"] else {}
    return rows, faults


def test_a_beir_folder_and_its_corpus_file_are_the_same_corpus():
    assert read(GARDEN) == read(GARDEN / "corpus.jsonl")
    assert len(read(GARDEN)[0]) == 48


def test_rows_keep_their_ids_titles_and_other_fields(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"id": "a", "title": "T", "text": "ferns", "year": 2020, "tags": ["x"]}\n')
    rows, faults = read(tmp_path / "c.jsonl")
    assert rows == [{"id": "a", "title": "T", "text": "ferns", "metadata": {"year": 2020, "tags": ["x"]}}]
    assert faults == []


def test_columns_of_numbers_are_numbers_and_codes_stay_text(tmp_path):
    (tmp_path / "c.csv").write_text(
        "id,text,year,price,code,phone,mixed,empty\n"
        "1,ferns,2019,1.50,007,+49123,5,\n"
        "2,moss,2020,,12,+49124,five,\n"
        "3,mint,-1,1e3,13,+49125,6,\n"
    )
    assert [row["metadata"] for row in read(tmp_path / "c.csv")[0]] == [
        {"year": 2019, "price": 1.5, "code": "007", "phone": "+49123", "mixed": "5", "empty": None},
        {"year": 2020, "price": None, "code": "12", "phone": "+49124", "mixed": "five", "empty": None},
        {"year": -1, "price": 1000.0, "code": "13", "phone": "+49125", "mixed": "6", "empty": None},
    ]


@given(st.one_of(st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_number_is_read_as_it_was_written(value):
    assert _is_number(repr(value))
    assert _number(repr(value)) == value


@pytest.mark.parametrize("text", ["", "nan", "inf", "1_000", "00", "01", "-", "1.", "0x10", "1e999", "٣", "1,5", "+5"])
def test_what_people_do_not_write_for_a_number_is_text(text):
    assert not _is_number(text)


def test_values_of_json_keep_their_types(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"id": "1", "text": "ferns", "year": "2019"}\n')
    assert read(tmp_path / "c.jsonl")[0][0]["metadata"] == {"year": "2019"}


def test_rows_without_ids_of_several_files_do_not_replace_one_another(tmp_path):
    (tmp_path / "one.csv").write_text("text,year\nferns,2019\nmoss,2020\n")
    (tmp_path / "two.csv").write_text("text,year\nmint,2021\n")
    rows = read(tmp_path)[0]
    assert {row["id"]: (row["text"], row["metadata"]) for row in rows} == {
        f"{tmp_path}/one.csv:2": ("ferns", {"year": 2019}),
        f"{tmp_path}/one.csv:3": ("moss", {"year": 2020}),
        f"{tmp_path}/two.csv:2": ("mint", {"year": 2021}),
    }
    # The same names where a file is read alone: what is added later replaces its own rows and no others.
    assert [row["id"] for row in read(tmp_path / "two.csv")[0]] == [f"{tmp_path}/two.csv:2"]


def test_files_of_one_name_in_two_folders_do_not_replace_one_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "data.csv").write_text("text\nferns\nmoss\n")
    for folder in ("a", "b"):
        assert [row["id"] for row in read(Path(folder, "data.csv"))[0]] == [
            f"{folder}/data.csv:2", f"{folder}/data.csv:3",
        ]  # fmt: skip
    assert len({row["id"] for row in read(Path("*/data.csv"))[0]}) == 4


def test_rows_of_a_data_set_that_is_converted_first_have_the_same_ids_each_time(tmp_path):
    import datasets

    path = tmp_path / "saved"
    datasets.Dataset.from_dict({"text": ["ferns", "moss"]}).save_to_disk(str(path))
    rows = read(path)[0]
    assert [row["id"] for row in rows] == [row["id"] for row in read(path)[0]]
    assert all(row["id"].startswith(f"{path}/train:") for row in rows)


def test_rows_are_read_from_standard_input(monkeypatch):
    typed = b'{"text": "ferns", "year": 2020}\n{"id": "m", "text": "moss"}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
    rows, faults = read(Path("-"))
    assert [(row["id"], row["text"], row["metadata"]) for row in rows] == [
        ("-:1", "ferns", {"year": 2020}), ("m", "moss", {}),
    ]  # fmt: skip
    assert faults == []


def test_a_pattern_matches_files_of_documents_or_of_rows(tmp_path):
    (tmp_path / "docs" / "sub").mkdir(parents=True)
    (tmp_path / "docs" / "a.md").write_text("# Ferns\n\nThey like shade.\n")
    (tmp_path / "docs" / "sub" / "b.md").write_text("# Moss\n\nIt is soft.\n")
    (tmp_path / "docs" / "c.jsonl").write_text('{"id": "m", "text": "mint"}\n')
    (tmp_path / "docs" / "d.bin").write_text("")
    assert [row["id"] for row in read(tmp_path / "docs" / "**" / "*.md")[0]] == ["a.md", "sub/b.md"]
    assert [row["id"] for row in read(tmp_path / "docs" / "*.jsonl")[0]] == ["m"]
    with pytest.raises(DataError, match="beside files that are a document each"):
        read(tmp_path / "docs" / "*")
    with pytest.raises(DataError, match="matches no file"):
        read(tmp_path / "docs" / "*.pdf")
    with pytest.raises(DataError, match=r"matches no file of \.jsonl"):
        read(tmp_path / "docs" / "*.bin")


def test_ids_of_the_files_are_kept_even_where_one_stands_twice(tmp_path):
    (tmp_path / "c.csv").write_text("id,text\na,ferns\na,moss\nb,mint\n")
    assert [row["id"] for row in read(tmp_path / "c.csv")[0]] == ["a", "a", "b"]


def test_a_folder_of_markdown_and_html_gives_a_document_a_file(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.md").write_text("# Ferns\n\nThey like *shade*.\n")
    (tmp_path / "sub" / "b.html").write_text("<title>Moss</title><body><p>It is soft.</p><script>no()</script>")
    rows, faults = read(tmp_path)
    assert [(row["id"], row["title"]) for row in rows] == [("a.md", "Ferns"), ("sub/b.html", "Moss")]
    assert "They like shade." in rows[0]["text"]
    assert rows[1]["text"] == "It is soft."
    assert faults == []
    assert read(tmp_path / "a.md")[0] == rows[:1]


def test_files_of_other_kinds_in_a_folder_are_named(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("embedft"), "propagate", True)
    for name in ("a.md", "b.docx", "c.docx", "rows.csv", ".hidden"):
        (tmp_path / name).write_text("text\n")
    with caplog.at_level(logging.INFO, logger="embedft"):
        assert len(read(tmp_path)[0]) == 1
    assert "1 files are read; of other kinds, not read: 2 .docx, 1 .csv" in caplog.text


@pytest.mark.parametrize("field", ["category", "topic", "label", "class", "sentiment", "intent", "emotion"])
def test_a_label_of_a_document_is_metadata(tmp_path, field):
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "a", "text": "ferns", field: "plants"}) + "\n")
    (tmp_path / "c.csv").write_text(f"id,text,{field}\nb,moss,7\n")
    assert [(row["id"], row["metadata"]) for row in read(tmp_path / "c.jsonl")[0]] == [("a", {field: "plants"})]
    assert [(row["id"], row["metadata"]) for row in read(tmp_path / "c.csv")[0]] == [("b", {field: 7})]


def test_a_file_that_cannot_be_read_is_a_fault_like_a_bad_row(tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02}.txt").write_text("ferns")
    (tmp_path / "binary.txt").write_bytes(bytes(9))
    rows, faults = read(tmp_path)
    assert len(rows) == 30
    assert [str(fault) for fault in faults] == [f"{tmp_path}/binary.txt: binary"]
    with pytest.raises(DataError, match="1 of 31 files are bad") as caught:
        read_indexable(tmp_path, [], max_bad=0.01)
    assert "--max-bad 4%" in caught.value.hint
    lines = [json.dumps({"id": str(number), "text": "ferns"}) for number in range(30)]
    (tmp_path / "c.jsonl").write_text("\n".join([*lines, '{"id": "x", "text": 5}']))
    assert len(read(tmp_path / "c.jsonl")[1]) == 1


def test_files_without_text_are_left_out_and_not_bad(tmp_path):
    for name in ("a/__init__.py", "b/__init__.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "a" / "code.py").write_text("x = 1\n")
    rows, faults = read(tmp_path)
    assert [row["id"] for row in rows] == ["a/code.py"]
    assert {str(fault) for fault in faults} == {
        f"{tmp_path}/{name}: no text" for name in ("a/__init__.py", "b/__init__.py", "notes.txt")
    }


def test_documents_to_derive_from_are_those_to_index(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one/a.csv", "two/a.csv", "docs/sub/b.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("title,text\nBasil,Basil likes warmth and sun\n")
    for path in (GARDEN, Path("one"), Path("*/a.csv"), Path("docs/**/*.md")):
        rows = read(path)[0]
        found = read_documents(path)
        assert [(each.id, each.title, each.text) for each in found] == [
            (row["id"], row["title"], row["text"]) for row in rows
        ]
        assert len({each.id for each in found}) == len(found)


def test_documents_to_derive_from_have_ids_of_their_own_where_files_repeat_them(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("id,text\n1,Basil likes warmth and sun\n")
    assert [each.id for each in read_documents(tmp_path)] == [f"{tmp_path}/a.csv:2", f"{tmp_path}/b.csv:2"]


def test_rows_beside_files_of_documents_are_named(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("embedft"), "propagate", True)
    (tmp_path / "docs.jsonl").write_text('{"text": "ferns like shade"}\n')
    (tmp_path / "README.md").write_text("about the data")
    with caplog.at_level(logging.INFO, logger="embedft"):
        assert [each.id for each in read_documents(tmp_path)] == ["README.md"]
    assert "not read: 1 .jsonl" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("nothing.md", None, "no such file or folder"),
        ("corpus.jsonl", None, "no such file"),
        ("pairs.csv", "anchor,positive\nq,a\n", "holds pairs, not documents"),
        ("empty.csv", "", "is empty"),
        ("empty.txt", "", "no text"),
    ],
)
def test_what_holds_no_documents_is_refused(tmp_path, name, content, found):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=found) as caught:
        read(tmp_path / name)
    assert caught.value.hint
