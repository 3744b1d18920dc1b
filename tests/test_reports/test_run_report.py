"""The page of a run: what it says, that no text breaks it, and that it stays small."""

import dataclasses
import html
import html.parser
import json
import re
import shlex
import xml.etree.ElementTree as ET

import numpy as np
import pyarrow.parquet as pq
import pytest
import report_cases
from report_cases import NASTY

from embedft.config import RunConfig
from embedft.errors import ArtifactError
from embedft.reports import PAGE_BEGIN
from embedft.reports.course import running_mean, thinned
from embedft.reports.forest import Estimate, forest
from embedft.reports.heat import heat
from embedft.reports.html import Html, element
from embedft.reports.page import Cell, json_block, table
from embedft.reports.run import read_run_record, run_page, write_report
from embedft.reports.run.geometry import geometry
from embedft.reports.run.reproduce import own_settings
from embedft.reports.run.rows import MOST, read_rows

SECTIONS = ["comparison", "forgetting", "training", "one-by-one", "errors", "slices", "stress", "ladder", "geometry",
            "data", "configuration", "environment", "reproduce"]  # fmt: skip
MAKERS = {
    "retrieval": report_cases.retrieval,
    "similarity": report_cases.similarity,
    "classification": report_cases.classification,
}
LIMIT = 5_000_000


class Reader(html.parser.HTMLParser):
    """Elements of a page in order, the texts of its scripts, and whether every element is closed."""

    VOID = frozenset({"meta", "input", "br", "hr", "img", "link", "wbr"})

    def __init__(self):
        super().__init__()
        self.found, self.open, self.scripts, self.faults = [], [], {}, []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[self.found[-1][1]["id"]] = data


