"""The page that compares runs, and the command that writes it."""

import json
import re
import shutil

import numpy as np
import pytest
import report_cases
from test_run_report import parsed

from embedft.data import read_beir
from embedft.encoder import Encoder
from embedft.errors import ArtifactError
from embedft.evaluation import compare, comparison_dict
from embedft.evaluation.classification import ClassificationEvaluation
from embedft.evaluation.records import write_record
from embedft.evaluation.retrieval import evaluate_retrieval
from embedft.evaluation.several import compare_several
from embedft.evaluation.similarity import SimilarityEvaluation
from embedft.reports import PAGE_BEGIN
from embedft.reports.run import read_run_record, write_report
from embedft.reports.several import headline, several_page

JUDGED = {"data_sha256": "0" * 64, "fingerprint": "1" * 64}


@pytest.fixture(scope="module")
def scored(encoder):
    """Evaluations of the bundled encoder and of the first dimensions of its vectors, on the garden."""
    data = read_beir(report_cases.GARDEN)
    small = Encoder.load("bundled", precision="float32", truncate_dim=16)
    return [evaluate_retrieval(model, data) for model in (encoder, small)]


@pytest.fixture(scope="module")
def folders(scored, tmp_path_factory):
    """Three runs on the same queries: bundled, its first dimensions, bundled again; one name would break a page."""
    root = tmp_path_factory.mktemp("runs")
    found = []
    for name, place in (("first", 0), ("<b>second", 1), ("third", 0)):
        folder = root / name
        folder.mkdir(parents=True)
        evaluation, against = scored[place], scored[1 - place]
        answer = comparison_dict(evaluation, against, compare(evaluation, against))
        report_cases.write(folder, answer)
        write_record(folder, answer, evaluation, against)
        found.append(folder)
    return found


def test_the_page_of_several_says_which_is_best_and_of_what_that_is_shown(scored, folders):
    names = ["first", "<b>second", "third"]
    several = compare_several(names, [scored[0], scored[1], scored[0]])
    page = several_page(several, [read_run_record(folder) for folder in folders])
    reader = parsed(page)
    assert page.startswith(PAGE_BEGIN)
    assert [attributes["id"] for tag, attributes in reader.found if tag == "section"] == [
        "scores", "differences", "training", "costs", "one-by-one",
    ]  # fmt: skip
    assert "b" not in [tag for tag, _ in reader.found]
    assert headline(several).startswith("first, third have the same best ndcg@10") and "have the same best" in page
    two = compare_several(names[:2], scored)
    assert headline(two).startswith("first has the best ndcg@10, ")
    table = page.partition('id="scores"')[2].partition("</table>")[0]
    for system in range(3):
        for metric in several.metrics:
            assert f"{several.score(system, metric):.4f}" in table
    assert len(re.findall(r"<sup>b</sup>", table)) == sum(
        1 in several.better_than(system, metric) for system in range(3) for metric in several.metrics
    )
    rows = json.loads(reader.scripts["rows"])
    assert [column["name"] for column in rows["views"][0]["columns"]] == names
    assert len(rows["texts"][0]["values"]) == scored[0].count
    first, _, third = (column["values"] for column in rows["views"][0]["columns"])
    assert first == third == [round(value, 4) for value in scored[0].per_query["ndcg@10"].tolist()]


def similarities(folder, cosines):
    """A folder with an evaluation of scored pairs, and the evaluation."""
    gold = np.arange(len(cosines)) / len(cosines)
    texts = [(f"left {row}", f"right {row}") for row in range(len(cosines))]
    return stored(
        folder,
        SimilarityEvaluation("model", "pairs", "test", ("spearman",), texts, gold, np.asarray(cosines), **JUDGED),
    )


def stored(folder, evaluation):
    folder.mkdir(parents=True)
    write_record(folder, comparison_dict(evaluation, None, {}), evaluation, None)
    return read_run_record(folder), evaluation


