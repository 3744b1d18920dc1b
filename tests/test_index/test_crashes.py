"""A writer that is killed, or runs out of disk, at any moment: the old version is there or the new one, whole."""

import signal
import subprocess

import numpy as np
import pytest
from index_cases import SENTENCES, Vectors, assert_hits, publish_scattered, table
from index_children import PROMPTED, apply, nursery

from embedft.encoder import Encoder
from embedft.encoder.vectorfile import VectorFile
from embedft.errors import ArtifactError, DiskFullError
from embedft.index import Index, writing
from embedft.index.snapshot import Snapshot
from embedft.index.storage import versions
from embedft.index.verifying import verify

TEXTS = SENTENCES[:20]


@pytest.fixture(scope="module")
def models(encoder):
    """Fingerprint -> vectors of the two models between which an index is migrated."""
    both = [encoder, Encoder.load("bundled", precision="float32", prompts=PROMPTED)]
    return {one.fingerprint: Vectors(one) for one in both}


def documents_of(path):
    documents = Snapshot.open(path).live_documents()
    return dict(zip(documents["id"].to_pylist(), documents["text"].to_pylist(), strict=True))


def assert_sound(path, models):
    """Every file is whole, and search finds what numpy finds among the documents, by the model that it names."""
    assert verify(path).problems == []
    snapshot = Snapshot.open(path)
    vectors = models[snapshot.manifest["fingerprint"]]
    index = Index(path, snapshot, vectors.encoder)
    for query, hits in zip(TEXTS[:2], index.search(TEXTS[:2], k=20), strict=True):
        assert_hits(hits, query, documents_of(path), 20, vectors)


def killed_again_and_again(path, models, kills, seed=0):
    """Kill a process that changes the index, so many times; gives which changes it was killed in."""
    random = np.random.default_rng(seed)
    state, killed_in = {}, []
    for _ in range(kills):
        # Counted in reports, so that a slow machine too gets to each kind of change; then somewhere in the change.
        when = {"kill_report": int(random.integers(1, 7)), "kill_after": float(random.uniform(0, 0.15))}
        signalled, reports = nursery().run("changes", path, seed=int(random.integers(1 << 30)), texts=TEXTS, **when)
        assert signalled == signal.SIGKILL, reports[-1]
        begun = [report for report in reports if report != "done"]
        acknowledged = begun[: reports.count("done")]
        for change in acknowledged:
            state = apply(change, state)
        allowed = [state, *(apply(change, state) for change in begun[len(acknowledged) :])]
        killed_in += [change[0] for change in begun[len(acknowledged) :]]
        if not (path / "CURRENT").exists():
            assert state == {}
            with pytest.raises(ArtifactError, match="holds no index"):
                Snapshot.open(path)
            continue
        state = documents_of(path)
        assert state in allowed, (begun[-1], allowed)
        assert_sound(path, models)
    return killed_in


def test_killed_at_random_moments_nothing_is_half_and_nothing_acknowledged_is_lost(tmp_path, models):
    assert killed_again_and_again(tmp_path / "idx", models, 6)


@pytest.mark.slow
def test_killed_two_hundred_times_nothing_is_half_and_nothing_acknowledged_is_lost(tmp_path, models):
    killed_in = set()
    for seed in range(1, 11):
        path = tmp_path / str(seed)
        killed_in |= set(killed_again_and_again(path, models, 20, seed))
        assert len(versions(path)) <= 3  # two, and one that was complete and not yet published
    assert killed_in == {"add", "delete", "compact", "build", "migrate"}


@pytest.mark.parametrize("kill_after", [0, 0.12])
def test_a_build_that_was_killed_while_it_embedded_goes_on_where_it_stopped(tmp_path, models, monkeypatch, kill_after):
    path, texts = tmp_path / "idx", SENTENCES[:120]
    _, windows = nursery().run("build", path, texts=texts, window=10, kill_after=kill_after)
    assert 10 <= windows[-1] < 120
    with pytest.raises(ArtifactError, match="The build that began it was cut off"):
        Snapshot.open(path)
    embedded = []
    append = VectorFile.append

    def counted(file, texts, vectors):
        embedded.extend(texts)
        append(file, texts, vectors)

    monkeypatch.setattr(VectorFile, "append", counted)
    vectors = next(iter(models.values()))
    index = Index.build(texts, vectors.encoder, path)
    assert embedded == texts[windows[-1] :] or embedded == texts[windows[-1] + 10 :]
    assert not (path / ".building").exists()
    expected = {str(number): text for number, text in enumerate(texts)}
    assert_hits(index.search([texts[3]], k=50)[0], texts[3], expected, 50, vectors)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    # Lazily: a test that failed still holds files open.
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(place, leave):
    """Use up the disk but for ``leave`` bytes."""
    with (place / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
        file.truncate(file.tell() - leave)


def files(path):
    return sorted(file for file in path.rglob("*") if file.name != ".lock")


@pytest.mark.parametrize("what", ["add", "delete", "compact", "build"])
def test_a_disk_that_runs_full_is_one_clear_error_and_the_index_stays_as_it_was(small_disk, tmp_path, encoder, what):
    path = small_disk / "idx"
    publish_scattered(path, encoder, tmp_path, count=600, kind="flat")
    fill(small_disk, leave=40_000 if what != "delete" else 0)
    before = files(path)
    act = {
        "add": lambda: writing.add(path, table({str(n): text for n, text in enumerate(SENTENCES)}), encoder),
        "delete": lambda: writing.delete(path, ["d0"]),
        "compact": lambda: writing.compact(path, encoder),
        "build": lambda: Index.build(SENTENCES, encoder, path, force=True),
    }[what]
    if what == "compact":
        # In a child: writing through a memory map would end the process.
        signalled, reports = nursery().run("compact", path)
        assert (signalled, reports[0][0]) == (0, "DiskFullError"), reports
        assert "ran full" in reports[0][1]
    else:
        with pytest.raises(DiskFullError, match="the disk ran full"):
            act()
    assert [file for file in files(path) if ".building" not in file.parts] == before
    assert verify(path, lambda _: encoder).problems == []
    (small_disk / "filler").unlink()
    act()
    assert verify(path, lambda _: encoder).problems == []
