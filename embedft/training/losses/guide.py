"""What a second, better encoder says about the texts of the training data: computed once, looked up by text id.

Running the guide beside the encoder at every step would cost several times what the step costs, for the same vectors
in every epoch. So each distinct text is embedded once before training (a query as a query, a document as a document),
or each listed pair scored once if the guide is a cross-encoder, and what was computed stays on the disk beside the
run, in segments that are named by what they hold. Opened again, by a resumed run or another process, only what is
missing is computed; another guide begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from filelock import FileLock

from embedft.artifacts import write_bytes
from embedft.encoder import Encoder
from embedft.encoder.precision import Precision
from embedft.progress import progress
from embedft.training.losses.crossencoder import CrossScorer, is_cross_encoder
from embedft.training.losses.masks import Ids, PairSet, column_ids, listed_pairs, negatives_of
from embedft.training.losses.segments import Segments, key_of, npy, own_folder

# Pairs scored between two writes: what a killed run loses of a cross-encoder's work.
PAIRS_A_SEGMENT = 4096
TEXTS_AT_ONCE = 8192


class Guide(Protocol):
    """A teacher of scores.

    Attributes:
        temperature: what its scores are divided by in a softmax, if nothing else is said.
    """

    temperature: float

    def scores(self, anchor_ids: torch.Tensor, candidate_ids: torch.Tensor) -> torch.Tensor:
        """Of every anchor and every candidate, (anchors, candidates)."""
        ...

    def scores_of(self, anchor_ids: torch.Tensor, candidate_ids: torch.Tensor) -> torch.Tensor:
        """Of each anchor and its candidate, (anchors,)."""
        ...

    def listed(self, anchor_ids: torch.Tensor, candidate_ids: torch.Tensor) -> torch.Tensor:
        """Whether the training rows list a candidate with an anchor, (anchors, candidates)."""
        ...


def open_guide(
    name: str,
    rows: pa.Table,
    folder: Path,
    *,
    device: str | None = None,
    precision: Precision = "auto",
    show_progress: bool = False,
) -> GuideVectors | PairScores:
    """The guide of that name, with all it says about the texts of ``rows``.

    Args:
        name: an encoder's folder or hub name, ``"bundled"``, or the folder of a cross-encoder.
        rows: columns anchor, positive, negatives.
        folder: where what is computed stays.
        device: to compute on.
        precision: of an encoder.
        show_progress: on standard error.

    Raises:
        ModelError: it cannot be opened.
        DiskFullError: the disk ran full.
    """
    if is_cross_encoder(name):
        return PairScores.score(CrossScorer(name, device), rows, folder, show_progress=show_progress)
    encoder = Encoder.load(name, device=device, precision=precision)
    return GuideVectors.embed(encoder, rows, folder, show_progress=show_progress)


class GuideVectors:
    """The vectors of an encoder, memory-mapped: 16 bytes a text in memory.

    Attributes:
        temperature: 0.05, for cosines.
    """

    temperature = 0.05

    def __init__(self, encoder: Encoder, folder: Path) -> None:
        """What ``folder`` holds of this encoder; `embed` also computes what is missing."""
        self._folder = own_folder(folder, key_of(encoder.fingerprint, str(encoder.dtype)))
        self._queries = Segments(self._folder, "queries", encoder.dim)
        self._documents = Segments(self._folder, "documents", encoder.dim)
        self._listed = PairSet(np.empty(0, np.int64), np.empty(0, np.int64))

    @classmethod
    def embed(cls, encoder: Encoder, rows: pa.Table, folder: Path, *, show_progress: bool = False) -> GuideVectors:
        """The vectors of all texts of ``rows``; those that ``folder`` holds already are not computed again.

        Args:
            encoder: the guide.
            rows: columns anchor, positive, negatives.
            folder: of these vectors; those of another encoder there are removed.
            show_progress: on standard error.

        Raises:
            DiskFullError: the disk ran full; what was written before is used next time.
        """
        vectors = cls(encoder, folder)
        vectors._add(encoder, rows, show_progress=show_progress)
        return vectors

    def _add(self, encoder: Encoder, rows: pa.Table, *, show_progress: bool = False) -> None:
        """Embed the texts of ``rows`` that the folder lacks; of an anchor the candidates of ``rows`` are listed."""
        documents = _candidate_texts(rows)
        with FileLock(self._folder / ".lock"):
            for store, side, column, prompt in (
                (self._queries, encoder.query_side, rows["anchor"], encoder.prompts["query"]),
                (self._documents, encoder, documents, encoder.prompts["document"]),
            ):
                store.refresh()
                ids, first = np.unique(column_ids(column), return_index=True)
                missing = ~store.has(ids)
                if not missing.any():
                    continue
                order = np.argsort(first[missing])
                texts = _Texts(column, first[missing][order])
                path = store.begin(ids[missing][order])
                side.encode_to(path, texts, prompt=prompt, resume=True, force=True, show_progress=show_progress)
                store.refresh()
        self._listed = PairSet.candidates(rows)

    def queries(self, ids: torch.Tensor) -> torch.Tensor:
        """Unit vectors of queries by their text ids, (n, dim), on the device of the ids; raises DataError."""
        return torch.from_numpy(self._queries.take(ids.cpu().numpy())).to(ids.device)

    def documents(self, ids: torch.Tensor) -> torch.Tensor:
        """Unit vectors of documents by their text ids, (n, dim), on the device of the ids; raises DataError."""
        return torch.from_numpy(self._documents.take(ids.cpu().numpy())).to(ids.device)

    def scores(self, anchor_ids: torch.Tensor, candidate_ids: torch.Tensor) -> torch.Tensor:
        """Cosines of every anchor and every candidate, (anchors, candidates)."""
        with torch.autocast(anchor_ids.device.type, enabled=False):
            return self.queries(anchor_ids) @ self.documents(candidate_ids).T

    def scores_of(self, anchor_ids: torch.Tensor, candidate_ids: torch.Tensor) -> torch.Tensor:
        """Cosines of each anchor and its candidate, (anchors,)."""
        return (self.queries(anchor_ids) * self.documents(candidate_ids)).sum(1)

    def listed(self, anchor_ids: torch.Tensor, candidate_ids: torch.Tensor) -> torch.Tensor:
        """Whether the rows list a candidate with an anchor, (anchors, candidates)."""
        found = self._listed.among(anchor_ids.cpu().numpy(), candidate_ids.cpu().numpy())
        return torch.from_numpy(found).to(anchor_ids.device)


class PairScores:
    """The scores of a cross-encoder for the pairs that the training rows list; of others nothing is known.

    Attributes:
        temperature: 1, for logits.
    """

    temperature = 1.0

    def __init__(self, scorer: CrossScorer, folder: Path) -> None:
        """What ``folder`` holds of this cross-encoder; `score` also computes what is missing."""
        self._folder = own_folder(folder, key_of(scorer.fingerprint))
        self._scores = Segments(self._folder, "pairs", 1)

    @classmethod
    def score(cls, scorer: CrossScorer, rows: pa.Table, folder: Path, *, show_progress: bool = False) -> PairScores:
        """The scores of all pairs that ``rows`` list; those that ``folder`` holds already are not computed again.

        Args:
            scorer: the guide.
            rows: columns anchor, positive, negatives.
            folder: of these scores; those of another guide there are removed.
            show_progress: on standard error.
        """
        scores = cls(scorer, folder)
        scores._add(scorer, rows, show_progress=show_progress)
        return scores

    def _add(self, scorer: CrossScorer, rows: pa.Table, *, show_progress: bool = False) -> None:
        """Score the pairs of ``rows`` that the folder lacks."""
        anchor_of = np.concatenate([np.arange(rows.num_rows), negatives_of(rows)[1]])
        texts = _candidate_texts(rows)
        keys, first = np.unique(_pair_keys(*listed_pairs(rows)), return_index=True)
        with FileLock(self._folder / ".lock"):
            self._scores.refresh()
            missing = ~self._scores.has(keys)
            keys, first = keys[missing], first[missing]
            with progress("scoring pairs", len(keys), "pairs", enabled=show_progress) as advance:
                for start in range(0, len(keys), PAIRS_A_SEGMENT):
                    part = slice(start, start + PAIRS_A_SEGMENT)
                    anchors = rows["anchor"].take(pa.array(anchor_of[first[part]])).to_pylist()
                    candidates = texts.take(pa.array(first[part])).to_pylist()
                    values = scorer.score(list(zip(anchors, candidates, strict=True)))
                    write_bytes(self._scores.begin(keys[part]), npy(values[:, None]))
                    advance(len(values))
            self._scores.refresh()

    def scores(self, anchor_ids: torch.Tensor, candidate_ids: torch.Tensor) -> torch.Tensor:
        """Logits of every anchor and every candidate, (anchors, candidates); 0 for pairs that are not listed."""
        keys = _pair_keys(anchor_ids.cpu().numpy()[:, None], candidate_ids.cpu().numpy()[None])
        known = self._scores.has(keys.ravel())
        values = np.zeros(keys.size, np.float32)
        values[known] = self._scores.take(keys.ravel()[known])[:, 0]
        return torch.from_numpy(values.reshape(keys.shape)).to(anchor_ids.device)

    def scores_of(self, anchor_ids: torch.Tensor, candidate_ids: torch.Tensor) -> torch.Tensor:
        """Logits of each anchor and its candidate, (anchors,); raises DataError for a pair that is not listed."""
        keys = _pair_keys(anchor_ids.cpu().numpy(), candidate_ids.cpu().numpy())
        return torch.from_numpy(self._scores.take(keys)[:, 0]).to(anchor_ids.device)

    def listed(self, anchor_ids: torch.Tensor, candidate_ids: torch.Tensor) -> torch.Tensor:
        """Whether the pair was scored, (anchors, candidates)."""
        keys = _pair_keys(anchor_ids.cpu().numpy()[:, None], candidate_ids.cpu().numpy()[None])
        return torch.from_numpy(self._scores.has(keys.ravel()).reshape(keys.shape)).to(anchor_ids.device)


class _Texts:
    """The texts at some rows of a column, read a few thousand at a time."""

    def __init__(self, column: pa.ChunkedArray, rows: Ids) -> None:
        self._column, self._rows = column.cast(pa.large_string()), rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self._rows), TEXTS_AT_ONCE):
            yield from self._column.take(pa.array(self._rows[start : start + TEXTS_AT_ONCE])).to_pylist()


def _candidate_texts(rows: pa.Table) -> pa.ChunkedArray:
    """All positives, then all negatives, in the order of `listed_pairs`."""
    positives, negatives = rows["positive"].cast(pa.large_string()), negatives_of(rows)[0].cast(pa.large_string())
    return pa.chunked_array([*positives.chunks, *negatives.chunks], type=pa.large_string())


def _pair_keys(anchor_ids: Ids, candidate_ids: Ids) -> Ids:
    """A 64-bit hash of each pair of ids; they broadcast."""
    mixed = _mixed(anchor_ids.view(np.uint64)) + candidate_ids.view(np.uint64)
    keys: Ids = _mixed(mixed).view(np.int64)
    return keys


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014): every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
