"""Versions of small text files, for the tests of what stands on disk."""

from embedft.index.storage import new_version, open_version


def publish(path, text, **how):
    """A version whose files all hold ``text``; a further file for each that builds on another."""
    with new_version(path, **how) as staged:
        if staged.previous:
            staged.link_tree("base/")
            (staged.path / "delta").mkdir()
        else:
            (staged.path / "base").mkdir()
            (staged.path / "base" / "documents.arrow").write_text(text * 100)
            (staged.path / "base" / "vectors.npy").write_text(text * 1000)
            (staged.path / "delta").mkdir()
        (staged.path / "delta" / "documents.arrow").write_text(text)
        staged.manifest |= {"text": text, "documents": len(text)}
    return staged


def texts(path):
    """What a reader finds: the version's number, its base and its delta; every file verified."""
    version, found = open_version(
        path,
        lambda version: [
            (version.path / name).read_text()
            for name in ("base/documents.arrow", "base/vectors.npy", "delta/documents.arrow")
        ],
    )
    assert found[1] == found[0] * 10
    assert version.manifest["text"] == found[2]
    return version.number, found[0][0], found[2]


def entries(path):
    return {entry.name for entry in path.iterdir()}
