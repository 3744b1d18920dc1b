"""BM25 on disk: documents ranked by the words that they share with a query, by bm25s, memory-mapped.

    lexical.json                    how texts become terms, and what the scores were computed with
    vocabulary.arrow                terms, ascending
    data, indices, indptr ....npy   of each term: the score that it gives to each document that holds it (bm25s)

Nothing is parsed when it is opened: terms are found by bisection in the mapped file, scores are added up from it.

Source: Robertson and Zaragoza 2009, The Probabilistic Relevance Framework, in the variant of Lucene (Kamphuis et al.
2020, Which BM25 Do You Mean?); Lù 2024, BM25S, arXiv:2407.03618.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedft.artifacts import write_json
from embedft.errors import ArtifactError, DataError
from embedft.index.lexical.words import Words

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

FORMAT = 1
SETTINGS, VOCABULARY = "lexical.json", "vocabulary.arrow"
# Mean nDCG@10 of medquad, trecqa (train and dev) and cosqa (dev) at b 0.75: k1 2.0 0.523, 1.5 0.536, 1.2 0.541,
# 0.9 0.545, 0.7 0.550. Below that medquad gains and cosqa loses; b between 0.6 and 0.9 changes less than 0.004.
K1, B = 0.7, 0.75
NONE = -1


class Lexical:
    """An opened BM25 index; threads may share it. Write one with `Lexical.write`, open it with `Lexical.open`.

    Attributes:
        words: how texts become terms.
        mean_length: terms in a document, on average.
    """

    def __init__(self, words: Words, mean_length: float, vocabulary: pa.Array, retriever: Any) -> None:
        self.words = words
        self.mean_length = mean_length
        self._vocabulary = vocabulary
        self._retriever = retriever

    @classmethod
    def write(cls, texts: Iterable[str], folder: Path, *, language: str | None = "english") -> None:
        """Index texts, read once and in order, into ``folder``, which is made. No file of it is a pickle.

        Memory: four bytes a word, then some thirty bytes for each distinct word of each text.

        Args:
            texts: of the documents; row numbers of hits count from the first.
            folder: to write into.
            language: whose stemmer and stop list to use, by its English name; None for words as they are.

        Raises:
            ConfigError: there is no stemmer for the language.
        """
        words = Words.of(language)
        documents, vocabulary = _count(words.terms(texts))
        folder.mkdir(parents=True, exist_ok=True)
        retriever = _retriever()
        retriever.vocab_dict = {}
        retriever.scores = _scores(retriever, documents, len(vocabulary))
        retriever.save(folder, allow_pickle=False, show_progress=False)
        # The vocabulary lies in a file that needs no parsing.
        (folder / "vocab.index.json").unlink()
        table = pa.table({"term": pa.array(vocabulary, pa.large_string())})
        with pa.OSFile(str(folder / VOCABULARY), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            # One batch, so that the opened column is one array.
            writer.write_table(table.combine_chunks(), max_chunksize=max(len(table), 1))
        write_json(
            folder / SETTINGS,
            {"format": FORMAT, "mean_length": documents.mean_length, "words": words.as_dict()},
        )

    @classmethod
    def open(cls, folder: Path) -> Lexical:
        """Open what `write` wrote, memory-mapped; the caller has checked its files' checksums.

        Raises:
            ArtifactError: a file is missing, of another format, or does not fit the others.
        """
        import bm25s

        try:
            settings = json.loads((folder / SETTINGS).read_bytes())
            if settings["format"] != FORMAT:
                raise ValueError(f"format {settings['format']}, not {FORMAT}")
            with pa.memory_map(str(folder / VOCABULARY)) as source:
                column = pa.ipc.open_file(source).read_all()["term"]
            vocabulary = column.chunk(0) if column.num_chunks else pa.array([], pa.large_string())
            retriever = bm25s.BM25.load(folder, mmap=True, allow_pickle=False, load_vocab=False, show_progress=False)
            # As plain arrays: a slice of a memmap object costs several times more to make.
            arrays = {name: np.asarray(retriever.scores[name]) for name in ("data", "indices", "indptr")}
            _check(arrays, len(vocabulary), retriever.scores["num_docs"])
            retriever.scores |= arrays
            return cls(Words.from_dict(settings["words"]), float(settings["mean_length"]), vocabulary, retriever)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
            raise ArtifactError(
                f"{folder}: is no BM25 index that can be read: {error}", hint="build the index again."
            ) from error

    def __len__(self) -> int:
        return int(self._retriever.scores["num_docs"])

    def search(self, queries: Sequence[str], k: int, allowed: Flags | None = None) -> tuple[Floats, Rows]:
        """The ``k`` best documents of each query by BM25: scores and rows, both (n, k).

        Only documents that share a word with the query are hits; the places after them hold -inf and -1. Sorted by
        score, highest first; equal scores by row, lowest first, also where a tie crosses the cut at k. A word that
        stands twice in a query counts twice.

        Args:
            queries: (n,) texts.
            k: at least 1.
            allowed: (documents,) which documents may be hits; by default all.

        Raises:
            DataError: ``queries`` is a string, k is below 1, or ``allowed`` has another length.
        """
        _check_texts(queries)
        if k < 1:
            raise DataError(f"k is {k}.", hint="ask for at least 1 hit.")
        if allowed is not None and allowed.shape != (len(self),):
            raise DataError(
                f"allowed is {allowed.shape} for {len(self)} documents.", hint="give one flag for each document."
            )
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), NONE, np.int64)
        for at, terms in enumerate(self.words.terms(queries)):
            numbers = [number for term in terms if (number := self._number(term)) != NONE]
            if not numbers:
                continue
            of_all = self._retriever.get_scores_from_ids(numbers)
            best = best_rows(of_all, k, allowed)
            scores[at, : len(best)], rows[at, : len(best)] = of_all[best], best
        return scores, rows

    def prepare(self, texts: Iterable[str]) -> Prepared:
        """Texts that are not in the index, counted once, for `score_prepared`.

        Document frequencies and the mean length are those of the index, so the scores compare with its own; a word
        that it does not have is as rare as can be.

        Raises:
            DataError: ``texts`` is a string.
        """
        _check_texts(texts)
        documents, vocabulary = _count(self.words.terms(texts))
        terms, rows, frequencies = documents.postings()
        rarity = np.array([self._rarity(term) for term in vocabulary], np.float32)
        k1, b = self._retriever.k1, self._retriever.b
        lengths = documents.lengths / self.mean_length if self.mean_length else np.ones(len(documents))
        scores = rarity[terms] * (frequencies / (k1 * (1 - b + b * lengths[rows]) + frequencies))
        starts = np.searchsorted(terms, np.arange(len(vocabulary) + 1))
        numbers = {term: number for number, term in enumerate(vocabulary)}
        return Prepared(len(documents), numbers, starts, rows, scores.astype(np.float32))

    def score_prepared(self, queries: Sequence[str], prepared: Prepared) -> Floats:
        """BM25 of texts that this index has prepared, as if they were in it: (queries, texts), 0 without a shared word.

        Raises:
            DataError: ``queries`` is a string.
        """
        _check_texts(queries)
        scores = np.zeros((len(queries), prepared.count), np.float32)
        for of_query, terms in zip(scores, self.words.terms(queries), strict=True):
            for number in (prepared.numbers[term] for term in terms if term in prepared.numbers):
                part = slice(prepared.starts[number], prepared.starts[number + 1])
                of_query[prepared.rows[part]] += prepared.scores[part]
        return scores

    def _number(self, term: str) -> int:
        """A term's place in the vocabulary, -1 if it is not there."""
        size = len(self._vocabulary)
        place = bisect_left(range(size), term, key=lambda number: self._vocabulary[number].as_py())
        return place if place < size and self._vocabulary[place].as_py() == term else NONE

    def _rarity(self, term: str) -> float:
        """The inverse document frequency, as Lucene has it."""
        number, starts = self._number(term), self._retriever.scores["indptr"]
        holding = 0 if number == NONE else int(starts[number + 1] - starts[number])
        return float(np.log(1 + (len(self) - holding + 0.5) / (holding + 0.5)))


