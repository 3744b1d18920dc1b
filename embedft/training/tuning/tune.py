"""A search for the settings that are best on dev, each tried in a process of its own, the best trained once more."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from embedft.artifacts import disk_errors
from embedft.config import RunConfig
from embedft.encoder import Encoder
from embedft.errors import ArtifactError, ConfigError, DiskFullError
from embedft.tasks import get_task
from embedft.training.fit import LEARNING_RATE_TIMES_HIDDEN, updates_an_epoch, usual_epochs
from embedft.training.job import Job
from embedft.training.losses.registry import needs_of
from embedft.training.queries import adapter
from embedft.training.queries.query_only import SCALE, is_adapter, is_query_only
from embedft.training.run import check, check_outside, open_job
from embedft.training.rundir import RunDirectory
from embedft.training.sets import FROZEN, loss_name
from embedft.training.tuning.directory import TuneDirectory
from embedft.training.tuning.space import (
    Choice,
    Range,
    Space,
    check_space,
    default_space,
    space_dict,
    space_of,
    value_of,
    with_values,
)
from embedft.training.tuning.study import Trial, TrialStore, best_of, importance, is_weak, require_optuna, suggest
from embedft.training.tuning.trial import Curve, Outcome, begun, beside, run_apart

# As `embedft.artifacts` and the command line have it.
FULL_DISK = re.compile("disk (ran|is) full")


@dataclass(frozen=True)
class TuneResult:
    """What a study came to, or has come to so far.

    Attributes:
        tune: its directory; the encoder trained with the best settings is in ``tune / "best" / "model"``.
        metric: of the dev split, which is made as large as possible.
        base_value: that of the encoder before any training.
        space: what was searched.
        trials: all that have ended, in order; trial 0 is the configuration as it is.
        best: the trial of the highest value; None as long as none is complete.
        importance: field -> its share in what makes trials good; None for too few trials.
        final: the evaluation of ``best/`` against the base model, as ``embedft train --json`` has it; None before.
    """

    tune: Path
    metric: str
    base_value: float | None
    space: Space
    trials: list[Trial]
    best: Trial | None
    importance: dict[str, float] | None
    final: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        best = self.best and {
            "trial": self.best.number,
            "value": self.best.value,
            "parameters": self.best.parameters,
        }
        return {
            "tune": str(self.tune),
            "metric": self.metric,
            "base": self.base_value,
            "best": best,
            "trials": [trial.as_dict() for trial in self.trials],
            "importance": self.importance,
            "final": self.final,
        }


def tune(
    config: RunConfig,
    output: str | Path,
    *,
    trials: int,
    space: Space | None = None,
    seed: int | None = None,
    pruning: bool | None = None,
    timeout: float | None = None,
    keep_models: bool = False,
    resume: bool = False,
    force: bool = False,
    show_progress: bool = False,
    on_trial: Callable[[TuneResult], None] | None = None,
) -> TuneResult:
    """Search for the settings whose training is best on dev, and train once more with the best.

    Trial 0 is ``config`` as it is. Trials are judged on dev alone; the last training is judged as ``config`` says, on
    test if there is one, against the base model. The same configuration, space and seed give the same sequence of
    settings, also where the study was interrupted and resumed.

    Args:
        config: the settings that all trials share.
        output: the directory of the study.
        trials: how many there are in all, trial 0 and those that end early or fail included.
        space: what is searched; by default see `embedft.training.tuning.space.default_space`. Where the study is
            resumed it is, like the next two, by default that which the study began with.
        seed: of the search; by default 0.
        pruning: end trials that are below the median of those before; by default True.
        timeout: minutes after which a trial is ended and counts as failed.
        keep_models: of all trials, not of the best alone.
        resume: go on with the study that is there; its finished trials stay, the one under way is gone on with.
        force: replace the study that is there.
        show_progress: on standard error.
        on_trial: called with the state of the study after each trial.

    Raises:
        ConfigError: a setting, a field of the space or one of its values cannot be used, the configuration as it is
            cannot be trained, no trial was complete, or the study to be resumed began with other settings.
        DataError: the data cannot be used.
        ModelError: the base model cannot be opened.
        ArtifactError: the directory is in the way, in use or damaged.
        DiskFullError: the disk ran full; trials that have ended are kept.
    """
    require_optuna()
    if trials < 1:
        raise ConfigError(f"{trials} trials.", hint="ask for at least one; 20 to 50 are usual.")
    if seed is not None and seed < 0:
        raise ConfigError(f"the seed of the search is {seed}.", hint="use a whole number from 0 on.")
    directory = TuneDirectory(Path(output))
    if resume:
        directory.read()
    else:
        check_outside(config, directory.path)
    with disk_errors(directory.path), directory.locked():
        if resume:
            _check_resumable(directory, config, space, seed, pruning)
        else:
            directory.require_startable(force=force)
            directory.start(begun_with(config, space, seed or 0, pruning is not False, directory.trial(0)))
        study = _Study(directory, config, trials, timeout, keep_models, show_progress, on_trial)
        return study.run()


def begun_with(config: RunConfig, space: Space | None, seed: int, pruning: bool, trial: Path) -> dict[str, Any]:
    """What a study begins with; space, data and model are looked at here, before anything is written.

    Args:
        config: the settings that all trials share.
        space: what is searched; None for the default.
        seed: of the search.
        pruning: whether weak trials are ended.
        trial: where trial 0 will be.

    Raises:
        EmbedftError: whatever training would raise before it writes something.
    """
    check(config)
    if space is not None:
        check_space(space, config)
    # Opened to be looked at: what it took of a GPU would be missing from the trials.
    lightly = config.model.model_copy(update={"device": "cpu", "precision": "float32"})
    job = open_job(config.model_copy(update={"model": lightly}), RunDirectory(trial), show_progress=False)
    rows = [_most_rows(job), *(part.rows.num_rows for part in job.sets[1:])]
    filled = fill_in(config, rows, job.base)
    if space is None:
        space = default_space(filled, rows[0])
        check_space(space, config)
    return {
        "config": config.model_dump(mode="json"),
        "space": space_dict(space),
        "seed": seed,
        "pruning": pruning,
        "data": dict(job.data.files),
        "first": {name: _within(space[name], value_of(filled, name)) for name in space},
    }


def _most_rows(job: Job) -> int:
    """How many rows of the task's own there are to train on: as many as there are if all negatives are found."""
    own, mined = job.sets[0], job.config.training.hard_negatives
    if mined is None or needs_of(own.loss, own.options) != "triplets":
        return int(own.rows.num_rows)
    # Of triplets each negative will be a row.
    given: int = pc.sum(pc.list_value_length(own.rows["negatives"])).as_py() or 0
    return given + mined.num_negatives * int(own.rows.num_rows)