def parsed(page):
    reader = Reader()
    reader.feed(page)
    assert not reader.faults and not reader.open, "every element is closed where it belongs"
    return reader


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Task -> page of a run of it."""
    root = tmp_path_factory.mktemp("runs")
    return {task: run_page(read_run_record(make(root / task))) for task, make in MAKERS.items()}


def test_the_verdict_stands_first_with_number_interval_and_cost(pages):
    page = pages["retrieval"]
    assert page.startswith(PAGE_BEGIN)
    top = page.partition('id="verdict"')[2].partition("<section")[0]
    assert re.search(r"Better than bundled: ndcg@10 rose from 0\.\d{3} to 0\.\d{3}\.", top)
    assert re.search(
        r"\+0\.\d{3}</strong> \(95 % interval \+0\.\d{3} \.\. \+0\.\d{3}, p &lt; 0\.0002, 40 queries\)", top
    )
    assert "What it cost elsewhere: It has forgotten some" in top
    assert "Leakage: 2 of split test stand in train as well (2 query text)" in top
    assert "192 x int8" in top


def test_rows_that_were_left_out_for_leaking_are_told_in_place_of_the_leakage(tmp_path):
    folder = report_cases.similarity(tmp_path / "run", 12)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"leakage": [], "leakage_dropped": 7}))
    page = run_page(read_run_record(folder))
    top = page.partition('id="verdict"')[2].partition("<section")[0]
    assert "none left" in top and "7 training rows left out" in top
    assert "7 rows of train that stand in another split too were left out." in page
    assert "None is left between train and the other splits." in page


@pytest.mark.parametrize("task", MAKERS)
def test_sections_follow_in_order_and_the_contents_name_each(pages, task):
    reader = parsed(pages[task])
    found = [attributes["id"] for tag, attributes in reader.found if tag == "section"]
    wanted = [name for name in SECTIONS if name != "slices"] if task == "classification" else SECTIONS
    assert found == wanted
    links = [attributes["href"] for tag, attributes in reader.found if tag == "a" and "class" not in attributes]
    assert links == [f"#{name}" for name in wanted]


@pytest.mark.parametrize("task", MAKERS)
def test_no_text_becomes_an_element(pages, task):
    reader = parsed(pages[task])
    assert [tag for tag, _ in reader.found if tag in ("img", "iframe", "object", "link", "style")] == ["style"]
    assert not [name for _, attributes in reader.found for name in attributes if name.startswith("on")]
    assert [attributes["id"] for tag, attributes in reader.found if tag == "script"] == ["rows", "behaviour"]
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in pages[task]
    # As many ends of script elements as there are beginnings: none came out of a text.
    assert pages[task].count("</script") == 2


@pytest.mark.parametrize("task", MAKERS)
def test_the_rows_of_the_script_are_those_of_the_run(pages, task, tmp_path):
    rows = json.loads(parsed(pages[task]).scripts["rows"])
    table = pq.read_table(MAKERS[task](tmp_path / "run") / "per_query.parquet")
    values = rows["texts"][0]["values"]
    assert len(values) == table.num_rows
    assert values[0] == NASTY[0]
    assert all("\x00" not in text and len(text) <= 300 for text in values)
    for view in rows["views"]:
        assert {len(column["values"]) for column in view["columns"]} == {table.num_rows}
        assert set(view["outcome"]) <= {-1, 0, 1}
    if task == "retrieval":
        columns = {column["name"]: column["values"] for column in rows["views"][0]["columns"]}
        assert np.allclose(columns["after"], table["ndcg@10"].to_numpy(), atol=1e-4)
        assert np.allclose(columns["before"], table["against:ndcg@10"].to_numpy(), atol=1e-4)


@pytest.mark.parametrize("task", MAKERS)
def test_drawings_are_well_formed_and_nothing_is_loaded(pages, task):
    page = pages[task]
    assert not re.search(r"https?:|[^-]src=\"|url\(|@import", page)
    drawings = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(drawings) > 12
    for drawing in drawings:
        assert ET.fromstring(drawing).tag == "svg"
        assert "nan" not in re.sub(r"data-tip=\".*?\"|>[^<]*<", "", drawing)


def test_the_policy_allows_the_own_style_and_script_alone(pages):
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', pages["retrieval"])[1]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert " style=" not in pages["retrieval"], "style in attributes would be refused"


def test_ten_thousand_queries_stay_under_five_megabytes(tmp_path):
    path = write_report(report_cases.retrieval(tmp_path / "run", 10_000))
    assert path.stat().st_size < LIMIT
    rows = json.loads(parsed(path.read_text(encoding="utf-8")).scripts["rows"])
    assert len(rows["texts"][0]["values"]) == 10_000


def test_long_texts_are_cut_so_that_the_page_stays_small(tmp_path, monkeypatch):
    monkeypatch.setattr(
        report_cases, "texts", lambda count, seed=0: ["庭の土と光と水" * 60 + str(n) for n in range(count)]
    )
    assert write_report(report_cases.retrieval(tmp_path / "run", MOST)).stat().st_size < LIMIT


def test_texts_of_markup_are_counted_as_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(report_cases, "texts", lambda count, seed=0: ["<" * 240] * count)
    path = write_report(report_cases.retrieval(tmp_path / "run", MOST))
    assert path.stat().st_size < LIMIT
    values = json.loads(parsed(path.read_text(encoding="utf-8")).scripts["rows"])["texts"][0]["values"]
    assert len(values) == MOST and 20 < len(values[0]) < 60


def test_of_more_rows_those_that_changed_most_are_shown(tmp_path):
    record = read_run_record(report_cases.retrieval(tmp_path / "run", MOST + 500))
    rows = read_rows(record)
    assert (rows.count, rows.total) == (MOST, MOST + 500)
    gains = np.abs(record.rows["ndcg@10"].to_numpy() - record.rows["against:ndcg@10"].to_numpy())
    assert np.abs(rows.views[0].gains).sum() == pytest.approx(np.sort(gains)[500:].sum())
    assert "10,000 of 10,500 queries are shown: those that changed most." in run_page(record)


def test_the_same_files_give_the_same_page(tmp_path):
    run = report_cases.retrieval(tmp_path / "run")
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


@pytest.mark.parametrize("missing", ["run.json", "analysis.json", "per_query.parquet", "train_log.jsonl"])
def test_a_missing_part_is_named_and_the_rest_shown(tmp_path, missing):
    run = report_cases.retrieval(tmp_path / "run")
    (run / missing).unlink()
    page = run_page(read_run_record(run))
    parsed(page)
    told = {
        "run.json": "settings and surroundings",
        "analysis.json": "error analysis, what was forgotten, cost against quality (evaluation.ladder: true",
        "per_query.parquet": "the scores of each of the queries",
        "train_log.jsonl": "the course of the training",
    }
    assert told[missing] in page.partition('<section id="missing"')[2]
    assert "Better than bundled" in page


def test_an_evaluation_of_one_model_has_scores_and_no_verdict(tmp_path):
    folder = report_cases.retrieval(tmp_path / "scores", run=False, analysis=False)
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["against"], metrics["comparison"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    table = pq.read_table(folder / "per_query.parquet")
    pq.write_table(
        table.drop([name for name in table.column_names if name.startswith("against:")]), folder / "per_query.parquet"
    )
    page = run_page(read_run_record(folder))
    parsed(page)
    assert "Evaluation scores" in page
    assert "No other model was scored" in page
    assert "embedft evaluate" in page.partition('id="reproduce"')[2]
    assert "▲" not in page.partition("<script")[0]


def test_an_evaluation_of_two_models_calls_neither_the_earlier_one(tmp_path):
    folder = report_cases.retrieval(tmp_path / "scores", run=False)
    analysis = json.loads((folder / "analysis.json").read_text())
    # What was forgotten has a before.
    (folder / "analysis.json").write_text(json.dumps(analysis | {"guard": None}))
    page = run_page(read_run_record(folder))
    assert re.search(r"Better than bundled: ndcg@10 is 0\.\d{3} against 0\.\d{3}\.", page)
    comparison = page.partition('<section id="comparison"')[2].partition("</section>")[0]
    assert "← other model is better" in comparison
    sliced = page.partition('<section id="slices"')[2].partition("</section>")[0]
    assert "this model is better →" in sliced and re.findall(r"<th[^>]*>(other model|this model)<", sliced)
    assert "“this model” is scores/model and “other model” is bundled." in page
    assert not re.search(r"\b(before|after)\b", page.partition("<main")[2].partition('<section id="reproduce"')[0])
    columns = json.loads(parsed(page).scripts["rows"])["views"][0]["columns"]
    assert [column["name"] for column in columns] == ["other model", "this model", "difference"]


def test_what_a_slice_suffers_from_stands_beside_its_score(tmp_path):
    run = report_cases.similarity(tmp_path / "run")
    analysis = json.loads((run / "analysis.json").read_text())
    narrow, few = analysis["errors"]["slices"][:2]
    narrow["why"] = "their scores hardly differ"
    few |= {"why": "too few pairs", "score": None, "against": None, "difference": None}
    (run / "analysis.json").write_text(json.dumps(analysis))
    page = run_page(read_run_record(run))
    sliced = page.partition('<section id="slices"')[2].partition("</section>")[0]
    assert "1 to 4 words · 20 pairs · their scores hardly differ<" in sliced
    cells = [
        re.sub("<[^>]+>", "", row.rpartition("<td")[2].partition(">")[2]).strip() for row in sliced.split("<tr")[2:]
    ]
    assert cells[:3] == ["their scores hardly differ", "too few pairs", ""]
    assert "note<" not in run_page(read_run_record(report_cases.similarity(tmp_path / "other")))


def test_a_metric_without_wins_of_its_own_shows_none(tmp_path):
    run = report_cases.retrieval(tmp_path / "run", 9, analysis=False)
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["comparison"]["mrr@10"]["tests"]["Student's t"]
    (run / "metrics.json").write_text(json.dumps(metrics))
    page = run_page(read_run_record(run))
    table = page.partition('<section id="comparison"')[2].partition("<table")[2].partition("</table")[0]
    rows = table.split("<tr")[2:]
    won = [re.sub("<[^>]+>", "", row.rpartition("<td")[2].partition(">")[2]).strip() for row in rows]
    assert [bool(re.fullmatch(r"\d+/\d+/\d+", cell)) for cell in won] == [True, False, True], won


def test_a_section_that_is_on_with_its_defaults_is_among_the_settings():
    given = {"data": {"path": "D"}, "training": {"hard_negatives": {}, "max_steps": 5}}
    config = RunConfig.model_validate(given).model_dump(mode="json")
    own = [("data.path", "D"), ("training.hard_negatives", "with its defaults"), ("training.max_steps", "5")]
    assert own_settings(config) == own
    assert ("training.max_steps", "5") in own_settings(config | {"of_tomorrow": 1})


def test_long_names_may_break_after_an_underscore_and_stay_whole_as_text():
    cell = table(("label",), [("lost_or_<stolen>",)]).partition("<tbody>")[2]
    assert "lost_<wbr>or_<wbr>&lt;stolen&gt;" in cell


def test_the_rest_of_the_groups_on_a_map_is_named_once_and_last():
    groups = ["(others)"] * 50 + [f"group_{number}" for number in range(9) for _ in range(9 - number)]
    points = [{"x": place % 7, "y": place % 5, "group": group, "text": "a"} for place, group in enumerate(groups)]
    page = "".join(geometry({"map": {"method": "pca", "points": points}}))
    named = re.findall(r"<li>.*?<span>(.*?)</span></li>", page)
    assert named == [*(f"group_<wbr>{number}" for number in range(7)), "(others)"]


def test_a_metric_that_is_no_number_is_a_dash(tmp_path):
    run = report_cases.retrieval(tmp_path / "run", 3)
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["metrics"]["mrr@10"] = None
    metrics["against"]["metrics"]["recall@100"] = float("nan")
    metrics["comparison"]["mrr@10"] |= {"difference": None, "ci_low": None, "ci_high": None, "p_value": None}
    (run / "metrics.json").write_text(json.dumps(metrics))
    page = run_page(read_run_record(run))
    parsed(page)
    assert "–" in page.partition('id="comparison"')[2].partition("</section>")[0]
    assert not re.search(r"\bnan\b", page.partition("<script")[0])


def test_identical_systems_are_no_difference_and_everything_is_drawn(tmp_path):
    run = report_cases.retrieval(tmp_path / "run")
    table = pq.read_table(run / "per_query.parquet")
    same = table.set_column(table.column_names.index("ndcg@10"), "ndcg@10", table["against:ndcg@10"])
    pq.write_table(same, run / "per_query.parquet")
    metrics = json.loads((run / "metrics.json").read_text())
    zero = {
        "difference": 0.0,
        "ci_low": 0.0,
        "ci_high": 0.0,
        "p_value": 1.0,
        "verdict": "no difference",
        "effect_size": None,
    }
    metrics["comparison"]["ndcg@10"] |= zero
    metrics["metrics"]["ndcg@10"] = metrics["against"]["metrics"]["ndcg@10"]
    (run / "metrics.json").write_text(json.dumps(metrics))
    page = run_page(read_run_record(run))
    parsed(page)
    assert "No difference to bundled was shown" in page


def test_a_metric_of_which_less_is_better_falls_when_it_is_better(tmp_path):
    run = report_cases.classification(tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record["best"]["metric"] = "ece"
    (run / "run.json").write_text(json.dumps(record))
    page = run_page(read_run_record(run))
    assert "logistic head: ece fell from 0.200 to 0.100." in page
    assert "← after is better" in page


def numbers_in(value, path=()):
    """Paths of the numbers in nested JSON, of lists those of the first entry."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from numbers_in(inner, (*path, name))
    elif isinstance(value, list):
        yield from numbers_in(value[0], (*path, 0)) if value else ()
    elif isinstance(value, int | float):
        yield path


