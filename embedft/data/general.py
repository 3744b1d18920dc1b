"""The general set: scored pairs of everyday English, by which it shows what a fine-tuned encoder has forgotten.

180 pairs written for this project, none out of a data set: everyday life, news, instructions, questions, numbers,
negations, paraphrases without a word in common and near-misses that share most of them. Eleven grades from 0 (nothing
in common) to 5 (the same is meant), about 16 pairs each. It is small on purpose: it is scored several times in a run.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from embedft.data.dataset import read_dataset
from embedft.data.faults import report
from embedft.errors import DataError

GENERAL_PATH = Path(__file__).parent / "general.jsonl"
COLUMNS = ["sentence1", "sentence2", "score"]
# Of a folder with several splits, the first of these that it has: what was never trained on comes first.
PREFERRED = ("test", "dev", "train")


def read_general(path: Path | None = None) -> pa.Table:
    """Scored pairs to tell forgetting by: columns sentence1, sentence2, score (0..1).

    Args:
        path: file or folder of scored pairs, of which the split test is taken, else dev, else train; by default the
            bundled set.

    Raises:
        DataError: it is missing, broken, or holds something else.
    """
    data = read_dataset(path or GENERAL_PATH)
    if data.kind != "scored pairs":
        raise DataError(
            f"{path}: holds {data.kind}; what must not be forgotten is told by scored pairs.",
            hint="name the columns sentence1, sentence2 and score, or leave it out for the bundled set.",
        )
    report(data.faults)
    split = next((name for name in PREFERRED if name in data.splits), next(iter(data.splits)))
    return data.splits[split].select(COLUMNS)
