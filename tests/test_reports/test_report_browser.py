"""The page of a run in a real browser: free of errors, usable by keys, in both themes, on a phone, printed."""

import shutil

import pytest
import report_cases

from embedft.reports.page import Cell, page, table
from embedft.reports.run import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
MAKERS = {
    "retrieval": report_cases.retrieval,
    "similarity": report_cases.similarity,
    "classification": report_cases.classification,
}
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed; looked for {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Task -> file of the report of a run of it."""
    root = tmp_path_factory.mktemp("runs")
    return {task: write_report(make(root / task)) for task, make in MAKERS.items()}


class Opened:
    """A page with what it said and asked for."""

    def __init__(self, browser, file, **options):
        self.context = browser.new_context(**{"viewport": WIDE, **options})
        self.page = self.context.new_page()
        self.faults, self.requests = [], []
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type != "log" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.faults.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.title = self.page.title()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def cells(self, column):
        """Texts of a column of the table of all rows."""
        return self.page.locator(f".rows tbody td:nth-child({column})").all_inner_texts()

    def told(self):
        """What stands beside the buttons of its pages."""
        return self.page.locator(".rows [role=status]").inner_text()


@pytest.fixture
def opened(browser, reports):
    with Opened(browser, reports["retrieval"]) as found:
        yield found


@pytest.mark.parametrize("task", MAKERS)
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_it_opens_without_errors_requests_or_scrolling_sideways(browser, reports, task, viewport):
    with Opened(browser, reports[task], viewport=viewport) as found:
        found.page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert found.faults == []
        assert found.requests == [reports[task].as_uri()]
        assert found.page.title() == f"Run {task}"
        assert found.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert found.page.locator("img").count() == 0
        assert found.page.locator("text=</script><img src=x onerror=alert(1)>").count() > 0


@pytest.mark.parametrize(
    "task",
    ["retrieval", *(pytest.param(task, marks=pytest.mark.slow) for task in ("similarity", "classification"))],
)
def test_axe_finds_no_serious_fault(browser, reports, task):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    with Opened(browser, reports[task], color_scheme="light") as found:
        found.page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert serious(axe.run(found.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})) == []
        # What the colours change is contrast alone.
        found.page.emulate_media(color_scheme="dark")
        assert serious(axe.run(found.page, options={"runOnly": ["color-contrast"]})) == []


def serious(results):
    """Rule and element of each serious fault."""
    faults = results.response["violations"]
    return [
        (fault["id"], node["html"][:200])
        for fault in faults
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def test_the_table_of_all_rows_filters_sorts_and_turns_pages(opened):
    page = opened.page
    assert opened.told() == "1 to 25 of 40 queries"
    page.get_by_role("button", name="later").click()
    assert opened.told() == "26 to 40 of 40 queries" and len(opened.cells(1)) == 15
    page.get_by_label("Filter the queries").fill("onerror")
    expect(page.locator(".rows tbody tr")).to_have_count(1)
    assert opened.cells(1) == ["</script><img src=x onerror=alert(1)>"]
    page.get_by_label("Filter the queries").fill("")
    expect(page.locator(".rows tbody tr")).to_have_count(25)
    heading = page.locator(".rows th", has_text="difference")
    heading.get_by_role("button").click()
    falling = [float(cell) for cell in opened.cells(5)]
    assert heading.get_attribute("aria-sort") == "descending" and falling == sorted(falling, reverse=True)
    heading.get_by_role("button").press("Enter")
    rising = [float(cell) for cell in opened.cells(5)]
    assert heading.get_attribute("aria-sort") == "ascending" and rising == sorted(rising)
    page.locator("label", has_text="show").locator("select").select_option(label="won")
    assert all(float(cell) > 0 for cell in opened.cells(5))
    page.locator("label", has_text="metric").locator("select").select_option(label="mrr@10")
    better = len(opened.cells(5))
    assert opened.told() == f"1 to {better} of {better} queries"
    assert opened.faults == []


def test_other_tables_and_lists_sort_and_filter(opened):
    page = opened.page
    table = page.locator("#ladder table.sortable")
    table.get_by_role("button", name="MB a million").click()
    sizes = [float(cell.replace(",", "")) for cell in table.locator("tbody td:nth-child(6)").all_inner_texts()]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 9
    table.get_by_role("button", name="storage").press("Space")
    kinds = table.locator("tbody td:nth-child(2)").all_inner_texts()
    assert kinds == sorted(kinds)
    cards = page.locator("#errors .cards").first
    assert cards.locator("details:visible").count() == 6, "the beginning of a long list"
    page.get_by_label("Filter the lost queries").fill("LONGWORD")
    assert cards.locator("details:visible").count() == 12, "each of them came with a document of that word"
    page.get_by_label("Filter the lost queries").fill("emoji")
    assert cards.locator("details:visible").count() == 1


def test_what_is_missing_comes_last_whichever_way_a_table_is_sorted(browser, tmp_path):
    rows = [("a", Cell("–")), ("b", Cell("0.2", 0.2)), ("c", Cell("0.1", 0.1))]
    file = tmp_path / "page.html"
    file.write_text(page("sorted", [table(("name", "score"), rows, sortable=True)]))
    with Opened(browser, file) as found:
        for order in ("bca", "cba"):
            found.page.get_by_role("button", name="score").click()
            assert "".join(found.page.locator("tbody td:nth-child(1)").all_inner_texts()) == order


def test_a_scatter_speaks_to_pointers_and_keys_and_lists_what_is_chosen(opened):
    page, tip = opened.page, opened.page.locator("#tip")
    plot = page.locator("#one-by-one .plot").first
    plot.locator("circle").last.hover(force=True)
    assert "before" in tip.inner_text() and "difference" in tip.inner_text()
    page.mouse.move(0, 0)
    assert tip.is_hidden()
    plot.focus()
    plot.press("ArrowRight")
    first = tip.inner_text()
    for _ in range(3):
        plot.press("ArrowRight")
    assert tip.is_visible() and tip.inner_text() != first
    chosen = tip.inner_text().splitlines()[0]
    plot.press("Enter")
    assert chosen in opened.cells(1) and len(opened.cells(1)) < 25
    page.get_by_role("button", name="all dots").click()
    assert len(opened.cells(1)) == 25
    plot.focus()
    plot.press("ArrowLeft")
    plot.press("Escape")
    assert tip.is_hidden()


def test_the_cells_of_a_confusion_matrix_and_the_bars_of_sureness_speak(browser, reports):
    with Opened(browser, reports["classification"]) as found:
        for plot in found.page.locator("#errors .plot").all():
            plot.focus()
            plot.press("ArrowRight")
            assert found.page.locator("#tip").inner_text()


def test_the_colours_follow_the_system_until_they_are_chosen_and_are_remembered(browser, reports):
    ground = "getComputedStyle(document.body).backgroundColor"
    with Opened(browser, reports["retrieval"], color_scheme="dark") as found:
        dark = found.page.evaluate(ground)
        found.page.locator("#theme").select_option("light")
        light = found.page.evaluate(ground)
        assert light == "rgb(255, 255, 255)" != dark
        found.page.reload()
        assert found.page.evaluate(ground) == light
        found.page.emulate_media(color_scheme="light")
        found.page.locator("#theme").select_option("dark")
        assert found.page.evaluate(ground) == dark


def test_a_script_that_came_in_later_is_refused(opened):
    opened.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = 1'}))"
    )
    assert opened.page.title() == opened.title
    assert any("Content Security Policy" in fault for fault in opened.faults)


def test_without_scripts_the_main_facts_are_read(browser, reports):
    with Opened(browser, reports["retrieval"], java_script_enabled=False) as found:
        page = found.page
        assert "Better than bundled: ndcg@10 rose from" in page.locator("#verdict .verdict").inner_text()
        assert page.locator("noscript table tbody tr").count() == 20
        assert page.locator("#comparison table").is_visible() and page.locator("#theme").is_hidden()


def test_paper_has_no_navigation_and_shows_what_is_folded(browser, reports):
    with Opened(browser, reports["retrieval"], color_scheme="dark") as found:
        page = found.page
        page.emulate_media(media="print", color_scheme="dark")
        assert page.locator("nav").is_hidden() and page.locator("#theme").is_hidden()
        assert page.locator("#configuration details table").is_visible()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.pdf(format="A4")[:5] == b"%PDF-"


def test_the_keyboard_reaches_the_content_first_and_every_control(opened):
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    lost = page.evaluate(
        "[...document.querySelectorAll('button, input, select, summary, a')].filter(item => item.tabIndex < 0).length"
    )
    assert lost == 0


def test_ten_thousand_rows_are_filtered_and_sorted(browser, tmp_path):
    with Opened(browser, write_report(report_cases.retrieval(tmp_path / "run", 10_000, analysis=False))) as found:
        assert found.told() == "1 to 25 of 10,000 queries"
        found.page.locator(".rows th button", has_text="after").click()
        found.page.get_by_label("Filter the queries").fill("ivy fern")
        expect(found.page.locator(".rows [role=status]")).not_to_contain_text("10,000")
        assert all("ivy" in text and "fern" in text for text in found.cells(1))
        values = [float(cell) for cell in found.cells(4)]
        assert values == sorted(values, reverse=True)
        assert found.faults == []
