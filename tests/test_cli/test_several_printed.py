"""Systems on a terminal: where it is narrow the tables take another form, and names and scores stay whole."""

import re

import numpy as np
import pytest
from rich.table import Table

from embedft.cli.evidence import print_several
from embedft.cli.output import console, print_comparison, print_table
from embedft.cli.train import train
from embedft.evaluation import RetrievalEvaluation, ranking_of_run
from embedft.evaluation.comparison import Comparison
from embedft.evaluation.several import compare_several
from embedft.evaluation.tables import difference_rows

METRICS = ("ndcg@10", "mrr@10", "recall@10", "recall@100", "precision@10", "map@100")


def several_of(names):
    """Systems, each better than those before it."""
    ids = [f"q{row}" for row in range(30)]
    found = ranking_of_run({query: {"d": 1.0} for query in ids})
    random = np.random.default_rng(0)
    systems = [
        RetrievalEvaluation(
            "m", "garden", "test", ids, {name: 0.05 * place + 0.1 * random.random(30) for name in METRICS}, found,
            data_sha256="a" * 64,
        )
        for place in range(len(names))
    ]  # fmt: skip
    return compare_several(names, systems)


@pytest.fixture
def terminal(monkeypatch):
    """Makes standard output a terminal of so many columns."""

    def of(width):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(width))

    return of


def plain(capsys):
    """What was printed, without the codes of bold and faint."""
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


def test_of_many_systems_names_and_scores_stay_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"seed {place}" for place in range(12)]
    several = several_of(names)
    assert len(several.better_than(11, METRICS[0])) > 8
    print_several(several)
    shown = capsys.readouterr().out.split("Letters,")[0]
    assert "…" not in shown
    for place, name in enumerate(names):
        assert name in shown
        for metric in METRICS:
            assert f"{several.score(place, metric):.4f}" in shown
    assert len(re.findall(r"\d\.\d{3}-\d\.\d{3}", shown)) == 12 * len(METRICS)
    assert all(metric in shown for metric in METRICS)


@pytest.mark.parametrize("width", [130, 106, 80, 40])
def test_no_number_is_cut_whatever_the_width(capsys, terminal, width):
    terminal(width)
    several = several_of(["the first of two systems", "the second of two systems"])
    print_several(several)
    shown = plain(capsys)
    assert "…" not in shown
    for place, metric in ((place, metric) for place in range(2) for metric in METRICS):
        assert f"{several.score(place, metric):.4f}" in shown
    for _, metric, *numbers, verdict in difference_rows(several):
        assert all(re.search(rf"(?<!\S){re.escape(cell)}(?!\S)", shown) for cell in (metric, *numbers, verdict))
    tables = [line for line in shown.splitlines() if not line.startswith(("garden", "Letters", "ndcg@10: With"))]
    # At 40 columns the terminal wraps what is no table.
    assert width == 40 or max(map(len, tables)) <= width


def test_what_is_no_terminal_gets_tables_as_wide_as_they_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    table = Table(*(f"column {place}" for place in range(30)))
    table.add_row(*(f"{place / 7:.12f}" for place in range(30)))
    print_table(console(), table)
    shown = capsys.readouterr().out
    assert all(f"{place / 7:.12f}" in shown for place in range(30)) and len(shown.splitlines()) == 5


@pytest.mark.parametrize("width", [120, 80, 40])
def test_a_verdict_stays_whole(capsys, terminal, width):
    terminal(width)
    before, after = several_of(["a", "b"]).evaluations
    found = Comparison(0.0512, 0.0312, 0.0712, 0.0022, 20, 8, 2, "better")
    print_comparison(after, before, dict.fromkeys(METRICS, found))
    shown = plain(capsys)
    assert "…" not in shown
    for part in (*METRICS, "+0.051  +0.031 .. +0.071", "0.0022", "better"):
        assert part in shown
    assert ("win/loss/tie" in shown) == (width == 120)


def test_names_of_settings_stay_whole(capsys, terminal):
    terminal(80)
    train.main(["--fields"], standalone_mode=False)
    shown = plain(capsys)
    assert "training.hard_negatives.relative_margin" in shown and "…" not in shown
