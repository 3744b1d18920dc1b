"""Encoder: texts in, unit vectors out. Queries and documents have their own prompts and their own calls."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sized
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from embedft.artifacts import atomic_directory
from embedft.encoder.batching import TOKEN_BUDGET, pad_batch, pooled, token_budget_batches
from embedft.encoder.fingerprint import fingerprint
from embedft.encoder.folder import (
    BUNDLED,
    DEFAULT_MAX_LENGTH,
    known_model,
    open_folder,
    write_folder,
)
from embedft.encoder.precision import Precision, resolve_precision
from embedft.errors import ConfigError, DataError
from embedft.progress import Advance, progress

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

Vectors = npt.NDArray[np.float32]

# Texts tokenised and sorted together. Large enough that batches are of one length, small enough to stay a stream.
WINDOW = 8192
PROMPT_NAMES = ("query", "document")


class Encoder:
    """A bi-encoder: transformer, pooling, normalisation, and its prompts for queries and documents.

    Make one with `Encoder.load`, or with `Encoder.of` around modules that are being trained.

    Attributes:
        name: what it was loaded from.
        prompts: text put before each ``query`` and each ``document``.
        max_length: in tokens, prompt included; longer texts are cut.
        dim: length of a vector.
        dtype: the torch type that the transformer computes in; vectors are fp32 whatever it is.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        name: str,
        prompts: Mapping[str, str],
        max_length: int,
        truncate_dim: int | None,
        precision: Precision,
    ) -> None:
        full = int(model.get_embedding_dimension() or 0)
        if truncate_dim is not None and not 0 < truncate_dim <= full:
            raise ConfigError(
                f"truncate_dim is {truncate_dim}, but {name!r} has {full} dimensions.", hint=f"choose 1 to {full}."
            )
        unknown = set(prompts) - set(PROMPT_NAMES)
        if unknown:
            raise ConfigError(f"prompts has {', '.join(sorted(unknown))}.", hint=f"use {' and '.join(PROMPT_NAMES)}.")
        if max_length < 8:
            raise ConfigError(f"max_length is {max_length} tokens.", hint="use at least 8.")
        longest = getattr(model[0].config, "max_position_embeddings", None)
        if longest is not None and max_length > longest:
            raise ConfigError(
                f"max_length is {max_length}, but {name!r} has positions for {longest} tokens.",
                hint=f"use at most {longest}.",
            )
        self.name = name
        self.prompts = {key: prompts.get(key, "") for key in PROMPT_NAMES}
        self.max_length = max_length
        self.truncate_dim = truncate_dim
        self.dim = truncate_dim or full
        self.dtype = resolve_precision(precision, model.device.type)
        self._model = model
        self._model.prompts = dict(self.prompts)
        self._model.max_seq_length = max_length

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = BUNDLED,
        *,
        prompts: Mapping[str, str] | None = None,
        max_length: int | None = None,
        truncate_dim: int | None = None,
        precision: Precision = "auto",
        device: str | None = None,
    ) -> Encoder:
        """The encoder of a sentence-transformers folder, of a hub name, or of ``"bundled"``.

        Args:
            name_or_path: folder, hub name (``lightonai/modernbert-embed-large``), or ``"bundled"``.
            prompts: for ``query`` and ``document``; by default those stored with the model, or, for published models
                that need some and store none, those of their model card.
            max_length: in tokens; by default the stored one, 512 for published models that could do 8192.
            truncate_dim: cut vectors to their first dimensions (Matryoshka) and normalise again.
            precision: ``"auto"`` computes in bf16 where the machine has instructions for it.
            device: ``"cpu"``, ``"cuda"``, ...; by default a GPU if there is one.

        Raises:
            ModelError: the model cannot be found or opened.
            ConfigError: a setting does not fit the model.
        """
        import torch

        name = str(name_or_path)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device {device!r} cannot be used here.", hint="use cpu, or leave it out.") from error
        model, extra = open_folder(name, device)
        known = known_model(name)
        stored = {key: model.prompts.get(key) or "" for key in PROMPT_NAMES}
        if known and not any(stored.values()):
            stored = {"query": known.query_prompt, "document": known.document_prompt}
        if max_length is None:
            # A tokenizer without a stated length reports an astronomical number.
            length = int(model.max_seq_length or 0)
            max_length = length if 0 < length <= 131_072 else DEFAULT_MAX_LENGTH
            if known and "format" not in extra:
                max_length = min(max_length, known.max_length)
        return cls(
            model,
            name=name,
            prompts={**stored, **(prompts or {})},
            max_length=max_length,
            truncate_dim=truncate_dim if truncate_dim is not None else extra.get("truncate_dim"),
            precision=precision,
        )

    def of(self, model: SentenceTransformer, precision: Precision = "auto") -> Encoder:
        """An encoder with these settings around other weights, e.g. those being trained."""
        return Encoder(
            model,
            name=self.name,
            prompts=self.prompts,
            max_length=self.max_length,
            truncate_dim=self.truncate_dim,
            precision=precision,
        )

    @property
    def sentence_transformer(self) -> SentenceTransformer:
        """The modules in fp32, which training changes."""
        return self._model

    @property
    def pad_id(self) -> int:
        """The token that fills shorter rows of a batch."""
        return int(self._model.tokenizer.pad_token_id or 0)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over weights, tokenizer, pooling, prompts, lengths: equal fingerprints give equal vectors."""
        return fingerprint(
            self._model, prompts=self.prompts, max_length=self.max_length, truncate_dim=self.truncate_dim
        )

    def encode_queries(self, texts: Iterable[str], *, show_progress: bool = False) -> Vectors:
        """Unit vectors of queries, (n, dim) float32; the query prompt is put before each."""
        return self.encode(texts, prompt=self.prompts["query"], show_progress=show_progress)

    def encode_documents(self, texts: Iterable[str], *, show_progress: bool = False) -> Vectors:
        """Unit vectors of documents, (n, dim) float32; the document prompt is put before each."""
        return self.encode(texts, prompt=self.prompts["document"], show_progress=show_progress)

    def encode(self, texts: Iterable[str], *, prompt: str = "", show_progress: bool = False) -> Vectors:
        """Unit vectors of any texts, (n, dim) float32, in the order of the texts.

        Equal texts are encoded once. The texts may be any iterable; they are read in windows.

        Args:
            texts: strings; a string itself is refused, since it would be read letter by letter.
            prompt: put before each text.
            show_progress: on standard error, with rate and remaining time.

        Raises:
            DataError: ``texts`` is a string, or one of them is not.
        """
        if isinstance(texts, str):
            raise DataError("encode was given one string instead of several.", hint="give a list: encode([text]).")
        total = len(texts) if isinstance(texts, Sized) else None
        row_of: dict[bytes, int] = {}
        rows: list[int] = []
        blocks: list[Vectors] = []
        stream = iter(texts)
        with progress("encoding", total, "texts", enabled=show_progress) as advance:
            while window := list(islice(stream, WINDOW)):
                new: list[str] = []
                for position, text in enumerate(window, start=len(rows)):
                    if not isinstance(text, str):
                        raise DataError(
                            f"text {position} is {type(text).__name__}, not a string.", hint="give strings."
                        )
                    # A digest instead of the text: the texts themselves need not stay in memory.
                    key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
                    if key not in row_of:
                        row_of[key] = len(row_of)
                        new.append(text)
                    rows.append(row_of[key])
                advance(len(window) - len(new))
                if new:
                    blocks.append(self._encode_window(new, prompt, advance))
        unique = np.concatenate(blocks) if blocks else np.empty((0, self.dim), dtype=np.float32)
        return unique if len(unique) == len(rows) else unique[rows]

    def tokenize(self, texts: list[str], prompt: str = "", max_length: int | None = None) -> list[list[int]]:
        """Token ids of each text behind the prompt, special tokens included, cut to ``max_length`` or a shorter one."""
        # The tokenizer takes no lone surrogates; each becomes a question mark.
        texts = [
            (prompt + text).encode("utf-8", "replace").decode() if not text.isascii() else prompt + text
            for text in texts
        ]
        ids: list[list[int]] = self._model.tokenizer(
            texts,
            truncation=True,
            max_length=min(max_length or self.max_length, self.max_length),
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        return ids

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write a plain sentence-transformers folder, in fp32, atomically; gives its path.

        ``SentenceTransformer(path)`` gives the same vectors, except where ``truncate_dim`` is set: there the reader
        must be given it too.

        Raises:
            ArtifactError: ``path`` exists, and ``force`` is False or it is not an encoder's folder.
            DiskFullError: the disk ran full; what was there before is still there.
        """
        path = Path(path)
        with atomic_directory(path, force=force, ours=lambda old: (old / "modules.json").is_file()) as staged:
            write_folder(self._model, staged, max_length=self.max_length, truncate_dim=self.truncate_dim)
        return path

    @cached_property
    def _transformer(self) -> Any:
        """The transformer in the type it computes in; a copy where that is not fp32, so that no weight is lost."""
        import torch

        if self.dtype == torch.float32:
            return self._model[0]
        return copy.deepcopy(self._model[0]).to(self.dtype)

    def _encode_window(self, texts: list[str], prompt: str, advance: Advance) -> Vectors:
        import torch

        token_ids = self.tokenize(texts, prompt)
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        training = self._model.training
        self._model.eval()
        self._transformer.eval()
        with torch.inference_mode():
            for rows in token_budget_batches([len(ids) for ids in token_ids], TOKEN_BUDGET):
                batch = pad_batch([token_ids[row] for row in rows], self.pad_id)
                batch = {key: value.to(self._model.device) for key, value in batch.items()}
                vectors[rows] = self._unit(pooled(self._transformer, list(self._model)[1:], batch)).cpu().numpy()
                advance(len(rows))
        self._model.train(training)
        return vectors

    def _unit(self, vectors: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.nn.functional.normalize(vectors[:, : self.dim], dim=1)
