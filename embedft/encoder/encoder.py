"""Encoder: texts in, unit vectors out. Queries and documents have their own prompts and their own calls.

An encoder may have a query side, a second encoder for queries alone: then the vectors of documents, and with them every
index that holds them, are those of the encoder that it was made from.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from embedft.artifacts import atomic_directory, disk_errors
from embedft.encoder.fingerprint import fingerprint
from embedft.encoder.folder import (
    BUNDLED,
    DEFAULT_MAX_LENGTH,
    find_folder,
    known_model,
    open_modules,
    open_sides,
    read_extra,
    write_folder,
)
from embedft.encoder.forward import Forward
from embedft.encoder.parts import DOCUMENT_PROMPTS, Parts, parts_of
from embedft.encoder.precision import Precision, resolve_precision
from embedft.encoder.routes import joined, models_of, sides_of
from embedft.encoder.stream import WINDOW_CHARACTERS, WINDOW_WORK, Deduplicated, read_windows, tokenized_ahead
from embedft.encoder.tokens import Tokenized
from embedft.encoder.vectorfile import VectorFile
from embedft.errors import ConfigError, ModelError
from embedft.progress import progress

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from embedft.encoder.layout import Ids

logger = logging.getLogger("embedft")

Vectors = npt.NDArray[np.float32]
PROMPT_NAMES = ("query", "document")


class Encoder:
    """A bi-encoder: transformer, pooling, normalisation, and its prompts for queries and documents.

    Make one with `Encoder.load`, or around modules that are being trained with `Encoder.of` and `with_query_side`.

    Attributes:
        name: what it was loaded from.
        prompts: text put before each ``query`` and each ``document``.
        max_length: in tokens, prompt included; longer texts are cut.
        dim: length of a vector.
        dtype: the torch type that the transformer computes in; vectors are fp32 whatever it is.
        device: where it computes.
        truncated: how many texts were cut at ``max_length`` since it was loaded; equal ones of one `encode` count once,
            those of a resumed file count from its beginning.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        name: str,
        prompts: Mapping[str, str],
        max_length: int,
        truncate_dim: int | None,
        precision: Precision,
        device: str,
        modules: SentenceTransformer | None = None,
    ) -> None:
        if truncate_dim is not None and not 0 < truncate_dim <= parts.dim:
            raise ConfigError(
                f"truncate_dim is {truncate_dim}, but {name!r} has {parts.dim} dimensions.",
                hint=f"choose 1 to {parts.dim}.",
            )
        unknown = set(prompts) - set(PROMPT_NAMES)
        if unknown:
            raise ConfigError(f"prompts has {', '.join(sorted(unknown))}.", hint=f"use {' and '.join(PROMPT_NAMES)}.")
        if max_length < 8:
            raise ConfigError(f"max_length is {max_length} tokens.", hint="use at least 8.")
        if parts.positions is not None and max_length > parts.positions:
            raise ConfigError(
                f"max_length is {max_length}, but {name!r} has positions for {parts.positions} tokens.",
                hint=f"use at most {parts.positions}.",
            )
        self.name = name
        self.prompts = {key: prompts.get(key, "") for key in PROMPT_NAMES}
        self.max_length = max_length
        self.truncate_dim = truncate_dim
        self.dim = truncate_dim or parts.dim
        self.device = device
        self.dtype = resolve_precision(precision, device)
        self.truncated = 0
        self._parts = parts
        self._modules = modules
        self._precision: Precision = precision
        self._open: Callable[[], SentenceTransformer] | None = None
        self._query_side: Encoder | None = None
        # The encoder whose transformer this one runs, where it is the query side of it and they have the same.
        self._transformer_of: Encoder | None = None
        for key, prompt in self.prompts.items():
            if prompt and self.count_tokens([""], prompt)[0] >= max_length:
                raise ConfigError(
                    f"max_length is {max_length} tokens, and the prompt {key!r} leaves none of them for a text.",
                    hint="use more tokens, or a shorter prompt.",
                )

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
        folder = find_folder(name)
        extra = read_extra(folder)
        sides = open_sides(folder)
        # Both sides at once, when one of them is asked for, so that what they share stays shared.
        models = cache(lambda: models_of(open_modules(folder, device)))
        opened = models() if sides is None else (None, None)
        if sides is None:
            sides = sides_of(*models())
        parts = sides.document
        # What was saved by us says all of it.
        known = None if "format" in extra else known_model(name)
        stored = {key: parts.prompts.get(key) or "" for key in PROMPT_NAMES}
        if known and not any(stored.values()):
            stored = {"query": known.query_prompt, "document": known.document_prompt}
        longest = known.max_length if known else None
        encoder = cls(
            parts,
            name=name,
            prompts={**stored, **(prompts or {})},
            max_length=_stored_length(parts, longest) if max_length is None else max_length,
            truncate_dim=truncate_dim if truncate_dim is not None else extra.get("truncate_dim"),
            precision=precision,
            device=device,
            modules=opened[0],
        )
        encoder._open = lambda: models()[0]
        if sides.query is None:
            return encoder
        length = _stored_length(sides.query, longest) if max_length is None else max_length
        encoder = encoder._beside(sides.query, max_length=length, modules=opened[1])
        encoder.query_side._open = lambda: models()[1]
        return encoder

    def of(self, modules: SentenceTransformer, precision: Precision = "auto") -> Encoder:
        """An encoder with these settings around other weights, e.g. those being trained, as they are now.

        It keeps a copy of them: make another one after more training.
        """
        return Encoder(
            parts_of(modules),
            name=self.name,
            prompts=self.prompts,
            max_length=self.max_length,
            truncate_dim=self.truncate_dim,
            precision=precision,
            device=str(modules.device),
            modules=modules,
        )

    def with_query_side(self, modules: SentenceTransformer) -> Encoder:
        """An encoder of the same documents whose queries are encoded by other modules, as they are now.

        Args:
            modules: without a Router; a transformer that is this encoder's own is shared, not copied.

        Raises:
            ModelError: their vectors have another length.
        """
        return self._beside(parts_of(modules), max_length=self.query_side.max_length, modules=modules)

    def _beside(self, query: Parts, *, max_length: int, modules: SentenceTransformer | None) -> Encoder:
        """An encoder of these documents with another query side."""
        side = Encoder(
            query,
            name=self.name,
            prompts=self.prompts,
            max_length=max_length,
            truncate_dim=self.truncate_dim,
            precision=self._precision,
            device=self.device,
            modules=modules,
        )
        if side.dim != self.dim:
            raise ModelError(
                f"model {self.name!r}: queries have {side.dim} dimensions and documents {self.dim}.",
                hint="both need the same.",
            )
        routed = copy.copy(self)
        routed._query_side, routed.truncated = side, 0
        side._transformer_of = routed if query.shares_weights(self._parts) else None
        return routed

    @property
    def query_side(self) -> Encoder:
        """The encoder of the queries: this one, except where queries have modules of their own."""
        return self if self._query_side is None else self._query_side

    @property
    def sentence_transformer(self) -> SentenceTransformer:
        """sentence-transformers' modules with these weights in fp32, to be trained; encode with ``of`` them.

        Where queries have modules of their own, a Router leads to them and to those of the documents.
        """
        if self._modules is None:
            self._modules = self._open() if self._open else open_modules(find_folder(self.name), self.device)
        self._modules.prompts = self._all_prompts(self._modules.prompts)
        self._modules.max_seq_length = self.max_length
        if self._query_side is None:
            return self._modules
        return joined(self._modules, self._query_side.sentence_transformer)

    def _all_prompts(self, stored: Mapping[str, str]) -> dict[str, str]:
        """The stored prompts with those of this encoder laid over them, also where documents go by another name."""
        aliases = {name: self.prompts["document"] for name in DOCUMENT_PROMPTS if name in stored}
        return {**stored, **aliases, **self.prompts}

    @property
    def pad_id(self) -> int:
        """The token that fills shorter rows of a batch."""
        return self._parts.texts.pad_id

    @property
    def fingerprint(self) -> str:
        """SHA-256 over weights, tokenizer, pooling, prompts, lengths: equal fingerprints give equal vectors."""
        if self._query_side is None:
            return self.document_fingerprint
        return hashlib.sha256(f"{self.document_fingerprint} {self._query_side.fingerprint}".encode()).hexdigest()

    @cached_property
    def document_fingerprint(self) -> str:
        """What an index of documents is bound to: the fingerprint without the modules that queries alone go through.

        For an encoder with a query side it is the fingerprint of the encoder that it was made from.
        """
        return fingerprint(
            self._parts, prompts=self.prompts, max_length=self.max_length, truncate_dim=self.truncate_dim
        )

    def encode_queries(self, texts: Iterable[str], *, show_progress: bool = False) -> Vectors:
        """Unit vectors of queries, (n, dim) float32; the query prompt is put before each."""
        side = self.query_side
        before = side.truncated
        vectors = side.encode(texts, prompt=self.prompts["query"], show_progress=show_progress)
        if side is not self:
            self.truncated += side.truncated - before
        return vectors

    def encode_documents(self, texts: Iterable[str], *, show_progress: bool = False) -> Vectors:
        """Unit vectors of documents, (n, dim) float32; the document prompt is put before each."""
        return self.encode(texts, prompt=self.prompts["document"], show_progress=show_progress)

    def encode(self, texts: Iterable[str], *, prompt: str = "", show_progress: bool = False) -> Vectors:
        """Unit vectors of any texts, (n, dim) float32, in the order of the texts.

        Equal texts are encoded once. The texts may be any iterable; they are read in windows. Where queries have
        modules of their own, the vectors are those of documents; ``query_side.encode`` gives those of queries.

        Args:
            texts: strings; a string itself is refused, since it would be read letter by letter.
            prompt: put before each text.
            show_progress: on standard error, with rate and remaining time.

        Raises:
            DataError: ``texts`` is a string, or one of them is not.
        """
        total = len(texts) if isinstance(texts, Sized) else None
        found = Deduplicated(texts)
        blocks: list[Vectors] = []
        before = self.truncated
        with progress("encoding", total, "texts", enabled=show_progress) as advance:
            for _, tokens in tokenized_ahead(found.windows(advance), lambda texts: self._tokenize(texts, prompt)):
                self.truncated += tokens.cut
                blocks.append(self._forward(tokens.ids, done=advance))
        if show_progress and self.truncated > before:
            self.report_truncation(self.truncated - before)
        return found.restore(np.concatenate(blocks) if blocks else np.empty((0, self.dim), dtype=np.float32))

    def encode_to(
        self,
        path: str | Path,
        texts: Iterable[str],
        *,
        prompt: str = "",
        resume: bool = False,
        force: bool = False,
        show_progress: bool = False,
    ) -> Path:
        """Write the unit vectors of any number of texts to a ``.npy`` file, (n, dim) float32; gives its path.

        Of queries with modules of their own it is ``query_side.encode_to``, as with `encode`.

        Memory does not grow with the number of texts. What is done is on the disk after each few thousand texts, fewer
        where they are long or the model is large, and an interrupted file goes on from there. Read it with
        ``numpy.load(path, mmap_mode="r")``.

        Args:
            path: of the file.
            texts: strings, any iterable; when resuming, the same ones from the beginning.
            prompt: put before each text.
            resume: go on with a file that was interrupted, if there is one.
            force: replace a file that is there.
            show_progress: on standard error, with rate and remaining time.

        Raises:
            ArtifactError: a file is there and ``force`` is False, or an unfinished one that is not to be resumed.
            ConfigError: the unfinished file was begun with other settings.
            DataError: ``texts`` is a string, one of them is not, or they are not those that the file was begun with.
            DiskFullError: the disk ran full; what was written before can be resumed.
        """
        path = Path(path)
        made_by = {
            "encoder": self.document_fingerprint,
            "precision": str(self.dtype),
            "prompt": prompt,
            "dim": self.dim,
        }
        with disk_errors(path, resumable=True):
            file = VectorFile(path, self.dim, made_by, resume=resume, force=force)
            try:
                total = len(texts) if show_progress and isinstance(texts, Sized) else None
                windows = read_windows(texts, characters=self._window_characters)
                rest: list[str] = []
                while file.skipped < file.rows and (done := next(windows, None)) is not None:
                    rest = file.skip(done)
                left = chain([rest], windows) if rest else windows
                with progress("encoding", total, "texts", done=file.skipped, enabled=show_progress) as advance:
                    for window, tokens in tokenized_ahead(left, lambda texts: self._tokenize(texts, prompt)):
                        file.truncated += tokens.cut
                        file.append(window, self._forward(tokens.ids, done=advance))
                file.finish()
            finally:
                file.close()
        self.truncated += file.truncated
        if show_progress and file.truncated:
            self.report_truncation(file.truncated)
        return path

    @property
    def _window_characters(self) -> float:
        """Of the texts of a window, each of which is on the disk when it is done: minutes of work at most."""
        if self.device != "cpu":
            return WINDOW_CHARACTERS
        size = sum(tensor.numel() for name, tensor in self._parts.weights.items() if "embed" not in name)
        return min(WINDOW_CHARACTERS, WINDOW_WORK / max(size, 1))

    def report_truncation(self, count: int) -> None:
        """Say in the log how many texts were longer than ``max_length``."""
        logger.warning(
            "%d texts were longer than %d tokens and were cut there; divide them, or use a model of longer texts",
            count,
            self.max_length,
        )

    def tokenize(self, texts: list[str], prompt: str = "", max_length: int | None = None) -> list[Ids]:
        """Token ids of each text behind the prompt, special tokens included, cut to ``max_length`` or a shorter one."""
        return self._tokenize(texts, prompt, max_length).ids

    def count_tokens(self, texts: Sequence[str], prompt: str = "") -> npt.NDArray[np.int64]:
        """How many tokens each text is behind the prompt, special tokens included, cut nowhere, (n,)."""
        ids = self._parts.texts.tokenize(texts, prompt, sys.maxsize).ids
        return np.fromiter(map(len, ids), np.int64, len(ids))

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
            write_folder(self.sentence_transformer, staged, max_length=self.max_length, truncate_dim=self.truncate_dim)
        return path

    def _tokenize(self, texts: list[str], prompt: str, max_length: int | None = None) -> Tokenized:
        return self._parts.texts.tokenize(texts, prompt, min(max_length or self.max_length, self.max_length))

    @cached_property
    def _forward(self) -> Forward:
        if self._transformer_of is not None:
            return self._transformer_of._forward.with_head(self._parts, self._modules)
        return Forward(self._parts, self._modules, self.dtype, self.device, self.dim)


def _stored_length(parts: Parts, longest: int | None) -> int:
    """Tokens, as stored with a model, at most ``longest`` and those it has positions for; else the usual number."""
    length = parts.max_length or DEFAULT_MAX_LENGTH
    return min(length, longest or length, parts.positions or length)
