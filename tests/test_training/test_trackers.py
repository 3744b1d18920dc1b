"""Trackers are checked before step 0; what they keep and print goes where it belongs."""

import os
import sys

import pytest
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, TensorBoardCallback

from embedft.errors import ConfigError
from embedft.training.trackers import TRACKERS, check_trackers, tracked_in


def test_all_of_them_are_known_to_transformers():
    assert set(TRACKERS) <= set(INTEGRATION_TO_CALLBACK)


def test_unknown_and_missing_trackers_are_refused(monkeypatch):
    check_trackers([])
    check_trackers(["tensorboard"])
    with pytest.raises(ConfigError, match=r"training\.report_to has 'tensorbord'; expected .*tensorboard.*wandb"):
        check_trackers(["tensorboard", "tensorbord"])
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match="mlflow needs the package mlflow, which is missing") as caught:
        check_trackers(["mlflow"])
    assert caught.value.hint == "run pip install mlflow."


def test_files_go_into_the_folder_and_prints_to_standard_error(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    monkeypatch.setenv("WANDB_DIR", "/elsewhere")
    before = dict(os.environ)
    with tracked_in(tmp_path / "trackers", ["tensorboard"]):
        assert TensorBoardCallback().logging_dir == str(tmp_path / "trackers" / "tensorboard")
        assert os.environ["WANDB_DIR"] == "/elsewhere"
        sys.stdout.write("from a tracker\n")
    assert dict(os.environ) == before
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "from a tracker\n"


def test_without_trackers_nothing_is_made(tmp_path):
    before = dict(os.environ)
    with tracked_in(tmp_path / "trackers", []):
        assert dict(os.environ) == before
    assert not list(tmp_path.iterdir())
