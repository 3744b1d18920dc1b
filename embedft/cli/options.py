"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
force_option = click.option("--force", is_flag=True, help="Replace what embedft wrote there before.")
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Number format of the encoder; auto is bf16 where the machine is fast at it.",
)
unknown_ids_option = click.option(
    "--unknown-ids",
    type=click.Choice(["error", "drop"]),
    default="error",
    show_default=True,
    help="Qrels that name ids which do not exist.",
)


def gathered(
    name: str, kind: type[Any], options: tuple[Callable[..., Any], ...]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives a command ``options``; it takes their values as one ``kind`` named ``name``."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def taken(**values: Any) -> Any:
            own = kind(**{field: values.pop(field) for field in kind.__dataclass_fields__})
            return command(**{name: own}, **values)

        for option in reversed(options):
            taken = option(taken)
        return taken

    return decorate


def given_arguments(*, without: Collection[str]) -> list[str]:
    """What the running command was called with, as its shell gave it, but for the parameters in ``without``."""
    context, given = click.get_current_context(), []
    for parameter in context.command.params:
        name = str(parameter.name)
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE or name in without:
            continue
        value = context.params[name]
        for one in value if isinstance(value, tuple) else (value,):
            flag = parameter.opts[:1] if isinstance(parameter, click.Option) else []
            given += flag if one is True else [*flag, str(one)]
    return given


def require_use(used: bool, names: Collection[str], beside: str) -> None:
    """Refuse options that were given although nothing reads them.

    Args:
        used: whether something reads them.
        names: of parameters of the running command.
        beside: what they go with, as on the command line.

    Raises:
        ConfigError: one of them was given.
    """
    from embedft.errors import ConfigError

    context = click.get_current_context()
    for parameter in () if used else context.command.params:
        name = str(parameter.name)
        if name in names and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise ConfigError(f"{parameter.opts[0]} does nothing without {beside}.", hint="add that, or leave it out.")


def names_in(option: str, text: str) -> tuple[str, ...]:
    """The names in a list with commas, each once.

    Raises:
        ConfigError: there is none.
    """
    from embedft.errors import ConfigError

    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ConfigError(f"{option}: is empty.", hint="give names, with commas.")
    return names
