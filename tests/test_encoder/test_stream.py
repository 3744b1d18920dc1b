"""Streams of texts: read in windows, in bounded memory, into a file that survives an interruption."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from embedft.cli.encode import encode
from embedft.encoder import Encoder, stream
from embedft.encoder.forward import TOKEN_BUDGET
from embedft.encoder.vectorfile import VectorFile
from embedft.errors import ArtifactError, ConfigError, DataError, DiskFullError

TEXTS = [f"text number {number} about ferns" + " and moss" * (number % 7) for number in range(50)]


@pytest.fixture
def small_windows(monkeypatch):
    """Eight texts a window, so that small data is a stream."""
    monkeypatch.setattr(stream.read_windows, "__defaults__", (8,))


def stopped_after(count):
    """The texts up to ``count``, then what a power cut looks like to the reader of an iterable."""
    yield from TEXTS[:count]
    raise KeyboardInterrupt


def test_a_window_ends_with_its_texts_or_with_its_characters():
    texts = ["aaaa", "b", "c", "", "dddddd", "e", "f", "g", "h"]
    windows = list(stream.read_windows(texts, 4, characters=5))
    assert windows == [["aaaa", "b"], ["c", "", "dddddd"], ["e", "f", "g", "h"]]
    assert [len(window) for window in stream.read_windows(["x" * 1_500_000] * 7)] == [3, 3, 1]


def test_a_larger_model_writes_after_less_text(encoder, tmp_path, monkeypatch):
    path = tmp_path / "v.npy"
    # Five times the text of the 50 for the bundled encoder, a fifth for a model of 25 times its size.
    monkeypatch.setattr("embedft.encoder.encoder.WINDOW_WORK", sum(map(len, TEXTS)) / 5 * 8.9e6)
    with pytest.raises(KeyboardInterrupt):
        encoder.encode_to(path, stopped_after(40))
    assert 10 < json.loads((tmp_path / "v.npy.partial.json").read_text())["rows"] < 40
    encoder.encode_to(path, TEXTS, resume=True)
    assert (np.load(path) == np.load(encoder.encode_to(tmp_path / "whole.npy", TEXTS))).all()


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
    with pytest.raises(ConfigError, match="start afresh with --force and without --resume"):
        encoder.encode_to(path, TEXTS, prompt="q: ", resume=True, force=True)
    with pytest.raises(ConfigError, match="another encoder"):
        Encoder.load("bundled", max_length=99, precision="float32").encode_to(path, TEXTS, resume=True)
    (tmp_path / "v.npy.partial").write_bytes(b"short")
    with pytest.raises(ArtifactError, match="rows are missing"):
        encoder.encode_to(path, TEXTS, resume=True)
    encoder.encode_to(path, TEXTS, force=True, resume=True)
    assert len(np.load(path)) == len(TEXTS)


def test_what_is_unfinished_is_begun_afresh_with_force(encoder, tmp_path, small_windows):
    path = tmp_path / "v.npy"
    with pytest.raises(KeyboardInterrupt):
        encoder.encode_to(path, stopped_after(33))
    encoder.encode_to(path, TEXTS[:9], prompt="q: ", force=True)
    np.testing.assert_allclose(np.load(path), encoder.encode(TEXTS[:9], prompt="q: "), atol=1e-6)


def test_a_full_disk_keeps_what_is_done_and_says_how_to_go_on(encoder, tmp_path, small_windows, monkeypatch):
    path = tmp_path / "v.npy"
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            DiskFullError, match=r"v\.npy: the disk ran full .*; what was done before is kept"
        ) as caught:
            encoder.encode_to(path, TEXTS)
    assert "--resume" in caught.value.hint
    rows = json.loads((tmp_path / "v.npy.partial.json").read_text())["rows"]
    assert 0 < rows < len(TEXTS)
    encoder.encode_to(path, TEXTS, resume=True)
    assert (np.load(path) == np.load(encoder.encode_to(tmp_path / "whole.npy", TEXTS))).all()


def test_only_vectors_are_replaced_and_only_when_told(encoder, tmp_path):
    path = encoder.encode_to(tmp_path / "v.npy", TEXTS[:2])
    with pytest.raises(ArtifactError, match="exists already"):
        encoder.encode_to(path, TEXTS)
    encoder.encode_to(path, TEXTS[:3], force=True)
    assert len(np.load(path)) == 3
    (tmp_path / "notes.npy").write_text("mine")
    with pytest.raises(ArtifactError, match="replaces only what embedft wrote"):
        encoder.encode_to(tmp_path / "notes.npy", TEXTS, force=True)
    with pytest.raises(ArtifactError, match=r"\.npy"):
        encoder.encode_to(tmp_path / "vectors", TEXTS)


def test_what_cannot_be_written_is_refused_and_a_link_stays(encoder, tmp_path):
    target = encoder.encode_to(tmp_path / "target.npy", TEXTS[:2])
    (tmp_path / "link.npy").symlink_to(target)
    with pytest.raises(ArtifactError, match="is a link"):
        encoder.encode_to(tmp_path / "link.npy", TEXTS, force=True)
    assert (tmp_path / "link.npy").is_symlink()
    with pytest.raises(ArtifactError, match=r"target\.npy is a file, no folder"):
        encoder.encode_to(target / "v.npy", TEXTS)


def test_texts_that_cannot_be_read_leave_no_folder_but_those_that_others_use(encoder, tmp_path):
    def broken(*others):
        for other in others:
            other.write_text("mine")
        raise DataError("no such file", hint="check the path.")
        yield

    with pytest.raises(DataError):
        encoder.encode_to(tmp_path / "new" / "folder" / "v.npy", broken())
    assert not (tmp_path / "new").exists()
    with pytest.raises(DataError):
        encoder.encode_to(tmp_path / "new" / "folder" / "v.npy", broken(tmp_path / "new" / "folder" / "w.npy"))
    assert [entry.name for entry in (tmp_path / "new" / "folder").iterdir()] == ["w.npy"]


def test_a_disk_without_locks_is_written_to(encoder, tmp_path, monkeypatch):
    def refused(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    assert len(np.load(encoder.encode_to(tmp_path / "v.npy", TEXTS[:3]))) == 3


def test_a_file_is_locked_until_it_has_its_name(encoder, tmp_path, monkeypatch):
    path = tmp_path / "v.npy"
    replace = Path.replace

    def replaced(partial, target):
        if target == path:
            with pytest.raises(ArtifactError, match="another process"):
                VectorFile(path, 384, {}, resume=False, force=True)
        return replace(partial, target)

    monkeypatch.setattr(Path, "replace", replaced)
    assert np.load(encoder.encode_to(path, TEXTS[:3])).shape == (3, 384)


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


def test_texts_that_were_cut_before_the_interruption_are_counted(tmp_path, small_windows):
    first, second = (Encoder.load("bundled", max_length=12, precision="float32") for _ in range(2))
    with pytest.raises(KeyboardInterrupt):
        first.encode_to(tmp_path / "v.npy", stopped_after(33))
    second.encode_to(tmp_path / "v.npy", TEXTS, resume=True)
    first.encode_to(tmp_path / "whole.npy", TEXTS)
    assert first.truncated == second.truncated > 8


def test_the_command_knows_how_many_texts_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr("embedft.progress.LOG_EVERY_SECONDS", 0.0)
    (tmp_path / "t.txt").write_text("fern\nmoss\n")
    done = CliRunner().invoke(encode, [str(tmp_path / "t.txt"), "-o", str(tmp_path / "v.npy")])
    assert "encoding: 2/2 texts" in done.stderr


def test_the_command_leaves_a_finished_file_as_it_is(tmp_path, caplog):
    (tmp_path / "t.txt").write_text("fern\nmoss\n")
    command = [str(tmp_path / "t.txt"), "-o", str(tmp_path / "v.npy"), "--resume"]
    assert CliRunner().invoke(encode, command).exit_code == 0
    before = (tmp_path / "v.npy").stat()
    done = CliRunner().invoke(encode, [*command, "--json"])
    assert done.exit_code == 0 and "is finished already" in caplog.text
    assert json.loads(done.stdout) == {
        "vectors": str(tmp_path / "v.npy"), "texts": 2, "dim": 384, "truncated": None, "fingerprint": None,
    }  # fmt: skip
    assert (tmp_path / "v.npy").stat() == before
    (tmp_path / "t.txt").write_text("fern\nmoss\nlichen\n")
    with pytest.raises(ArtifactError, match="exists already"):
        CliRunner().invoke(encode, command, catch_exceptions=False)


def test_the_command_says_how_to_go_on_where_something_was_kept(tmp_path, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(VectorFile, "finish", interrupted)
    (tmp_path / "t.txt").write_text("fern\nmoss\n")
    done = CliRunner().invoke(encode, [str(tmp_path / "t.txt"), "-o", str(tmp_path / "v.npy")])
    assert done.exit_code != 0 and "go on with the same command and --resume" in done.stderr


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


def test_batches_side_by_side_give_the_vectors_of_one_thread_and_leave_the_threads_as_they_were(encoder):
    texts = [f"{text} {number}" for number in range(12) for text in TEXTS]
    assert sum(map(len, encoder.tokenize(texts))) > 2 * TOKEN_BUDGET
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        vectors = encoder.encode(texts)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        np.testing.assert_allclose(vectors, encoder.encode(texts), atol=1e-6)
    finally:
        torch.set_num_threads(before)


def test_a_forked_child_encodes_although_its_parent_did():
    code = """
import os, sys, time
from embedft.encoder import Encoder
encoder, texts = Encoder.load("bundled", precision="float32"), ["ferns and moss " * 20]
vectors = encoder.encode(texts)
child = os.fork()
if not child:
    os._exit(int(abs(encoder.encode(texts) - vectors).max() > 1e-5))
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        sys.exit(status)
    time.sleep(0.02)
os.kill(child, 9)
sys.exit("the child waits for threads that it does not have")
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


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
