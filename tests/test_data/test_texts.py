"""A file's texts as a stream: every row or an error, never a row less."""

import io
from pathlib import Path

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


@pytest.mark.parametrize(("name", "form"), [("t.txt", "%s\n"), ("t.jsonl", '{"text": "%s"}\n')])
def test_a_line_that_is_no_utf8_is_read_alike_everywhere_and_told(tmp_path, caplog, name, form):
    (tmp_path / name).write_bytes("".join(form % text for text in ("good", "bäd", "wörse")).encode("latin-1"))
    with caplog.at_level("INFO", logger="embedft"):
        assert list(stream_texts(tmp_path / name)) == ["good", "bäd", "wörse"]
        assert "2 lines not UTF-8, read as latin-1, line 2 first" in caplog.text
        caplog.clear()
        list(stream_texts(tmp_path / name, note=False))
    assert not caplog.text


def test_what_is_no_file_of_texts_is_called_what_it_is(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        list(stream_texts(tmp_path / "nowhere.txt"))
    with pytest.raises(DataError, match="is a folder"):
        list(stream_texts(tmp_path))


@pytest.mark.parametrize("given", [b"one text\nanother\n", b"one text\n", b"one, text\nanother\n"])
def test_plain_lines_on_standard_input_are_told_where_they_are_read_from(monkeypatch, given):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(given))))
    with pytest.raises(DataError) as caught:
        list(stream_texts(Path("-")))
    assert "plain lines are read from a file that ends in .txt" in caught.value.hint
