"""What an encoder is made of, read from a plain folder without sentence-transformers, or taken from its modules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedft.encoder.architecture import Architecture, architecture
from embedft.encoder.head import Module, output_dim, supported
from embedft.encoder.network import used_weights
from embedft.encoder.tokens import Texts

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

# Pooling settings of older sentence-transformers releases, one flag a mode, and today's name of the mode. In the order
# in which several modes are put side by side.
LEGACY_POOLING_FLAGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
# The names that sentence-transformers' encode_document looks for. It takes the first that there is, and it puts in an
# empty "document" where a folder stores none; here the first prompt that says something counts.
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
TRANSFORMER, POOLING = "Transformer", "Pooling"
# Modules in their order: the name of each one's class, and its folder.
Listing = Sequence[tuple[str, Path]]


@dataclass(frozen=True)
class Parts:
    """An encoder's weights and settings.

    Attributes:
        texts: its tokenizer.
        architecture: of the transformer; None where we have no forward pass of our own for it.
        weights: of the transformer, in fp32, by name.
        config: the transformer's configuration as its family defines it.
        head: the modules behind the transformer.
        prompts: those stored with the model, by name.
        max_length: in tokens, as stored; None where nothing is stored.
        positions: the most tokens that the transformer has positions for; None if it says nothing.
        dim: length of a vector.
    """

    texts: Texts
    architecture: Architecture | None
    weights: Mapping[str, torch.Tensor]
    config: Mapping[str, Any]
    head: tuple[Module, ...]
    prompts: Mapping[str, str]
    max_length: int | None
    positions: int | None
    dim: int

    def shares_weights(self, other: Parts) -> bool:
        """Whether the two transformers are one: the same weights in the same memory."""
        if self.weights.keys() != other.weights.keys():
            return False
        return all(tensor.data_ptr() == other.weights[name].data_ptr() for name, tensor in self.weights.items())


def listed_modules(folder: Path) -> Listing:
    """The modules that ``modules.json`` names, in their order."""
    return [(str(module["type"]), folder / module["path"]) for module in read_json(folder / "modules.json")]


def read_parts(folder: Path, modules: Listing | None = None) -> Parts | None:
    """The parts of a sentence-transformers folder; None where it takes sentence-transformers to open it.

    Args:
        folder: of the encoder.
        modules: those of one of its routes, where it has some; else all.

    Raises:
        OSError, ValueError, KeyError, Exception: a file is missing or damaged; safetensors' and tokenizers' errors
            derive from Exception alone.
    """
    modules = listed_modules(folder) if modules is None else modules
    if not modules or kind_of(modules[0][0]) != TRANSFORMER or not is_known(modules[0][0]):
        return None
    root = modules[0][1]
    config = read_json(root / "config.json")
    made = architecture(config)
    settings = read_json(root / "sentence_bert_config.json", {})
    plain = (root / "tokenizer.json").is_file() and (root / "model.safetensors").is_file()
    if made is None or not plain or settings.get("do_lower_case"):
        return None
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    head = read_head(modules[1:])
    if head is None:
        return None
    tokenizer_config = read_json(root / "tokenizer_config.json", {})
    tokenizer = Tokenizer.from_file(str(root / "tokenizer.json"))
    if not _same_normalizer(tokenizer_config, json.loads(tokenizer.to_str()).get("normalizer")):
        return None
    pad = tokenizer_config.get("pad_token")
    pad = pad.get("content") if isinstance(pad, dict) else pad
    pad_id = tokenizer.token_to_id(pad) if pad else None
    texts = Texts(tokenizer, pad_id=int(pad_id or 0), cut_left=tokenizer_config.get("truncation_side") == "left")
    stored = read_json(folder / "config_sentence_transformers.json", {})
    try:
        weights = used_weights(made, load_file(root / "model.safetensors"))
    except KeyError:
        # Names of older checkpoints, which transformers translates.
        return None
    return Parts(
        texts=texts,
        architecture=made,
        weights=_float32(weights),
        config=config,
        head=head,
        prompts=_prompts(stored.get("prompts") or {}),
        max_length=_length(settings.get("max_seq_length"), tokenizer_config.get("model_max_length")),
        positions=made.positions,
        dim=output_dim(made.hidden, head),
    )


def parts_of(model: SentenceTransformer) -> Parts:
    """The parts of sentence-transformers' modules; weights are shared, not copied, where they are in fp32."""
    transformer, *rest = model
    config = transformer.model.config.to_dict()
    head = tuple(Module(type(module).__name__, module.get_config_dict(), module.state_dict()) for module in rest)
    made = architecture(config) if _computable(head) else None
    state = transformer.model.state_dict()
    if made is not None:
        try:
            state = used_weights(made, state)
        except (KeyError, ValueError):
            # Adapters and other surgery: the modules themselves know what they compute.
            made = None
    tokenizer = model.tokenizer
    from tokenizers import Tokenizer

    # A copy: ours has neither truncation nor padding switched on.
    texts = Texts(
        Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
        pad_id=int(tokenizer.pad_token_id or 0),
        cut_left=tokenizer.truncation_side == "left",
    )
    positions = getattr(transformer.model.config, "max_position_embeddings", None)
    table = getattr(getattr(transformer.model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    if positions is not None and padding is not None:
        # RoBERTa-like models count positions from the padding id onwards.
        positions -= padding + 1
    if positions is not None and positions < 1:
        positions = None  # XLNet says -1: it has no end
    return Parts(
        texts=texts,
        architecture=made,
        weights=_float32(state),
        config=config,
        head=head,
        prompts=_prompts(model.prompts),
        max_length=_length(model.max_seq_length),
        positions=positions,
        dim=int(model.get_embedding_dimension() or 0),
    )


def read_head(modules: Listing) -> tuple[Module, ...] | None:
    """The modules behind a transformer; None where `embedft.encoder.head` does not compute them.

    Raises:
        OSError, ValueError, KeyError, Exception: as `read_parts`.
    """
    if not all(is_known(name) for name, _ in modules):
        return None
    head = tuple(_read_module(kind_of(name), folder) for name, folder in modules)
    return head if _computable(head) else None


def _computable(head: tuple[Module, ...]) -> bool:
    """Whether `embedft.encoder.head` computes these modules."""
    return bool(head) and head[0].kind == POOLING and all(supported(module) for module in head)


def _read_module(kind: str, folder: Path) -> Module:
    config = dict(read_json(folder / "config.json", {}))
    if kind == POOLING and "pooling_mode" not in config:
        modes = [mode for mode, flag in LEGACY_POOLING_FLAGS.items() if config.get(flag)]
        config = {
            "embedding_dimension": config.get("word_embedding_dimension"),
            "pooling_mode": modes[0] if len(modes) == 1 else modes or "mean",
            "include_prompt": config.get("include_prompt", True),
        }
    state: Mapping[str, Any] = {}
    if kind in {"Dense", "LayerNorm"}:
        from safetensors.torch import load_file

        if not (folder / "model.safetensors").is_file():
            return Module("pickled " + kind, config)
        state = load_file(folder / "model.safetensors")
    return Module(kind, config, state)


def _float32(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def kind_of(type_name: str) -> str:
    """The last part of a class's name, which stays when classes move between releases."""
    return type_name.rpartition(".")[2]


def is_known(type_name: str) -> bool:
    """Whether a module's class is sentence-transformers' own, and not code that came with the model."""
    return type_name.startswith("sentence_transformers.")


def _same_normalizer(config: Mapping[str, Any], normalizer: Mapping[str, Any] | None) -> bool:
    """Whether tokenizer.json normalises as its configuration says; where not, transformers follows the latter."""
    if normalizer is None or normalizer.get("type") != "BertNormalizer":
        return True
    fields = {"do_lower_case": "lowercase", "strip_accents": "strip_accents"}
    fields["tokenize_chinese_chars"] = "handle_chinese_chars"
    return all(config[ours] == normalizer.get(theirs) for ours, theirs in fields.items() if ours in config)


def _prompts(stored: Mapping[str, str | None]) -> dict[str, str]:
    """The stored prompts; that of documents goes by several names."""
    prompts = {name: prompt or "" for name, prompt in stored.items()}
    document = next((prompts[name] for name in DOCUMENT_PROMPTS if prompts.get(name)), "")
    return {**prompts, "document": document}


def _length(*candidates: object) -> int | None:
    """The first stated length; a tokenizer without one reports an astronomical number."""
    for candidate in candidates:
        if isinstance(candidate, int | float) and 0 < candidate <= 131_072:
            return int(candidate)
    return None


def read_json(path: Path, default: Any = None) -> Any:
    """The content of a JSON file; ``default``, where it is given, if there is no such file."""
    if default is not None and not path.is_file():
        return default
    return json.loads(path.read_bytes())
