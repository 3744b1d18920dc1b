"""``embedft plan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedft.cli.dataset import by_role, columns_option, require_new
from embedft.cli.options import force_option, json_option

if TYPE_CHECKING:
    from rich.console import Console

    from embedft.config import RunConfig
    from embedft.training.planning.lr_finder import Sweep
    from embedft.training.planning.plan import Plan

CURVE_ROWS, BAR = 20, 24


@click.command(epilog="All fields of a configuration: embedft train --fields")
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--task", help="What to train for.")
@click.option("--data", help="BEIR folder, folder of rows (train.jsonl ...), or file of rows.")
@columns_option
@click.option("--model", help="Encoder to start from: folder, hub name, or 'bundled'.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Any field, e.g. training.epochs=3.")
@click.option("--no-probe", is_flag=True, help="Run no step: time and memory are rough then.")
@click.option("--find-lr", is_flag=True, help="Look for a learning rate instead.")
@click.option("--steps", type=int, help="Of --find-lr; by default 100.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the curve of --find-lr there, as .html.")
@force_option
@json_option
def plan(
    config: Path | None,
    task: str | None,
    data: str | None,
    columns: str | None,
    model: str | None,
    settings: tuple[str, ...],
    no_probe: bool,
    find_lr: bool,
    steps: int | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Say what a training will take, before its first step: tokens, memory, time, and what its loss sees.

    Time and memory are measured with a few real steps, whose weights are thrown away. Whatever training would refuse is
    refused here.

    \b
    embedft plan --task retrieval --data DATA
    embedft plan CONFIG.yaml --find-lr -o curve.html
    """
    from embedft.config import load_config, parse_setting

    if output is not None and not find_lr:
        raise click.UsageError("-o is for the curve of --find-lr.")
    if steps is not None and not find_lr:
        raise click.UsageError("--steps is for --find-lr.")
    if no_probe and find_lr:
        raise click.UsageError("--no-probe is not for --find-lr, which is made of steps.")
    named = {"task": task, "data.path": data, "data.columns": by_role(columns), "model.name": model}
    overrides = {name: value for name, value in named.items() if value is not None}
    overrides |= dict(parse_setting(text) for text in settings)
    run_config = load_config(config, overrides)
    if find_lr:
        _find(run_config, 100 if steps is None else steps, output, force=force, as_json=as_json)
    else:
        _plan(run_config, probe=not no_probe, as_json=as_json)


def _plan(config: RunConfig, *, probe: bool, as_json: bool) -> None:
    from embedft.cli.output import console, print_json
    from embedft.training.planning.plan import plan as plan_run

    found = plan_run(config, probe=probe)
    if as_json:
        print_json(found.as_dict())
        return
    out = console()
    _print_plan(found, out)
    _print_batch(found.batch, out)


