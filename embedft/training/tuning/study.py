"""The mathematics and the memory of a search: what to try next, which trial is weak, what mattered, all by optuna.

The sampler keeps no state: what trial ``n`` tries is a function of the space, the seed, ``n`` and the trials before it,
so a study that was killed goes on as if it had not been. A trial is stored when it has ended, in one transaction of
SQLite; a kill loses at most the trial that was under way. (A journal file, optuna's other storage in one file, cannot
be read any more once a kill has torn its last line and another one was appended.)
"""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from embedft.errors import ArtifactError, ConfigError
from embedft.training.tuning.space import Choice, Range, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

NAME = "embedft"
# Settings drawn at random before the sampler learns from them, as optuna has it.
RANDOM_TRIALS = 10
# How often a setting that was tried already is drawn anew before the space counts as exhausted.
DRAWS = 50
# A median of fewer values says little, and the first dev evaluation falls into or just after the warm-up.
PRUNE_AFTER_TRIALS, PRUNE_AFTER_EVALUATIONS = 4, 2
# Importance tells the best third of the trials from all of them; of fewer trials that is a handful.
FEWEST_FOR_IMPORTANCE, BEST_SHARE = 12, 1 / 3

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
        number: from 0; trial 0 is the configuration as it is.
        state: complete; pruned: ended early because it was weak; failed: refused, crashed, diverged or too slow.
        value: the best dev metric if complete, the last one if pruned, else None.
        parameters: dotted name -> value, of the fields that are searched.
        seconds: wall time.
        reason: why it was pruned or failed.
        curve: (step, dev metric) of each evaluation.
    """

    number: int
    state: State
    value: float | None
    parameters: dict[str, Any]
    seconds: float
    reason: str | None = None
    curve: tuple[tuple[int, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"trial": self.number, **{name: value for name, value in asdict(self).items() if name != "number"}}


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial of the highest value, of equal ones the first."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)


def require_optuna() -> Any:
    """The module optuna.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("tuning needs optuna.", hint="pip install 'embedft[tune]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class TrialStore:
    """The trials that have ended, in a file that optuna and its dashboard open as well.

    Raises:
        ArtifactError: the file is damaged, or was written by another version of optuna.
    """

    def __init__(self, path: Path, space: Space) -> None:
        optuna = require_optuna()
        self.space = space
        # Opened by its path: in a URL, some characters of a path would mean something else.
        opened = {"creator": partial(sqlite3.connect, path, check_same_thread=False)}
        try:
            self.storage = optuna.storages.RDBStorage(f"sqlite:///{path.name}", engine_kwargs=opened)
            self.study = optuna.create_study(
                storage=self.storage, study_name=NAME, direction="maximize", load_if_exists=True
            )
        except Exception as error:
            raise ArtifactError(
                f"{path}: cannot be opened: {str(error).splitlines()[0]}",
                hint="use the optuna that wrote it, or start afresh with --force.",
            ) from error

    def add(self, trial: Trial) -> None:
        """Store a trial, wholly or not at all."""
        self.study.add_trial(_frozen(trial, self.space, kept=asdict(trial)))

    def trials(self) -> list[Trial]:
        """Those stored, in order."""
        return [_thawed(frozen) for frozen in self.study.get_trials(deepcopy=False)]

    def close(self) -> None:
        """Let go of the file."""
        self.storage.engine.dispose()


def suggest(space: Space, trials: Sequence[Trial], seed: int, number: int) -> dict[str, Any] | None:
    """The values that trial ``number`` tries after ``trials``; None if all that were drawn have been tried before.

    Drawn by the tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023, arXiv:2304.11127). Failed
    trials count as worst of all, so that the search leaves settings that do not fit the memory or diverge.
    """
    optuna = require_optuna()
    distributions = {name: _distribution(parameter) for name, parameter in space.items()}
    tried = {_key(trial.parameters) for trial in trials}
    # Trial 0 may lie outside the space; the sampler learns from those within.
    known = [frozen for trial in trials if set((frozen := _learnt(trial, space)).params) == set(space)]
    for draw in range(DRAWS):
        entropy = int(np.random.SeedSequence([seed, number, draw]).generate_state(1)[0])
        with _quiet():
            sampler = optuna.samplers.TPESampler(seed=entropy, n_startup_trials=RANDOM_TRIALS)
            study = optuna.create_study(direction="maximize", sampler=sampler)
            study.add_trials(known)
            drawn = study.ask(distributions).params
        values = {name: _value(space[name], drawn[name]) for name in space}
        if _key(values) not in tried:
            return values
    return None


def is_weak(curve: Sequence[float], trials: Sequence[Trial]) -> bool:
    """Whether the best of ``curve`` is below the median that complete trials had after as many evaluations.

    The median rule of Golovin et al. 2017 (Vizier). Successive halving and Hyperband save more, but judge by the first
    evaluations, where a small learning rate always looks weak, and want more trials than a search on one machine has.

    Args:
        curve: dev metric of each evaluation so far. By default a run of 50 steps or more has 8, so the same number of
            evaluations is about the same share of the learning-rate schedule; shorter ones have up to 8.
        trials: those that have ended.
    """
    optuna = require_optuna()
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=PRUNE_AFTER_TRIALS, n_warmup_steps=PRUNE_AFTER_EVALUATIONS, n_min_trials=PRUNE_AFTER_TRIALS
    )
    with _quiet():
        study = optuna.create_study(direction="maximize")
        study.add_trials([_frozen(trial, {}) for trial in trials if trial.state == "complete"])
        running = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING, intermediate_values=dict(enumerate(curve, start=1))
        )
        return bool(pruner.prune(study, running))


