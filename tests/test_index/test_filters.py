"""Filters let through what a plain loop over the documents does."""

import json
import math
import operator
import re
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

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
    return "".join(PAPERS.columns["id"].filter(pa.array(mask(parse_all(filters), [PAPERS]))).to_pylist())


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
        ("tags<y", "a"),
        ("year>=2020.5", "c"),
        ("lang<5", ""),
        ("lang!=5", "abde"),
        ("mixed>=2019", "a"),
        ("mixed=02020.0", "a"),
        ("mixed!=2020", "bcd"),
        ("mixed=TRUE", "b"),
        ("id!=3", "abcde"),
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
        ("year=inf", "'inf' is not a number"),
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
        mask(filters, [PAPERS])
    priced = Columns({"price": [4.0]}, {"price": pa.float64()})
    assert mask(filters, [PAPERS, priced]).tolist() == [False] * 5 + [True]
    assert not mask(parse_all("price!=4"), [PAPERS, priced]).any()


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
        assert np.flatnonzero(mask(parse_all(filters), [documents])).tolist() == rows


def test_no_documents_give_no_flags():
    none = Columns({"id": [], "tags": []}, {"id": pa.large_string(), "tags": LISTS})
    assert mask(parse_all(["id=a", "tags=b"]), [none]).shape == (0,)


def test_half_a_surrogate_pair_in_a_filter_finds_nothing():
    assert through("lang=\udce9") == ""


OPS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
NUMBERS = st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.0, 1e300, float("nan")])
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
    assert mask([one], [documents]).tolist() == [expected(one, value) for value in values]


@settings(max_examples=200, deadline=None)
@given(columns_and_filter())
def test_a_filter_as_text_means_what_it_means_as_values(case):
    documents, _, one = case
    assert mask([read_back(one)], [documents]).tolist() == mask([one], [documents]).tolist()


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
    np.testing.assert_array_equal(mask(parse_all("field=x"), [sliced]), wanted)


MIXED = st.sampled_from(
    [
        None, True, False, 0, 5, 9, 10, 100, 2020, -0.0, 5.0, 2.5, 1e300, 2**53, 2**53 + 1, 2**53 + 2, float("nan"),
        "", "n/a", "5", "05", " 5 ", "5.0", "9", "100", "1e2", "1_0", "nan", "inf", "true", "TRUE", "2020",
        "2024-01-01", "9007199254740993", "9007199254740992", [], ["5"], [5], ["2020", "x"], [None], [True, 9.0],
        ["n/a", 10], {"a": 5},
    ]
)  # fmt: skip
ASKED = st.sampled_from(
    [
        True, False, 5, 9, 10, 2020, 5.0, 2.5, 1e300, 2**53, 2**53 + 1, float("inf"), "n/a", "5", "05", "9", "1e2",
        "nan", "true", "TRUE", "2020", "2024-01-01", "9007199254740993", "[]", "",
    ]
)  # fmt: skip
DIGITS = re.compile(r"\s*[+-]?[0-9.]+(e[+-]?[0-9]+)?\s*")


def reading(value):
    """What a value counts as: (number or None, text)."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        text = str(int(value))
    number = None
    if not isinstance(value, bool) and DIGITS.fullmatch(text):
        number = Fraction(text.strip()) if abs(float(text)) >= 2**53 else Fraction(float(text))
    return number, text


def is_missing(value):
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def holds(op, element, wanted):
    if is_missing(element):
        return False
    (number, text), (asked, written) = reading(element), reading(wanted)
    if asked is not None:
        return number is not None and OPS[op](number, asked)
    if op == "=" and written.lower() in ("true", "false"):
        return text in (written, written.lower())
    return OPS[op](text, written)


def answer(one, value):
    """The same as `expected`, of a value as it stands in the metadata, without columns."""
    if is_missing(value):
        return False
    op = "=" if one.op in ("in", "!=") else one.op
    elements = value if isinstance(value, list) else [value]
    found = any(holds(op, element, wanted) for element in elements for wanted in one.values)
    return found != (one.op == "!=")


def on_disk(values, folder):
    folder.mkdir()
    metadata = [json.dumps({"field": value}) for value in values]
    names = [str(number) for number in range(len(values))]
    Documents.write(pa.table({"id": names, "title": names, "text": names, "metadata": metadata}), folder)
    return Documents.open(folder)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(MIXED, min_size=1, max_size=8), st.lists(MIXED, max_size=4), st.sampled_from([*OPS, "in"]), ASKED, ASKED
)
def test_compacting_changes_no_answer_whatever_types_the_values_have(base, added, op, asked, other):
    one = Filter("field", op, (asked, other) if op == "in" else asked)
    with TemporaryDirectory() as folder:
        segments = [on_disk(base, Path(folder) / "base"), on_disk(added, Path(folder) / "added")]
        whole = on_disk(base + added, Path(folder) / "whole")
        try:
            compacted = mask([one], [whole]).tolist()
        except DataError:
            with pytest.raises(DataError):
                mask([one], segments)
            return
        assert mask([one], segments).tolist() == compacted == [answer(one, value) for value in base + added]


@pytest.mark.parametrize("odd", ["n/a", ["2020"], True, {"a": 1}, 2**60])
def test_one_value_of_another_type_neither_hides_the_numbers_nor_makes_a_filter_an_error(tmp_path, odd):
    base, added = [5, 10, 100], [odd]
    segments = [on_disk(base, tmp_path / "base"), on_disk(added, tmp_path / "added")]
    for parts in (segments, [on_disk(base + added, tmp_path / "whole")]):
        assert mask(parse_all("field>=9"), parts)[:3].tolist() == [False, True, True]
        assert mask(parse_all("field=abc"), parts).tolist() == [False] * 4


def test_a_code_with_leading_zeros_is_found_as_it_is_written(tmp_path):
    codes = on_disk(["01234", "1234x", None], tmp_path / "codes")
    assert mask(parse_all("field=01234"), [codes]).tolist() == [True, False, False]
    assert mask(parse_all("field!=01234"), [codes]).tolist() == [False, True, False]


def test_whole_numbers_that_float_would_round_are_told_apart(tmp_path):
    base = 1_700_000_000_000_000_000
    times = on_disk([base, base + 1, base + 2, 5], tmp_path / "times")
    assert mask(parse_all(f"field={base + 1}"), [times]).tolist() == [False, True, False, False]
    assert mask(parse_all(f"field>{base}"), [times]).tolist() == [False, True, True, False]
    assert mask(parse_all("field>4"), [times]).all()
