"""What a run will take, before its first step: tokens, memory, time, and what its loss sees.

Everything that training refuses is refused here. Time and memory come from a probe, `embedft.training.planning.probe`,
in a process of its own, so that the memory is the run's and not the caller's; without the probe they are estimated
from the size of the model and are rough.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedft import errors
from embedft.config import RunConfig, validate_config
from embedft.errors import EmbedftError, TrainingError
from embedft.training.fit import total_steps
from embedft.training.job import Job
from embedft.training.planning.schedule import Schedule

if TYPE_CHECKING:
    from embedft.training.planning.probe import Probe
    from embedft.training.planning.workload import Batch, Workload
    from embedft.training.trainer import PairTrainer

# The exit status by which Linux tells that the kernel killed a process, as it does when memory ends.
KILLED = -9
LESS_MEMORY = "lower training.batch_size, or set training.gradient_cache or training.gradient_checkpointing."


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes:
        task, model: what is trained for what.
        rows: training rows of each set.
        batch_size: rows a batch.
        rows_a_step: rows an update of the weights sees.
        steps, steps_an_epoch, epochs: updates, if dev does not stop it early.
        evaluations: on dev, during training.
        learning_rate: at its peak.
        parameters, trainable: numbers of weights.
        workload: texts and tokens a step, see `Workload.as_dict`.
        cut: texts that are longer than training may see, see `cut_texts`.
        memory: bytes, see `embedft.training.planning.estimate.memory_of`.
        time: seconds, see `measured_time` and `embedft.training.planning.estimate.rough_time`.
        batch: how the loss sees a row, see `explain`.
    """

    task: str
    model: str
    rows: dict[str, int]
    batch_size: int
    rows_a_step: int
    steps: int
    steps_an_epoch: float
    epochs: float
    evaluations: int
    learning_rate: float
    parameters: int
    trainable: int
    workload: dict[str, Any]
    cut: dict[str, Any]
    memory: dict[str, Any]
    time: dict[str, Any]
    batch: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def plan(config: RunConfig, *, probe: bool = True) -> Plan:
    """What the run of ``config`` will take.

    Args:
        config: of the run.
        probe: measure time and memory with a few real steps, in a child process; False estimates them.

    Raises:
        EmbedftError: whatever training would raise before its first step, or a run that does not fit the memory.
    """
    if not probe:
        return _plan(config, probed=False, begun=time.time())
    command = [sys.executable, "-m", "embedft.training.planning.plan"]
    given = json.dumps({"config": config.model_dump(mode="json"), "begun": time.time()})
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == KILLED:
        raise TrainingError("the first steps were killed, most likely because memory ended.", hint=LESS_MEMORY)
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise RuntimeError(f"the probe ended with status {done.returncode} and said why above.") from None
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"], hint=answer["hint"])
    return Plan(**answer)


def _child() -> None:
    """Read a configuration from standard input, write the plan to standard output."""
    given = json.loads(sys.stdin.read())
    try:
        answer = _plan(validate_config(given["config"], source="plan"), probed=True, begun=given["begun"]).as_dict()
    except EmbedftError as error:
        answer = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    sys.stdout.write(json.dumps(answer) + "\n")


def _plan(config: RunConfig, *, probed: bool, begun: float) -> Plan:
    from embedft.training.mining.mined import with_negatives
    from embedft.training.planning.estimate import memory_of, rough_time
    from embedft.training.planning.explain import explain
    from embedft.training.planning.probe import objective_of, open_stepped, silent_trainer
    from embedft.training.planning.workload import count, cut_texts

    with tempfile.TemporaryDirectory() as folder:
        opened = open_stepped(config, Path(folder))
        start = time.perf_counter()
        job = with_negatives(opened)
        mining = time.perf_counter() - start
        trainer = silent_trainer(job, total_steps(job), objective_of(job))
        schedule = Schedule.of(trainer, config.training, setup=time.time() - begun, mining=mining)
        work, largest = count(trainer, schedule.accumulation)
        sizes = [(value.numel(), value.requires_grad) for value in trainer.model.parameters()]
        parameters, trainable = sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)
        loss = explain(job)
        probe = _probe(job, trainer, largest) if probed else None
        return Plan(
            task=config.task,
            model=config.model.name,
            rows={part.name: part.rows.num_rows for part in job.sets},
            batch_size=config.training.batch_size,
            rows_a_step=config.training.batch_size * schedule.accumulation,
            steps=schedule.steps,
            steps_an_epoch=round(schedule.an_epoch, 2),
            epochs=round(schedule.steps / schedule.an_epoch, 2),
            evaluations=schedule.evaluations(schedule.steps),
            learning_rate=float(trainer.args.learning_rate),
            parameters=parameters,
            trainable=trainable,
            workload=work.as_dict(schedule.accumulation),
            cut=cut_texts(job),
            memory=memory_of(job, parameters, trainable, work, probe),
            time=measured_time(probe, work, schedule) if probe else rough_time(job, work, schedule),
            batch=loss,
        )


def _probe(job: Job, trainer: PairTrainer, largest: list[Batch]) -> Probe:
    import torch

    from embedft.training.planning.probe import measure

    try:
        return measure(job, trainer, largest)
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        # On a CPU torch has no kind of its own for it.
        if type(error) is RuntimeError and "can't allocate memory" not in str(error):
            raise
        raise TrainingError(f"the first steps need more memory than there is: {error}", hint=LESS_MEMORY) from error


def measured_time(probe: Probe, work: Workload, schedule: Schedule) -> dict[str, Any]:
    """Seconds of each part of a run, from what a probe measured.

    Keys: ``setup``, ``step`` (one), ``steps``, ``mining`` (again, in training), ``dev``, ``checkpoints``, ``final``,
    ``total``; ``low`` and ``high``: the total if everything went as the fastest and slowest tenth of the probed steps;
    ``earliest``: the total if dev never rises and stops it.
    """
    a_token = np.asarray(probe.step_seconds) / np.asarray(probe.step_tokens)
    step = float(np.median(a_token)) * schedule.accumulation * float(work.tokens.mean())
    dev, final = (of.seconds + of.tokens / probe.encoded_tokens_per_second for of in (probe.dev, probe.final))
    parts = schedule.seconds(step, dev, final, probe.checkpoint_seconds)
    fast, slow = np.quantile(a_token, [0.1, 0.9]) / np.median(a_token)
    earliest = replace(schedule, steps=min(schedule.steps, schedule.eval_every * (schedule.patience + 1)))
    return {
        "measured": True,
        **parts,
        "low": round(parts["total"] * float(fast), 2),
        "high": round(parts["total"] * float(slow), 2),
        "earliest": earliest.seconds(step, dev, final, probe.checkpoint_seconds)["total"],
        "steps_timed": len(probe.step_seconds),
        "tokens_per_second": round(1 / float(np.median(a_token)), 1),
        "encoded_tokens_per_second": round(probe.encoded_tokens_per_second, 1),
    }


if __name__ == "__main__":
    _child()
