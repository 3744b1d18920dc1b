"""What commands that read rows of the user share: which data is read, how, and what is left of it."""

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
columns_option = click.option("--columns", help="Roles of columns, where names do not tell: anchor=q,positive=a.")
ANOTHER = "name another path."
ROWS = (
    columns_option,
    click.option("--scale", help="Of similarity scores, where it is not found out: 0,5."),
    max_bad_option,
)
READING = (click.argument("paths", metavar="PATH", nargs=-1, required=True), *ROWS)


def by_role(columns: str | None) -> dict[str, tuple[str, ...]] | None:
    """The value of ``--columns``, role -> columns; None if it was not given, DataError if it cannot be read."""
    from embedft.data.roles import parse_columns

    return parse_columns(columns) if columns else None


@dataclass(frozen=True)
class Rows:
    """The values of `ROWS`, for commands that read the data of a task."""

    columns: str | None
    scale: str | None
    max_bad: float

    def settings(self) -> dict[str, Any]:
        """The same as fields of `embedft.config.DataConfig`; raises DataError if a value cannot be read."""
        from embedft.data.scores import parse_scale

        scale = parse_scale(self.scale) if self.scale else None
        return {
            "columns": by_role(self.columns) or {},
            "scale": (scale.low, scale.high) if scale else None,
            "max_bad": self.max_bad,
        }


@dataclass(frozen=True)
class Reading:
    """The values of `reading_options`."""

    paths: tuple[str, ...]
    columns: str | None
    scale: str | None
    max_bad: float

    def read(self, *, most: float | None = None) -> Dataset:
        """The data of the command; ``most`` is the share of bad rows allowed, where it is not ``--max-bad``.

        Raises:
            ConfigError: a scale is stated for data without scores.
            DataError: as `embedft.data.dataset.read_dataset`.
        """
        from embedft.errors import ConfigError

        found = self._read(self.paths, self.columns, self.max_bad if most is None else most)
        if self.scale and found.kind != "scored pairs":
            raise ConfigError(f"{found.path}: holds {found.kind}; --scale would change nothing.", hint="leave it out.")
        return found

    def read_other(self, path: str) -> Dataset:
        """Data beside those of the command, with all its faults; ``--columns`` counts if its files have these columns.

        Raises:
            DataError: as `embedft.data.dataset.read_dataset`.
        """
        from embedft.data.roles import MissingColumnError

        try:
            return self._read((path,), self.columns, 1.0)
        except MissingColumnError:
            return self._read((path,), None, 1.0)

    def _read(self, paths: tuple[str, ...], columns: str | None, most: float) -> Dataset:
        from embedft.data.dataset import read_dataset
        from embedft.data.scores import parse_scale

        return read_dataset(
            paths[0] if len(paths) == 1 else paths,
            columns=by_role(columns),
            scale=parse_scale(self.scale) if self.scale else None,
            max_bad=most,
        )


reading_options = gathered("reading", Reading, READING)


def print_sizes(output: Path, found: Dataset) -> None:
    """Where it was written, and how much."""
    from embedft.cli.output import console

    shown = ", ".join(f"{name} {count:,}" for name, count in found.sizes().items())
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
    from embedft.artifacts import require_file_free
    from embedft.errors import ArtifactError

    here = file.resolve()
    for other in apart_from:
        if other is not None and here.is_relative_to(Path(str(other)).resolve()):
            raise ArtifactError(f"{file}: is, or stands in, {other}, which the command names too.", hint=ANOTHER)
    if not file.parent.is_dir():
        raise ArtifactError(f"{file}: the folder {file.parent} does not exist.", hint="make it, or name another path.")
    require_file_free(file, force=force, ours=lambda there: _begins(there, begin.encode()))


def _begins(file: Path, begin: bytes) -> bool:
    with file.open("rb") as there:
        return there.read(len(begin)) in (begin, b"")
