"""What a configuration may not ask of a loss: said before the first step, with what to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from embedft.errors import ConfigError
from embedft.tasks import get_task, task_names
from embedft.training.losses.crossencoder import is_cross_encoder
from embedft.training.losses.ranking import MOST_SCALE

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


def check_learned_scale(options: Mapping[str, float | bool | str], field: str) -> None:
    """Raise ConfigError, about ``field.loss_options``, if a scale is to be learned from where none may be."""
    scale = float(options.get("scale", 0))
    if options.get("learn_scale") and scale > MOST_SCALE:
        raise ConfigError(
            f"{field}.loss_options.scale is {scale:g}, but a learned scale stays at or below {MOST_SCALE:g}.",
            hint=f"let it begin at {MOST_SCALE:g} or below, or set learn_scale to false.",
        )


def check_guide(
    name: str,
    loss: Loss,
    options: Mapping[str, float | bool | str],
    guide: str | None,
    field: str,
    *,
    guided: Sequence[str],
) -> None:
    """Raise ConfigError if a guide is missing, of no use, or of the wrong kind for ``field.loss``.

    Args:
        name: of the loss.
        loss: its entry.
        options: of the loss.
        guide: name of the guide, if there is one.
        field: the section of the configuration that names the loss.
        guided: losses that could be used with a guide instead.
    """
    if guide is None:
        if loss.guided:
            raise ConfigError(
                f"{field}.loss is {name!r}, which needs a second encoder.",
                hint="name it: training.guide, a folder or a hub name.",
            )
        return
    if not loss.guided:
        raise ConfigError(
            f"training.guide is {guide}, but the loss {name} asks none.",
            hint=f"leave it out{', or use ' + ', '.join(guided) if guided else ''}.",
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
