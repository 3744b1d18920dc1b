"""A file's texts as a stream: every row or an error, never a row less."""

import pytest

from embedft.data import stream_texts
from embedft.errors import DataError


def test_a_text_a_line_with_empty_lines_kept(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeffeins\r\n\nzwei  \ndrei".encode())
    assert list(stream_texts(path)) == ["eins", "", "zwei  ", "drei"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.jsonl", '{"text": "a"}\n{"text": "b"}\n'),
        ("t.csv", 'text,other\na,1\n"b",2\n'),
        ("t.tsv", "other\ttext\n1\ta\n2\tb\n"),
    ],
)
def test_a_column_of_a_file(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert list(stream_texts(tmp_path / name)) == ["a", "b"]


def test_another_column(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"body": "a"}\n')
    assert list(stream_texts(tmp_path / "t.jsonl", "body")) == ["a"]


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("t.jsonl", '{"text": "a"}\n{"body": "b"}\n', r":2: expected a text in the column 'text', found columns body"),
        ("t.jsonl", '{"text": 7}\n', "text = 7"),
        ("t.jsonl", '{"text": "a"}\n{broken\n', ":2: not valid JSON"),
        ("t.jsonl", "", "is empty"),
        ("t.txt", "", "is empty"),
        ("t.doc", "a", "cannot tell its format"),
    ],
)
def test_a_row_without_a_text_ends_the_reading(tmp_path, name, content, named):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=named):
        list(stream_texts(tmp_path / name))


def test_a_line_that_is_no_utf8_is_named(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"good\nb\xe4d\n")
    with pytest.raises(DataError, match=r"t\.txt:2: is not UTF-8 \(byte 0xe4 at column 2\)"):
        list(stream_texts(tmp_path / "t.txt"))
    with pytest.raises(DataError, match="no such file"):
        list(stream_texts(tmp_path / "nowhere.txt"))
