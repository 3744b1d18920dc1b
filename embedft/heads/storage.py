"""A head on the disk: ``head.safetensors`` (weights), ``head.json`` (all else), and the examples it was fitted on.

The examples are ``examples.parquet`` (texts and labels) and ``examples.safetensors`` (their vectors, in half precision:
a cosine then errs by less than 0.001). ``head.json`` names the SHA-256 of each other file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from embedft.artifacts import sha256_of, write_bytes, write_json
from embedft.errors import ArtifactError
from embedft.heads.head import Examples, Head

FORMAT = 1
HEAD_FOLDER = "head"
RECORD, WEIGHTS = "head.json", "head.safetensors"
TEXTS, VECTORS = "examples.parquet", "examples.safetensors"
AGAIN = "train it again, or restore the folder."
FIELDS = ("kind", "classes", "several", "temperature", "threshold", "encoder", "record")


def head_beside(model: str | Path) -> Path | None:
    """Where the head of an encoder's folder stands: ``RUN/head`` for ``RUN/model``; None if there is none."""
    folder = Path(model).absolute().parent / HEAD_FOLDER
    return folder if Path(model).is_dir() and (folder / RECORD).is_file() else None


def save_head(head: Head, folder: Path) -> Path:
    """Write the head into ``folder``, which is made; the record comes last, so that one cut off is told."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    tensors = {}
    for number, (weight, bias) in enumerate(head.layers):
        tensors[f"{number}.weight"] = np.ascontiguousarray(weight, np.float32)
        tensors[f"{number}.bias"] = np.ascontiguousarray(bias, np.float32)
    write_bytes(folder / WEIGHTS, save(tensors))
    files = [WEIGHTS]
    if head.examples is not None:
        _save_examples(head.examples, folder)
        files += [TEXTS, VECTORS]
    stored = {name: getattr(head, name) for name in FIELDS} | {"classes": list(head.classes)}
    hashes = {name: sha256_of(folder / name) for name in files}
    write_json(folder / RECORD, {"format": FORMAT, **stored, "files": hashes})
    return folder


def _save_examples(examples: Examples, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save

    table = pa.table(
        {
            "text": pa.array(list(examples.texts), pa.string()),
            "labels": pa.array([list(row) for row in examples.labels], pa.list_(pa.string())),
        }
    )
    pq.write_table(table, folder / TEXTS)
    write_bytes(folder / VECTORS, save({"vectors": np.ascontiguousarray(examples.vectors, np.float16)}))


def load_head(folder: Path) -> Head:
    """The head in ``folder``.

    Raises:
        ArtifactError: there is none, one of its files is missing or damaged, or it is of a later format.
    """
    record = _read_record(folder)
    for name, digest in record["files"].items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path}: is missing.", hint=AGAIN)
        if sha256_of(path) != digest:
            raise ArtifactError(f"{path}: is damaged: its SHA-256 is not the one in {RECORD}.", hint=AGAIN)
    from safetensors.numpy import load_file

    try:
        tensors = load_file(folder / WEIGHTS)
        layers = tuple((tensors[f"{n}.weight"], tensors[f"{n}.bias"]) for n in range(len(tensors) // 2))
        head = Head(
            layers=layers,
            examples=_load_examples(folder) if TEXTS in record["files"] else None,
            **{name: record[name] for name in FIELDS} | {"classes": tuple(record["classes"])},
        )
        fits = bool(layers) and layers[-1][0].shape[0] == len(head.classes)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder / RECORD}: is damaged: {error}.", hint=AGAIN) from error
    if not fits:
        raise ArtifactError(f"{folder}: {WEIGHTS} does not have an output for each class of {RECORD}.", hint=AGAIN)
    return head


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    if not path.is_file():
        raise ArtifactError(f"{folder}: holds no head (no {RECORD}).", hint="check the path.")
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        number, files = record["format"], dict(record["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: is damaged.", hint=AGAIN) from error
    if number != FORMAT:
        raise ArtifactError(f"{path}: is of format {number!r}, this embedft reads {FORMAT}.", hint="update embedft.")
    if WEIGHTS not in files or not set(files) <= {WEIGHTS, TEXTS, VECTORS}:
        raise ArtifactError(f"{path}: names files that a head does not have.", hint=AGAIN)
    return record


def _load_examples(folder: Path) -> Examples:
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    table = pq.read_table(folder / TEXTS)
    labels = [tuple(row) for row in table["labels"].to_pylist()]
    return Examples(table["text"].to_pylist(), labels, load_file(folder / VECTORS)["vectors"])
