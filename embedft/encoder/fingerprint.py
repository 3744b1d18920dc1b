"""The fingerprint of an encoder: a SHA-256 over everything that decides its vectors.

Two encoders with one fingerprint give the same vectors, up to the precision they compute in: weights are hashed as
fp32 numbers, so that the same weights stored as fp16, fp32 or cast to bf16 for speed have one fingerprint. A folder
read directly and the same folder opened by sentence-transformers have one fingerprint too.
"""

from __future__ import annotations

import hashlib
import json

from embedft.encoder.parts import Parts

# The fields of a transformer's configuration that change its arithmetic without changing its weights, where we do not
# know the architecture. Named one by one: hashing the whole configuration would change the fingerprint with every
# release of transformers.
ARITHMETIC_FIELDS = (
    "model_type",
    "num_attention_heads",
    "n_heads",
    "hidden_activation",
    "hidden_act",
    "activation",
    "local_attention",
    "layer_types",
    "rope_parameters",
    "norm_eps",
    "layer_norm_eps",
)
# More of them, which count where a configuration has them: the fingerprints of families without them stay as they were.
RARER_FIELDS = (
    "num_heads",
    "n_head",
    "num_key_value_heads",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
    "sliding_window",
    "use_bidirectional_attention",
    "is_causal",
    "attn_type",
    "clamp_len",
    "relative_attention",
    "relative_attention_max_distance",
    "max_relative_positions",
    "position_buckets",
    "position_biased_input",
    "pos_att_type",
    "share_att_key",
    "norm_rel_ebd",
    "dense_act_fn",
    "ff_activation",
    "rms_norm_eps",
    "layer_norm_epsilon",
)


def fingerprint(parts: Parts, *, prompts: dict[str, str], max_length: int, truncate_dim: int | None) -> str:
    """The fingerprint, 64 hexadecimal digits.

    Args:
        parts: of the encoder.
        prompts: the prompts for ``query`` and ``document``.
        max_length: in tokens.
        truncate_dim: dimension that vectors are cut to, or None.
    """
    import torch

    digest = hashlib.sha256()
    weights = parts.weights
    if parts.architecture is None:
        # It decides no vector, and transformers draws it at random where a checkpoint has none.
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("pooler.")}
    states = [("", weights), *((f"{number}.", module.state) for number, module in enumerate(parts.head))]
    for prefix, state in states:
        for name, tensor in sorted(state.items()):
            digest.update(f"{prefix}{name} {tuple(tensor.shape)}".encode())
            if tensor.is_floating_point():
                tensor = tensor.to(torch.float32)
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    digest.update(json.dumps(parts.texts.state(), sort_keys=True).encode())
    if parts.architecture is not None:
        arithmetic = parts.architecture.as_dict()
    else:
        arithmetic = {field: parts.config.get(field) for field in ARITHMETIC_FIELDS}
        arithmetic |= {field: parts.config[field] for field in RARER_FIELDS if parts.config.get(field) is not None}
        if "num_hidden_groups" in parts.config:
            # ALBERT's layers share their weights, which do not tell how many there are.
            arithmetic["num_hidden_layers"] = parts.config.get("num_hidden_layers")
    # A module's kind is its type, not the path of its class, which moves between releases.
    modules = [(module.kind, module.arithmetic) for module in parts.head]
    rest = [arithmetic, modules, prompts, max_length, truncate_dim]
    digest.update(json.dumps(rest, sort_keys=True, default=str).encode())
    return digest.hexdigest()
