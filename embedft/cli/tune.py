"""``embedft tune``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedft.cli.dataset import by_role, columns_option
from embedft.cli.options import force_option, gathered, json_option

if TYPE_CHECKING:
    from embedft.config import RunConfig
    from embedft.training import TuneResult
    from embedft.training.tuning.space import Space
    from embedft.training.tuning.study import Trial

STATE_STYLES = {"complete": "", "pruned": "yellow", "failed": "red"}
# Characters of the reason why a trial failed; its .log has all of it.
REASON = 90


@dataclass(frozen=True)
class _Config:
    """Where the settings that all trials share come from."""

    config: Path | None
    task: str | None
    data: str | None
    columns: str | None
    model: str | None
    settings: tuple[str, ...]


@dataclass(frozen=True)
class _Search:
    """What is searched, and how."""

    trials: int | None
    search: tuple[str, ...]
    space: Path | None
    seed: int | None
    timeout: float | None
    no_pruning: bool
    keep_models: bool


config_options = (
    click.argument("config", required=False, type=click.Path(path_type=Path)),
    click.option("--task", help="What to train for, as in 'embedft train'."),
    click.option("--data", help="The data set, as in 'embedft train'."),
    columns_option,
    click.option("--model", help="Encoder to start from: folder, hub name, or 'bundled'."),
    click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Any field, for all trials."),
)
search_options = (
    click.option("--trials", type=click.IntRange(min=1), help="How many in all; the first is CONFIG as it is."),
    click.option(
        "--search",
        multiple=True,
        metavar="NAME=VALUES",
        help="A field to vary: low..high, low..high:log, low..high:step=S, or value,value,...",
    ),
    click.option(
        "--space", type=click.Path(path_type=Path), help="YAML file of fields to vary; --search goes over it."
    ),
    click.option("--seed", type=click.IntRange(min=0), help="Of the search; 0 if not given."),
    click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Minutes a trial may take."),
    click.option("--no-pruning", is_flag=True, help="Let weak trials train to their end."),
    click.option("--keep-models", is_flag=True, help="Keep the models of all trials, not of the best alone."),
)


@click.command(epilog="All fields of a configuration: embedft train --fields")
@gathered("common", _Config, config_options)
@gathered("wanted", _Search, search_options)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Directory of the study.")
@click.option("--resume", is_flag=True, help="Go on with the study in the output directory.")
@force_option
@json_option
def tune(common: _Config, wanted: _Search, output: Path, resume: bool, force: bool, as_json: bool) -> None:
    """Search for the settings whose training is best on dev, then train with them and judge.

    Every trial is a training in a process of its own: one that fails is noted, and the search goes on. Without
    --search and --space, learning rate, batch size, epochs, warm-up and scale of the loss are varied around those of
    CONFIG. The split test is not looked at before the end.

    \b
    embedft tune run.yaml --trials 20 -o TUNE
    embedft tune run.yaml --trials 30 -o TUNE --search training.learning_rate=1e-5..5e-4:log \\
                 --search training.batch_size=16,32,64
    embedft tune -o TUNE --resume
    """
    from embedft.artifacts import write_bytes
    from embedft.cli.output import print_json
    from embedft.reports import tuning_page
    from embedft.training import tune as tune_run
    from embedft.training.tuning.directory import TuneDirectory

    directory = TuneDirectory(output)
    stored = directory.read() if resume else {}
    run_config = _config(common, stored, source=str(directory.record))
    trials = wanted.trials if wanted.trials is not None else stored.get("trials")
    if trials is None:
        raise click.UsageError("say how many trials there shall be: --trials 20.")

    def write_report(result: TuneResult) -> None:
        write_bytes(directory.report, tuning_page(result).encode())

    try:
        result = tune_run(
            run_config,
            output,
            trials=trials,
            space=_space(wanted),
            seed=wanted.seed,
            pruning=False if wanted.no_pruning else None,
            timeout=wanted.timeout,
            keep_models=wanted.keep_models,
            resume=resume,
            force=force,
            show_progress=True,
            on_trial=write_report,
        )
    except KeyboardInterrupt:
        if directory.record.is_file():
            click.echo(f"stopped; no finished trial is lost. Go on with: embedft tune -o {output} --resume", err=True)
        raise
    write_report(result)
    if as_json:
        print_json(result.as_dict())
    else:
        _print(result, directory)


def _config(common: _Config, stored: dict[str, Any], *, source: str) -> RunConfig:
    """The configuration of the command line, or that of the study which is resumed without one."""
    from embedft.config import load_config, parse_setting, validate_config

    named = {
        "task": common.task,
        "data.path": common.data,
        "data.columns": by_role(common.columns),
        "model.name": common.model,
    }
    overrides = {name: value for name, value in named.items() if value is not None}
    overrides |= dict(parse_setting(text) for text in common.settings)
    if stored and common.config is None and not overrides:
        return validate_config(stored["config"], source=source)
    return load_config(common.config, overrides)


def _space(wanted: _Search) -> Space | None:
    """The space that was named; None if none was."""
    from embedft.training.tuning.space import parse_search, read_space

    space = read_space(wanted.space) if wanted.space is not None else {}
    space |= dict(parse_search(text) for text in wanted.search)
    return space or None


def _print(result: TuneResult, directory: Any) -> None:
    from rich.table import Table

    from embedft.cli.output import console, print_table
    from embedft.reports.tuning import short_names

    out = console()
    table = Table()
    for heading in ("trial", "state", result.metric, *short_names(result.space), "seconds"):
        table.add_column(heading, justify="left" if heading == "state" else "right")
    for trial in sorted(result.trials, key=_rank):
        table.add_row(*_row(trial, result))
    print_table(out, table)
    for trial in result.trials:
        if trial.state == "failed":
            reason = " ".join((trial.reason or "").split())
            short = reason if len(reason) <= REASON else reason[: REASON - 3] + "..."
            out.print(f"trial {trial.number} failed: {short}", markup=False, soft_wrap=True)
    best = result.best
    if best is not None:
        shown = ", ".join(f"{name}={_short(value)}" for name, value in best.parameters.items())
        told = f"best on dev: trial {best.number}, {result.metric} {best.value:.4f}: {shown}"
        out.print(told, soft_wrap=True, markup=False)
        out.print(f"it is the best of {len(result.trials)} on the same rows, so that value is optimistic; what counts:")
    _print_final(result)
    out.print(
        f"model: {directory.best / 'model'}   settings: {directory.best}.yaml   report: {directory.report}",
        markup=False,
        soft_wrap=True,
    )


def _rank(trial: Trial) -> tuple[bool, float]:
    """Complete trials first, the best of them on top."""
    return trial.state != "complete", -(trial.value if trial.value is not None else float("-inf"))


def _row(trial: Trial, result: TuneResult) -> list[str]:
    from rich.markup import escape

    number = f"{trial.number}" if trial.number else "0 (as configured)"
    if result.best is not None and trial.number == result.best.number:
        number = f"[bold]{number}[/]"
    style = STATE_STYLES[trial.state]
    return [
        number,
        f"[{style}]{trial.state}[/]" if style else trial.state,
        "" if trial.value is None else f"{trial.value:.4f}",
        *(escape(_short(trial.parameters.get(name))) for name in result.space),
        f"{trial.seconds:.0f}",
    ]


def _short(value: Any) -> str:
    from rich.markup import escape

    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else escape(str(value))


def _print_final(result: TuneResult) -> None:
    """One row a metric: the base model, the model trained with the best settings, and whether that is better."""
    from rich.table import Table

    from embedft.cli.output import VERDICT_STYLES, console, print_table
    from embedft.evaluation.comparison import p_text, rule_text

    final = result.final
    if final is None:
        return
    table = Table("metric")
    for heading in ("before", "after", "difference, 95 % interval", "p"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for name, value in final["comparison"].items():
        table.add_row(
            name,
            f"{final['against']['metrics'][name]:.4f}",
            f"{final['metrics'][name]:.4f}",
            f"{value['difference']:+.3f}  {value['ci_low']:+.3f} .. {value['ci_high']:+.3f}",
            p_text(value["p_value"]),
            f"[{VERDICT_STYLES[value['verdict']]}]{value['verdict']}[/]",
        )
    out = console()
    out.print(
        f"{final['model']} (after) against {final['against']['model']} (before): {final['data']}, split "
        f"{final['split']}",
        markup=False,
        soft_wrap=True,
    )
    print_table(out, table)
    if len(final["comparison"]) > 1:
        out.print(rule_text(final["comparison"], shown="before"), soft_wrap=True, markup=False)
