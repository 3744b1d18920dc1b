"""``embedft train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from embedft.cli.dataset import by_role, columns_option
from embedft.cli.options import force_option, json_option

# What one does with the model of a task.
NEXT = {
    "retrieval": "embedft index build CORPUS --model {run}/model -o INDEX",
    "classification": 'embedft classify {run} "TEXT"',
}


@click.command(epilog="All fields of a configuration: embedft train --fields")
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--task", help="What to train for: retrieval, similarity, classification.")
@click.option("--data", help="BEIR folder, folder of rows (train.jsonl ...), or file of rows.")
@columns_option
@click.option("--model", help="Encoder to start from: folder, hub name, or 'bundled'.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory of the run.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Any field, e.g. training.epochs=3.")
@click.option("--resume", is_flag=True, help="Go on with the run in the output directory.")
@click.option("--fields", is_flag=True, help="Print all fields with their defaults, and stop.")
@force_option
@json_option
def train(
    config: Path | None,
    task: str | None,
    data: str | None,
    columns: str | None,
    model: str | None,
    output: Path | None,
    settings: tuple[str, ...],
    resume: bool,
    fields: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Fine-tune an encoder and judge it against the one it started from.

    Settings come from CONFIG (YAML), then from the options, then from --set.

    \b
    embedft train --task retrieval --data DATA --model bundled -o RUN
    embedft train -o RUN --resume
    """
    if fields:
        _print_fields(as_json=as_json)
        return
    if output is None:
        raise click.UsageError("name the directory of the run: -o RUN.")
    named = {"task": task, "data.path": data, "data.columns": by_role(columns), "model.name": model}
    overrides = {name: value for name, value in named.items() if value is not None}
    _run(config, overrides, settings, output, resume=resume, force=force, as_json=as_json)


def _run(
    config: Path | None,
    overrides: dict[str, Any],
    settings: tuple[str, ...],
    output: Path,
    *,
    resume: bool,
    force: bool,
    as_json: bool,
) -> None:
    from embedft.cli.output import console, print_anchor, print_comparison, print_json
    from embedft.config import load_config, parse_setting, validate_config

    overrides |= dict(parse_setting(text) for text in settings)
    if resume and config is None and not overrides:
        from embedft.training.rundir import RunDirectory

        run_config = validate_config(RunDirectory(output).read()["config"], source=str(output / "run.json"))
    else:
        run_config = load_config(config, overrides)
    from embedft.training import train as train_run

    try:
        result = train_run(run_config, output, resume=resume, force=force, show_progress=True)
    except KeyboardInterrupt:
        if (output / "run.json").is_file():
            click.echo(f"stopped; go on from the last checkpoint with: embedft train -o {output} --resume", err=True)
        raise
    from embedft.training.processes import is_main

    if not is_main():
        return
    if run_config.evaluation.report:
        from embedft.cli.evidence import write_pages

        write_pages(output, card=True)
    if as_json:
        print_json(result.as_dict())
        return
    print_comparison(result.evaluation, result.against, result.comparison)
    out = console()
    frozen = not (output / "train_log.jsonl").is_file()
    kept = f"step {result.best_step}" if result.best_step else "the base model's weights (no step was better on dev)"
    kept = "the encoder is as it was; its head" if frozen else f"kept {kept}"
    out.print(f"{kept}: {result.metric} on dev {result.best_value:.4f}, before {result.base_value:.4f}")
    if result.anchor:
        print_anchor(result.anchor)
    report = output / "report.html"
    page = f"   page: {report}" if report.is_file() else ""
    out.print(f"model: {output / 'model'}   evidence: {output / 'metrics.json'}{page}", markup=False, soft_wrap=True)
    if run_config.task in NEXT:
        out.print(f"next: {NEXT[run_config.task].format(run=output)}", soft_wrap=True, markup=False)


def _print_fields(*, as_json: bool) -> None:
    from pydantic_core import to_jsonable_python
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from embedft.cli.output import console, print_json, print_table
    from embedft.config import fields

    found = [
        (name, field.is_required(), field.get_default(call_default_factory=True), field.description or "")
        for name, field in fields()
    ]
    if as_json:
        names = ("field", "required", "default", "meaning")
        listed = [
            dict(zip(names, (name, required, None if required else to_jsonable_python(default), meaning), strict=True))
            for name, required, default, meaning in found
        ]
        print_json({"fields": listed})
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("field", no_wrap=True)
    table.add_column("default", overflow="fold")
    table.add_column("meaning")
    for name, required, default, meaning in found:
        table.add_row(name, escape("(required)" if required else repr(default)), escape(meaning))
    print_table(console(), table)
