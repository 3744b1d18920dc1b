"""What a data set is: read it, find leakage, hold out a part of it."""

from __future__ import annotations

from pathlib import Path

from embedft.data.beir import UnknownIds, is_beir, read_beir, read_corpus, write_beir
from embedft.data.corpus import read_indexable
from embedft.data.dataset import Dataset, read_dataset
from embedft.data.faults import MAX_BAD_SHARE, Fault, report
from embedft.data.holdout import hold_out
from embedft.data.leakage import Leak, drop_leaking_queries, find_leakage
from embedft.data.pairs import read_pairs_data
from embedft.data.retrieval import SPLITS, RetrievalData, document_text
from embedft.data.texts import stream_texts
from embedft.errors import DataError

__all__ = [
    "SPLITS",
    "Dataset",
    "Fault",
    "Leak",
    "RetrievalData",
    "UnknownIds",
    "document_text",
    "drop_leaking_queries",
    "find_leakage",
    "hold_out",
    "read_corpus",
    "read_dataset",
    "read_indexable",
    "read_retrieval",
    "stream_texts",
    "write_beir",
]


def read_retrieval(
    path: str | Path, *, unknown_ids: UnknownIds = "error", max_bad: float = MAX_BAD_SHARE
) -> RetrievalData:
    """Retrieval data out of a BEIR folder, a folder of pairs, or a file of pairs; rows left out are logged.

    Raises:
        DataError: the path is missing, or what stands there is broken.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder.", hint="check the path.")
    if is_beir(path):
        data = read_beir(path, unknown_ids=unknown_ids, max_bad=max_bad)
    else:
        data = read_pairs_data(path, max_bad)
    report(data.faults)
    return data
