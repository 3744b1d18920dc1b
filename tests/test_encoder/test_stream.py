"""Streams of texts: read in windows, in bounded memory, into a file that survives an interruption."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from embedft.encoder import Encoder, stream
from embedft.encoder.forward import TOKEN_BUDGET
from embedft.encoder.vectorfile import VectorFile
from embedft.errors import ArtifactError, ConfigError, DataError

TEXTS = [f"text number {number} about ferns" + " and moss" * (number % 7) for number in range(50)]


@pytest.fixture
def small_windows(monkeypatch):
    """Eight texts a window, so that small data is a stream."""
    monkeypatch.setattr(stream.read_windows, "__defaults__", (8,))


def stopped_after(count):
    """The texts up to ``count``, then what a power cut looks like to the reader of an iterable."""
    yield from TEXTS[:count]
    raise KeyboardInterrupt


def test_windows_change_no_vector(encoder, monkeypatch):
    whole = encoder.encode(TEXTS)
    monkeypatch.setattr(stream.read_windows, "__defaults__", (8,))
    np.testing.assert_allclose(encoder.encode(iter(TEXTS)), whole, atol=1e-6)
    repeated = [TEXTS[0], TEXTS[1], TEXTS[0]] * 9
    assert (encoder.encode(iter(repeated))[::3] == encoder.encode(repeated)[0]).all()


def test_a_file_holds_the_vectors_of_the_texts(encoder, tmp_path, small_windows):
    path = encoder.encode_to(tmp_path / "v.npy", iter(TEXTS), prompt="p: ")
    vectors = np.load(path, mmap_mode="r")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, encoder.encode(TEXTS, prompt="p: "), atol=1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.npy"]


def test_no_texts_make_a_file_without_rows(encoder, tmp_path):
    assert np.load(encoder.encode_to(tmp_path / "v.npy", [])).shape == (0, 384)


@pytest.mark.parametrize("done", [3, 16, 20, 49])
def test_an_interrupted_file_goes_on_where_it_stopped(encoder, tmp_path, small_windows, done):
    path = tmp_path / "v.npy"
    with pytest.raises(KeyboardInterrupt):
        encoder.encode_to(path, stopped_after(done))
    assert not path.exists()
    read = []
    encoder.encode_to(path, (read.append(text) or text for text in TEXTS), resume=True)
    whole = encoder.encode_to(tmp_path / "whole.npy", TEXTS)
    assert (np.load(path) == np.load(whole)).all()
    assert len(read) == len(TEXTS)
    assert not (tmp_path / "v.npy.partial").exists()


def test_what_is_done_is_not_done_again(encoder, tmp_path, small_windows, monkeypatch):
    path = tmp_path / "v.npy"
    with pytest.raises(KeyboardInterrupt):
        encoder.encode_to(path, stopped_after(33))
    rows = json.loads((tmp_path / "v.npy.partial.json").read_text())["rows"]
    assert rows >= 16
    embedded = []
    append = VectorFile.append
    monkeypatch.setattr(
        VectorFile, "append", lambda self, texts, vectors: embedded.extend(texts) or append(self, texts, vectors)
    )
    encoder.encode_to(path, TEXTS, resume=True)
    assert embedded == TEXTS[rows:]


def test_rows_behind_the_last_record_are_dropped(encoder, tmp_path, small_windows):
    """Cut off between the rows and the journal that counts them."""
    path = tmp_path / "v.npy"
    with pytest.raises(KeyboardInterrupt):
        encoder.encode_to(path, stopped_after(33))
    with (tmp_path / "v.npy.partial").open("ab") as file:
        file.write(b"\xff" * 1000)
    encoder.encode_to(path, TEXTS, resume=True)
    assert (np.load(path) == np.load(encoder.encode_to(tmp_path / "whole.npy", TEXTS))).all()


def test_other_texts_or_settings_are_not_gone_on_with(encoder, tmp_path, small_windows):
    path = tmp_path / "v.npy"
    with pytest.raises(KeyboardInterrupt):
        encoder.encode_to(path, stopped_after(33))
    with pytest.raises(ArtifactError, match=r"unfinished file of \d+ rows"):
        encoder.encode_to(path, TEXTS)
    with pytest.raises(DataError, match="other texts"):
        encoder.encode_to(path, TEXTS[::-1], resume=True)
    with pytest.raises(ConfigError, match="another prompt"):
        encoder.encode_to(path, TEXTS, prompt="q: ", resume=True)
    with pytest.raises(ConfigError, match="another encoder"):
        Encoder.load("bundled", max_length=99, precision="float32").encode_to(path, TEXTS, resume=True)
    (tmp_path / "v.npy.partial").write_bytes(b"short")
    with pytest.raises(ArtifactError, match="rows are missing"):
        encoder.encode_to(path, TEXTS, resume=True)
    encoder.encode_to(path, TEXTS, force=True, resume=True)
    assert len(np.load(path)) == len(TEXTS)


def test_only_vectors_are_replaced_and_only_when_told(encoder, tmp_path):
    path = encoder.encode_to(tmp_path / "v.npy", TEXTS[:2])
    with pytest.raises(ArtifactError, match="exists already"):
        encoder.encode_to(path, TEXTS)
    encoder.encode_to(path, TEXTS[:3], force=True)
    assert len(np.load(path)) == 3
    (tmp_path / "notes.npy").write_text("mine")
    with pytest.raises(ArtifactError, match=r"not a \.npy file"):
        encoder.encode_to(tmp_path / "notes.npy", TEXTS, force=True)
    with pytest.raises(ArtifactError, match=r"\.npy"):
        encoder.encode_to(tmp_path / "vectors", TEXTS)


def test_a_file_cut_off_behind_its_last_texts_goes_on_with_more(encoder, tmp_path, small_windows, monkeypatch):
    """Killed after the last rows and before the rename: the number of rows is no multiple of a window."""

    def killed(self):
        raise KeyboardInterrupt

    path = tmp_path / "v.npy"
    with monkeypatch.context() as patch:
        patch.setattr(VectorFile, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            encoder.encode_to(path, TEXTS[:19])
    with pytest.raises(DataError, match="other texts"):
        encoder.encode_to(path, TEXTS[::-1], resume=True)
    encoder.encode_to(path, TEXTS, resume=True)
    whole = encoder.encode_to(tmp_path / "whole.npy", TEXTS)
    np.testing.assert_allclose(np.load(path), np.load(whole), atol=1e-6)


def test_two_processes_do_not_write_one_file(encoder, tmp_path):
    path = tmp_path / "v.npy"

    def texts():
        yield "one"
        with pytest.raises(ArtifactError, match="another process"):
            encoder.encode_to(path, ["other"], force=True)
        yield "two"

    encoder.encode_to(path, texts())
    assert len(np.load(path)) == 2


def test_fewer_texts_than_the_file_has_are_other_texts(encoder, tmp_path, small_windows):
    path = tmp_path / "v.npy"
    with pytest.raises(KeyboardInterrupt):
        encoder.encode_to(path, stopped_after(40))
    with pytest.raises(DataError, match="fewer texts"):
        encoder.encode_to(path, TEXTS[:4], resume=True)


def test_texts_that_were_cut_are_counted(tmp_path, caplog):
    encoder = Encoder.load("bundled", max_length=16, precision="float32")
    encoder.encode(["fern", "fern " * 14, "fern " * 15, "fern " * 500])
    assert encoder.truncated == 2
    encoder.encode_to(tmp_path / "v.npy", ["fern " * 15], show_progress=True)
    assert encoder.truncated == 3
    assert "1 texts were longer than 16 tokens" in caplog.text


def test_long_and_odd_texts_have_unit_vectors(encoder):
    texts = ["", "a", "word " * 40_000, "\x00", "a\x00b", "\ud83d", "שלום עולם", "👩‍👩‍👧" * 300, " " * 5000, "\n\t"]
    vectors = encoder.encode(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len(texts[2]) == 200_000


def test_the_order_and_the_company_of_a_text_do_not_matter(encoder):
    together = encoder.encode(TEXTS)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    np.testing.assert_allclose(encoder.encode([TEXTS[row] for row in order]), together[order], atol=1e-6)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS[:9]])
    np.testing.assert_allclose(alone, together[:9], atol=1e-6)


def test_encoding_leaves_the_number_of_threads_as_it_was(encoder):
    import torch

    before = torch.get_num_threads()
    texts = [f"{text} {number}" for number in range(30) for text in TEXTS]
    assert sum(map(len, encoder.tokenize(texts))) > 4 * TOKEN_BUDGET
    encoder.encode(texts)
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_a_killed_encode_is_resumed(tmp_path, cli):
    """kill -9 in the middle, then the same command with --resume: the file of an undisturbed run."""
    texts = tmp_path / "t.txt"
    texts.write_text("".join(f"sentence {number} about {'moss ' * (number % 30)}\n" for number in range(30_000)))
    command = [sys.executable, "-m", "embedft", "encode", texts, "-o", tmp_path / "v.npy", "--precision", "float32"]
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.DEVNULL)
    journal = tmp_path / "v.npy.partial.json"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (journal.exists() and json.loads(journal.read_text())["rows"] > 8000):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "v.npy").exists()
    done = cli(*command[3:], "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["texts"] == 30_000
    whole = cli(*command[3:5], "-o", tmp_path / "whole.npy", "--precision", "float32")
    assert whole.returncode == 0, whole.stderr
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), np.load(tmp_path / "whole.npy"), atol=1e-6)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_texts(tmp_path):
    """Peak memory of a process that encodes five times as many texts, a window being 8,192."""
    code = """
import pathlib, sys
from embedft.encoder import Encoder
count = int(sys.argv[1])
Encoder.load("bundled").encode_to(sys.argv[2], (f"short text {number} on {number % 977}" for number in range(count)))
print(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
    peaks = []
    for count in (40_000, 200_000):
        command = [sys.executable, "-c", code, str(count), str(tmp_path / f"{count}.npy")]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    # 160,000 more vectors alone would be 240,000 KiB; what is left is how the allocator cuts its memory up.
    assert peaks[1] - peaks[0] < 180_000, peaks
