"""What a checkpoint holds beside the folder that is judged: the numbers that training goes on from.

The folder of a checkpoint is an encoder as it would be kept. Where that is not what is being trained (adapters are
merged into it, its weights are a running mean) and for weights that no encoder has (those of the loss), the numbers lie
beside it in safetensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from embedft.errors import ArtifactError
from embedft.training.ema import MeanWeights
from embedft.training.lora import has_lora, merged
from embedft.training.parameters import OF_LOSS, Losses, trainable_parameters

WEIGHTS_FILE = "trained.safetensors"
MEAN_FILE = "mean.safetensors"


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors by name to a safetensors file."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, str(path))


def read_tensors(path: Path, into: Mapping[str, torch.Tensor]) -> None:
    """Fill tensors with those of a file that `write_tensors` wrote of the same names and shapes.

    Raises:
        ArtifactError: the file is missing or damaged, or holds others.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path}: cannot be read: {error}.", hint="start the run again with --force.") from error
    shapes = {name: tensor.shape for name, tensor in into.items()}
    if shapes != {name: tensor.shape for name, tensor in stored.items()}:
        raise ArtifactError(
            f"{path}: holds {len(stored)} tensors that are not the {len(into)} being trained.",
            hint="resume with the embedft that wrote it, or start the run again with --force.",
        )
    with torch.no_grad():
        for name, tensor in into.items():
            tensor.copy_(stored[name])


class TrainedWeights:
    """The weights that a trainer changes: how they are judged and kept, and what a checkpoint needs to go on.

    Attributes:
        parameters: those that are trained, by name.
        mean: their running mean, if there is one: a callback that the trainer must be given.
    """

    def __init__(self, model: Any, loss: Losses, ema: float | None) -> None:
        self.model = model
        self.parameters = trainable_parameters(model, loss)
        self.mean = MeanWeights(self.parameters, ema) if ema is not None else None
        # Of the folder of a checkpoint as it is, all weights of the encoder can be taken up again.
        self._plain = self.mean is None and not has_lora(model)
        own = [name for name in self.parameters if name.startswith(OF_LOSS)]
        self._beside = {name: self.parameters[name] for name in (own if self._plain else self.parameters)}

    @contextmanager
    def judged(self) -> Iterator[Any]:
        """The model as it is judged and kept: with the mean of its weights, adapters merged into them."""
        with self.mean.applied() if self.mean else nullcontext(), merged(self.model) as model:
            yield model

    def write(self, folder: Path) -> None:
        """Keep in a checkpoint what the encoder's folder there does not tell."""
        if self._beside:
            write_tensors(folder / WEIGHTS_FILE, self._beside)
        if self.mean:
            write_tensors(folder / MEAN_FILE, self.mean.mean)

    def read(self, folder: Path) -> bool:
        """Go on from a checkpoint; whether the encoder's own folder there is still to be read, for the other weights.

        Raises:
            ArtifactError: the checkpoint is damaged, or of other weights.
        """
        if self._beside:
            read_tensors(folder / WEIGHTS_FILE, self._beside)
        if self.mean:
            read_tensors(folder / MEAN_FILE, self.mean.mean)
        return self._plain
