"""What a configuration may not ask of a loss: said before the first step, with what to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from embedft.errors import ConfigError
from embedft.tasks import get_task, task_names
from embedft.training.losses.crossencoder import is_cross_encoder

if TYPE_CHECKING:
    from embedft.training.losses.registry import Loss


def check_name(name: str, losses: Mapping[str, Loss], allowed: Sequence[str], field: str) -> None:
    """Raise ConfigError, about ``field.loss``, if there is no such loss, or it is one of another task."""
    if name in allowed and name in losses:
        return
    fitting = f"this task can use {', '.join(allowed)}."
    if name not in losses:
        raise ConfigError(f"{field}.loss is {name!r}, which does not exist.", hint=fitting)
    tasks = [task for task in task_names() if name in get_task(task).losses]
    of_task = f" {name} belongs to the task {' and '.join(tasks)}." if tasks else ""
    raise ConfigError(f"{field}.loss is {name!r}, which needs {losses[name].needs}.", hint=fitting + of_task)


def check_options(name: str, loss: Loss, options: Mapping[str, float | bool | str], field: str) -> None:
    """Raise ConfigError, about ``field.loss_options``, if the loss has no such option, or it is not of that type."""
    known = loss.options
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ConfigError(
            f"{field}.loss_options has {', '.join(unknown)}.", hint=f"{name} has: {', '.join(known) or 'none'}."
        )
    for key, value in options.items():
        expected = known[key].fault(value)
        if expected:
            raise ConfigError(f"{field}.loss_options.{key} is {value!r}.", hint=f"for {name} use {expected}.")


def check_guide(
    name: str, loss: Loss, options: Mapping[str, float | bool | str], guide: str | None, field: str
) -> None:
    """Raise ConfigError if a guide is missing, of no use, or of the wrong kind for ``field.loss``."""
    if guide is None:
        if loss.guided:
            raise ConfigError(
                f"{field}.loss is {name!r}, which needs a second encoder.",
                hint="name it: training.guide, a folder or a hub name.",
            )
        return
    if not loss.guided:
        raise ConfigError(
            f"training.guide is {guide}, but the loss {name} asks none.", hint="leave it out, or use gist or distil_kl."
        )
    if is_cross_encoder(guide):
        if name == "gist":
            raise ConfigError(
                f"training.guide is {guide}, a cross-encoder; gist compares all texts of a batch, which needs vectors.",
                hint="name a bi-encoder, or use distil_margin_mse or distil_kl.",
            )
        if options.get("in_batch", name == "distil_kl"):
            raise ConfigError(
                f"training.guide is {guide}, a cross-encoder, which scores the pairs of the training rows alone.",
                hint=f"set {field}.loss_options.in_batch to false.",
            )


def check_dims(name: str, loss: Loss, matryoshka: Sequence[int], dim: int | None) -> None:
    """Raise ConfigError if the loss cannot be applied to so many dimensions of vectors of ``dim``."""
    if min(matryoshka, default=1) < 1 or len(set(matryoshka)) < len(matryoshka):
        raise ConfigError(
            f"training.matryoshka is {list(matryoshka)}.", hint="give different numbers of dimensions, at least 1 each."
        )
    if dim is not None and max(matryoshka, default=1) > dim:
        raise ConfigError(
            f"training.matryoshka has {max(matryoshka)}, but vectors have {dim} dimensions.",
            hint=f"use numbers up to {dim}.",
        )
    odd = [number for number in (*matryoshka, dim or 2) if number % 2]
    if loss.even and odd:
        raise ConfigError(
            f"the loss {name} needs even numbers of dimensions, not {odd[0]}.",
            hint="set model.truncate_dim or training.matryoshka accordingly.",
        )
