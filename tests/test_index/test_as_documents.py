"""Documents as Python users hold them, and the table that is made of them."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedft.errors import DataError
from embedft.index.documents import SCHEMA, as_documents

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT)
NAMES = TEXT.filter(lambda name: name not in ("id", "title", "text"))


def test_texts_are_called_by_their_numbers():
    table = as_documents(["ferns", "moss"])
    assert table.schema == SCHEMA
    assert table.to_pylist() == [
        {"id": "0", "title": "", "text": "ferns", "metadata": None},
        {"id": "1", "title": "", "text": "moss", "metadata": None},
    ]


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, st.dictionaries(NAMES, VALUES, max_size=4)), max_size=5))
def test_whatever_stands_in_a_mapping_comes_back(documents):
    given = [{"id": name, "title": title, "text": text, **further} for name, title, text, further in documents]
    for (name, title, text, further), row in zip(documents, as_documents(given).to_pylist(), strict=True):
        assert (row["id"], row["title"], row["text"]) == (name, title, text)
        assert (json.loads(row["metadata"]) if row["metadata"] else {}) == further


def test_an_id_that_is_none_is_no_id():
    assert as_documents([{"text": "a"}, {"id": None, "text": "b"}, {"id": 7, "text": "c"}])["id"].to_pylist() == [
        "0", "1", "7",
    ]  # fmt: skip
    for document in ({"text": "a"}, {"id": None, "text": "a"}, "a"):
        with pytest.raises(DataError, match="document 0 has no id"):
            as_documents([document], ids=False)


@pytest.mark.parametrize(
    ("documents", "found"),
    [
        ("ferns", "one document"),
        ({"id": "a", "text": "ferns"}, "one document"),
        ([b"ferns"], "document 0 is"),
        (["moss", {"id": "a"}], "document 1 is"),
        ([{"text": None}], "document 0 is"),
        ([{"text": "a", "seen": {1, 2}}], "document 0: its metadata is no JSON"),
        ([{"text": "a", "weight": float("nan")}], "document 0: its metadata is no JSON"),
        (["a \ud800"], "half a surrogate pair"),
        ({"a", "b"}, "documents are a set"),
        (pa.table({"text": ["a"]}), "no column 'id'"),
        (pa.table({"id": ["a"], "text": [None]}), "1 documents have no text"),
        (pa.table({"id": ["a", None, None], "text": ["a", "b", "c"]}), "2 documents have no id"),
        (pa.table({"id": ["a"], "text": ["a"], "metadata": [{"year": 1}]}), "is no text"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_documents_is_refused(documents, found):
    with pytest.raises(DataError, match=found) as caught:
        as_documents(documents)
    assert caught.value.hint


def test_a_data_frame_is_not_taken_for_the_names_of_its_columns():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="DataFrame"):
        as_documents(pandas.DataFrame({"id": ["a"], "text": ["ferns"]}))


def test_a_table_needs_no_title_and_no_metadata():
    whole = as_documents(pa.table({"text": ["ferns"], "id": [3], "more": [1]}))
    assert whole.to_pylist() == [{"id": "3", "title": "", "text": "ferns", "metadata": None}]
    titled = as_documents(pa.table({"id": ["a"], "title": pa.array([None], pa.string()), "text": ["ferns"]}))
    assert titled["title"].to_pylist() == [""]
    assert as_documents(whole).equals(whole)
