"""What a checkpoint holds beside the folder that is judged: the numbers that training goes on from.

The folder of a checkpoint is an encoder as it would be kept. Where that is not what is being trained (adapters are
merged into it, its weights are a running mean) and for weights that no encoder has (those of the loss), the numbers lie
beside it in safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from embedft.errors import ArtifactError

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
