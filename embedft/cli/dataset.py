"""What the commands of ``embedft data`` share: which data is read, how, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedft.cli.options import gathered

if TYPE_CHECKING:
    from embedft.data.dataset import Dataset


class Share(click.ParamType[float]):
    """``5%`` or ``0.05``."""

    name = "share"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The share, 0..1."""
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1
        if not 0 <= share <= 1:
            self.fail(f"{value!r} is no share: write 5% or 0.05", param, ctx)
        return share


output_option = click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="New folder.")
max_bad_option = click.option(
    "--max-bad", type=Share(), default="5%", show_default=True, help="Share of bad rows beyond which it fails."
)
ANOTHER = "name another path."
READING = (
    click.argument("paths", metavar="PATH", nargs=-1, required=True),
    click.option("--columns", help="Roles of columns, where names do not tell: anchor=q,positive=a."),
    click.option("--scale", help="Of similarity scores, where it is not found out: 0,5."),
    max_bad_option,
)


@dataclass(frozen=True)
class Reading:
    """The values of `reading_options`."""

    paths: tuple[str, ...]
    columns: str | None
    scale: str | None
    max_bad: float

    def read(self, paths: tuple[str, ...] | None = None, *, most: float | None = None) -> Dataset:
        """The data at ``paths``, else at those of the command; ``most`` is the share of bad rows allowed."""
        from embedft.data.dataset import read_dataset
        from embedft.data.roles import parse_columns
        from embedft.data.scores import parse_scale

        paths = paths or self.paths
        return read_dataset(
            paths[0] if len(paths) == 1 else paths,
            columns=parse_columns(self.columns) if self.columns else None,
            scale=parse_scale(self.scale) if self.scale else None,
            max_bad=self.max_bad if most is None else most,
        )


reading_options = gathered("reading", Reading, READING)


def sizes(found: Dataset) -> dict[str, int]:
    """Split -> rows, or judgments of retrieval data."""
    tables = found.retrieval.qrels if found.retrieval else found.splits
    return {name: table.num_rows for name, table in tables.items()}


def print_sizes(output: Path, found: Dataset) -> None:
    """Where it was written, and how much."""
    from embedft.cli.output import console

    shown = ", ".join(f"{name} {count:,}" for name, count in sizes(found).items())
    console().print(f"{output}: {shown} {'judgments' if found.retrieval else 'rows'}", markup=False)


def require_new(file: Path, begin: str, *, force: bool, apart_from: Iterable[object] = ()) -> None:
    """Say before the work whether a file can be written.

    Args:
        file: to be written.
        begin: how a file of this kind begins; with ``force`` such a one is replaced, and no other.
        force: replace it.
        apart_from: other paths of the command; it must be none of them, nor stand in one.

    Raises:
        ArtifactError: it is there already, is one of the other paths, or its folder does not exist.
    """
    from embedft.errors import ArtifactError

    here = file.resolve()
    for other in apart_from:
        if other is not None and here.is_relative_to(Path(str(other)).resolve()):
            raise ArtifactError(f"{file}: is, or stands in, {other}, which the command names too.", hint=ANOTHER)
    if not file.parent.is_dir():
        raise ArtifactError(f"{file}: the folder {file.parent} does not exist.", hint="make it, or name another path.")
    if not file.exists():
        return
    if not force:
        raise ArtifactError(f"{file}: is there already.", hint="use --force, or another name.")
    if not file.is_file() or (file.stat().st_size and not file.read_bytes()[: len(begin)] == begin.encode()):
        raise ArtifactError(f"{file}: embedft did not write it; --force replaces only its own.", hint=ANOTHER)
