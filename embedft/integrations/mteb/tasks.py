"""Data of one's own as mteb's tasks: read from the disk, no hub and no network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata

from embedft.data import RetrievalData, read_dataset, read_retrieval
from embedft.errors import DataError
from embedft.evaluation.digest import digest_of_pairs, digest_of_retrieval

ENGLISH = "eng-Latn"
K_VALUES = (1, 3, 5, 10, 20, 100, 1000)
# mteb's own scores need these two.
NEEDED = (1, 10)


class RetrievalTask(AbsTaskRetrieval):  # type: ignore[misc]  # untyped base class
    """The queries of one split that have a relevant document, over the whole corpus, with their grades."""

    def __init__(
        self,
        data: str | Path | RetrievalData,
        split: str = "test",
        *,
        k_values: Sequence[int] = K_VALUES,
        language: str = ENGLISH,
    ) -> None:
        """A BEIR folder, or what was read from one, as a task.

        Args:
            data: anything that `embedft.data.read_retrieval` reads.
            split: which qrels.
            k_values: cut-offs; the search goes as deep as the largest. Others than the default stand in the name.
            language: of the texts, as ISO 639-3 and 15924 have it.

        Raises:
            DataError: the data cannot be read, the split is missing, or it has no judged query.
        """
        self.data = data if isinstance(data, RetrievalData) else read_retrieval(data)
        self.split = split
        if not self.data.judged_queries(split)[0]:
            raise DataError(f"{self.data.path}: no query of split {split!r} has a relevant document.",
                            hint="check the grades.")  # fmt: skip
        self.k_values = tuple(sorted({*NEEDED, *k_values}))
        digest = digest_of_retrieval(self.data, split)
        cuts = self.k_values if self.k_values != K_VALUES else ()
        self.metadata = _metadata(self.data.path, digest, "Retrieval", split, "ndcg_at_10", language, cuts)
        super().__init__()

    def load_data(self, num_proc: int | None = None, **_: Any) -> None:  # noqa: ARG002 - mteb's signature
        """Give mteb the rows as it wants them."""
        ids, texts = self.data.judged_queries(self.split)
        grades: dict[str, dict[str, int]] = {query: {} for query in ids}
        for row in self.data.split(self.split).to_pylist():
            if row["query_id"] in grades:
                grades[row["query_id"]][row["corpus_id"]] = row["grade"]
        self.dataset = {
            "default": {
                self.split: {
                    "corpus": Dataset(self.data.corpus.select(["id", "title", "text"])),
                    "queries": Dataset.from_dict({"id": ids, "text": texts}),
                    "relevant_docs": grades,
                    "top_ranked": None,
                }
            }
        }
        self.data_loaded = True

    def unload_data(self) -> None:
        """Drop what `load_data` made; mteb's own drops the metadata too, which are this task's and not its class's."""
        self.dataset, self.data_loaded = {}, False


class SimilarityTask(AbsTaskSTS):  # type: ignore[misc]  # untyped base class
    """Scored pairs of one split; scores run from 0 to 1."""

    min_score, max_score = 0, 1

    def __init__(self, data: str | Path, split: str = "test", *, language: str = ENGLISH) -> None:
        """Scored pairs as a task.

        Args:
            data: file or folder of scored pairs, as `embedft.data.read_dataset` reads them.
            split: which of its files.
            language: of the texts, as ISO 639-3 and 15924 have it.

        Raises:
            DataError: the data cannot be read, are no scored pairs, or the split is missing.
        """
        read = read_dataset(data)
        if read.kind != "scored pairs" or split not in read.splits:
            raise DataError(
                f"{data}: holds {read.kind} in {', '.join(read.splits)}; expected scored pairs in {split!r}.",
                hint="name the columns sentence1, sentence2 and score, and the split.",
            )
        self.pairs, self.split = read.splits[split].select(["sentence1", "sentence2", "score"]), split
        self.metadata = _metadata(read.path, digest_of_pairs(self.pairs), "STS", split, "cosine_spearman", language)
        super().__init__()

    def load_data(self, num_proc: int | None = None, **_: Any) -> None:  # noqa: ARG002 - mteb's signature
        """Give mteb the rows as it wants them."""
        self.dataset, self.data_loaded = DatasetDict({self.split: Dataset(self.pairs)}), True

    def unload_data(self) -> None:
        """As for `RetrievalTask`."""
        self.dataset, self.data_loaded = None, False


def _metadata(
    path: Path, digest: str, kind: str, split: str, score: str, language: str, cuts: Sequence[int] = ()
) -> TaskMetadata:
    """What mteb knows of a task.

    Its cache takes a stored result by the names of task and model, whatever the data and the cut-offs were then: the
    name holds what tells these data from others, and cut-offs of one's own.
    """
    known = re.sub(r"[^\w.-]+", "_", path.resolve().stem)
    own = f"-k{'-'.join(map(str, cuts))}" if cuts else ""
    return TaskMetadata(
        name=f"{known}-{digest[:8]}{own}",
        description=f"{split} of {path}",
        dataset={"path": str(path), "revision": digest},
        type=kind,
        category="t2t",
        eval_splits=[split],
        eval_langs=[language],
        main_score=score,
    )
