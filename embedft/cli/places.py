"""Where commands write one file beside others: what would fail or spoil something is refused before the work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

ANOTHER = "name another path."


def require_result(
    file: Path, kind: str, *, force: bool, ours: Callable[[Path], bool], beside: Path | None = None
) -> None:
    """Say whether a file of results may be written.

    Args:
        file: to be written; its folder is made.
        kind: what it is, in words.
        force: replace an older one.
        ours: whether a file is such a one; others are never replaced.
        beside: the folder that the command writes too.

    Raises:
        ArtifactError: something else is there, or the file would stand in a folder that holds an evaluation, which
            embedft replaces only as a whole.
    """
    from embedft.artifacts import require_file_free
    from embedft.errors import ArtifactError
    from embedft.evaluation.records import PER_QUERY

    if beside is not None:
        here, there = file.resolve(), beside.resolve()
        if here.is_relative_to(there) or there.is_relative_to(here):
            raise ArtifactError(
                f"{file}: stands in {beside}, the folder of -o, or is or holds it; a {kind} needs its own place.",
                hint=ANOTHER,
            )
    if (file.parent / PER_QUERY).is_file():
        raise ArtifactError(
            f"{file}: {file.parent} holds a run or an evaluation, which --force could not replace with a {kind} in it.",
            hint=ANOTHER,
        )
    require_file_free(file, force=force, ours=ours)
