"""Tables as text: spreadsheets and LaTeX take names for nothing but names, and every system has a letter of its own."""

import csv
import io

import numpy as np
import pytest

from embedft.evaluation import RetrievalEvaluation, ranking_of_run
from embedft.evaluation.several import compare_several
from embedft.evaluation.tables import as_csv, as_latex, as_markdown, superscript


def compared(names):
    ids = [f"q{row}" for row in range(8)]
    found = ranking_of_run({query: {"d": 1.0} for query in ids})
    scores = [{"mrr@10": np.linspace(0, 0.5, 8) + 0.01 * place} for place in range(len(names))]
    return compare_several(
        names,
        [RetrievalEvaluation("m", "garden", "test", ids, each, found, data_sha256="a" * 64) for each in scores],
    )


@pytest.fixture(scope="module")
def many():
    return compared([f"seed {number}" for number in range(30)])


def test_a_spreadsheet_finds_no_formula_among_the_names():
    names = ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "plain = -1"]
    rows = list(csv.reader(io.StringIO(as_csv(compared(names)))))
    named = [cell for row in rows[1:] for cell in (row[0], row[8])]
    assert {cell[0] for cell in named} == {"'", "p"}
    assert [row[0].removeprefix("'") for row in rows[1:]] == names
    # Numbers stay numbers.
    assert all(float(row[9]) < 1 for row in rows[2:])


@pytest.mark.parametrize("name", ["[red]x", "*x"])
def test_latex_takes_no_name_for_an_option_of_the_row_before_it(name):
    lines = as_latex(compared(["plain", name, "other"])).splitlines()
    rows = [line for line in lines if line.endswith(r"\\") and name in line]
    assert len(rows) == 2
    assert not any(line.startswith(("[", "*")) for line in lines)
    assert rows[1].startswith("{}" + name)


def test_more_systems_than_letters_have_one_each(many):
    assert len(set(many.letters)) == 30
    assert many.letters[24:27] == ("z", "a2", "b2")
    # The digit belongs to the letter before it: nothing else can be read out of it.
    assert superscript(["a", "b", "a2"]) == "ᵃᵇᵃ²"
    for text in (as_markdown(many), as_latex(many), as_csv(many)):
        assert "seed 29" in text


def test_the_letters_are_said_to_be_those_of_the_column():
    found = compared(["b", "a"])
    assert "| a | b |" in as_markdown(found)
    assert "column" in found.legend