def test_of_two_similarity_systems_the_one_nearer_to_the_scores_wins_whichever_is_the_baseline(tmp_path):
    rng = np.random.default_rng(0)
    right, high = np.arange(60) / 100, 0.9 + rng.permutation(60) / 1000
    found = [similarities(tmp_path / name, cosines) for name, cosines in (("right", right), ("high", high))]
    records, evaluations = zip(*found, strict=True)
    for baseline, sign in (("right", -1), ("high", 1)):
        several = compare_several(["right", "high"], list(evaluations), baseline=baseline)
        page = several_page(several, list(records))
        rows = json.loads(parsed(page).scripts["rows"])
        outcome = np.array(rows["views"][0]["outcome"])
        assert (outcome == sign).sum() > 50 and not (outcome == -sign).any()
        assert [column["name"] for column in rows["views"][0]["columns"]] == ["given score", "right", "high"]
        other = "high" if baseline == "right" else "right"
        assert f'Won: what <bdi dir="auto">{other}</bdi> does better than <bdi dir="auto">{baseline}</bdi>' in page


def test_of_two_classifiers_the_one_that_is_right_wins(tmp_path):
    labels = np.eye(3, dtype=bool)[np.arange(30) % 3]
    found = []
    for name, wrong in (("first", range(0, 9)), ("second", range(6, 12))):
        probabilities = np.where(labels, 0.8, 0.1)
        probabilities[list(wrong)] = np.roll(probabilities[list(wrong)], 1, axis=1)
        evaluation = ClassificationEvaluation(
            "model, linear head", "texts", "test", ("accuracy",), ("a", "b", "c"), False,
            [f"text {row}" for row in range(30)], labels, probabilities, probabilities.max(1), None, 0.1, **JUDGED,
        )  # fmt: skip
        found.append(stored(tmp_path / name, evaluation))
    records, evaluations = zip(*found, strict=True)
    several = compare_several(["first", "second"], list(evaluations))
    rows = json.loads(parsed(several_page(several, list(records))).scripts["rows"])
    outcome = np.array(rows["views"][0]["outcome"])
    assert np.flatnonzero(outcome == 1).tolist() == list(range(6))
    assert np.flatnonzero(outcome == -1).tolist() == list(range(9, 12))


def test_the_command_writes_the_page_of_one_run_and_of_several(cli, folders, tmp_path):
    one = cli("report", folders[0], "--json")
    assert one.returncode == 0, one.stderr
    told = json.loads(one.stdout)
    assert told["report"] == str(folders[0] / "report.html")
    assert told["bytes"] == (folders[0] / "report.html").stat().st_size
    assert "ndcg@10" in told["verdict"]
    page = tmp_path / "page.html"
    assert cli("report", *folders, "-o", page).returncode == 0
    assert "3 systems compared" in page.read_text(encoding="utf-8")
    again = cli("report", *folders, "-o", page)
    assert again.returncode == 2 and "--force" in again.stderr


def test_the_command_tells_what_is_no_run_or_does_not_fit(cli, folders, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, said in (
        ((empty,), "holds no run (run.json) and no evaluation"),
        ((folders[0], folders[1]), "name its file with -o"),
        ((folders[0], "--baseline", "first"), "are for several runs"),
    ):
        done = cli("report", *arguments)
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    changed = shutil.copytree(folders[1], tmp_path / "changed")
    metrics = json.loads((changed / "metrics.json").read_text())
    metrics["metrics"]["ndcg@10"] += 0.1
    (changed / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ArtifactError, match="do not belong together"):
        write_report(changed)
    other = shutil.copytree(folders[1], tmp_path / "other")
    metrics = json.loads((other / "metrics.json").read_text())
    (other / "metrics.json").write_text(json.dumps({**metrics, "data_sha256": "0" * 64}))
    done = cli("report", folders[0], other, "-o", tmp_path / "page.html")
    assert done.returncode == 2 and "--allow-different" in done.stderr
