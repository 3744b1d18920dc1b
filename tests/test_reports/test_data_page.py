"""The page of ``embedft data check``, laid out by a real browser."""

import json
import re
import shutil
import subprocess

import pytest

from embedft.data.check import check
from embedft.data.dataset import read_dataset
from embedft.reports import data_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Put into a copy of the page: what the browser made of it, as its title.
MEASURE = """<script>
const box = element => element.getBoundingClientRect();
document.title = JSON.stringify({
  width: document.documentElement.scrollWidth,
  figures: [...document.querySelectorAll('figure')].map(figure => ({
    plot: [box(figure.querySelector('svg')).width, box(figure.querySelector('svg')).height],
    below: box(figure.querySelector('figcaption')).top >= box(figure.querySelector('svg')).bottom})),
  bars: [...document.querySelectorAll('svg rect')].map(bar => box(bar).height * box(bar).width),
  tables: document.querySelectorAll('table').length,
  text: document.body.innerText,
  loaded: performance.getEntriesByType('resource').map(entry => entry.name),
});
</script></body>"""


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed; looked for {', '.join(BROWSERS)}")
    return found


def laid_out(browser, page, folder, width):
    """What `MEASURE` finds in a window of that width."""
    file = folder / "page.html"
    # The page's policy refuses scripts other than its own.
    page = re.sub(r'<meta http-equiv="Content-Security-Policy".*?>', "", page)
    file.write_text(page.replace("</body>", MEASURE), encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--dump-dom")
    done = subprocess.run(
        [browser, *options, f"--window-size={width},900", file.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S)[1]
    for sign, entity in (("<", "&lt;"), (">", "&gt;"), ("&", "&amp;")):
        title = title.replace(entity, sign)
    return json.loads(title)


@pytest.mark.parametrize("width", [1200, 500])
def test_plots_and_tables_fit_the_window(browser, tmp_path, width):
    rows = [{"text": f"question number {n} " + "word " * (n % 9), "label": f"class {n % 3}"} for n in range(60)]
    rows[5]["text"] = "<script>document.body.innerHTML = ''</script> & more"
    rows[7]["text"] = "x" * 400
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n")
    report = check(read_dataset(tmp_path / "train.jsonl", max_bad=1.0))
    found = laid_out(browser, data_page(report), tmp_path, width)
    assert found["width"] <= width
    assert len(found["figures"]) == 2, "lengths and labels"
    assert all(figure["below"] and min(figure["plot"]) > 50 for figure in found["figures"])
    assert sum(area > 10 for area in found["bars"]) >= 5
    assert found["tables"] >= 2
    assert "not valid JSON: plain text" in found["text"]
    assert "train: 60 rows" in found["text"]
    assert found["loaded"] == [], "nothing is fetched"
