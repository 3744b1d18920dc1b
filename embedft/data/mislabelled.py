"""Labels that are probably wrong, by confident learning on embeddings, as a ranked list to look at.

A logistic regression on the vectors says how probable each label is for texts it was not trained on (cross-validation);
confident learning then compares this with the labels that were given.

Source: Northcutt et al. 2021, Confident Learning, arXiv:1911.00068; the library ``cleanlab`` (extra ``labels``).
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa

from embedft.artifacts import atomic_file
from embedft.data.dataset import Dataset
from embedft.errors import ConfigError, DataError

FOLDS = 5
MAX_STEPS = 1000
SUSPECTS_BEGIN = '{"rank": '


@dataclass(frozen=True)
class Suspect:
    """A row whose labels are doubted.

    Attributes:
        rank: from 1, the most doubtful first.
        split, file, line: where it stands.
        text: of the row.
        given: its labels.
        suggested: what the classifier takes for right.
        confidence: how probable the given labels are to the classifier, 0..1.
    """

    rank: int
    split: str
    file: str
    line: int
    text: str
    given: tuple[str, ...]
    suggested: tuple[str, ...]
    confidence: float


def require_labels(data: Dataset) -> None:
    """Say what is missing for `mislabelled`, before texts are encoded.

    Raises:
        ConfigError: ``cleanlab`` is not installed.
        DataError: other data, or fewer than two labels that stand twice.
    """
    if find_spec("cleanlab") is None:
        raise ConfigError(
            "label errors are found by cleanlab, which is not installed.", hint="pip install 'embedft[labels]'."
        )
    if data.kind != "labelled texts":
        raise DataError(f"{data.path}: holds {data.kind}, not labelled texts.", hint="leave label errors out.")
    rows = [row for table in data.splits.values() for row in table["labels"].to_pylist()]
    counts = Counter(label for row in rows for label in row)
    judged = {label for row in rows if all(counts[other] > 1 for other in row) for label in row}
    if len(judged) < 2:
        raise DataError(f"{data.path}: has fewer than two labels that stand twice.", hint="leave label errors out.")


def mislabelled(data: Dataset, vectors: np.ndarray, *, seed: int = 0) -> list[Suspect]:
    """The rows of all splits whose labels are probably wrong, the most doubtful first.

    Args:
        data: labelled texts. Rows with a label that stands once are not judged: nothing could be learned of it.
        vectors: of the texts of all splits, one after the other, (n, dim).
        seed: of the folds.

    Raises:
        ConfigError, DataError: as `require_labels`.
    """
    require_labels(data)
    from cleanlab.filter import find_label_issues

    table = pa.concat_tables(list(data.splits.values()), promote_options="default").unify_dictionaries()
    split_of = [name for name, part in data.splits.items() for _ in range(part.num_rows)]
    labels = table["labels"].to_pylist()
    counts = Counter(label for row in labels for label in row)
    judged = np.array([bool(row) and all(counts[label] > 1 for label in row) for row in labels], bool)
    names = sorted({label for row, kept in zip(labels, judged, strict=True) if kept for label in row})
    number_of = {name: number for number, name in enumerate(names)}
    rows = np.flatnonzero(judged)
    coded = [[number_of[label] for label in labels[row]] for row in rows]
    several = any(len(row) > 1 for row in coded)
    probabilities = _out_of_fold(vectors[rows], coded, len(names), several=several, seed=seed)
    given = coded if several else np.array([row[0] for row in coded])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of rare classes that cannot be judged
        found = find_label_issues(
            given, probabilities, return_indices_ranked_by="self_confidence", multi_label=several, n_jobs=1
        )
    suspects: list[Suspect] = []
    for place in found.tolist():
        row = table.slice(int(rows[place]), 1).to_pylist()[0]
        chances = probabilities[place]
        best = np.flatnonzero(chances > 0.5) if several else [int(chances.argmax())]
        confidence = min(chances[label] for label in coded[place])
        suspects.append(
            Suspect(
                len(suspects) + 1,
                split_of[rows[place]],
                row["file"],
                row["line"],
                row["text"],
                tuple(row["labels"]),
                tuple(names[label] for label in best),
                round(float(confidence), 4),
            )
        )
    return suspects


def _out_of_fold(
    vectors: np.ndarray, coded: Sequence[Sequence[int]], classes: int, *, several: bool, seed: int
) -> np.ndarray:
    """How probable each label is for each row to a model that has not seen the row, (n, classes)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.multiclass import OneVsRestClassifier

    model = LogisticRegression(max_iter=MAX_STEPS)
    out = np.zeros((len(coded), classes))
    if several:
        target = np.zeros((len(coded), classes), np.int64)
        for row, labels in enumerate(coded):
            target[row, labels] = 1
        folds = KFold(min(FOLDS, len(coded)), shuffle=True, random_state=seed).split(vectors)
        model = OneVsRestClassifier(model)
    else:
        target = np.array([row[0] for row in coded])
        most = min(FOLDS, int(np.bincount(target).max()))
        folds = StratifiedKFold(most, shuffle=True, random_state=seed).split(vectors, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes with fewer rows than folds are missing in some
        for train, test in folds:
            model.fit(vectors[train], target[train])
            known = model.classes_ if not several else np.arange(classes)
            out[np.ix_(test, known)] = model.predict_proba(vectors[test])
    return out


def write_suspects(suspects: Sequence[Suspect], path: Path) -> None:
    """One JSON object a row, the most doubtful first; atomically."""
    with atomic_file(path) as file:
        file.writelines((json.dumps(asdict(suspect), ensure_ascii=False) + "\n").encode() for suspect in suspects)
