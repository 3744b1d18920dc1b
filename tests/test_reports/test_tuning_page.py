"""The page of ``embedft tune``: what it says of a study, and how a real browser lays it out."""

import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_data_page import browser, laid_out  # noqa: F401 - a fixture

from embedft.reports import tuning_page
from embedft.reports.plots import Axis, curves, points
from embedft.training import TuneResult
from embedft.training.tuning.space import Choice, Range
from embedft.training.tuning.study import Trial, best_of, importance, suggest

SPACE = {
    "training.learning_rate": Range(1e-5, 5e-4, log=True),
    "training.batch_size": Choice((16, 32, 64)),
    "training.freeze": Choice(([], ["embeddings"], ["layers:2"])),
    "training.warmup": Range(0.0, 0.2),
}
FINAL = {
    "model": "TUNE/best/model", "data": "data", "split": "test", "metrics": {"ndcg@10": 0.71}, "queries": 50,
    "against": {"model": "bundled", "metrics": {"ndcg@10": 0.64}},
    "comparison": {"ndcg@10": {"difference": 0.07, "ci_low": 0.02, "ci_high": 0.11, "p_value": 0.003, "wins": 20,
                               "losses": 9, "ties": 21, "verdict": "better"}},
}  # fmt: skip


def study(number, final=FINAL):
    """A study of that many trials, every fourth pruned and every seventh failed."""
    trials = []
    for place in range(number):
        parameters = suggest(SPACE, trials, 0, place)
        value = 0.9 - abs(math.log10(parameters["training.learning_rate"]) + 3.9) / 3
        curve = tuple((10 * step, 0.5 + (value - 0.5) * step / 8) for step in range(1, 9))
        if place % 7 == 6:
            reason = "was ended by SIGKILL, probably for lack of memory: <script>alert('no')</script>"
            trials.append(Trial(place, "failed", None, parameters, 3.0, reason, curve[:2]))
        elif place % 4 == 3:
            trials.append(Trial(place, "pruned", curve[3][1], parameters, 30.5, "weak", curve[:4]))
        else:
            trials.append(Trial(place, "complete", value, parameters, 61.25, None, curve))
    return TuneResult(
        tune=Path("some/<study>"), metric="ndcg@10", base_value=0.5, space=SPACE, trials=trials, best=best_of(trials),
        importance=importance(SPACE, trials), final=final,
    )  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return study(28)


def test_the_page_says_what_is_best_and_what_counts(result):
    page = tuning_page(result)
    assert "28 trials: 18 complete, 6 pruned, 4 failed." in page
    assert f"Best on dev: trial {result.best.number}, ndcg@10 {result.best.value:.4f}." in page
    assert f"The configuration as it is (trial 0) has {result.trials[0].value:.4f}" in page
    assert "24 trials were compared on the same dev rows" in page
    assert "The final training, judged on test" in page
    assert "+0.0700 (+0.0200 .. +0.1100)" in page
    assert page.count("<figure>") == 2 + 1 + len(SPACE)
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "some/&lt;study&gt;" in page


def test_the_page_loads_nothing_and_its_plots_are_well_formed(result):
    page = tuning_page(result)
    assert not re.search(r"https?:|src=|href=|url\(|@import", page)
    drawings = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(drawings) == 3 + len(SPACE)
    for drawing in drawings:
        places = [float(value) for value in re.findall(r'c[xy]="(.*?)"', drawing)]
        assert all(math.isfinite(place) for place in places)
        assert ET.fromstring(drawing).tag == "svg"


def test_a_study_that_has_just_begun_has_a_page():
    begun = study(1, final=None)
    page = tuning_page(begun)
    assert "There are too few complete trials" in page
    assert "No other trial was better than the configuration as it is" in page
    assert "still to come" in page
    nothing = dataclasses.replace(begun, trials=[], best=None, importance=None, base_value=None)
    assert "No trial is complete" in tuning_page(nothing)


def test_the_verdicts_say_what_they_stand_on():
    first = FINAL["comparison"]["ndcg@10"]
    several = {"ndcg@10": first} | {name: first | {"p_adjusted": 0.006} for name in ("mrr@10", "map@10")}
    scores = dict.fromkeys(several, 0.7)
    final = FINAL | {"comparison": several, "metrics": scores, "against": {"model": "bundled", "metrics": scores}}
    said = "ndcg@10 by itself at p &lt; 0.05, the other 2 metrics corrected together by Holm; p is shown before it."
    assert said in tuning_page(study(2, final=final))


def test_a_verdict_on_dev_is_called_optimistic():
    assert "this verdict is optimistic too" in tuning_page(study(2, final={**FINAL, "split": "dev"}))


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=20), st.booleans())
def test_an_axis_holds_its_values_and_has_round_figures_between_them(values, log):
    axis = Axis(values, 10, 200, log=log)
    assert all(9.99 <= axis(value) <= 200.01 for value in values)
    assert all(9.99 <= axis(tick) <= 200.01 for tick in axis.ticks())
    assert len(axis.ticks()) <= 20
    assert [axis(value) for value in sorted(values)] == sorted(axis(value) for value in values)


def test_plots_of_one_value_and_of_names_are_drawn():
    assert "<circle" in curves([("alone", [(10.0, 0.5)])], "one evaluation")
    drawn = points(
        [("a very long name of a choice", 0.5, "said", True), ("b", 0.5, "said", False)], "choices", order=["b"]
    )
    assert "a very long name of a choice</title>" in drawn
    assert drawn.count("<circle") == 2


@pytest.mark.parametrize("width", [1200, 500])
def test_plots_and_tables_fit_the_window(browser, tmp_path, result, width):  # noqa: F811
    found = laid_out(browser, tuning_page(result), tmp_path, width)
    assert found["width"] <= width
    assert len(found["figures"]) == 3 + len(SPACE)
    assert all(figure["below"] and min(figure["plot"]) > 50 for figure in found["figures"])
    assert found["tables"] == 4
    assert "alert('no')" in found["text"]
    assert found["loaded"] == [], "nothing is fetched"
