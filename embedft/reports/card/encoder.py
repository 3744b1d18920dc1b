"""What the files of a saved encoder and of its base say, without loading a weight."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from embedft.reports.card.places import was_local
from embedft.reports.run.record import RunRecord

BUNDLED = "bundled"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class EncoderFacts:
    """What a card tells of an encoder.

    Attributes:
        architecture: ``model_type`` of its configuration; empty if unknown.
        dim: of its vectors; None if unknown.
        max_length: tokens a text; None if unknown.
        prompts: role -> what stands before each text.
        base: what it was trained from, as a card names it.
        base_id: the base on the hub; None if it is not from there.
        licence: of the base; None if unknown.
        language: of the base; None if unknown.
    """

    architecture: str
    dim: int | None
    max_length: int | None
    prompts: dict[str, str] = field(default_factory=dict)
    base: str = ""
    base_id: str | None = None
    licence: str | None = None
    language: Any = None


def read_encoder(record: RunRecord) -> EncoderFacts:
    """The facts of the model of a run."""
    model = record.folder / "model"
    name = str((record.config.get("model") or {}).get("name") or "")
    local = name == BUNDLED or was_local(record, "model", name)
    told = _metadata(_base_card(name, local=local))
    config = _first(model, "config.json")
    stored = _json(model / "config_sentence_transformers.json")
    return EncoderFacts(
        architecture=str(config.get("model_type") or ""),
        dim=_dim(model, record),
        max_length=_max_length(model),
        prompts={role: str(prompt) for role, prompt in (stored.get("prompts") or {}).items()},
        base=_base_name(name, local=local),
        base_id=name if not local and HUB_NAME.fullmatch(name) else None,
        licence=told.get("license"),
        language=told.get("language"),
    )  # fmt: skip


def _base_name(name: str, *, local: bool) -> str:
    if name == BUNDLED:
        return "modernbert-mini, the encoder that comes with it"
    return Path(name).name if local else name


def _base_card(name: str, *, local: bool) -> str:
    """The card of the base, from its folder or the cache of the hub; empty if there is none."""
    if name == BUNDLED:
        return (files("embedft") / "models" / "modernbert-mini" / "README.md").read_text(encoding="utf-8")
    path: Any = Path(name) / "README.md"
    if not local and HUB_NAME.fullmatch(name):
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(name, "README.md")
    if not isinstance(path, str | Path) or not Path(path).is_file():
        return ""
    return Path(path).read_text(encoding="utf-8", errors="replace")


def _metadata(card: str) -> dict[str, Any]:
    """The block of metadata of a card; empty if it has none that can be read."""
    import yaml

    found = re.match(r"---\r?\n(.*?)\r?\n---", card, re.S)
    if found is None:
        return {}
    try:
        block = yaml.safe_load(found[1])
    except yaml.YAMLError:
        return {}
    return block if isinstance(block, dict) else {}


def _dim(model: Path, record: RunRecord) -> int | None:
    pooling = _first(model, "*Pooling/config.json")
    dims = [
        (record.config.get("model") or {}).get("truncate_dim"),
        _json(model / "embedft.json").get("truncate_dim"),
        *(_first(model, f"*{kind}/config.json").get("out_features") for kind in ("Dense", "adapter")),
        pooling.get("embedding_dimension") or pooling.get("word_embedding_dimension"),
        _first(model, "config.json").get("hidden_size"),
    ]
    return next((int(dim) for dim in dims if isinstance(dim, int)), None)


def _max_length(model: Path) -> int | None:
    lengths = [
        _first(model, "sentence_bert_config.json").get("max_seq_length"),
        _first(model, "tokenizer_config.json").get("model_max_length"),
        _first(model, "config.json").get("max_position_embeddings"),
    ]
    # Tokenizers without a limit name one that no text reaches.
    return next((int(length) for length in lengths if isinstance(length, int) and length < 1_000_000), None)


def _first(folder: Path, pattern: str) -> dict[str, Any]:
    """The JSON of the first such file in the folder or, of an encoder in parts, one below it."""
    paths = sorted(folder.glob(pattern)) or sorted(folder.glob(f"*/{pattern}"))
    return _json(paths[0]) if paths else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