@pytest.mark.parametrize("task", MAKERS)
def test_every_number_of_an_analysis_may_be_missing(task, tmp_path):
    record = read_run_record(MAKERS[task](tmp_path / "run", 12))
    for part in ("analysis", "metrics"):
        whole = getattr(record, part)
        for path in numbers_in({name: whole[name] for name in whole if name not in ("confusion", "queries", "texts")}):
            # Counts, entries of a list and the bounds of bins are always there.
            if path[-2:] in ((0, "low"), (0, "high")) or path[-1] in (0, "pairs") or "matrix" in path:
                continue
            changed = json.loads(json.dumps(whole))
            inner = changed
            for name in path[:-1]:
                inner = inner[name]
            inner[path[-1]] = None
            assert run_page(dataclasses.replace(record, **{part: changed})).startswith(PAGE_BEGIN), path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "is no directory"),
        (lambda folder: folder.mkdir(), "holds no run"),
        (lambda folder: write(folder, "run.json", '{"format": 1, "status": "training"}'), "is not finished"),
        (lambda folder: write(folder, "metrics.json", "{"), "metrics.json: is damaged"),
        (lambda folder: write(folder, "metrics.json", "[]"), "metrics.json: is damaged"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_run_is_told(tmp_path, make, said):
    make(tmp_path / "folder")
    with pytest.raises(ArtifactError, match=said):
        write_report(tmp_path / "folder")


@pytest.mark.parametrize(
    ("analysis", "said"), [({"format": 9}, "format 9"), ({"format": 1, "geometry": {"model": 5}}, "is damaged")]
)
def test_an_analysis_of_another_shape_is_refused(tmp_path, analysis, said):
    run = report_cases.retrieval(tmp_path / "run", analysis=False)
    (run / "analysis.json").write_text(json.dumps(analysis))
    with pytest.raises(ArtifactError, match=rf"analysis\.json: .*{said}"):
        write_report(run)


def test_a_damaged_file_of_a_run_is_named(tmp_path):
    run = report_cases.retrieval(tmp_path / "run")
    (run / "per_query.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ArtifactError, match=r"per_query\.parquet: is damaged"):
        write_report(run)


def write(folder, name, text):
    folder.mkdir()
    (folder / name).write_text(text)


@pytest.mark.parametrize("text", NASTY)
def test_an_element_gives_back_the_text_that_went_in(text):
    reader = parsed(element("p", text, title=text))
    assert [tag for tag, _ in reader.found] == ["p"]
    assert element("p", Html("<b>bold</b>")) == "<p><b>bold</b></p>"
    assert json.loads(json_block({"text": text}))["text"] == text
    assert "<" not in json_block(text)


def test_a_cell_that_is_zero_is_sorted_as_a_number():
    assert 'data-v="0.0"' in table(("share",), [(Cell("0%", 0.0),), (Cell("50%", 0.5),)], sortable=True)
    assert element("p", hidden=False, title=None, value=0) == '<p value="0"></p>'


def test_a_matrix_that_the_analysis_left_out_is_not_drawn_and_the_reason_is_told(tmp_path):
    run = report_cases.classification(tmp_path / "run", number=5)
    assert 'class="cell' in run_page(read_run_record(run))
    change(run / "analysis.json", lambda found: found["errors"].update(confusion=None, confusion_why="too many"))
    page = run_page(read_run_record(run))
    assert 'class="cell' not in page and "No matrix is drawn: too many." in page
    assert "Classes taken for others" in page


def test_a_guard_of_ones_own_is_named_with_its_metric(tmp_path):
    run = report_cases.retrieval(tmp_path / "run")
    own = {"data": "/data/legal/beir", "metric": "ndcg@10", "unit": "queries", "count": 7}
    change(run / "analysis.json", lambda found: found["guard"].update(own))
    page = run_page(read_run_record(run))
    assert "general set" not in page.partition('id="training"')[0]
    assert "ndcg@10, legal/beir" in page and "on 7 queries of legal/beir" in page


def test_slices_are_coloured_by_no_interval_alone(pages):
    slices = pages["retrieval"].partition('<section id="slices"')[2].partition("</section>")[0]
    assert "<circle" in slices and not re.findall(r'class="[^"]*(?:better|worse)', slices)


def test_the_command_of_an_evaluation_can_be_pasted(tmp_path):
    folder = report_cases.retrieval(tmp_path / "my scores; rm -r x", run=False)
    arguments = ["a model", "--data", "da'ta", "--index", "$(index)", "--hybrid", "--metric", "mrr@10"]
    change(folder / "metrics.json", lambda found: found.update(arguments=arguments))
    page = run_page(read_run_record(folder))
    told = html.unescape(re.search(r"<code>(embedft evaluate.*?)</code>", page)[1])
    assert shlex.split(told) == ["embedft", "evaluate", *arguments, "-o", folder.name]


def change(path, how):
    """Change the object in a JSON file."""
    found = json.loads(path.read_text())
    how(found)
    path.write_text(json.dumps(found))


def test_a_heat_map_of_many_classes_has_a_mark_for_each_pair_that_occurs():
    matrix = np.eye(150, dtype=int) * 9
    matrix[3, 7] = 1
    drawn = heat([f"class <{place}>" for place in range(150)], matrix.tolist())
    assert drawn.count("data-tip") == 151
    assert "class &lt;3&gt; taken for class &lt;7&gt;: 1 of 10" in drawn


def test_an_estimate_without_an_interval_has_a_dot_alone():
    drawn = forest([Estimate("a", 0.5, None, None, "0.5"), Estimate("b", None, None, None, "–")], "caption")
    assert drawn.count("<circle") == 1 and 'class="interval"' not in drawn


def test_a_long_series_keeps_its_peaks_when_it_is_thinned():
    series = [(float(step), float(step % 7)) for step in range(5000)]
    series[1234] = (1234.0, 99.0)
    thin = thinned(series)
    assert len(thin) <= 400 and (1234.0, 99.0) in thin and thin == sorted(thin)
    assert running_mean([(0.0, 1.0), (1.0, 3.0)]) == [(0.0, 2.0), (1.0, 2.0)]