@dataclass(frozen=True)
class Prepared:
    """Texts beside an index, as `Lexical.prepare` counted them. Threads may share it.

    Attributes:
        count: of the texts.
        numbers: term -> its number.
        starts: (terms + 1,) where each term's part of ``rows`` and ``scores`` begins.
        rows: of the texts that hold the term.
        scores: what the term gives to each of them.
    """

    count: int
    numbers: dict[str, int]
    starts: Rows
    rows: Rows
    scores: Floats


class _Documents:
    """The term numbers of documents, one after the other, at four bytes each where lists would take eight and more."""

    def __init__(self, numbers: array[int], ends: array[int]) -> None:
        self.numbers, self.ends = numbers, ends

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[array[int]]:
        start = 0
        for end in self.ends:
            yield self.numbers[start:end]
            start = end

    @property
    def lengths(self) -> Rows:
        ends = np.array(self.ends, np.int64)
        return ends - np.concatenate(([0], ends[:-1]))

    @property
    def mean_length(self) -> float:
        return len(self.numbers) / len(self.ends) if self.ends else 0.0

    def postings(self) -> tuple[Rows, Rows, Rows]:
        """Term, document and how often it stands there, by term and document."""
        rows = np.repeat(np.arange(len(self)), self.lengths)
        keys, counts = np.unique(np.array(self.numbers, np.int64) * max(len(self), 1) + rows, return_counts=True)
        terms, rows = np.divmod(keys, max(len(self), 1))
        return terms, rows, counts


