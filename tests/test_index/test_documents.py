"""Documents on disk: what was written is what is read, whatever it is; metadata become typed columns."""

import json
import logging
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.errors import ArtifactError, DataError
from embedft.index.storage import Documents, documents, fields

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=5
)
KEYS = st.sampled_from(["year", "lang", "tags", "id", "título", ""]) | TEXT
ROWS = st.lists(
    st.tuples(TEXT.filter(bool), TEXT, TEXT, st.none() | st.dictionaries(KEYS, VALUES, max_size=4)),
    max_size=12,
    unique_by=lambda row: row[0],
)
COLUMNS = ["id", "title", "text", "metadata"]


def table(rows):
    """Rows of id, title, text, metadata (a dictionary or None)."""
    rows = [(*row[:3], None if row[3] is None else json.dumps(row[3])) for row in rows]
    return pa.table({name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(COLUMNS)})


def written(folder, metadata):
    """Documents with these metadata, opened."""
    rows = [(str(number), "", "text", each) for number, each in enumerate(metadata)]
    Documents.write(table(rows), folder)
    return Documents.open(folder)


def missing(value):
    """Whether a value counts as none: null, and numbers that are none."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def column(opened, name):
    found = opened.field(name)
    return found.type, found.to_pylist()


@settings(max_examples=80, deadline=None)
@given(ROWS, st.integers(1, 5))
def test_what_is_written_is_what_is_read(rows, size):
    with TemporaryDirectory() as folder:
        whole = table(rows)
        parts = [whole.slice(begin, size) for begin in range(0, len(rows), size)]
        assert Documents.write_batches(iter(parts), Path(folder)) == len(rows)
        opened = Documents.open(Path(folder))
        assert len(opened) == len(rows)
        assert opened.ids.to_pylist() == [row[0] for row in rows]
        backwards = np.arange(len(rows))[::-1]
        assert opened.take(backwards) == [
            {"id": row[0], "title": row[1], "text": row[2], "metadata": row[3] or {}} for row in rows[::-1]
        ]
        assert opened.table().to_pylist() == whole.to_pylist()
        assert opened.table(backwards).to_pylist() == whole.to_pylist()[::-1]
        assert opened.find([row[0] for row in rows]).tolist() == list(range(len(rows)))
        for name in opened.field_names:
            assert len(opened.field(name)) == len(rows)
        names = {name for row in rows for name, value in (row[3] or {}).items() if not missing(value)}
        assert set(opened.field_names) == names | {"id", "title"}


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, max_size=8))
def test_a_field_is_null_exactly_where_a_document_has_none_and_keeps_what_its_type_can_hold(values):
    with TemporaryDirectory() as folder:
        opened = written(Path(folder), [{"field": value} for value in values])
        missing = [value in (None, math.inf, -math.inf) for value in values]
        if all(missing):
            assert opened.field("field") is None
            return
        kind, found = column(opened, "field")
        for value, kept, none in zip(values, found, missing, strict=True):
            assert (kept is None) == none
            if none:
                continue
            if pa.types.is_large_string(kind):
                assert kept == value if isinstance(value, str) else json.loads(kept) == value
            elif pa.types.is_list(kind):
                assert kept == [fields.as_text(item) for item in (value if isinstance(value, list) else [value])]
            else:
                assert kept == value


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ([True, None, False], pa.bool_(), [True, None, False]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([1 << 53, -(1 << 53)], pa.float64(), [2.0**53, -(2.0**53)]),
        ([1, (1 << 53) + 1], pa.large_string(), ["1", "9007199254740993"]),
        (["de", ""], pa.large_string(), ["de", ""]),
        ([["a", "b"], []], pa.list_(pa.large_string()), [["a", "b"], []]),
        ([["a", "b"], "c", None], pa.list_(pa.large_string()), [["a", "b"], ["c"], None]),
        ([2020, "2021", True], pa.large_string(), ["2020", "2021", "true"]),
        ([True, 1], pa.large_string(), ["true", "1"]),
        ([{"é": 1}, "b", 2.0, 2.5], pa.large_string(), ['{"é": 1}', "b", "2", "2.5"]),
        ([{"é": 1}, [1, None]], pa.list_(pa.large_string()), [['{"é": 1}'], ["1", None]]),
        ([["a", 1.0, ["b"]], "b", True], pa.list_(pa.large_string()), [["a", "1", '["b"]'], ["b"], ["true"]]),
        ([float("nan"), 1, float("inf")], pa.float64(), [None, 1.0, None]),
        ([float("nan"), "x"], pa.large_string(), [None, "x"]),
    ],
)
def test_the_type_of_a_field_is_the_narrowest_that_holds_all_its_values(tmp_path, values, kind, found):
    opened = written(tmp_path, [{"field": value} for value in values])
    assert column(opened, "field") == (kind, found)


def test_types_are_widened_over_all_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "ROWS_PER_BATCH", 4)
    monkeypatch.setattr(fields, "ROWS_AT_ONCE", 3)
    opened = written(tmp_path, [{"year": number} for number in range(9)] + [{"year": "unknown"}, {"late": 1.5}])
    assert column(opened, "year") == (pa.large_string(), [*map(str, range(9)), "unknown", None])
    assert column(opened, "late") == (pa.float64(), [None] * 10 + [1.5])


def test_id_and_title_are_fields_before_those_of_the_metadata(tmp_path):
    Documents.write(table([("a", "Ferns", "text", {"id": 7, "year": 2020})]), tmp_path)
    opened = Documents.open(tmp_path)
    assert opened.field_names == ["id", "title", "year"]
    assert column(opened, "id") == (pa.large_string(), ["a"])
    assert column(opened, "title") == (pa.large_string(), ["Ferns"])
    assert opened.field("nothing") is None
    assert opened.take([0])[0]["metadata"] == {"id": 7, "year": 2020}


@pytest.mark.parametrize("metadata", ["[1]", "7", "null", "{", "[" * 100_000])
def test_metadata_that_are_no_object_name_the_document(tmp_path, metadata):
    broken = pa.table({"id": ["a", "b"], "title": ["", ""], "text": ["", ""], "metadata": [None, metadata]})
    with pytest.raises(DataError, match="'b'"):
        Documents.write(broken, tmp_path)


def test_half_a_surrogate_pair_in_the_json_is_stored_and_its_field_holds_a_mark(tmp_path):
    metadata = r'{"lang": "\ud800x", "tags": ["\udc00"], "\ud800": 1}'
    one = pa.table({"id": ["a"], "title": [""], "text": [""], "metadata": [metadata]})
    Documents.write(one, tmp_path)
    opened = Documents.open(tmp_path)
    assert opened.take([0])[0]["metadata"] == json.loads(metadata)
    assert opened.field_names == ["id", "title", "lang", "tags"]
    assert column(opened, "lang")[1] == ["?x"]
    assert column(opened, "tags")[1] == [["?"]]
    assert opened.find(["\ud800", "a"]).tolist() == [-1, 0]


def test_the_commonest_fields_are_kept_where_there_are_too_many(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(fields, "MAX_FIELDS", 2)
    with caplog.at_level(logging.WARNING, "embedft"):
        opened = written(tmp_path, [{"a": 1, "rare": 1, "b": 1}, {"b": 1, "a": 1}])
    assert opened.field_names == ["id", "title", "a", "b"]
    assert "3 different fields" in caplog.text
    assert opened.take([0])[0]["metadata"] == {"a": 1, "rare": 1, "b": 1}


def test_rows_are_found_and_taken_across_many_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "ROWS_PER_BATCH", 64)
    rows = [(f"d{number}", f"t{number}", f"text {number}", {"n": number}) for number in range(1000)]
    whole = table(rows)
    assert Documents.write_batches([whole.slice(0, 7), *whole.slice(7).to_batches(max_chunksize=10)], tmp_path) == 1000
    opened = Documents.open(tmp_path)
    drawn = np.random.default_rng(0).integers(0, 1000, 500)
    assert [document["metadata"]["n"] for document in opened.take(drawn)] == drawn.tolist()
    assert [document["metadata"]["n"] for document in opened.take([999, 0, 999])] == [999, 0, 999]
    assert opened.find([f"d{number}" for number in drawn]).tolist() == drawn.tolist()
    assert opened.find(["d5", "nowhere", "d5", ""]).tolist() == [5, -1, 5, -1]
    assert [batch.num_rows for batch in opened.batches(drawn)] == [64] * 7 + [52]
    assert opened.table(drawn).to_pylist() == whole.take(pa.array(drawn)).to_pylist()
    assert max(batch.num_rows for batch in opened.batches()) <= 64
    assert len(list(opened.batches())) < 20


def test_batches_of_long_documents_stay_small(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "BYTES_PER_BATCH", 1000)
    parts = [table([(str(number), "", "x" * 600, None)]) for number in range(6)]
    Documents.write_batches(parts, tmp_path)
    opened = Documents.open(tmp_path)
    assert [batch.num_rows for batch in opened.batches()] == [2, 2, 2]
    assert opened.ids.to_pylist() == list("012345")


def test_a_row_that_is_not_there_is_refused(tmp_path):
    opened = written(tmp_path, [None, None])
    for rows in ([2], [-1], [0, 5]):
        with pytest.raises(IndexError, match="2 documents"):
            opened.take(rows)
    assert opened.take([]) == []
    assert opened.find([]).tolist() == []
    assert opened.table(np.empty(0, np.int64)).num_rows == 0


def test_no_documents_are_no_fault(tmp_path):
    assert Documents.write_batches([], tmp_path) == 0
    opened = Documents.open(tmp_path)
    assert (len(opened), opened.ids.to_pylist(), opened.find(["a"]).tolist()) == (0, [], [-1])
    assert opened.table().column_names == COLUMNS


def test_columns_that_are_missing_or_no_text_are_named(tmp_path):
    with pytest.raises(DataError, match="no column title, text; they have id"):
        Documents.write(pa.table({"id": ["a"]}), tmp_path)
    with pytest.raises(DataError, match="1 of the 1 documents have no text"):
        Documents.write(pa.table({"id": ["a"], "title": ["t"], "text": pa.array([None], pa.string())}), tmp_path)
    with pytest.raises(DataError, match="no text"):
        Documents.write(pa.table({"id": ["a"], "title": ["t"], "text": ["x"], "metadata": [{"a": 1}]}), tmp_path)


def test_columns_beyond_the_known_are_left_out_and_a_missing_title_is_empty(tmp_path):
    titles = pa.array([None, "t"], pa.string())
    Documents.write(pa.table({"extra": [1, 2], "id": [1, 2], "text": ["x", "y"], "title": titles}), tmp_path)
    assert Documents.open(tmp_path).take([0, 1]) == [
        {"id": "1", "title": "", "text": "x", "metadata": {}},
        {"id": "2", "title": "t", "text": "y", "metadata": {}},
    ]


def test_files_that_are_no_documents_or_do_not_belong_together_are_named(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    written(tmp_path / "one", [{"year": 1}])
    written(tmp_path / "other", [{"year": 1}, {"year": 2}])
    one = tmp_path / "one"
    kept = (one / "fields.arrow").read_bytes()
    (one / "fields.arrow").write_bytes((tmp_path / "other" / "fields.arrow").read_bytes())
    with pytest.raises(ArtifactError, match=r"fields\.arrow: has 2 rows where documents\.arrow has 1"):
        Documents.open(one)
    (one / "fields.arrow").write_bytes(b"no arrow")
    with pytest.raises(ArtifactError, match=r"fields\.arrow: cannot be read"):
        Documents.open(one)
    (one / "fields.arrow").write_bytes(kept)
    (one / "documents.arrow").write_bytes(kept)
    with pytest.raises(ArtifactError, match=r"documents\.arrow: has the columns year"):
        Documents.open(one)
    (one / "documents.arrow").unlink()
    with pytest.raises(ArtifactError, match=r"documents\.arrow: cannot be read"):
        Documents.open(one)


def test_opened_documents_stay_readable_when_their_files_are_removed(tmp_path):
    opened = written(tmp_path, [{"year": 2020}, None])
    for file in tmp_path.iterdir():
        file.unlink()
    assert opened.take([1, 0])[1]["metadata"] == {"year": 2020}
    assert column(opened, "year")[1] == [2020.0, None]
