"""Which encoder an index belongs to, and the refusal of every other one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedft.encoder import BUNDLED, Encoder
from embedft.encoder.precision import Precision
from embedft.errors import ConfigError, ModelError, WrongModelError


def described(encoder: Encoder) -> dict[str, Any]:
    """What a manifest keeps of the encoder of an index."""
    return {
        "dim": encoder.dim,
        "metric": "cosine",
        "fingerprint": encoder.document_fingerprint,
        "encoder_fingerprint": encoder.fingerprint,
        "precision": str(encoder.dtype).removeprefix("torch."),
        "model": absolute(encoder.name),
        "prompts": encoder.prompts,
        "max_length": encoder.max_length,
        "truncate_dim": encoder.truncate_dim,
    }


def load_encoder(manifest: Mapping[str, Any], precision: Precision = "auto", name: str | None = None) -> Encoder:
    """An encoder with the prompts, the length and the dimensions that the index was built with.

    Args:
        manifest: of the index.
        precision: to compute in.
        name: folder or name of the model; by default from where it was then.

    Raises:
        ModelError: it cannot be opened.
        ConfigError: the precision is not to be had here.
    """
    try:
        return Encoder.load(
            manifest["model"] if name is None else name,
            prompts=manifest["prompts"],
            max_length=manifest["max_length"],
            truncate_dim=manifest["truncate_dim"],
            precision=precision,
        )
    except ConfigError:
        if name is None:
            raise
        # Another model, that cannot be set so; `require_same` tells how it differs.
        return Encoder.load(name, precision=precision)
    except ModelError as error:
        if name is not None:
            raise
        raise ModelError(
            f"{error.message} The index was built with it.",
            hint=f"give its new place with --model{f', or {error.hint}' if error.hint else '.'}",
        ) from error


def require_same(path: Path, manifest: Mapping[str, Any], encoder: Encoder) -> None:
    """Raise WrongModelError if ``encoder`` makes other vectors of documents than the one that built the index."""
    if encoder.document_fingerprint == manifest["fingerprint"]:
        return
    name = absolute(encoder.name)
    differs = [
        f"{what} {theirs!r} then, {ours!r} now"
        for what, theirs, ours in (
            ("dimensions", manifest["dim"], encoder.dim),
            ("prompts", manifest["prompts"], encoder.prompts),
            ("max_length", manifest["max_length"], encoder.max_length),
        )
        if theirs != ours
    ]
    raise WrongModelError(
        f"{path}: was built with {manifest['model']} (fingerprint {manifest['fingerprint'][:12]}, "
        f"{manifest['dim']} dimensions), but {name} was given (fingerprint {encoder.document_fingerprint[:12]}, "
        f"{encoder.dim} dimensions): their vectors cannot be compared."
        + (f" Different: {'; '.join(differs)}; perhaps the weights too." if differs else ""),
        hint=f"use the model that built the index, or give it this one: 'embedft index migrate {path} --model {name}'.",
    )


def absolute(name: str) -> str:
    """A path that still names the model from another working directory; other names as they are."""
    return str(Path(name).absolute()) if name != BUNDLED and Path(name).exists() else name