def fill_in(config: RunConfig, rows: Sequence[int], base: Encoder) -> RunConfig:
    """``config`` with the values that training would choose of what is searched by default, where it names none.

    Learning rate and epochs; the scale of the loss where documents are frozen, which has another default there.

    Args:
        config: the settings.
        rows: how many there are to train on, of the task's own set and of each of ``data.also``.
        base: the encoder that is trained.
    """
    training = config.training
    values: dict[str, Any] = {}
    if loss_name(config, get_task(config.task)) == FROZEN:
        return config
    if is_query_only(config) and "scale" not in training.loss_options:
        values["training.loss_options.scale"] = SCALE
    if training.learning_rate is None:
        values["training.learning_rate"] = adapter.LEARNING_RATE if is_adapter(config) else _peak_rate(base)
    if training.epochs is None and training.max_steps is None:
        usual = usual_epochs(updates_an_epoch(training, rows))
        values["training.epochs"] = adapter.EPOCHS if is_adapter(config) else usual
    return with_values(config, values, source="the configuration")


def _peak_rate(base: Encoder) -> float:
    """The learning rate that training chooses for the size of the encoder."""
    return LEARNING_RATE_TIMES_HIDDEN / int(base.query_side.sentence_transformer[0].config.hidden_size)


def _within(parameter: Range | Choice, value: Any) -> Any:
    """A value as the range writes it: 3.0 epochs are 3 where there are whole numbers alone."""
    whole = isinstance(parameter, Range) and parameter.whole and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def _check_resumable(
    directory: TuneDirectory, config: RunConfig, space: Space | None, seed: int | None, pruning: bool | None
) -> None:
    """Raise ConfigError if the study began with other settings or other data."""
    stored = directory.read()
    given = {
        "config": config.model_dump(mode="json"),
        "space": stored["space"] if space is None else space_dict(space),
        "seed": stored["seed"] if seed is None else seed,
        "pruning": stored["pruning"] if pruning is None else pruning,
    }
    directory.check_settings(given)
    directory.check_data(get_task(config.task).read(config.data).files)


