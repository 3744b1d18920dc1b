"""The page of ``embedft index info --plot``: what it says of a curve, and how a real browser lays it out."""

import re

import pytest
from test_data_page import browser, laid_out  # noqa: F401 - a fixture

from embedft.reports import PAGE_BEGIN
from embedft.reports.index import curve_page


def measured(effort, recall, qps):
    return {"point": {"effort": effort, "factor": 1.5}, "recall": recall, "ci_low": recall - 0.02, "qps": qps,
            "latency_ms": 1000 / qps}  # fmt: skip


def described(points, name="INDEX"):
    """What ``embedft index info --json`` gives, as far as the page reads it; the second point is the chosen one."""
    chosen = points[min(1, len(points) - 1)]
    return {
        "index": name, "documents": 123_456, "kind": "hnsw-fp16", "curve": points, "point": chosen,
        "recall": {"at": 10, "value": chosen["recall"], "ci_low": chosen["ci_low"], "queries": 800},
    }  # fmt: skip


CURVE = [measured(16, 0.91, 41_234.5), measured(64, 0.971, 12_345.6), measured(512, 0.9994, 987.6)]


def test_the_page_says_what_was_chosen_and_what_else_there_was():
    page = curve_page(described(CURVE))
    assert page.startswith(PAGE_BEGIN)
    assert "hnsw-fp16 of 123,456 documents: recall@10 0.971, at least 0.951 (95 %, 800 queries), 12,346 queries" in page
    rows = re.findall(r"<tr>(.*?)</tr>", page.partition("<tbody>")[2])
    assert len(rows) == 3
    assert [("chosen" in row) for row in rows] == [False, True, False]
    assert [speed in row for speed, row in zip(("41,234", "12,346", "988"), rows, strict=True)] == [True] * 3


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_curve_of_few_points_is_drawn_too(count):
    page = curve_page(described(CURVE[:count]))
    assert "nan" not in page and "inf" not in page.replace("information", "")
    assert page.count("<polyline") == (0 if count == 1 else 2)


def test_a_name_cannot_break_the_page():
    page = curve_page(described(CURVE, "<script>alert('no')</script>"))
    assert "<script>" not in page and "&lt;script&gt;" in page


@pytest.mark.parametrize("width", [1200, 500])
def test_plot_and_table_fit_the_window(browser, tmp_path, width):  # noqa: F811
    found = laid_out(browser, curve_page(described(CURVE)), tmp_path, width)
    assert found["width"] <= width
    assert len(found["figures"]) == 1 and found["figures"][0]["below"]
    assert found["tables"] == 1
    assert found["loaded"] == []
