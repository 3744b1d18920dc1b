"""Filters let through what a plain loop over the documents does."""

import json
import operator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.errors import DataError
from embedft.index.storage.documents import Documents
from embedft.index.storage.filters import Filter, mask, parse, parse_all


class Columns:
    """Documents whose fields are given as they are; cut into chunks, as files are into batches."""

    def __init__(self, fields, types=None, chunk=3):
        types = types or {}
        self.columns = {
            name: pa.chunked_array(
                [pa.array(values[at : at + chunk], types.get(name)) for at in range(0, max(len(values), 1), chunk)],
                types.get(name),
            )
            for name, values in fields.items()
        }
        self.count = len(next(iter(fields.values())))

    def __len__(self):
        return self.count

    @property
    def field_names(self):
        return list(self.columns)

    def field(self, name):
        return self.columns.get(name)


LISTS = pa.list_(pa.large_string())
PAPERS = Columns(
    {
        "id": ["a", "b", "c", "d", "e"],
        "title": ["One", "Two, or more", "", "Four", "Five"],
        "year": [2019.0, 2020.0, 2021.5, None, float("nan")],
        "lang": ["en", "de", None, "en", "fr"],
        "open": [True, False, None, True, False],
        "tags": [["x", "y"], [], None, ["y"], ["z", "z"]],
        "mixed": ["2020", "true", '["a"]', "en", None],
    },
    {
        "id": pa.large_string(), "title": pa.large_string(), "year": pa.float64(), "lang": pa.large_string(),
        "open": pa.bool_(), "tags": LISTS, "mixed": pa.large_string(),
    },
)  # fmt: skip


def through(filters):
    return "".join(PAPERS.columns["id"].filter(pa.array(mask(parse_all(filters), PAPERS))).to_pylist())


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (None, "abcde"),
        ([], "abcde"),
        ("year>=2020", "bc"),
        ("year > 2020", "c"),
        ("year<2020", "a"),
        ("year<=2020.0", "ab"),
        ("year=2e3", ""),
        ("year=2020,2019", "ab"),
        ("year!=2020", "ac"),
        ("lang=en", "ad"),
        ("lang==en", "ad"),
        ("lang!=en", "be"),
        ("lang=de, fr", "be"),
        ("lang!=de,fr", "ad"),
        ("lang>=en", "ade"),
        ("lang=", ""),
        ("title=", "c"),
        ('title="Two, or more"', "b"),
        ('title="Two, or more",Four', "bd"),
        ("id=c", "c"),
        ("open=true", "ad"),
        ("open=False", "be"),
        ("open!=true", "be"),
        ("tags=y", "ad"),
        ("tags=x,z", "ae"),
        ("tags!=y", "be"),
        ("mixed=true", "b"),
        ("mixed=2020", "a"),
        (["lang=en", "open=true", "year<2020"], "a"),
        ([Filter("lang", "=", "en"), "tags=x"], "a"),
        (Filter("lang", "in", ("de", "fr")), "be"),
        ({"lang": "en", "open": True}, "ad"),
        ({"lang": ["en", "de"]}, "abd"),
        ({"lang": []}, ""),
        ({"year": (">=", 2020)}, "bc"),
        ({"year": [(">=", 2019), ("<", 2021)]}, "ab"),
        ({"year": 2020, "open": False}, "b"),
        ({"year": ("!=", [2019, 2020])}, "c"),
        ({"mixed": True}, "b"),
        ({"mixed": 2020}, "a"),
        ({"tags": "y"}, "ad"),
    ],
)
def test_lets_through_what_is_asked_for(filters, ids):
    assert through(filters) == ids


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ("year>=abc", "'abc' is not a number"),
        ("year=", "'' is not a number"),
        ("year=nan", "'nan' is not a number"),
        ({"year": True}, "True is not a number"),
        ("open=yes", "'yes' is not true or false"),
        ({"open": 1}, "1 is not true or false"),
        ("open>true", "which > does not compare"),
        ("tags<y", "tags is a list, which < does not compare"),
        ("lang", "'lang' is not of the form field=value"),
        ("=en", "is not of the form field=value"),
        ('lang="en', "its value cannot be read"),
        ({"lang": None}, "None cannot be compared"),
        ({"lang": {"is": "en"}}, "cannot be compared"),
        ({"year": (">=", [1, 2])}, "cannot be compared with >="),
        ([3], "filter 3 is a int"),
        (3, "filters are 3"),
        (Filter("lang", "~", "en"), "names no field and operation"),
    ],
)
def test_names_what_is_wrong_with_a_filter(filters, message):
    with pytest.raises(DataError) as caught:
        through(filters)
    assert message in caught.value.message
    assert caught.value.hint


def test_an_unknown_field_names_near_ones_and_those_there_are():
    with pytest.raises(DataError, match="there are: id, lang, mixed, open, tags, title, year") as caught:
        through("langg=en")
    assert "lang" in caught.value.hint


