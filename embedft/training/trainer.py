"""sentence-transformers' trainer with our batches, our checkpoints and our log plugged into its extension points."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.evaluation import BaseEvaluator
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState

from embedft.artifacts import sync_tree, write_json
from embedft.config import TrainingConfig
from embedft.encoder import Encoder, open_modules, write_folder
from embedft.encoder.differentiable import flat_transformer
from embedft.progress import Advance
from embedft.training.alarms import Alarms
from embedft.training.batches import MixedBatchSampler, SeededBatchSampler
from embedft.training.checkpoint import TrainedWeights
from embedft.training.parameters import parameter_groups
from embedft.training.processes import average_gradients, world_size
from embedft.training.rundir import RunDirectory
from embedft.training.trackers import PROJECT

# Written last into a checkpoint: one without it was cut off and is never resumed from.
COMPLETE_FILE = "complete.json"
LOG_EVERY = 10


class PairTrainer(SentenceTransformerTrainer):
    """Trains on one or several sets of rows, in batches that depend on seed and epoch alone.

    Args:
        encoder: whose modules are trained.
        settings: of the training.
        trained: the weights that change, and how they are judged and kept.
        alarms: look at each batch.
        sampler_class: makes the batches of a set of labelled texts.
        kwargs: of sentence-transformers' trainer.
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        settings: TrainingConfig,
        trained: TrainedWeights,
        alarms: Alarms,
        sampler_class: type[SeededBatchSampler] = SeededBatchSampler,
        **kwargs: Any,
    ) -> None:
        self.encoder, self.settings, self.trained, self.alarms = encoder, settings, trained, alarms
        self.sampler_class = sampler_class
        # One process, one device: several GPUs in one process would be wrapped by DataParallel, which the loss cannot
        # look into.
        kwargs["args"]._n_gpu = min(kwargs["args"].n_gpu, 1)
        # Tried out here: what it has to say belongs before the first step.
        flat_transformer(encoder.sentence_transformer)
        callbacks = [*kwargs.pop("callbacks"), alarms, *([trained.mean] if trained.mean else [])]
        super().__init__(model=encoder.sentence_transformer, callbacks=callbacks, **kwargs)
        # Not wrapped for several processes: see `average_gradients`.
        self.accelerator.prepare_model = lambda model, **_: model
        # It prints the log to standard output, which belongs to results.
        self.remove_callback(PrinterCallback)

    def get_batch_sampler(self, dataset: Any, batch_size: int, **_: Any) -> SeededBatchSampler:
        """Batches that depend on seed and epoch alone."""
        # Of several sets those of data.also have no classes.
        kind = self.sampler_class if "label" in dataset.column_names else SeededBatchSampler
        sampler = kind(dataset, batch_size, seed=self.args.seed)
        self.data_collator.sampler = sampler
        return sampler

    def get_multi_dataset_batch_sampler(self, dataset: Any, batch_samplers: Any, **_: Any) -> MixedBatchSampler:
        """Batches of all sets, mixed by temperature."""
        sampler = MixedBatchSampler(
            dataset, batch_samplers, seed=self.args.seed, temperature=self.settings.mixing_temperature
        )
        self.data_collator.sampler = sampler
        return sampler

    def get_optimizer_cls_and_kwargs(self, args: Any, model: Any = None) -> tuple[Any, Any]:
        """AdamW on groups with the learning rate of each layer."""
        optimizer, options = super().get_optimizer_cls_and_kwargs(args, model)
        options["optimizer_dict"] = parameter_groups(
            self.model,
            self.loss,
            learning_rate=args.learning_rate,
            weight_decay=args.weight_decay,
            layer_decay=self.settings.layer_decay,
        )
        return optimizer, options

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The loss of a batch, watched by the alarms; raises TrainingError."""
        rows, name = inputs.pop("rows"), inputs.get("dataset_name")
        with self.alarms.watching(self.state.global_step + 1, rows, name):
            loss = super().compute_loss(model, inputs, *args, **kwargs)
        self.alarms.check(loss)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """What is logged of a step, with the cosines of its last batch."""
        super().log(logs | self.alarms.figures() if "loss" in logs else logs, start_time)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One batch forwards and backwards; where several processes train, with their mean gradients."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        if world_size() > 1 and self.accelerator.sync_gradients:
            average_gradients(parameter for group in self.optimizer.param_groups for parameter in group["params"])
        return loss

    def compute_loss_context_manager(self) -> ExitStack:
        """Autocast around the whole loss: accelerate wraps ``model.forward`` alone, and the loss calls the modules."""
        stack: ExitStack = super().compute_loss_context_manager()
        stack.enter_context(self.accelerator.autocast())
        return stack

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: the card is written once, from the finished run."""

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        return model

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Without training_args.bin, which is a pickle; run.json holds the configuration.
        folder = Path(output_dir or self.args.output_dir)
        encoder = self.encoder
        with self.trained.judged() as model:
            write_folder(model, folder, max_length=encoder.max_length, truncate_dim=encoder.truncate_dim)
        self.trained.write(folder)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        if self.trained.read(Path(checkpoint_path)):
            super()._load_from_checkpoint(checkpoint_path)


