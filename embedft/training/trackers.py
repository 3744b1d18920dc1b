"""Trackers of experiments, through transformers' own integrations: ``training.report_to``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

from embedft.errors import ConfigError

PROJECT = "embedft"
# transformers' name -> the package that it needs, under the name by which pip knows it, and the module to import.
TRACKERS = {
    "clearml": ("clearml", "clearml"),
    "codecarbon": ("codecarbon", "codecarbon"),
    "comet_ml": ("comet-ml", "comet_ml"),
    "dvclive": ("dvclive", "dvclive"),
    "mlflow": ("mlflow", "mlflow"),
    "swanlab": ("swanlab", "swanlab"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "trackio": ("trackio", "trackio"),
    "wandb": ("wandb", "wandb"),
}


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError if a tracker is not known or its package is not installed."""
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(
                f"training.report_to has {name!r}; expected {', '.join(TRACKERS)}.", hint="name one of them, or none."
            )
        package, module = TRACKERS[name]
        if find_spec(module) is None:
            raise ConfigError(
                f"training.report_to: {name} needs the package {package}, which is missing.",
                hint=f"run pip install {package}.",
            )


@contextmanager
def tracked_in(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Around the making of a trainer and its training: what trackers keep on this machine goes into ``folder``.

    Where the user's environment says otherwise (``TENSORBOARD_LOGGING_DIR``, ``MLFLOW_TRACKING_URI``, ...) that counts.
    What they print goes to standard error; standard output belongs to results.

    Args:
        folder: made, if there is a tracker.
        names: of the trackers; with none, nothing happens.
    """
    if not names:
        yield
        return
    folder = folder.resolve()
    places = {
        "TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_EXPERIMENT_NAME": PROJECT,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "TRACKIO_DIR": str(folder / "trackio"),
        "WANDB_DIR": str(folder),
        "WANDB_PROJECT": PROJECT,
    }
    added = [name for name in places if name not in os.environ]
    os.environ.update({name: places[name] for name in added})
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with redirect_stdout(sys.stderr):
            try:
                yield
            finally:
                _finish()
    finally:
        for name in added:
            os.environ.pop(name, None)


def _finish() -> None:
    """Close wandb's run here: transformers leaves it to the end of the process, where it prints its summary."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()
