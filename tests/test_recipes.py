"""Recipes run as a reader would run them."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import GARDEN
from labelled_texts import rows, write

RECIPES = Path(__file__).parent.parent / "recipes"


def run(name, *arguments):
    """What the recipe prints."""
    command = [sys.executable, RECIPES / f"{name}.py", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_retrieval_recipe_ends_with_a_comparison_and_a_search(tmp_path):
    printed = run("retrieval", GARDEN, "-o", tmp_path / "run", "--quick")
    assert "ndcg@10: 0." in printed
    assert "  0." in printed.splitlines()[-1]
    assert (tmp_path / "run" / "index" / "CURRENT").is_file()
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qa_retrieval", "query_only"])
def test_a_recipe_on_queries_ends_with_a_comparison(tmp_path, name):
    assert "ndcg@10: " in run(name, GARDEN, "-o", tmp_path / "run", "--quick")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["retrieval", "query_only"])
def test_a_recipe_that_searches_takes_a_file_of_pairs(tmp_path, name):
    pairs = [{"anchor": f"what is the number {n}", "positive": f"{n} is {n * n} squared"} for n in range(60)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    assert "what is the number" in run(name, tmp_path / "pairs.jsonl", "-o", tmp_path / "run", "--quick")


@pytest.mark.slow
def test_documents_alone_are_enough(tmp_path):
    printed = run("unlabelled_documents", GARDEN / "corpus.jsonl", "-o", tmp_path / "run", "--judge", GARDEN, "--quick")
    assert "pairs out of 48 documents" in printed
    assert "ndcg@10: " in printed


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["classification"], ["classification", "--end-to-end"], ["few_shot"]])
def test_a_recipe_on_labels_ends_with_a_comparison(tmp_path, arguments):
    name, *more = arguments
    assert "accuracy: " in run(name, write(tmp_path / "data"), "-o", tmp_path / "run", "--quick", *more)


@pytest.mark.slow
def test_the_similarity_recipe_ends_with_a_comparison(tmp_path):
    texts = rows()
    folder = tmp_path / "pairs"
    folder.mkdir()
    # Whole places apart, so that no text stands in two splits.
    for name, part in {"train": texts[:48], "dev": texts[48:60], "test": texts[60:]}.items():
        pairs = [
            {
                "sentence1": left["text"],
                "sentence2": right["text"],
                "score": 3 * (left["label"] == right["label"]) + n % 2,
            }
            for n, (left, right) in enumerate(zip(part, part[1:] + part[:1], strict=True))
            for right in (right, part[(n + 3) % len(part)])
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    assert "spearman: " in run("similarity", folder, "-o", tmp_path / "run", "--quick")


def refused(monkeypatch, name, *arguments):
    """What the recipe says as it ends, run in this process."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(RECIPES / f"{name}.py"), run_name="__main__")
    return caught.value.code


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.py")))
def test_a_recipe_says_what_is_wrong_in_a_line_and_how_to_mend_it(tmp_path, monkeypatch, name):
    said = refused(monkeypatch, name, tmp_path / "nowhere", "-o", tmp_path / "run")
    assert said.startswith("error: ") and "nowhere" in said and "\nhint: " in said


def test_documents_of_a_run_that_is_there_are_left_alone(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "pairs.jsonl").write_text("its pairs")
    said = refused(monkeypatch, "unlabelled_documents", GARDEN / "corpus.jsonl", "-o", tmp_path)
    assert "exists already" in said and (tmp_path / "pairs.jsonl").read_text() == "its pairs"


def test_documents_without_a_pair_are_told(tmp_path, monkeypatch):
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text(f"note {number}\n")
    said = refused(monkeypatch, "unlabelled_documents", folder, "-o", tmp_path / "run")
    assert "3 documents gave no pair" in said and not (tmp_path / "run").exists()


def test_every_recipe_is_listed():
    listed = (RECIPES / "README.md").read_text()
    assert all(f"]({path.name})" in listed for path in RECIPES.glob("*.py"))
