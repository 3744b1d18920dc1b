"""Encoders on disk: plain sentence-transformers folders, found, opened and written."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedft.encoder.parts import LEGACY_POOLING_FLAGS, TRANSFORMER, kind_of, listed_modules, read_json
from embedft.encoder.routes import DOCUMENT, QUERY, Sides, is_routed, models_of, read_sides
from embedft.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BUNDLED = "bundled"
BUNDLED_PATH = Path(__file__).parent.parent / "models" / "modernbert-mini"

# Beyond this the cost of attention grows fast; a model that can do more does it when asked.
DEFAULT_MAX_LENGTH = 512
# One of these has the words of a tokenizer.
TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model")
# What sentence-transformers folders have no field for.
EXTRA_FILE = "embedft.json"


@dataclass(frozen=True)
class KnownModel:
    """What a published model needs and its own files do not say."""

    query_prompt: str
    document_prompt: str
    max_length: int


# Their model cards require these prefixes; the stored configurations list none, and 8192 as the length.
KNOWN_MODELS = {
    "lightonai/modernbert-embed-large": KnownModel("search_query: ", "search_document: ", DEFAULT_MAX_LENGTH),
    "nomic-ai/modernbert-embed-base": KnownModel("search_query: ", "search_document: ", DEFAULT_MAX_LENGTH),
}


def find_folder(name_or_path: str) -> Path:
    """The folder of an encoder: a path, a hub name, or ``"bundled"``.

    Raises:
        ModelError: not found, or no network to fetch it.
    """
    path = BUNDLED_PATH if name_or_path == BUNDLED else Path(name_or_path)
    if path.exists():
        _check_folder(path)
        return path
    if _looks_like_hub_name(name_or_path):
        return _fetch(name_or_path)
    raise ModelError(
        f"model {name_or_path!r}: no such folder, and not a hub name like 'organisation/model' either.",
        hint=f"name a folder, a hub model, or {BUNDLED!r} for the encoder that comes with embedft.",
    )


def open_sides(folder: Path) -> Sides | None:
    """What encodes documents and queries, of an encoder's folder; None where sentence-transformers has to open it.

    Raises:
        ModelError: a file is missing or damaged.
    """
    with _named_errors(folder):
        return read_sides(folder)


def open_modules(folder: Path, device: str) -> SentenceTransformer:
    """sentence-transformers' fp32 modules of an encoder's folder.

    Raises:
        ModelError: broken, or not a text bi-encoder of transformer and pooling.
    """
    model = _open(folder, device)
    if is_routed(model):
        _check_routes(str(folder), model)
    for side in models_of(model):
        if side is not None:
            _check_modules(str(folder), side)
    return model


def known_model(name_or_path: str) -> KnownModel | None:
    """What is known of a published model, found by its name, in the hub's cache, or by the name of a local copy."""
    path = Path(name_or_path)
    names = {"/".join(path.parts[-2:])}
    names |= {part.removeprefix("models--").replace("--", "/") for part in path.parts if part.startswith("models--")}
    for name, known in KNOWN_MODELS.items():
        if name in names or (path.name == name.partition("/")[2] and path.is_dir()):
            return known
    return None


def read_extra(folder: Path) -> dict[str, Any]:
    """The settings that `write_folder` stored beside the plain folder; empty where there are none."""
    path = folder / EXTRA_FILE
    if not path.is_file():
        return {}
    try:
        extra = json.loads(path.read_bytes())
        if not isinstance(extra, dict) or not isinstance(extra.get("truncate_dim"), int | None):
            raise ValueError("not the settings of an encoder")
    except ValueError as error:
        raise ModelError(f"model {folder}: {EXTRA_FILE} is damaged: {error}", hint="fetch or save it again.") from error
    return extra


def write_folder(model: SentenceTransformer, path: Path, *, max_length: int, truncate_dim: int | None) -> None:
    """Write a folder that every sentence-transformers and text-embeddings-inference release reads.

    On top of what sentence-transformers writes: the pooling flags and the ``max_seq_length`` that older readers need.
    (A model with a Router is read by sentence-transformers alone, from release 5 on.)
    """
    with _quiet():
        model.save_pretrained(str(path), create_model_card=False)
    for pooling in path.glob("*_Pooling/config.json"):
        config = json.loads(pooling.read_text())
        modes = config["pooling_mode"] if isinstance(config["pooling_mode"], list) else [config["pooling_mode"]]
        config["word_embedding_dimension"] = config["embedding_dimension"]
        config |= {flag: mode in modes for mode, flag in LEGACY_POOLING_FLAGS.items()}
        pooling.write_text(json.dumps(config, indent=2) + "\n")
    for transformer, length in _lengths(model, path, max_length):
        config = json.loads(transformer.read_text()) | {"max_seq_length": length, "do_lower_case": False}
        transformer.write_text(json.dumps(config, indent=2) + "\n")
    (path / EXTRA_FILE).write_text(json.dumps({"format": 1, "truncate_dim": truncate_dim}, indent=2) + "\n")