def best_rows(scores: Floats, k: int, allowed: Flags | None = None) -> Rows:
    """Rows of the ``k`` highest allowed scores above 0, best first, equal ones by row; fewer where there are fewer."""
    hits = np.flatnonzero(scores > 0)
    if allowed is not None:
        hits = hits[allowed[hits]]
    if len(hits) > k:
        values = scores[hits]
        last = np.partition(values, len(hits) - k)[len(hits) - k]
        above = hits[values > last]
        hits = np.concatenate([above, hits[values == last][: k - len(above)]])
    return hits[np.lexsort((hits, -scores[hits]))]


def _count(texts: Iterable[list[str]]) -> tuple[_Documents, list[str]]:
    """Terms as numbers, and the vocabulary that they count in, ascending."""
    met: dict[str, int] = {}
    numbers, ends = array("i"), array("q")
    for terms in texts:
        numbers.extend([met.setdefault(term, len(met)) for term in terms])
        ends.append(len(numbers))
    vocabulary = sorted(met)
    place = np.empty(len(met), np.int32)
    place[[met[term] for term in vocabulary]] = np.arange(len(met), dtype=np.int32)
    ordered = array("i")
    ordered.frombytes(place[np.frombuffer(numbers, np.int32)].tobytes())
    return _Documents(ordered, ends), vocabulary


def _retriever() -> Any:
    import bm25s

    # Not "auto": where numba happens to be installed, the first query would wait for its compiler.
    retriever = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy", csc_backend="scipy")
    retriever.nonoccurrence_array = None
    return retriever


def _scores(retriever: Any, documents: _Documents, terms: int) -> dict[str, Any]:
    if terms == 0:  # No document holds a word; bm25s would divide by their mean length.
        return {
            "data": np.empty(0, np.float32),
            "indices": np.empty(0, np.int32),
            "indptr": np.zeros(1, np.int64),
            "num_docs": len(documents),
        }
    scores: dict[str, Any] = retriever.build_index_from_ids(list(range(terms)), documents, show_progress=False)
    return scores


def _check(arrays: dict[str, npt.NDArray[Any]], terms: int, documents: int) -> None:
    starts, held = arrays["indptr"], len(arrays["indices"])
    if len(starts) != terms + 1 or starts[-1] != held or len(arrays["data"]) != held:
        raise ValueError(f"{terms} terms, but {len(starts) - 1} lists of {held} documents")
    if not isinstance(documents, int) or documents < 0:
        raise ValueError(f"{documents!r} documents")


def _check_texts(texts: Iterable[str]) -> None:
    if isinstance(texts, str):
        raise DataError("texts are a single string.", hint="give a list of texts.")
