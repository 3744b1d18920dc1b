"""Damage to each file of an index, one after the other, and what opening, searching and verifying it then say."""

from pathlib import Path

import numpy as np

from embedft.errors import ArtifactError
from embedft.index import Index
from embedft.index.snapshot import Snapshot
from embedft.index.storage import verify as reading
from embedft.index.verifying import verify

CUTS = (0.0, 0.5, 0.999)


def files_of(path):
    """All files of the current version, with CURRENT: names relative to the index."""
    version = Snapshot.open(path).version.path
    return ["CURRENT", *sorted(file.relative_to(path).as_posix() for file in version.rglob("*") if file.is_file())]


def answers(path, encoder, queries):
    """Ids and scores of searches of each kind, in whole millionths."""
    index = Index(path, Snapshot.open(path), encoder)
    found = [
        *index.search_vectors(queries),
        *index.search_vectors(queries, exact=True),
        *index.search_vectors(queries, filter="parity=1"),
        *index.search(["word7 added"], hybrid=True),
    ]
    return [[[hit.id, hit.text, round(hit.score, 5)] for hit in hits] for hits in found]


def damages(path, encoder, *, other, flips, seed=0, header=None, lazy=False, names=None):
    """Try each damage; yield its name, its file and what came of it: "right", "named", or what is wrong.

    Args:
        path: of the index, which is whole again afterwards.
        encoder: of it.
        other: of another index with the same files.
        flips: bits that are flipped in each file.
        seed: of their places.
        header: flip every so-manieth bit of the first 128 bytes instead, which are numpy's header.
        lazy: open it as a large index, whose vectors are not hashed.
        names: of the files; by default all.
    """
    queries = encoder.encode_queries(["Who bakes bread?", "letters"])
    expected = answers(path, encoder, queries)
    if lazy:
        reading.LAZY_BYTES = 0
    for name in names or files_of(path):
        file = path / name
        content = file.read_bytes()
        random = np.random.default_rng(seed)
        drawn = random.integers(0, 8 * len(content), flips).tolist()
        places = range(0, 8 * 128, header) if header else drawn
        for what, broken in _broken(content, Path(other) / name, places):
            file.unlink(missing_ok=True)
            if broken is not None:
                # A new file, for the old one has links from other versions.
                file.write_bytes(broken)
            yield [what, name, _outcome(path, name, encoder, queries, expected)]
        file.unlink(missing_ok=True)
        file.write_bytes(content)
    assert answers(path, encoder, queries) == expected


def _broken(content, other, places):
    for share in CUTS:
        yield f"cut at {share}", content[: int(share * len(content))]
    yield "removed", None
    if other.exists() and other.read_bytes() != content:
        yield "swapped", other.read_bytes()
    for place in places:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        yield f"bit {place} flipped", bytes(flipped)


def _outcome(path, name, encoder, queries, expected):
    last = name.rsplit("/", 1)[-1]
    problems = [name] if not (path / "CURRENT").exists() else verify(path).problems
    try:
        found = answers(path, encoder, queries)
    except ArtifactError as error:
        if last not in error.message and (path / "CURRENT").exists():
            return f"names another file: {error.message}"
        if not any(last in problem for problem in problems):
            return f"verify says {problems}"
        return "named" if error.hint else "no hint"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if found != expected:
        return "wrong hits"
    return "right" if name == "CURRENT" or problems else "damage that nobody notices"
