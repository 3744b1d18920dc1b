"""The space of a search: which fields of a configuration are varied, and which values each may take.

Written in YAML, one field a line:

    training.learning_rate: {low: 1e-5, high: 5e-4, log: true}
    training.epochs: {low: 1, high: 5}
    training.batch_size: [16, 32, 64]

and on the command line as ``training.learning_rate=1e-5..5e-4:log``, ``training.epochs=1..5``,
``training.batch_size=16,32,64``. A range whose ends are whole numbers holds whole numbers alone.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from embedft.config import RunConfig, fields, lay, parse_value, read_yaml, validate_config
from embedft.errors import ConfigError
from embedft.tasks import get_task
from embedft.training.losses.registry import LOSSES
from embedft.training.sets import FROZEN, loss_name

LOSS_OPTIONS = "training.loss_options."
# What decides on which rows, and how, trials are judged: values found under different ones cannot be compared.
JUDGING = re.compile(r"task|training\.seed|evaluation\..*|data\.(?!also$).*")
NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"(?P<low>{NUMBER})\.\.(?P<high>{NUMBER})(?::(?P<options>.*))?")


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; whole ones if both ends are of type int.

    Attributes:
        log: drawn evenly in the logarithm.
        step: only ``low`` and what lies a multiple of it above.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers alone."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def as_value(self) -> dict[str, Any]:
        """As it stands in YAML and JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None and value is not False}


@dataclass(frozen=True)
class Choice:
    """One of some values, of any kind that YAML knows."""

    values: tuple[Any, ...]

    def as_value(self) -> list[Any]:
        """As it stands in YAML and JSON."""
        return list(self.values)


Space = dict[str, Range | Choice]


def parse_search(text: str) -> tuple[str, Range | Choice]:
    """``training.epochs=1..5`` as ("training.epochs", Range(1, 5)).

    Raises:
        ConfigError: it is neither ``name=low..high[:log][:step=S]`` nor ``name=value,value,...`` with values in YAML.
    """
    name, separator, value = (part.strip() for part in text.partition("="))
    if not separator or not name or not value:
        raise ConfigError(
            f"--search {text}: needs the form name=low..high or name=value,value.",
            hint="for example --search training.learning_rate=1e-5..5e-4:log.",
        )
    spanned = RANGE.fullmatch(value)
    if spanned is None:
        return name, _choice(f"--search {text}", parse_value(f"[{value}]", source=f"--search {text}"))
    options: dict[str, Any] = {}
    for option in filter(None, (spanned["options"] or "").split(":")):
        key, _, amount = option.partition("=")
        options[key] = True if key == "log" and not amount else _number(amount)
    return name, _range(
        f"--search {text}", {"low": _number(spanned["low"]), "high": _number(spanned["high"])} | options
    )


def read_space(path: Path) -> Space:
    """The search space of a YAML file.

    Raises:
        ConfigError: the file is missing, not YAML, or has a line that is neither a list nor a range.
    """
    return space_of(read_yaml(path), source=str(path))


def space_of(values: Mapping[str, Any], *, source: str) -> Space:
    """The search space of a mapping: dotted name -> list of values, or {low, high, log, step}.

    Raises:
        ConfigError: a value is neither.
    """
    space: Space = {}
    for name, value in values.items():
        where = f"{source}: {name}"
        if isinstance(value, dict) and {"low", "high"} <= value.keys():
            space[name] = _range(where, value)
        elif isinstance(value, list):
            space[name] = _choice(where, value)
        else:
            raise ConfigError(
                f"{where} is {value!r}.", hint="write a list of values, or {low: 1e-5, high: 5e-4, log: true}."
            )
    return space


def space_dict(space: Space) -> dict[str, Any]:
    """For JSON and YAML; `space_of` reads it back."""
    return {name: parameter.as_value() for name, parameter in space.items()}


def _number(text: str) -> Any:
    return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text) if re.fullmatch(NUMBER, text) else text


