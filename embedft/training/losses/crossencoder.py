"""A cross-encoder: reads anchor and candidate together and scores the pair; slower and better than a bi-encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.artifacts import sha256_of
from embedft.errors import ModelError

WEIGHTS_AND_TOKENIZER = ("config.json", "tokenizer.json", "*.safetensors", "sentence_bert_config.json")


def is_cross_encoder(name: str | Path) -> bool:
    """Whether a name is the folder of a cross-encoder: its ``config.json`` says ``...ForSequenceClassification``."""
    try:
        config = json.loads((Path(name) / "config.json").read_bytes())
        return any(str(kind).endswith("ForSequenceClassification") for kind in config.get("architectures") or [])
    except (OSError, ValueError, AttributeError):
        return False


def open_cross_encoder(name: str, device: str | None, *, local: bool = False) -> Any:
    """sentence-transformers' cross-encoder of that name, in fp32, with one score for a pair.

    Args:
        name: folder or hub name.
        device: to compute on.
        local: never ask the hub.

    Raises:
        ModelError: it cannot be opened, or gives more than one score a pair.
    """
    import torch
    from sentence_transformers import CrossEncoder

    try:
        # Weights stored in half precision would otherwise compute in it, which a CPU does slowly.
        options = {"dtype": torch.float32}
        model: Any = CrossEncoder(
            name, device=device, local_files_only=local, trust_remote_code=False, model_kwargs=options
        )
    except Exception as error:  # safetensors' and tokenizers' errors derive from Exception alone
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"cross-encoder {name!r}: cannot be opened: {reason}",
            hint="name the folder of a sequence classifier with one label"
            + (", or a hub name where there is a network." if not Path(name).exists() else "."),
        ) from error
    if model.num_labels != 1:
        raise ModelError(
            f"cross-encoder {name!r} gives {model.num_labels} scores for a pair.",
            hint="name one that is trained to rank, with one label.",
        )
    return model


class CrossScorer:
    """A cross-encoder of sentence-transformers, in fp32.

    Attributes:
        name: its folder.
        fingerprint: SHA-256 over its configuration, weights and tokenizer.
    """

    def __init__(self, name: str | Path, device: str | None = None) -> None:
        """Opened from its folder.

        Raises:
            ModelError: it is damaged, or gives more than one score a pair.
        """
        self.name = str(name)
        self._model = open_cross_encoder(self.name, device, local=True)
        files = sorted({file for pattern in WEIGHTS_AND_TOKENIZER for file in Path(name).glob(pattern)})
        hashes = [f"{file.name} {sha256_of(file)}" for file in files]
        self.fingerprint = hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def score(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        """A logit for each pair, (n,): unbounded, not passed through a sigmoid."""
        import torch

        if not pairs:
            return np.empty(0, np.float32)
        logits = self._model.predict(
            list(pairs), activation_fn=torch.nn.Identity(), convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(logits, np.float32)
