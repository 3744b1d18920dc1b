"""The weight of vectors against words in hybrid search, tuned on labelled queries and kept in the index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedft.encoder import Encoder
from embedft.errors import DataError
from embedft.index.identity import require_same
from embedft.index.index import FUSED_DEPTH
from embedft.index.lexical import tune_weight
from embedft.index.snapshot import Snapshot
from embedft.index.storage import writing
from embedft.index.writing import changed, finish

# The weight is one of eleven; fewer queries choose it by chance.
FEWEST = 20


def tune_fusion(
    path: Path, encoder: Encoder, texts: Sequence[str], grades: Sequence[Mapping[str, int]], *, k: int = 10
) -> dict[str, Any]:
    """Choose the weight with the best nDCG@k, and publish a version of the index that searches with it.

    Args:
        path: directory of the index.
        encoder: that of the index.
        texts: labelled queries, which nothing is judged by afterwards.
        grades: of each query: document id -> grade, above 0 is relevant.
        k: the cut-off.

    Returns:
        What the manifest keeps: method, weight of the vectors (the words get the rest), k, queries.

    Raises:
        DataError: too few queries, too few that have a relevant document in the index, or the index keeps no words.
        WrongModelError: ``encoder`` is not that of the index.
        ArtifactError: there is no index, it is damaged, or another process writes.
    """
    if len(texts) < FEWEST:
        raise DataError(f"{len(texts)} queries are too few to tune a weight on.", hint=f"give at least {FEWEST}.")
    with writing(path) as hold:
        snapshot = Snapshot.open(path)
        require_same(path, snapshot.manifest, encoder)
        by_row = _by_row(snapshot, grades)
        usable = sum(any(grade > 0 for grade in each.values()) for each in by_row)
        if usable < FEWEST:
            raise DataError(
                f"{path}: {usable} of the {len(texts)} queries have a relevant document in it; a weight is tuned on "
                f"{FEWEST} or more.",
                hint="tune on queries of the documents that the index was built from.",
            )
        dense = snapshot.search(encoder.encode_queries(texts), FUSED_DEPTH, snapshot.alive)
        words = snapshot.search_words(texts, FUSED_DEPTH, snapshot.alive)
        weight = tune_weight(dense, words, by_row, k=k)
        fusion = {"method": "weighted", "weight": weight, "k": k, "queries": usable}
        with changed(path, hold, snapshot, gone=np.empty(0, np.int64)) as (staged, alive):
            for entry in snapshot.manifest["segments"]:
                staged.link_tree(f"{entry['folder']}/")
            staged.manifest["segments"] = list(snapshot.manifest["segments"])
            staged.manifest["fusion"] = fusion
            finish(staged, alive)
        return fusion


def _by_row(snapshot: Snapshot, grades: Sequence[Mapping[str, int]]) -> list[dict[int, int]]:
    # Finding ids reads all of them, however few are looked for.
    ids = list(dict.fromkeys(name for of_query in grades for name in of_query))
    row_of = dict(zip(ids, snapshot.find(ids).tolist(), strict=True))
    return [{row_of[name]: grade for name, grade in each.items() if row_of[name] >= 0} for each in grades]