def _choice(where: str, values: list[Any]) -> Choice:
    if len(values) < 2:
        raise ConfigError(
            f"{where}: has {len(values)} value.", hint="give two or more, or set the field for all trials."
        )
    if len({json.dumps(value, sort_keys=True, default=str) for value in values}) < len(values):
        raise ConfigError(f"{where}: names a value twice.", hint="name each once.")
    return Choice(tuple(values))


def _range(where: str, values: Mapping[str, Any]) -> Range:
    unknown = values.keys() - {"low", "high", "log", "step"}
    if unknown:
        raise ConfigError(f"{where}: has {', '.join(sorted(unknown))}.", hint="a range has low, high, log and step.")
    low, high, step = values["low"], values["high"], values.get("step")
    for number in (low, high, *([] if step is None else [step])):
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ConfigError(f"{where}: {number!r} is no number.", hint="write, for example, {low: 1, high: 5}.")
    if low >= high:
        raise ConfigError(f"{where}: {low} is not below {high}.", hint="name the lower end first.")
    log = values.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{where}: log is {log!r}.", hint="write log: true, or leave it out.")
    if log and (low <= 0 or step is not None):
        raise ConfigError(f"{where}: log needs a low above 0, and no step.", hint="leave log out, or mend the range.")
    if step is not None and (step <= 0 or step > high - low):
        raise ConfigError(f"{where}: a step of {step} does not fit.", hint=f"use one up to {high - low}.")
    if isinstance(step, float) and isinstance(low, int) and isinstance(high, int):
        low = float(low)
    return Range(low, high, log, step)


def check_space(space: Space, config: RunConfig) -> None:
    """Raise ConfigError unless every field exists, may be searched, and takes the values that the space has for it."""
    if not space:
        raise ConfigError("the search space is empty.", hint="name a field, for example training.epochs=1..5.")
    known = {name: field.annotation for name, field in fields()}
    losses = _losses(space, config)
    for name, parameter in space.items():
        if name.startswith(LOSS_OPTIONS):
            _check_loss_option(name, parameter, losses)
        elif name not in known:
            near = difflib.get_close_matches(name, [*known, *_option_names(losses)], n=1, cutoff=0.5)
            raise ConfigError(
                f"the search space has an unknown field {name!r}.",
                hint=f"did you mean {near[0]!r}?" if near else "see 'embedft train --fields'.",
            )
        if JUDGING.fullmatch(name):
            raise ConfigError(
                f"the search space varies {name}, which decides what trials are judged on: their values could not be "
                "compared.",
                hint="leave it out of the space, and set it for all trials.",
            )
        if isinstance(parameter, Range):
            _check_kind(name, parameter, known.get(name, float))
        for value in _extremes(parameter):
            with_values(config, {name: value}, source=f"the search space, {name}")


def _losses(space: Space, config: RunConfig) -> list[str]:
    """The losses that trials can have; names that are none are left to the refusal of the trial."""
    searched = space.get("training.loss")
    usual = loss_name(config, get_task(config.task))
    named = searched.values if isinstance(searched, Choice) else (usual,)
    return [loss for name in named if (loss := name or usual) in LOSSES]


def _option_names(losses: Iterable[str]) -> list[str]:
    return sorted({f"{LOSS_OPTIONS}{option}" for loss in losses for option in LOSSES[loss].options})


def _check_loss_option(name: str, parameter: Range | Choice, losses: list[str]) -> None:
    options = _option_names(losses)
    if name not in options:
        raise ConfigError(
            f"the search space has {name}, which {' and '.join(losses) or 'no loss of this task'} does not have.",
            hint=f"there are {', '.join(options)}." if options else "leave it out.",
        )
    short = name.removeprefix(LOSS_OPTIONS)
    for option in (LOSSES[loss].options[short] for loss in losses if short in LOSSES[loss].options):
        for value in _extremes(parameter):
            if fault := option.fault(value):
                raise ConfigError(f"the search space, {name}: {value!r} is not {fault}.", hint="mend the space.")


