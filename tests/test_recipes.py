"""Recipes run as a reader would run them."""

import subprocess
import sys
from pathlib import Path

from conftest import GARDEN

RECIPES = Path(__file__).parent.parent / "recipes"


def test_the_retrieval_recipe_ends_with_a_comparison_and_a_search(tmp_path):
    command = [sys.executable, RECIPES / "retrieval.py", GARDEN, "-o", tmp_path / "run", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ndcg@10: 0." in done.stdout
    assert "  0." in done.stdout.splitlines()[-1]
    assert (tmp_path / "run" / "index" / "CURRENT").is_file()


def test_every_recipe_is_listed():
    listed = (RECIPES / "README.md").read_text()
    assert all(f"]({path.name})" in listed for path in RECIPES.glob("*.py"))
