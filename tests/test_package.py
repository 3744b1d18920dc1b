"""The package as it is installed and imported."""

import subprocess
import sys
from pathlib import Path

import embedft


def test_import_is_light():
    code = (
        "import sys, embedft, embedft.cli.main; print(sorted({'torch', 'transformers', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_resolve():
    for name in embedft.__all__:
        assert getattr(embedft, name) is not None


def test_the_bundled_encoder_and_its_card_are_in_the_package():
    folder = Path(embedft.__file__).parent / "models" / "modernbert-mini"
    names = {path.name for path in folder.iterdir()}
    assert {"modules.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert "apache-2.0" in (folder / "README.md").read_text()


def test_help_lists_every_command(cli):
    done = cli("--help")
    assert done.returncode == 0
    for command in ("demo", "train", "evaluate", "index", "search"):
        assert command in done.stdout
