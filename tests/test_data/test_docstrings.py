"""The demo's data: answers do not hold their question, and siblings stay on one side."""

import re

import pytest

from embedft.data import find_leakage
from embedft.data.docstrings import docstring_data, split_docstring
from embedft.errors import DataError

BODY = "It takes a matrix of numbers and gives the angles between all of its rows, in radians, smallest first. More."


def test_summary_and_body_are_parted_and_the_own_name_goes():
    docstring = f"""Compute the angles between rows. With a remark on angles_of behind it.

    {BODY} See angles_of and other_angles_of.
    """
    summary, body = split_docstring(docstring, "angles_of")
    assert summary == "Compute the angles between rows."
    assert body.startswith("With a remark on behind it. It takes a matrix")
    assert re.findall(r"\bangles_of\b", body) == []
    assert "other_angles_of" in body


@pytest.mark.parametrize("docstring", ["Fit it.", f"Fit.\n\n{BODY}", "Compute the angles between rows.\n\nShort body."])
def test_docstrings_without_a_question_or_an_answer_are_left_out(docstring):
    assert split_docstring(docstring, "fit") is None


@pytest.fixture(scope="module")
def data():
    return docstring_data(("numpy", "scipy", "not_installed_at_all"), limit=600)


def test_splits_share_no_submodule_and_do_not_leak(data):
    groups = {
        split: {".".join(name.split(".")[:2]) for name in qrels["query_id"].to_pylist()}
        for split, qrels in data.qrels.items()
    }
    assert not groups["train"] & groups["dev"] and not groups["train"] & groups["test"]
    assert not groups["dev"] & groups["test"]
    assert find_leakage(data) == []
    assert sum(qrels.num_rows for qrels in data.qrels.values()) == data.corpus.num_rows == 600


def test_no_answer_holds_its_question(data):
    documents = dict(zip(data.corpus["id"].to_pylist(), data.corpus["text"].to_pylist(), strict=True))
    for query_id, summary in zip(data.queries["id"].to_pylist(), data.queries["text"].to_pylist(), strict=True):
        name = query_id.rpartition(".")[2]
        assert not documents[query_id].startswith(summary)
        assert len(name) <= 2 or not re.search(rf"\b{re.escape(name)}\b", documents[query_id])


def test_the_choice_is_the_same_every_time(data):
    assert docstring_data(("scipy", "numpy"), limit=600).corpus == data.corpus


def test_too_little_documentation_is_said():
    with pytest.raises(DataError, match="only 0 usable docstrings"):
        docstring_data(("not_installed_at_all",))