def _print_plan(found: Plan, out: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in (*_rows_of_work(found), *_rows_of_memory(found), *_rows_of_time(found)):
        table.add_row(name, escape(value))
    out.print(f"{found.task} with {found.batch['loss']}, from {found.model}", markup=False)
    out.print(table)


def _rows_of_work(found: Plan) -> list[tuple[str, str]]:
    work, cut = found.workload, found.cut
    rows = ", ".join(f"{count:,}" + (f" ({name})" if len(found.rows) > 1 else "") for name, count in found.rows.items())
    share = "all" if found.trainable == found.parameters else f"{100 * found.trainable / found.parameters:.1f} %"
    looked_at = f"of {cut['texts']:,} texts looked at, {cut['cut']:,} ({100 * cut['cut_share']:.1f} %)"
    return [
        ("training rows", rows),
        ("steps", f"{found.steps:,}, {found.rows_a_step} rows each; {found.steps_an_epoch:g} an epoch, so "
                  f"{found.epochs:g} epochs; dev is judged {found.evaluations} times"),
        ("learning rate", f"{found.learning_rate:.2g} at its peak"),
        ("texts a step", f"{work['texts']:,.0f}"),
        ("tokens a step", f"{work['tokens_mean']:,.0f} on average, {work['tokens_p95']:,.0f} in one of 20, "
                          f"{work['tokens_largest']:,} at most"),
        ("padding left out", f"{100 * work['padding_saved']:.0f} %: a trainer that pads would compute "
                             f"{work['tokens_padded_mean']:,.0f} tokens a step"),
        ("cut texts", f"{looked_at} are longer than {cut['max_length']} tokens; they lose "
                      f"{100 * cut['tokens_lost_share']:.1f} % of all tokens; the longest has {cut['longest']:,}"),
        ("weights", f"{found.parameters / 1e6:,.1f} million, {share} trained"),
    ]  # fmt: skip


def _rows_of_memory(found: Plan) -> list[tuple[str, str]]:
    memory = found.memory
    parts = ", ".join(
        f"{name} {_size(memory[name])}" for name in ("weights", "gradients", "optimizer", "activations", "rest")
    )
    source = "measured in the first steps (a long run holds more)" if memory["measured"] else "a rough estimate"
    peak = f"{_size(memory['peak'])} on {memory['device']}, {source}"
    free = "" if memory["free"] is None else f"; {_size(memory['free'])} are free"
    tight = memory["free"] is not None and not memory["measured"] and memory["peak"] > memory["free"]
    return [("memory", peak + free + (": IT WILL NOT FIT" if tight else "")), ("", parts)]


def _rows_of_time(found: Plan) -> list[tuple[str, str]]:
    seconds = found.time
    names = {"setup": "setup", "steps": "steps", "dev": "judging dev", "checkpoints": "checkpoints", "final": "the end"}
    if seconds["mining"]:
        names["mining"] = "mining again"
    parts = ", ".join(f"{said} {_duration(seconds[name])}" for name, said in names.items())
    whole = f"{_duration(seconds['total'])} ({_duration(seconds['low'])} .. {_duration(seconds['high'])})"
    if not seconds["measured"]:
        return [("time", f"{whole}, a rough estimate"), ("", parts)]
    speed = (
        f"{seconds['step']:.2f} s a step, {seconds['tokens_per_second']:,.0f} tokens a second, from "
        f"{seconds['steps_timed']} steps"
    )
    early = f"; {_duration(seconds['earliest'])} if dev never rises"
    return [("time", whole + early), ("", parts), ("", speed)]


def _print_batch(batch: dict[str, Any], out: Console) -> None:
    out.print(f"\nA row as {batch['loss']} sees it", style="bold", markup=False)
    for name, value in batch["row"].items():
        for text in value if isinstance(value, list) else [value]:
            out.print(f"  {name}: {text}", markup=False)
    out.print(f"- {batch['formula']} ({batch['paper']})", markup=False)
    for sentence in batch["says"]:
        out.print(f"- {sentence}", markup=False)


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def _find(config: RunConfig, steps: int, output: Path | None, *, force: bool, as_json: bool) -> None:
    from embedft.artifacts import write_bytes
    from embedft.cli.output import console, print_json
    from embedft.reports.curve import curve_page
    from embedft.reports.page import PAGE_BEGIN
    from embedft.training.planning.lr_finder import find_learning_rate

    if output is not None:
        require_new(output, PAGE_BEGIN, force=force, apart_from=[config.data.path])
    found = find_learning_rate(config, steps=steps, show_progress=True)
    if output is not None:
        write_bytes(output, curve_page(found).encode())
    if as_json:
        print_json(found.as_dict())
        return
    _print_sweep(found, console())


def _print_sweep(found: Sweep, out: Console) -> None:
    """The curve as a table of a few rates and as one line of blocks, and what follows from it."""
    from rich.table import Table

    table = Table("learning rate")
    for heading in ("loss", "before training", "smoothed"):
        table.add_column(heading, justify="right")
    table.add_column("")
    levels = [point.smoothed for point in found.points]
    low, span = min(levels), max(levels) - min(levels) or 1.0
    every = max(len(found.points) // CURVE_ROWS, 1)
    for point in found.points[::every]:
        bar = round(BAR * (point.smoothed - low) / span) * "█"
        table.add_row(f"{point.rate:.2g}", f"{point.loss:.4f}", f"{point.untrained:.4f}", f"{point.smoothed:.4f}", bar)
    out.print(table)
    out.print(found.verdict, soft_wrap=True, markup=False)
