"""The fingerprint of an encoder: a SHA-256 over everything that decides its vectors.

Two encoders with one fingerprint give the same vectors, up to the precision they compute in: weights are hashed as
fp32 numbers, so that the same weights stored as fp16, fp32 or cast to bf16 for speed have one fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# The fields of a transformer's configuration that change its arithmetic without changing its weights. Named one by
# one: hashing the whole configuration would change the fingerprint with every release of transformers.
ARITHMETIC_FIELDS = (
    "model_type",
    "num_attention_heads",
    "hidden_activation",
    "hidden_act",
    "local_attention",
    "layer_types",
    "rope_parameters",
    "norm_eps",
    "layer_norm_eps",
)


def fingerprint(
    model: SentenceTransformer, *, prompts: dict[str, str], max_length: int, truncate_dim: int | None
) -> str:
    """The fingerprint, 64 hexadecimal digits.

    Args:
        model: modules in fp32.
        prompts: the prompts for ``query`` and ``document``.
        max_length: in tokens.
        truncate_dim: dimension that vectors are cut to, or None.
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32)
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    digest.update(json.dumps(_tokenizer(model), sort_keys=True).encode())
    config = model[0].config.to_dict()
    arithmetic = {field: config.get(field) for field in ARITHMETIC_FIELDS}
    # As lists of pairs: a module's name is its type, not the path of its class, which moves between releases.
    modules = [(type(module).__name__, module.get_config_dict()) for module in list(model)[1:]]
    rest = [arithmetic, modules, prompts, max_length, truncate_dim]
    digest.update(json.dumps(rest, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _tokenizer(model: SentenceTransformer) -> Any:
    """The tokenizer's state without truncation and padding, which calls change."""
    state = json.loads(model.tokenizer.backend_tokenizer.to_str())
    return {key: value for key, value in state.items() if key not in {"truncation", "padding"}}
