"""`EmbeddingClassifier`: texts in, labels out, as a scikit-learn estimator; needs scikit-learn."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from embedft.artifacts import atomic_directory, write_json
from embedft.config import HeadConfig
from embedft.encoder import Encoder
from embedft.errors import ArtifactError
from embedft.evaluation.classification import decided
from embedft.heads.fit import fit_logistic
from embedft.heads.head import Head, Neighbour

FORMAT = 1
RECORD = "classifier.json"
NUMBERS = [np.float64, np.float32]


def _encoder(model: str | Path) -> Encoder:
    """Opened once a process, as long as its folder stays: an estimator that is cloned for each fold shares it."""
    return _opened(str(model), _state(Path(model)))


@lru_cache(maxsize=4)
def _opened(name: str, _folder: tuple[Any, ...]) -> Encoder:
    return Encoder.load(name)


def _state(folder: Path) -> tuple[Any, ...]:
    """Where a folder lies, and name, size and time of each of its files; nothing of a name that is no folder."""
    if not folder.is_dir():
        return ()
    files = [(str(path), path.stat()) for path in sorted(folder.resolve().rglob("*"))]
    return tuple((name, found.st_size, found.st_mtime_ns, found.st_ino) for name, found in files)


class EmbeddingClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped base classes
    """A logistic head on the vectors of a frozen encoder.

    ``X`` holds texts (a list, a Series, an object array, or a column of a frame), or numbers (n, dim): vectors that
    were embedded before, for example by an earlier step of a ``Pipeline``. ``y`` holds a label a text; or, where a text
    may have several, lists of labels or an indicator matrix (which alone scikit-learn can cut into folds).

    Attributes:
        classes_: labels, sorted; of an indicator matrix the numbers of its columns.
        lists_: whether ``y`` held lists of labels.
        head_: the `embedft.heads.Head`.
        n_features_in_: dimensions, if ``X`` held numbers.
    """

    def __init__(
        self,
        model: str | Path = "bundled",
        *,
        C: float | None = None,  # noqa: N803 - its name in scikit-learn
        class_weight: Literal["balanced"] | dict[Any, float] | None = None,
        calibrate: bool = True,
        in_scope: float = 0.95,
        random_state: int = 0,
    ) -> None:
        """The settings, none of which is looked at before ``fit``.

        Args:
            model: encoder: folder, hub name, or ``"bundled"``.
            C: inverse strength of the penalty; chosen by cross-validation if None.
            class_weight: label -> how much its texts count; ``"balanced"``: rare classes count as much as others.
            calibrate: fit a temperature on held-out folds.
            in_scope: share of the texts of a class that `predict_in_scope` must let pass.
            random_state: of the folds.
        """
        self.model = model
        self.C = C
        self.class_weight = class_weight
        self.calibrate = calibrate
        self.in_scope = in_scope
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Fit the head; gives the estimator.

        Raises:
            ValueError: ``y`` has one class, or does not fit ``X``.
            DataError: ``class_weight`` has a label that ``y`` has not, and lacks one that it has.
            ModelError: the encoder cannot be opened.
        """
        texts = _texts(X)
        X, rows, classes, several = self._read(X, y, texts)  # noqa: N806
        if len(classes) < (1 if several else 2):
            raise ValueError(f"y has {len(classes)} class; the classifier needs at least 2 classes.")
        vectors = self._vectors(X, texts)
        if len(vectors) != len(rows):
            raise ValueError(f"X has {len(vectors)} texts and y {len(rows)} labels; expected one for each.")
        weights = self.class_weight if isinstance(self.class_weight, dict) else None
        settings = HeadConfig(
            regularisation=self.C,
            class_weight=None if weights is not None else self.class_weight,
            calibrate=self.calibrate,
            in_scope=self.in_scope,
        )
        self.classes_ = classes
        self.head_ = fit_logistic(
            vectors,
            [tuple(map(str, row)) for row in rows],
            settings,
            texts=texts,
            encoder=_encoder(self.model).fingerprint if texts is not None else "",
            classes=[str(value) for value in classes.tolist()],
            class_weight=None if weights is None else {str(name): value for name, value in weights.items()},
            several=several,
            seed=self.random_state,
        )
        return self

    def _read(
        self,
        X: Any,  # noqa: N803
        y: Any,
        texts: list[str] | None,
    ) -> tuple[Any, list[tuple[Any, ...]], Any, bool]:
        """X and y, checked: X, the labels of each text, all labels, and whether a text may have several."""
        y = y.toarray() if hasattr(y, "toarray") else y
        self.lists_ = _is_lists(y)
        if self.lists_:
            if texts is None:
                X = validate_data(self, X, dtype=NUMBERS)  # noqa: N806
            rows = [tuple(dict.fromkeys(row)) for row in y]
            return X, rows, np.unique([value for row in rows for value in row]), True
        if texts is None:
            X, y = validate_data(self, X, y, dtype=NUMBERS, multi_output=True)  # noqa: N806
        elif y is None:
            raise ValueError("y is None; expected a label for each text.")
        check_classification_targets(y)
        y = np.asarray(y)
        if type_of_target(y) == "multilabel-indicator":
            return X, [tuple(np.flatnonzero(row).tolist()) for row in y], np.arange(y.shape[1]), True
        y = column_or_1d(y, warn=True)
        return X, [(value,) for value in y.tolist()], np.unique(y), False

    def _vectors(self, X: Any, texts: list[str] | None) -> Any:  # noqa: N803
        if texts is not None:
            return _encoder(self.model).encode_documents(texts)
        return X

    def _known(self, X: Any) -> Any:  # noqa: N803
        """The vectors of what is to be predicted."""
        check_is_fitted(self)
        texts = _texts(X)
        if texts is None:
            X = validate_data(self, X, dtype=NUMBERS, reset=False)  # noqa: N806
            if X.shape[1] != self.head_.dim:
                raise ValueError(f"X has {X.shape[1]} features, but the classifier is expecting {self.head_.dim}.")
            return X
        if self.head_.encoder:
            self.head_.check_encoder(_encoder(self.model))
        return self._vectors(X, texts)

    def predict(self, X: Any) -> Any:  # noqa: N803
        """Labels, (n,); where texts may have several, an indicator matrix (n, classes) or lists, as ``y`` was."""
        check_is_fitted(self)
        chosen = decided(self.head_.probabilities(self._known(X)), self.head_.several)
        if not self.head_.several:
            return self.classes_[chosen.argmax(1)]
        if self.lists_:
            return [self.classes_[row].tolist() for row in chosen]
        return chosen.astype(np.int64)

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """Calibrated probability of each class, (n, classes)."""
        check_is_fitted(self)
        return self.head_.probabilities(self._known(X))

    def decision_function(self, X: Any) -> Any:  # noqa: N803
        """Logits, (n, classes); of two classes how far the second is above the first, (n,)."""
        check_is_fitted(self)
        logits = self.head_.logits(self._known(X))
        if len(self.classes_) == 2 and not self.head_.several:
            return logits[:, 1] - logits[:, 0]
        return logits

    def predict_in_scope(self, X: Any) -> Any:  # noqa: N803
        """Whether each text belongs to one of the classes, (n,) bool, as far as the head can tell."""
        check_is_fitted(self)
        return self.head_.in_scope(self._known(X))

    def explain(self, X: Any, k: int = 3) -> list[list[Neighbour]]:  # noqa: N803
        """For each text the ``k`` nearest training texts, with cosine and labels (as strings, whatever ``y`` held).

        Empty lists if it was fitted on numbers.
        """
        check_is_fitted(self)
        return self.head_.explain(self._known(X), k)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """The share of texts whose label, or all of whose labels, are right.

        Raises:
            ValueError: ``y`` holds lists of labels, and did not in ``fit``, or the other way round.
        """
        check_is_fitted(self)
        if not self.lists_:
            if _is_lists(y):
                raise ValueError("y holds lists of labels; expected what it held in fit, where it held none.")
            return float(super().score(X, y, sample_weight))
        if not _all_lists(y):
            raise ValueError("y holds no lists of labels; expected them, as in fit.")
        right = [set(own) == set(given) for own, given in zip(self.predict(X), y, strict=True)]
        return float(np.average(right, weights=sample_weight))

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write the head and the settings into a new folder, without pickle; gives it. The encoder stays where it is.

        Raises:
            ArtifactError: the folder exists, and ``force`` is False or it holds something else.
        """
        check_is_fitted(self)
        folder = Path(folder)
        record = {
            "format": FORMAT,
            "parameters": {name: _stored(value) for name, value in self.get_params().items()},
            "labels": self.classes_.tolist(),
            "type": self.classes_.dtype.str,
            "lists": self.lists_,
        }
        with atomic_directory(folder, force=force, ours=lambda old: (old / RECORD).is_file()) as staged:
            self.head_.save(staged)
            write_json(staged / RECORD, record)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> EmbeddingClassifier:
        """The estimator that was saved in ``folder``, fitted.

        Raises:
            ArtifactError: there is none, it is damaged, or it is of a later format.
        """
        path = Path(folder) / RECORD
        if not path.is_file():
            raise ArtifactError(f"{folder}: holds no classifier (no {RECORD}).", hint="check the path.")
        head = Head.load(folder)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                raise ArtifactError(
                    f"{path}: is of format {record['format']!r}, this embedft reads {FORMAT}.", hint="update embedft."
                )
            found = cls(**record["parameters"])
            if isinstance(found.class_weight, list):
                found.class_weight = dict(found.class_weight)
            kind = np.dtype(record["type"])
            found.classes_ = np.array(record["labels"], dtype=kind)
            found.lists_ = bool(record["lists"])
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{path}: is damaged.", hint="fit and save the classifier again.") from error
        if not head.encoder:
            found.n_features_in_ = head.dim
        found.head_ = head
        return found


def _is_lists(y: Any) -> bool:
    """Whether y holds a list of labels for each text, and not an indicator matrix."""
    if isinstance(y, np.ndarray) and y.dtype != object:
        return False
    if not hasattr(y, "__iter__") or (hasattr(y, "__array__") and np.ndim(y) > 1):
        return False
    rows = list(y)
    if not rows or not _all_lists(rows):
        return False
    # Rows of 0 and 1 of one length are an indicator matrix written as lists.
    lengths = {len(row) for row in rows}
    return not (len(lengths) == 1 and lengths != {0} and all(value in (0, 1) for row in rows for value in row))


def _all_lists(rows: Any) -> bool:
    return all(isinstance(row, list | tuple | set | frozenset) for row in rows)


def _stored(value: Any) -> Any:
    """A setting as JSON has it: numpy's numbers as Python's, paths as texts, class weights as pairs."""
    if isinstance(value, dict):
        # Keys of JSON objects are strings, labels need not be.
        return [[_stored(label), _stored(weight)] for label, weight in value.items()]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def _texts(X: Any) -> list[str] | None:  # noqa: N803
    """The texts of X; None if it holds something else.

    Raises:
        ValueError: X is one text or empty, or some of it are texts and some not.
    """
    if isinstance(X, str):
        raise ValueError("X is one text; expected a list of texts.")
    kind = getattr(getattr(X, "dtype", None), "kind", "O")
    if kind not in "OUT" or hasattr(X, "tocsr") or not hasattr(X, "__len__"):
        return None
    if hasattr(X, "columns"):  # a frame with one column of texts
        return _texts(X.iloc[:, 0]) if X.shape[1] == 1 else None
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 1:
        X = X[:, 0]  # noqa: N806
    values = list(X)
    if not values:
        raise ValueError("X is empty; expected at least 1 text, or a row of numbers.")
    known = [isinstance(value, str) for value in values]
    if not any(known):
        return None
    if not all(known):
        place = known.index(False)
        raise ValueError(f"X[{place}] is {type(values[place]).__name__}; expected a text as in other places.")
    return [str(value) for value in values]