def importance(space: Space, trials: Sequence[Trial]) -> dict[str, float] | None:
    """Field -> its share in what tells the best third of the trials from the others; None for too few trials.

    PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255), which fits no forest and so gives the same answer every time.
    """
    optuna = require_optuna()
    frozen = [_frozen(trial, space) for trial in trials if trial.state == "complete"]
    within = [trial for trial in frozen if set(trial.params) == set(space)]
    if len(within) < FEWEST_FOR_IMPORTANCE or len({trial.value for trial in within}) < 2:
        return None
    with _quiet():
        study = optuna.create_study(direction="maximize")
        study.add_trials(within)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
        shares: Mapping[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without optuna's notes on what is experimental or will be renamed: nobody who tunes can act on them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _distribution(parameter: Range | Choice) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(parameter, Choice):
        return CategoricalDistribution([_label(value) for value in parameter.values])
    if parameter.whole:
        step = int(parameter.step or 1)
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log, step=step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _label(value: Any) -> Any:
    """A choice as optuna takes it: scalars as they are, lists and mappings as JSON."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value, sort_keys=True)


def _value(parameter: Range | Choice, drawn: Any) -> Any:
    """What was drawn, as the configuration takes it; fractions to four digits, which people can read and retype."""
    if isinstance(parameter, Range) and parameter.whole:
        return int(drawn)
    if isinstance(parameter, Range):
        digits = 4 if parameter.step is None else 12
        return min(max(float(f"{drawn:.{digits}g}"), parameter.low), parameter.high)
    return next(value for value in parameter.values if _label(value) == drawn and type(_label(value)) is type(drawn))


def _key(parameters: Mapping[str, Any]) -> str:
    return json.dumps(parameters, sort_keys=True)


def _learnt(trial: Trial, space: Space) -> FrozenTrial:
    """A trial as the sampler sees it: one that failed as one that was ended before it had any value."""
    if trial.state != "failed":
        return _frozen(trial, space)
    return _frozen(Trial(trial.number, "pruned", None, trial.parameters, trial.seconds), space)


def _frozen(trial: Trial, space: Space, kept: Mapping[str, Any] | None = None) -> FrozenTrial:
    """A trial of ours as one of optuna's; values outside the space are left out of its parameters."""
    from optuna.trial import TrialState, create_trial

    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    distributions = {name: _distribution(parameter) for name, parameter in space.items()}
    labels = {name: _label(value) for name, value in trial.parameters.items()}
    within = [name for name in space if name in labels and _contains(distributions[name], labels[name])]
    return create_trial(
        state=states[trial.state],
        value=trial.value if trial.state == "complete" else None,
        params={name: labels[name] for name in within},
        distributions={name: distributions[name] for name in within},
        intermediate_values={place: value for place, (_, value) in enumerate(trial.curve, start=1)},
        user_attrs=dict(kept or {}),
    )


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False


def _thawed(frozen: FrozenTrial) -> Trial:
    kept = frozen.user_attrs
    curve = tuple((int(step), float(value)) for step, value in kept["curve"])
    return Trial(**{**kept, "curve": curve})
