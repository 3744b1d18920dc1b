"""What was judged, as one digest: evaluations of the same rows share it, whatever files the rows came from.

The order of rows and files does not count, nor do other splits, but for what of them takes part in judging one: the
documents and ids of retrieval made of pairs; texts out of scope, which are all splits without a label that the head
knows; and the scale of scored pairs, which is found over all splits. Every row is hashed by itself and the sorted
hashes once more, so that two rows cannot be taken for one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from embedft.data import RetrievalData


def digest_of_retrieval(data: RetrievalData, split: str) -> str:
    """SHA-256 of the documents, the judged queries of ``split`` and their judgments; raises DataError."""
    return _digest(_retrieval_rows(data, split))


def digest_of_pairs(pairs: pa.Table) -> str:
    """SHA-256 of scored pairs, columns sentence1, sentence2, score."""
    columns = (pairs[name].to_pylist() for name in ("sentence1", "sentence2", "score"))
    return _digest((left, right, repr(float(score))) for left, right, score in zip(*columns, strict=True))


def digest_of_texts(texts: pa.Table, out_of_scope: pa.Table | None = None) -> str:
    """SHA-256 of labelled texts, columns text and labels; the order of a text's labels does not count.

    Args:
        texts: of the split.
        out_of_scope: further texts that belong to no class.
    """
    own = _digest(_labelled_rows(texts))
    return own if out_of_scope is None else _digest([(own, _digest(_labelled_rows(out_of_scope)))])


def _labelled_rows(texts: pa.Table) -> Iterator[tuple[str, ...]]:
    for text, labels in zip(texts["text"].to_pylist(), texts["labels"].to_pylist(), strict=True):
        yield text, *sorted(labels)


def _retrieval_rows(data: RetrievalData, split: str) -> Iterator[tuple[str, ...]]:
    query_ids, texts = data.judged_queries(split)
    for document, text in zip(data.corpus["id"].to_pylist(), data.document_texts(), strict=True):
        yield "document", document, text
    for query, text in zip(query_ids, texts, strict=True):
        yield "query", query, text
    qrels = data.split(split)
    qrels = qrels.filter(pc.is_in(qrels["query_id"], value_set=pa.array(query_ids, pa.string())))
    columns = (qrels[name].to_pylist() for name in ("query_id", "corpus_id", "grade"))
    for query, document, grade in zip(*columns, strict=True):
        yield "judgment", query, document, str(grade)


def _digest(rows: Iterable[tuple[str, ...]]) -> str:
    # Each part with its length before it: ("ab", "c") is not ("a", "bc").
    found = sorted(
        hashlib.sha256("".join(f"{len(part)}:{part}" for part in row).encode("utf-8", "surrogatepass")).digest()
        for row in rows
    )
    return hashlib.sha256(b"".join(found)).hexdigest()
