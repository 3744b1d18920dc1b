"""``embedft compare``."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedft.cli.dataset import ROWS, Rows
from embedft.cli.options import force_option, gathered, json_option, precision_option, unknown_ids_option

if TYPE_CHECKING:
    from embedft.evaluation import Evaluation
    from embedft.evaluation.records import Record
    from embedft.evaluation.several import Several
    from embedft.tasks import Task

# What a file of `-o` is, by its ending.
FORMAT_OF = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}
# How such a file begins: Markdown's with its heading and the first column, which has no name.
OURS = re.compile(
    r"[^\n]*\n\n\|\s*\| system \| |\\begin\{table\}\n\\centering\n\\caption\{|system,letter,metric,score,"
    r'|\{"format": \d+, "task": '
)


@click.command()
@click.argument("systems", nargs=-1, required=True, metavar="SYSTEM...")
@click.option("--data", type=click.Path(path_type=Path), help="For models and run files: what they are judged on.")
@click.option("--split", help="For models and run files: which split of it.  [default: test, or that of the runs]")
@click.option("--task", help="For models: what to score for.  [default: retrieval, or that of the runs]")
@click.option("--metric", "metrics", multiple=True, help="For example ndcg@10; may be given several times.")
@click.option("--baseline", metavar="NAME", help="The system that the others are measured by.  [default: the first]")
@click.option("--base", is_flag=True, help="Of each run, also the model that it began from.")
@click.option("--allow-different", is_flag=True, help="Where data, splits or metrics differ: compare what is shared.")
@click.option("--format", "form", type=click.Choice(["table", "markdown", "latex", "csv", "json"]),
              help="How it is printed or, with -o, written.  [default: table; of a file, by its ending]")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
              help=f"Write it to this file: {', '.join(FORMAT_OF)}, or as --format says.")  # fmt: skip
@unknown_ids_option
@gathered("rows", Rows, ROWS)
@precision_option
@force_option
@json_option
def compare(
    systems: tuple[str, ...],
    data: Path | None,
    split: str | None,
    task: str | None,
    metrics: tuple[str, ...],
    baseline: str | None,
    base: bool,
    allow_different: bool,
    form: str | None,
    output: Path | None,
    unknown_ids: Any,
    rows: Rows,
    precision: Any,
    force: bool,
    as_json: bool,
) -> None:
    """Compare systems on the same queries, pairs or texts.

    A SYSTEM is a run, a folder of embedft evaluate -o, a run file (TREC's, or ranx' .json), or a model, which is
    evaluated; NAME=SYSTEM names it. There may be any number of them. The first one is the baseline.

    \b
    embedft compare RUN_A RUN_B RUN_C --base
    embedft compare RUN bm25=BM25.trec bundled --data DATA -o table.tex
    """
    from embedft.artifacts import write_bytes
    from embedft.cli.output import print_json
    from embedft.evaluation.several import compare_several

    written = _written_as(output, form, force=force) if output is not None else None
    metrics = tuple(dict.fromkeys(metrics))
    opened = Systems(list(systems), data, split, task, metrics, precision, unknown_ids, rows, base, baseline)
    names, evaluations = opened.read()
    found = compare_several(names, evaluations, baseline=baseline, metrics=metrics, allow_different=allow_different)
    if output is not None and written is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(output, _as_text(found, written).encode())
    printed = "json" if as_json else "table" if output is not None else form or "table"
    if printed == "table":
        from embedft.cli.evidence import print_several

        print_several(found)
    elif printed == "json":
        print_json(found.as_dict())
    else:
        click.echo(_as_text(found, printed), nl=False)


def _written_as(output: Path, form: str | None, *, force: bool) -> str:
    """The form of the file, once it is sure that it may be written.

    Raises:
        ArtifactError: something else is there.
        ConfigError: neither an ending nor ``form`` says what it is to be.
    """
    from embedft.cli.places import require_result
    from embedft.errors import ConfigError

    require_result(output, "table", force=force, ours=_is_table)
    if form not in (None, "table"):
        return form
    if output.suffix.lower() not in FORMAT_OF:
        raise ConfigError(
            f"{output}: no form has the ending {output.suffix!r}.",
            hint=f"end it on {', '.join(FORMAT_OF)}, or add --format.",
        )
    return FORMAT_OF[output.suffix.lower()]


def _is_table(path: Path) -> bool:
    """Whether a file is what this command wrote, or empty."""
    text = path.read_bytes()
    return not text or OURS.match(text.decode("utf-8", "replace")) is not None


def _as_text(found: Several, form: str) -> str:
    from embedft.evaluation.tables import FORMATS

    if form == "json":
        return json.dumps(found.as_dict(), ensure_ascii=False, allow_nan=False) + "\n"
    return FORMATS[form](found)


@dataclass
class Systems:
    """What the command was given, to be opened: what stands on disk first, since it says how the rest is judged.

    Attributes:
        given: as on the command line.
        data, split, task, metrics, precision, unknown_ids, rows: for what is evaluated here.
        base: whether the base of each run is wanted too.
        baseline: name of the system that the others are measured by, if one was named.
        records: argument -> what was read from disk.
    """

    given: list[str]
    data: Path | None
    split: str | None
    task: str | None
    metrics: Sequence[str]
    precision: Any
    unknown_ids: Any
    rows: Rows
    base: bool
    baseline: str | None
    records: dict[str, Record] = field(default_factory=dict)
    _dataset: Any = None

    def read(self) -> tuple[list[str], list[Evaluation]]:
        """Names, short and distinct, and evaluations; with ``base`` the runs' bases behind them, equal ones once.

        What can be refused is refused before the first text is encoded: options, names, data, files and models.

        Raises:
            UsageError: an option is of no use for these systems.
            ConfigError: a name stands twice, there is none like ``baseline``, or what is to be judged lacks data.
            ArtifactError: a run is unfinished or damaged.
            DataError: a run file or the data is broken.
            ModelError: there is no such model.
        """
        from embedft.evaluation.records import is_record, read_record
        from embedft.evaluation.several import check_names

        named = [_named(argument) for argument in self.given]
        for _, where in named:
            if is_record(Path(where)):
                self.records[where] = read_record(where)
        self._check_usage([where for _, where in named if where not in self.records])
        names = iter(distinct_names([where for name, where in named if name is None]))
        systems = [(name if name is not None else next(names), where) for name, where in named]
        stored = [record.evaluation for record in self.records.values()]
        possible = [name for name, _ in self._bases(systems, stored)]
        check_names([name for name, _ in systems], self.baseline, possible=possible)
        judges = {where: self._judge(where) for _, where in systems if where not in self.records}
        found = [self.records[where].evaluation if where in self.records else judges[where]() for _, where in systems]
        bases = self._bases(systems, found)
        return [name for name, _ in (*systems, *bases)], [*found, *(base for _, base in bases)]

    def _check_usage(self, judged: Sequence[str]) -> None:
        """Raise UsageError if an option is of no use: all that say how to judge where nothing is ``judged`` here."""
        if self.base and all(record.against is None for record in self.records.values()):
            raise click.UsageError("--base: none of these is a run, or an evaluation with --against.")
        if judged:
            return
        from embedft.data.faults import MAX_BAD_SHARE

        stored = [record.evaluation for record in self.records.values()]
        unused = {
            "--data": self.data is not None,
            "--split": self.split is not None and any(each.split != self.split for each in stored),
            "--task": self.task is not None and any(each.task != self.task for each in stored),
            "--precision": self.precision != "auto",
            "--unknown-ids": self.unknown_ids != "error",
            "--columns": self.rows.columns is not None,
            "--scale": self.rows.scale is not None,
            "--max-bad": self.rows.max_bad != MAX_BAD_SHARE,
        }
        options = [option for option, is_unused in unused.items() if is_unused]
        if options:
            raise click.UsageError(
                f"{', '.join(options)}: for models and run files, and all that is named here was judged before."
            )

    def _bases(self, systems: Sequence[tuple[str, str]], known: Sequence[Evaluation]) -> list[tuple[str, Evaluation]]:
        """With ``base`` the bases of the systems (name, argument), named, but for those that are among ``known``."""
        names, seen = [name for name, _ in systems], list(known)
        found: list[tuple[str, Evaluation]] = []
        for name, where in systems if self.base else ():
            base = self.records[where].against if where in self.records else None
            if base is None or any(_is_same(base, each) for each in seen):
                continue
            model = distinct_names([base.model])[0]
            found.append((f"{model} (base of {name})" if model in names else model, base))
            names.append(found[-1][0])
            seen.append(base)
        return found

    def _judge(self, where: str) -> Callable[[], Evaluation]:
        """What evaluates a run file or a model as the runs beside it were judged; both are opened, and fit the data."""
        from embedft.encoder import BUNDLED
        from embedft.errors import ConfigError
        from embedft.tasks import get_task

        first = next(iter(self.records.values()), None)
        if self.data is None and not Path(where).exists() and where != BUNDLED:
            raise ConfigError(
                f"{where}: no such file or folder.",
                hint="check the path; if it is a model of the hub, add --data DATA, on which it is to be evaluated.",
            )
        if self.data is None:
            hint = f" of {first.evaluation.data}" if first is not None else ""
            raise ConfigError(
                f"{where}: is no run and no folder of embedft evaluate -o; to be evaluated it needs data.",
                hint=f"add --data DATA{hint}, and --split if it is not test.",
            )
        split = self.split or (first.evaluation.split if first is not None else "test")
        task = get_task(self.task or (first.evaluation.task if first is not None else "retrieval"))
        metrics = tuple(self.metrics) or tuple(self._metrics(first) if first is not None else task.metrics)
        task.check_metrics(metrics)
        if Path(where).is_file():
            return self._judge_file(task, Path(where), split, metrics)
        return self._judge_model(task, where, split, metrics)

    @staticmethod
    def _metrics(record: Record) -> list[str]:
        return [name for name in record.evaluation.metrics if not name.startswith("oos_")]

    def _judge_file(self, task: Task, path: Path, split: str, metrics: Sequence[str]) -> Callable[[], Evaluation]:
        from embedft.errors import ConfigError
        from embedft.evaluation.runfile import evaluate_run, read_run

        if task.name != "retrieval":
            raise ConfigError(f"{path}: is a file; run files are of retrieval.", hint="name a run or a model.")
        return partial(evaluate_run, read_run(path), self._read_data(task, split), split, metrics=metrics)

    def _judge_model(self, task: Task, where: str, split: str, metrics: Sequence[str]) -> Callable[[], Evaluation]:
        from embedft.encoder import Encoder

        data = self._read_data(task, split)
        encoder = Encoder.load(where, precision=self.precision)
        return partial(task.evaluate, encoder, data, split, metrics, show_progress=True)

    def _read_data(self, task: Task, split: str) -> Any:
        from embedft.config import DataConfig
        from embedft.tasks import require_split

        if self._dataset is None:
            self._dataset = task.read(DataConfig(path=self.data, unknown_ids=self.unknown_ids, **self.rows.settings()))
        require_split(task, self._dataset, split)
        return self._dataset


def _named(argument: str) -> tuple[str | None, str]:
    """A name of the user's own, or None, and where the system is: ``NAME=SYSTEM``, but for what exists as it stands."""
    name, separator, where = argument.partition("=")
    if not separator or not name or Path(argument).exists():
        return None, argument
    return name, where


def _is_same(one: Evaluation, two: Evaluation) -> bool:
    return one.fingerprint == two.fingerprint and one.model == two.model and one.metrics == two.metrics


def distinct_names(paths: Sequence[str]) -> list[str]:
    """The shortest end of each path that no other one has; what stands twice is numbered.

    A run's model is named by its run, a file without the endings of run files, and a symbolic link as it is called.
    """
    parts = [_parts(path) for path in paths]
    names = []
    for own in parts:
        others = [other for other in parts if other != own]
        length = next(
            (size for size in range(1, len(own) + 1) if all(own[-size:] != other[-size:] for other in others)), len(own)
        )
        names.append("/".join(own[-length:]))
    seen: Counter[str] = Counter()
    for place, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[place] = f"{name} ({seen[name]})"
    return names


def _parts(path: str) -> list[str]:
    from embedft.data.source import bare_stem

    where = Path(path)
    if where.exists():
        # As it was typed: a symbolic link keeps its name.
        where = Path(os.path.normpath(where.absolute()))
    parts = list(where.parts[1:] if where.is_absolute() else where.parts)
    if where.is_file():
        return [*parts[:-1], bare_stem(where)]
    return parts[:-1] if parts[-1] == "model" and len(parts) > 1 else parts