class _Study:
    """A study under way."""

    def __init__(
        self,
        directory: TuneDirectory,
        config: RunConfig,
        wanted: int,
        timeout: float | None,
        keep_models: bool,
        show_progress: bool,
        on_trial: Callable[[TuneResult], None] | None,
    ) -> None:
        record = directory.read()
        self.directory, self.config, self.wanted = directory, config, wanted
        self.timeout, self.keep_models, self.show_progress = timeout, keep_models, show_progress
        self.on_trial = on_trial
        self.space = space_of(record["space"], source=str(directory.record))
        self.seed, self.pruning, self.first = record["seed"], record["pruning"], record["first"]
        self.metric = config.evaluation.metric or get_task(config.task).metric
        self.store = TrialStore(directory.database, self.space)
        self.trials = self.store.trials()

    def run(self) -> TuneResult:
        """Try what is left to try, then train with the best."""
        if len(self.trials) < self.wanted:
            self.directory.update(status="tuning", trials=self.wanted)
        self._drop_models()
        try:
            while len(self.trials) < self.wanted and self._try_next():
                self._drop_models()
                if self.on_trial is not None:
                    self.on_trial(self.result())
        finally:
            self.store.close()
        best = best_of(self.trials)
        if best is None:
            raise ConfigError(
                f"none of the {len(self.trials)} trials was complete; the last one: {self.trials[-1].reason}",
                hint=f"see {self.directory.trials}/*.log, then mend the configuration or the space.",
            )
        self._train_best(best)
        self.directory.update(status="finished", best={"trial": best.number, "parameters": best.parameters})
        return self.result()

    def result(self) -> TuneResult:
        """What the study has come to so far."""
        first = RunDirectory(self.directory.trial(0)).record
        record = json.loads(first.read_text(encoding="utf-8")) if first.is_file() else {}
        return TuneResult(
            tune=self.directory.path,
            metric=self.metric,
            base_value=record.get("base_value"),
            space=self.space,
            trials=list(self.trials),
            best=best_of(self.trials),
            importance=importance(self.space, self.trials),
            final=self._final(),
        )

    def _try_next(self) -> bool:
        """Run and store one more trial; False if there is nothing left to try."""
        number = len(self.trials)
        parameters = self.first if number == 0 else suggest(self.space, self.trials, self.seed, number)
        if parameters is None:
            self._say(f"the space holds nothing more to try: {number} trials instead of {self.wanted}")
            return False
        shown = "the configuration as it is" if number == 0 else _shown(parameters)
        self._say(f"{self._label(number)}: {shown}")
        outcome = self._attempt(number, parameters)
        if number == 0:
            self._require_trained(outcome)
        self._require_disk(outcome)
        trial = Trial(
            number=number,
            state=outcome.state,
            value=outcome.value,
            parameters=parameters,
            seconds=round(outcome.seconds, 1),
            reason=outcome.reason,
            curve=outcome.curve,
        )
        self.store.add(trial)
        self.trials.append(trial)
        self._say(self._ended(trial))
        return True

    def _attempt(self, number: int, parameters: dict[str, Any]) -> Outcome:
        judged_on_dev = {"evaluation.split": "dev", "evaluation.report": False}
        try:
            values = {**({} if number == 0 else parameters), **judged_on_dev}
            config = with_values(self.config, values, source=f"trial {number}")
        except ConfigError as error:
            return Outcome("failed", None, 0.0, str(error), ())

        def weak(curve: Curve) -> bool:
            step, value = curve[-1]
            self._say(f"{self._label(number)}: {self.metric} {value:.4f} at step {step}{self._so_far()}")
            return self.pruning and is_weak([value for _, value in curve], self.trials)

        seconds = None if self.timeout is None else 60 * self.timeout
        return run_apart(config, self.directory.trial(number), self.metric, timeout=seconds, weak=weak)

    def _require_trained(self, outcome: Outcome) -> None:
        """Raise ConfigError, and take the study away, if the configuration as it is was refused before its training."""
        began = RunDirectory(self.directory.trial(0)).record.is_file()
        if outcome.state == "failed" and outcome.reason is not None and not began:
            message, _, hint = outcome.reason.partition("\nhint: ")
            self.store.close()
            self.directory.clear()
            raise ConfigError(f"the configuration cannot be trained as it is: {message}", hint=hint or None)

    def _require_disk(self, outcome: Outcome) -> None:
        """Raise DiskFullError if a trial ended by that: its settings are not at fault, and the next one would too."""
        if outcome.state == "failed" and outcome.reason is not None and FULL_DISK.search(outcome.reason):
            raise DiskFullError(
                f"{self.directory.path}: a trial found the disk full: {outcome.reason.splitlines()[0]}",
                hint=f"free some space, then go on with: embedft tune -o {self.directory.path} --resume.",
            )

    def _drop_models(self) -> None:
        """Remove the models of all trials but the best."""
        best = best_of(self.trials)
        for trial in self.trials:
            if trial != best and not (self.keep_models and trial.state == "complete"):
                self.directory.drop_model(trial.number)

    def _best_config(self, best: Trial) -> RunConfig:
        values = {} if best.number == 0 else best.parameters
        return with_values(self.config, values, source="the best trial")

    def _train_best(self, best: Trial) -> None:
        if self._final() is not None:
            return
        self._say(f"training with the settings of trial {best.number}, the best on dev")
        outcome = run_apart(self._best_config(best), self.directory.best, self.metric)
        if outcome.state != "complete":
            raise ArtifactError(
                f"{self.directory.best}: training with the best settings failed: {outcome.reason}",
                hint=f"see {beside(self.directory.best, '.log')}, then add --resume.",
            )

    def _final(self) -> dict[str, Any] | None:
        """The evaluation of ``best/`` if that is finished, and not that of an earlier best trial."""
        best, run = best_of(self.trials), RunDirectory(self.directory.best)
        if best is None or begun(run, self._best_config(best)) != "finished":
            return None
        evaluation: dict[str, Any] = json.loads(run.metrics.read_text(encoding="utf-8"))
        return evaluation

    def _ended(self, trial: Trial) -> str:
        value = "" if trial.value is None else f" {self.metric} {trial.value:.4f}"
        reason = f" ({trial.reason.splitlines()[0]})" if trial.reason else ""
        left = self.wanted - len(self.trials) + 1
        eta = _duration(left * sum(trial.seconds for trial in self.trials) / len(self.trials))
        return f"{self._label(trial.number)}: {trial.state}{value}{reason}{self._so_far()}, about {eta} left"

    def _label(self, number: int) -> str:
        return f"trial {number} ({number + 1} of {self.wanted})"

    def _so_far(self) -> str:
        best = best_of(self.trials)
        return "" if best is None else f", best {best.value:.4f} in trial {best.number}"

    def _say(self, line: str) -> None:
        if self.show_progress:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def _shown(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