def _check_kind(name: str, span: Range, annotation: Any) -> None:
    kinds = _kinds(annotation)
    if int in kinds and float not in kinds and not span.whole:
        raise ConfigError(
            f"the search space, {name}: {span.low}..{span.high} holds fractions, the field whole numbers.",
            hint=f"write {math.ceil(span.low)}..{math.floor(span.high)}.",
        )
    if int not in kinds and float in kinds and span.whole and span.high - span.low < 2:
        raise ConfigError(
            f"the search space, {name}: {span.low}..{span.high} holds just two whole numbers.",
            hint=f"write {span.low}.0..{span.high}.0 for all between them, or {span.low},{span.high} for the two.",
        )


def _kinds(annotation: Any) -> set[type]:
    inner = get_args(annotation)
    return set().union(*map(_kinds, inner)) if inner else {annotation} if isinstance(annotation, type) else set()


def _extremes(parameter: Range | Choice) -> tuple[Any, ...]:
    return parameter.values if isinstance(parameter, Choice) else (parameter.low, parameter.high)


def with_values(config: RunConfig, values: Mapping[str, Any], *, source: str) -> RunConfig:
    """``config`` with other values for some fields, named by their dotted names.

    A section that is off (``training.lora``) is switched on by a value for one of its fields.

    Raises:
        ConfigError: a field does not take its value.
    """
    laid = config.model_dump(mode="json")
    for name, value in values.items():
        lay(laid, name, value)
    return validate_config(laid, source=source)


def value_of(config: RunConfig, name: str) -> Any:
    """What ``config`` says of a dotted name; None where its section is off or nothing is set."""
    value: Any = config.model_dump(mode="json")
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None and name.startswith(LOSS_OPTIONS):
        losses = _losses({}, config)
        option = LOSSES[losses[0]].options.get(name.removeprefix(LOSS_OPTIONS)) if losses else None
        return option.default if option else None
    return value


def default_space(config: RunConfig, rows: int) -> Space:
    """What is searched if nothing is named: the settings that matter most, around those of ``config``.

    Learning rate, batch size, length and warm-up of the training, and the scale of a loss that has one; for a logistic
    head on frozen vectors, which knows none of these, its regularisation and class weights.

    Args:
        config: with learning rate and epochs filled in.
        rows: how many there are to train on; no batch is larger.
    """
    training = config.training
    if loss_name(config, get_task(config.task)) == FROZEN:
        return {"head.regularisation": Range(1e-2, 1e2, log=True), "head.class_weight": Choice((None, "balanced"))}
    space: Space = {}
    if training.learning_rate is not None:
        space["training.learning_rate"] = Range(
            _rounded(training.learning_rate / 5), _rounded(training.learning_rate * 5), log=True
        )
    size = training.batch_size
    sizes = [
        size for size in (size // 2, size, size * 2) if size >= 4 and (size <= rows or size == training.batch_size)
    ]
    if len(sizes) > 1:
        space["training.batch_size"] = Choice(tuple(sizes))
    if training.max_steps is None and training.epochs is not None:
        space["training.epochs"] = _epochs(training.epochs)
    space["training.warmup"] = Range(0.0, 0.2)
    for name in _option_names(_losses({}, config)):
        if name == f"{LOSS_OPTIONS}scale":
            scale = float(value_of(config, name))
            space[name] = Range(_rounded(scale / 2.5), _rounded(scale * 2.5), log=True)
    return space


def _epochs(usual: float) -> Range:
    """From half as many to three times as many; whole ones unless that leaves nothing below."""
    if usual < 1:
        return Range(_rounded(usual / 2), _rounded(usual * 3))
    return Range(max(1, math.floor(usual / 2)), math.ceil(usual * 3))


def _rounded(value: float) -> float:
    """To two digits, for people to read."""
    return float(f"{value:.2g}")