def _lengths(model: SentenceTransformer, path: Path, max_length: int) -> Iterator[tuple[Path, int]]:
    """Yield the settings file of each transformer that was saved, and its tokens."""
    if not is_routed(model):
        yield path / "sentence_bert_config.json", max_length
        return
    for route, modules in model[0].sub_modules.items():
        file = path / f"{route}_0_{type(modules[0]).__name__}" / "sentence_bert_config.json"
        if file.is_file():
            yield file, int(modules[0].max_seq_length)


def _looks_like_hub_name(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(parts) and not name.startswith((".", "~"))


def _check_folder(path: Path) -> None:
    if not path.is_dir():
        raise ModelError(f"model {path}: is a file.", hint="name the folder that holds modules.json.")
    if not (path / "modules.json").is_file():
        inside = path / "model" / "modules.json"
        hint = f"use {path / 'model'}." if inside.is_file() else "name a sentence-transformers folder."
        raise ModelError(
            f"model {path}: holds no modules.json, so it is not a sentence-transformers folder.", hint=hint
        )


def _fetch(name: str) -> Path:
    """The folder of a hub model, from the local cache if it is there, else from the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        try:
            folder = snapshot_download(name, local_files_only=True)
            if not _is_whole(Path(folder)):
                raise LocalEntryNotFoundError(f"{name} was fetched in part")
        except LocalEntryNotFoundError:
            folder = snapshot_download(name, ignore_patterns=["onnx/*", "openvino/*", "*.bin", "*.h5", "*.msgpack"])
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"model {name!r}: no such folder here, and no such model on the hub.", hint="check the name."
        ) from error
    except HFValidationError as error:
        raise ModelError(
            f"model {name!r}: no such folder, and not a valid hub name.", hint="check the name."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"model {name!r}: no such folder here, not in the local cache, and the hub cannot be reached.",
            hint=f"check the name and the network, or use {BUNDLED!r}, the encoder that comes with embedft.",
        ) from error
    _check_folder(Path(folder))
    return Path(folder)


def _is_whole(folder: Path) -> bool:
    """Whether a folder has the weights and the tokenizer of its modules; a download that was cut off lacks some."""
    try:
        modules = [(kind_of(name), root) for name, root in listed_modules(folder)]
        return all(
            _has_weights(root)
            and (kind != TRANSFORMER or any(file for name in TOKENIZER_FILES for file in root.glob(name)))
            for kind, root in modules
            if kind in {TRANSFORMER, "Dense", "LayerNorm"}
        )
    except (OSError, ValueError, KeyError):
        return False


def _has_weights(root: Path) -> bool:
    index = root / "model.safetensors.index.json"
    if index.is_file():
        return all((root / shard).is_file() for shard in set(read_json(index)["weight_map"].values()))
    return (root / "model.safetensors").is_file() or any(root.glob("pytorch_model*.bin"))


def _open(folder: Path, device: str) -> SentenceTransformer:
    import torch
    from sentence_transformers import SentenceTransformer

    # Checkpoints stored in half precision would otherwise compute in it, which is very slow on a CPU.
    options = {"dtype": torch.float32}
    with _named_errors(folder), _quiet():
        return SentenceTransformer(
            str(folder), device=device, local_files_only=True, trust_remote_code=False, model_kwargs=options
        )


@contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    """Turn what libraries raise about a broken folder into a ModelError that names it."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError, TypeError) as error:
        raise ModelError(
            f"model {folder}: cannot be opened: {_first_line(error)}",
            hint="check that the folder is complete: modules.json, config.json, model.safetensors, tokenizer.json.",
        ) from error
    except Exception as error:
        # safetensors' and tokenizers' errors derive from Exception alone.
        raise ModelError(f"model {folder}: is damaged: {_first_line(error)}", hint="fetch or save it again.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and notes of loading and saving, which say nothing that a user can act on."""
    from transformers.utils import logging as transformers_logging

    notes = logging.getLogger("sentence_transformers")
    level, bar = notes.level, transformers_logging.is_progress_bar_enabled()
    notes.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        notes.setLevel(level)
        if bar:
            transformers_logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _check_routes(name: str, model: SentenceTransformer) -> None:
    routes, mapped = list(model[0].sub_modules), model[0].route_mappings
    if set(routes) != {DOCUMENT, QUERY} or mapped:
        raise ModelError(
            f"model {name!r}: routes {', '.join(routes)}{' by the kind of the input' if mapped else ''}; embedft works "
            "with one route for queries and one for documents.",
            hint="save it with Router.for_query_document.",
        )


def _check_modules(name: str, model: SentenceTransformer) -> None:
    kinds = [type(module).__name__ for module in model]
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= {"Dense", "Normalize", "LayerNorm"}:
        raise ModelError(
            f"model {name!r}: is made of {' > '.join(kinds)}; embedft works with Transformer > Pooling, "
            "optionally followed by Dense, LayerNorm, Normalize.",
            hint="use a transformer bi-encoder.",
        )
    if getattr(model.tokenizer, "backend_tokenizer", None) is None:
        raise ModelError(f"model {name!r}: has no fast tokenizer.", hint="save the model with a tokenizer.json.")
    if not model[1].include_prompt:
        raise ModelError(
            f"model {name!r}: leaves the prompt's tokens out of the pooling, which embedft does not do.",
            hint="use a model whose pooling has include_prompt true.",
        )
