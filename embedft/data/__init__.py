"""What a data set is: read it, find leakage, hold out a part of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from embedft.data.beir import UnknownIds, is_beir, read_beir, read_corpus, write_beir
from embedft.data.corpus import read_indexable
from embedft.data.dataset import Dataset, read_dataset
from embedft.data.faults import MAX_BAD_SHARE, Fault, report
from embedft.data.holdout import hold_out
from embedft.data.leakage import Leak, drop_leaking_queries, find_leakage
from embedft.data.pairs import read_pairs_data
from embedft.data.retrieval import SPLITS, RetrievalData, document_text
from embedft.data.roles import refuse_columns
from embedft.data.texts import stream_texts

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
    path: str | Path,
    *,
    columns: Mapping[str, tuple[str, ...]] | None = None,
    unknown_ids: UnknownIds = "error",
    max_bad: float = MAX_BAD_SHARE,
) -> RetrievalData:
    """Retrieval data out of a BEIR folder, or of pairs in any form that `read_dataset` reads; rows left out are logged.

    Args:
        path: the folder, a file or folder of pairs, a pattern, a name on the hub, or ``-`` for standard input.
        columns: of pairs, role -> columns, where names do not tell (`embedft.data.roles.parse_columns`).
        unknown_ids: of a BEIR folder: whether qrels that name ids which do not exist are an error.
        max_bad: share of bad rows a file may have, 0..1.

    Raises:
        DataError: the path is missing, or what stands there is broken; columns are named for a BEIR folder.
    """
    path = Path(path)
    # Judgments without documents are a BEIR folder that lacks them, not one of pairs.
    if is_beir(path) or (path / "qrels").is_dir():
        refuse_columns(path, columns)
        data = read_beir(path, unknown_ids=unknown_ids, max_bad=max_bad)
    else:
        data = read_pairs_data(path, max_bad, columns)
    report(data.faults)
    return data
