"""What the tests share: the bundled encoder, small data, the command line as a real process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Workers share the processors: OpenMP's threads wait for each other without sleeping, and more of them than processors
# make everything slower.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // WORKERS, 1)))

GARDEN = Path(__file__).parent / "data" / "garden"
SHARED = Path(__file__).parent.parent.parent / "shared" / "data"

Cli = Callable[..., subprocess.CompletedProcess[str]]


def run_cli(*arguments: object, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as its user runs it; text output, no terminal, no network."""
    return subprocess.run(
        [sys.executable, "-m", "embedft", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        check=False,
    )


@pytest.fixture(scope="session")
def cli() -> Cli:
    return run_cli


@pytest.fixture(scope="session")
def encoder():
    """The bundled encoder in fp32, whose vectors do not depend on the processor's bf16."""
    from embedft.encoder import Encoder

    return Encoder.load("bundled", precision="float32")


@pytest.fixture(scope="session")
def other_model(tmp_path_factory) -> Path:
    """Folder of the bundled encoder with other weights: a model of the same dimension whose vectors differ."""
    import torch

    from embedft.encoder import Encoder

    encoder = Encoder.load("bundled", precision="float32")
    with torch.no_grad():
        encoder.sentence_transformer[0].model.layers[0].mlp.Wo.weight.mul_(1.5)
    path = Path(tmp_path_factory.mktemp("other") / "model")
    encoder.save(path)
    return path


@pytest.fixture(scope="module")
def one_thread():
    """OpenMP's threads wait for each other without sleeping: on a busy machine two of them are slower than one."""
    from embedft.index.approximate import set_threads, threads

    before = threads()
    set_threads(1)
    yield
    set_threads(before)


@pytest.fixture
def garden(tmp_path: Path) -> Path:
    """A copy of the small BEIR folder, free to be broken."""
    return Path(shutil.copytree(GARDEN, tmp_path / "garden"))


@pytest.fixture(scope="session")
def garden_data():
    from embedft.data import read_retrieval

    return read_retrieval(GARDEN)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The public data sets beside the project, where they are."""
    if not SHARED.is_dir():
        pytest.skip("the shared data sets are not on this machine")
    return SHARED


def assert_user_error(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit status 2, one message that holds ``parts``, a hint, no traceback, nothing on standard output."""
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "hint: " in done.stderr
    assert done.stdout == ""
    for part in parts:
        assert part in done.stderr, done.stderr


def heed_interrupts():
    """A shell starts background jobs with Ctrl-C ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
