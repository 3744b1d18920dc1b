"""What embedft can be trained for: one module a task, found by its file name.

A task module holds a ``TASK`` object that satisfies `embedft.tasks.task.Task`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from embedft.errors import ConfigError
from embedft.tasks.task import Looked, Prepared, Task, require_split

__all__ = ["Looked", "Prepared", "Task", "get_task", "require_split", "task_names"]


def task_names() -> list[str]:
    """The tasks there are, found without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "task")


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in task_names():
        raise ConfigError(f"task {name!r} does not exist.", hint=f"use {', '.join(task_names())}.")
    task: Task = import_module(f"embedft.tasks.{name}").TASK
    return task
