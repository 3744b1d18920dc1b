"""Carriage returns in delimited files: a peculiarity of a text in TSV, a fault with a name in CSV."""

import pytest

from embedft.data.faults import FaultLog
from embedft.data.rows import read_rows
from embedft.errors import DataError


def rows_of(path, content):
    path.write_bytes(content)
    log = FaultLog(path)
    return list(read_rows(path, log)), log


def test_a_carriage_return_is_part_of_a_text_in_tsv(tmp_path):
    rows, log = rows_of(tmp_path / "t.tsv", b'text\tlabel\r\none\rtwo\ta\r\n\n "x\tb\nshort\nlast\tc')
    assert rows == [
        (2, {"text": "one\rtwo", "label": "a"}),
        (4, {"text": ' "x', "label": "b"}),
        (6, {"text": "last", "label": "c"}),
    ]
    assert [(fault.kind, fault.line) for fault in log.faults] == [("too few columns", 5)]


def test_a_carriage_return_outside_of_quotes_is_named_in_csv(tmp_path):
    rows, _ = rows_of(tmp_path / "t.csv", b'text,label\r\n"one\rtwo",a\r\n')
    assert rows == [(2, {"text": "one\rtwo", "label": "a"})]
    with pytest.raises(DataError, match=r"t\.csv:3: a carriage return stands in a text that is not quoted") as caught:
        rows_of(tmp_path / "t.csv", b"text,label\na,b\none\rtwo,a\n")
    assert "quotes" in caught.value.hint


def test_lines_that_end_in_carriage_returns_alone_are_named(tmp_path):
    for name, content in (("t.tsv", b"text\tlabel\rone\ta\r"), ("t.csv", b"text,label\rone,a\r")):
        with pytest.raises(DataError, match="carriage return") as caught:
            rows_of(tmp_path / name, content)
        assert r"\r\n" in caught.value.hint