def test_a_field_that_only_other_segments_have_is_no_mistake_and_no_match():
    filters = parse_all("price<5")
    with pytest.raises(DataError):
        mask(filters, PAPERS)
    assert not mask(filters, PAPERS, known_fields=["price"]).any()
    assert not mask(parse_all("price!=5"), PAPERS, known_fields=["price"]).any()


def test_documents_on_disk_are_filtered_by_what_their_metadata_say(tmp_path):
    metadata = [
        {"year": 2019, "lang": "en", "tags": ["x"], "note": 1},
        {"year": 2021, "lang": "de", "tags": "y", "note": True},
        None,
        {"lang": "en", "note": "1"},
    ]
    texts = [None if one is None else json.dumps(one) for one in metadata]
    table = pa.table({"id": list("abcd"), "title": ["", "T", "T", ""], "text": [""] * 4, "metadata": texts})
    Documents.write(table, tmp_path)
    documents = Documents.open(tmp_path)
    for filters, rows in [
        ("year>2019", [1]),
        (["lang=en", "year<2020"], [0]),
        ("tags=x,y", [0, 1]),
        ("title=T", [1, 2]),
        ("id!=a", [1, 2, 3]),
        ({"note": 1}, [0, 3]),
        ({"note": True}, [1]),
    ]:
        assert np.flatnonzero(mask(parse_all(filters), documents)).tolist() == rows


def test_no_documents_give_no_flags():
    none = Columns({"id": [], "tags": []}, {"id": pa.large_string(), "tags": LISTS})
    assert mask(parse_all(["id=a", "tags=b"]), none).shape == (0,)


def test_half_a_surrogate_pair_in_a_filter_finds_nothing():
    assert through("lang=\udce9") == ""


OPS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
NUMBERS = st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.0, 1e300, float("nan"), float("inf")])
TEXTS = st.sampled_from(["", "a", "b", "ab", "é", "日本", "A", "\U0001f600"])
KINDS = {
    "number": (NUMBERS, NUMBERS.filter(lambda value: value == value), pa.float64()),
    "text": (TEXTS, TEXTS, pa.large_string()),
    "truth": (st.booleans(), st.booleans(), pa.bool_()),
    "list": (st.lists(TEXTS, max_size=3), TEXTS, LISTS),
}


def expected(one, value):
    if value is None or value != value:
        return False
    elements = value if isinstance(value, list) else [value]
    if one.op == "in":
        return any(element == wanted for element in elements for wanted in one.value)
    if one.op == "!=":
        return all(element != wanted for element in elements for wanted in one.values)
    if one.op == "=":
        return any(element == one.value for element in elements)
    return OPS[one.op](value, one.value)


@st.composite
def columns_and_filter(draw):
    kind = draw(st.sampled_from(sorted(KINDS)))
    stored, asked, column_type = KINDS[kind]
    values = draw(st.lists(st.none() | stored, max_size=12))
    ops = ["=", "!=", "in"] if kind in ("truth", "list") else [*OPS, "in"]
    op = draw(st.sampled_from(ops))
    several = st.lists(asked, max_size=3).map(tuple)
    value = draw(several if op == "in" else asked | several if op == "!=" else asked)
    return (
        Columns({"field": values}, {"field": column_type}, draw(st.integers(1, 5))),
        values,
        Filter("field", op, value),
    )


@settings(max_examples=300, deadline=None)
@given(columns_and_filter())
def test_equals_a_loop_over_the_documents(case):
    documents, values, one = case
    assert mask([one], documents).tolist() == [expected(one, value) for value in values]


@settings(max_examples=200, deadline=None)
@given(columns_and_filter())
def test_a_filter_as_text_means_what_it_means_as_values(case):
    documents, _, one = case
    assert mask([read_back(one)], documents).tolist() == mask([one], documents).tolist()


def read_back(one):
    """The filter, written out and parsed."""
    if not one.values or (one.op == "in" and len(one.values) == 1):
        return one
    written = [value if isinstance(value, str) else json.dumps(value) for value in one.values]
    if one.op in ("=", "!=", "in"):
        written = ['"' + value + '"' for value in written]
    return parse(f"field{'=' if one.op == 'in' else one.op}{','.join(written)}")


def test_lists_are_compared_in_a_slice_as_in_the_whole():
    values = [["x"], None, ["y", "x"], [], ["z"], ["x", "x"]] * 4
    whole = pa.array(values, LISTS)
    sliced = Columns({"field": [None]}, {"field": LISTS})
    sliced.columns = {"field": pa.chunked_array([whole.slice(5, 7), whole.slice(12)])}
    sliced.count = 7 + len(values) - 12
    wanted = [value is not None and "x" in value for value in values[5:12] + values[12:]]
    np.testing.assert_array_equal(mask(parse_all("field=x"), sliced), wanted)