class DevEvaluator(BaseEvaluator):
    """Scores the weights in training; the trainer calls it as it calls sentence-transformers' evaluators."""

    def __init__(
        self, score: Callable[[Encoder], dict[str, float]], encoder: Encoder, trained: TrainedWeights, precision: Any
    ) -> None:
        super().__init__()
        self.score, self.encoder, self.trained, self.precision = score, encoder, trained, precision

    def __call__(self, _model: Any, **_: Any) -> dict[str, float]:
        """Metric name -> value."""
        # What is scored beside the encoder, a head, is judged with it.
        with self.trained.judged() as model:
            return self.score(self.encoder.of(model, self.precision))


class RunCallback(TrainerCallback):
    """Keeps what a run needs: complete checkpoints, the log as JSON lines, progress, and early stopping.

    All its decisions follow from the trainer's log history, which a checkpoint holds, so a resumed run decides as an
    uninterrupted one.
    """

    def __init__(self, directory: RunDirectory, *, metric: str, patience: int, advance: Advance) -> None:
        self.directory, self.log = directory, directory.log
        self.metric, self.patience, self.advance = f"eval_{metric}", patience, advance

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the log again from the checkpoint's history."""
        if not state.is_world_process_zero:
            return
        self.log.write_text("".join(json.dumps(entry) + "\n" for entry in state.log_history))
        self.advance(state.global_step, total=state.max_steps)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Append what was logged."""
        if not state.is_world_process_zero:
            return
        with self.log.open("a") as file:
            file.write(json.dumps(state.log_history[-1]) + "\n")

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Judge and keep the last step, whatever the interval."""
        self.advance(1)
        if state.global_step == state.max_steps:
            control.should_evaluate = control.should_save = True

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop when the metric has not risen for ``patience`` evaluations."""
        if patience_exhausted(state, self.metric, self.patience):
            control.should_training_stop = True

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Declare the new checkpoint complete, then drop those that are neither the best nor the newest."""
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir)
        newest = folder / f"checkpoint-{state.global_step}"
        sync_tree(newest)
        write_json(newest / COMPLETE_FILE, {"step": state.global_step})
        self.directory.note_seconds()
        kept = {newest.name, f"checkpoint-{state.best_global_step}"}
        for old in folder.glob("checkpoint-*"):
            if old.name not in kept:
                shutil.rmtree(old)


def patience_exhausted(state: TrainerState, metric: str, patience: int) -> bool:
    """Whether the last ``patience`` dev evaluations of the log brought no gain; ``metric`` with its ``eval_``."""
    values = [entry[metric] for entry in state.log_history if metric in entry]
    return bool(values) and len(values) - 1 - values.index(max(values)) >= patience


def ended_state(checkpoint: Path, metric: str, patience: int, steps: int) -> TrainerState | None:
    """The state of a checkpoint at which training had come to its end; None if there is something left to train."""
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    ended = state.global_step >= steps or patience_exhausted(state, f"eval_{metric}", patience)
    return state if ended else None


def newest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint of the latest step; those that were cut off are removed."""
    complete = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / COMPLETE_FILE).is_file():
            complete.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def load_weights(model: Any, folder: Path) -> None:
    """Put the weights of a folder that `write_folder` wrote into ``model``."""
    model.load_state_dict(open_modules(folder, "cpu").state_dict())


def training_arguments(
    settings: TrainingConfig,
    *,
    folder: Path,
    steps: int,
    learning_rate: float,
    eval_every: int,
    metric: str,
    bf16: bool,
    use_cpu: bool,
) -> SentenceTransformerTrainingArguments:
    """AdamW with a linear schedule; a checkpoint and a dev evaluation every ``eval_every`` steps."""
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=int(settings.warmup * steps),
        max_grad_norm=settings.max_grad_norm,
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        bf16=bf16,
        use_cpu=use_cpu,
        seed=settings.seed,
        data_seed=settings.seed,
        eval_strategy="steps",
        eval_steps=eval_every,
        save_strategy="steps",
        save_steps=eval_every,
        metric_for_best_model=metric,
        greater_is_better=True,
        logging_steps=LOG_EVERY,
        logging_first_step=True,
        disable_tqdm=True,
        report_to=settings.report_to or "none",
        project=PROJECT,
        # A loss that is no number stops the run instead of being left out of the log.
        logging_nan_inf_filter=False,
        dataloader_pin_memory=not use_cpu,
    )
