"""`EmbeddingClassifier` keeps scikit-learn's contract, on numbers and on texts."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from labelled_texts import rows
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from embedft.encoder import BUNDLED_PATH, Encoder
from embedft.errors import ArtifactError, DataError, ModelError
from embedft.integrations.scikit_learn import EmbeddingClassifier

TEXTS = [row["text"] for row in rows()]
LABELS = [row["label"] for row in rows()]
SEVERAL = [row["label"] for row in rows(several=True)]


@pytest.fixture(scope="module")
def fitted():
    return EmbeddingClassifier().fit(TEXTS, LABELS)


def test_all_checks_of_scikit_learn_pass():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = check_estimator(EmbeddingClassifier(), on_skip=None, on_fail=None)
    assert [check["check_name"] for check in done if check["status"] not in ("passed", "skipped")] == []
    # On numbers; that it takes texts too is what its tag says.
    assert len(done) > 50
    assert EmbeddingClassifier().__sklearn_tags__().input_tags.string


def test_texts_are_classified(fitted):
    assert fitted.classes_.tolist() == ["food", "trains", "weather"]
    assert fitted.score(TEXTS, LABELS) > 0.95
    assert fitted.predict(["heavy rain tonight", "the next train"]).tolist() == ["weather", "trains"]
    chances = fitted.predict_proba(TEXTS[:5])
    assert chances.shape == (5, 3) and np.allclose(chances.sum(1), 1)
    assert (chances.argmax(1) == fitted.decision_function(TEXTS[:5]).argmax(1)).all()
    assert fitted.predict_in_scope(TEXTS).mean() > 0.9


def test_an_explanation_is_the_nearest_training_texts(fitted):
    (near,) = fitted.explain([TEXTS[4]], k=3)
    assert near[0].text == TEXTS[4] and near[0].labels == (LABELS[4],)
    assert [one.similarity for one in near] == sorted((one.similarity for one in near), reverse=True)


@pytest.mark.parametrize("kind", ["list", "array", "objects", "column"])
def test_texts_come_in_any_container(fitted, kind):
    given = {
        "list": TEXTS, "array": np.array(TEXTS), "objects": np.array(TEXTS, object),
        "column": np.array(TEXTS, object)[:, None],
    }[kind]  # fmt: skip
    assert np.array_equal(fitted.predict_proba(given), fitted.predict_proba(TEXTS))


def test_vectors_embedded_before_give_the_same(encoder):
    embed = FunctionTransformer(Encoder.load("bundled").encode_documents)
    joined = make_pipeline(embed, EmbeddingClassifier(C=10)).fit(TEXTS, LABELS)
    alone = EmbeddingClassifier(C=10).fit(TEXTS, LABELS)
    assert np.allclose(joined.predict_proba(TEXTS), alone.predict_proba(TEXTS), atol=1e-6)


def test_it_is_cloned_searched_and_cross_validated():
    search = GridSearchCV(EmbeddingClassifier(calibrate=False), {"C": [0.1, 10.0]}, cv=2).fit(TEXTS, LABELS)
    assert search.best_estimator_.predict(TEXTS).tolist().count("food") > 0
    assert clone(search.best_estimator_).get_params()["C"] == search.best_params_["C"]
    assert cross_val_score(EmbeddingClassifier(C=10), TEXTS, LABELS, cv=3).mean() > 0.8


@pytest.mark.parametrize("form", ["lists", "indicator"])
def test_a_text_may_have_several_labels(form):
    names = sorted({name for row in SEVERAL for name in row})
    hot = np.array([[name in row for name in names] for row in SEVERAL], int)
    y = SEVERAL if form == "lists" else hot
    fitted = EmbeddingClassifier(C=100).fit(TEXTS, y)
    assert fitted.score(TEXTS, y) > 0.9
    said = fitted.predict(TEXTS[:2])
    if form == "lists":
        assert [set(row) for row in said] == [set(row) for row in SEVERAL[:2]]
    else:
        assert said.shape == (2, len(names)) and set(np.unique(said)) <= {0, 1}
    assert fitted.predict_proba(TEXTS[:2]).shape == (2, len(names))


@pytest.mark.parametrize("labels", [LABELS, [len(label) for label in LABELS], SEVERAL])
def test_what_is_saved_is_what_is_loaded(tmp_path, labels):
    fitted = EmbeddingClassifier(C=10).fit(TEXTS, labels)
    again = EmbeddingClassifier.load(fitted.save(tmp_path / "classifier"))
    assert np.array_equal(fitted.predict_proba(TEXTS), again.predict_proba(TEXTS))
    assert list(again.predict(TEXTS)) == list(fitted.predict(TEXTS))
    assert again.classes_.dtype == fitted.classes_.dtype and again.get_params() == fitted.get_params()
    assert not list((tmp_path / "classifier").glob("*.pkl"))
    with pytest.raises(ArtifactError, match="exists already"):
        fitted.save(tmp_path / "classifier")
    (tmp_path / "classifier" / "classifier.json").write_text("[]")
    with pytest.raises(ArtifactError, match="is damaged"):
        EmbeddingClassifier.load(tmp_path / "classifier")


def test_settings_of_a_search_are_saved_and_loaded(tmp_path):
    searched = EmbeddingClassifier(
        Path(BUNDLED_PATH), C=np.int64(10), in_scope=np.float32(0.5), class_weight={np.int64(4): 5.0, 6: 1}
    ).fit(TEXTS, [len(label) for label in LABELS])
    again = EmbeddingClassifier.load(searched.save(tmp_path / "classifier"))
    assert again.get_params() == {**searched.get_params(), "model": str(BUNDLED_PATH)}
    assert np.array_equal(searched.predict_proba(TEXTS), again.predict_proba(TEXTS))


def test_a_later_format_is_refused(fitted, tmp_path):
    path = fitted.save(tmp_path / "classifier") / "classifier.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 9}))
    with pytest.raises(ArtifactError, match="is of format 9, this embedft reads 1"):
        EmbeddingClassifier.load(tmp_path / "classifier")


def test_an_encoder_that_is_replaced_is_opened_again(tmp_path):
    for dim in (384, 64):
        Encoder.load("bundled", truncate_dim=dim).save(tmp_path / "model", force=True)
        fitted = EmbeddingClassifier(tmp_path / "model", C=1.0).fit(TEXTS, LABELS)
        assert fitted.head_.dim == dim
        assert fitted.head_.encoder == Encoder.load(tmp_path / "model").fingerprint


def test_labels_are_scored_in_the_form_that_they_were_fitted_in(fitted):
    with pytest.raises(ValueError, match="y holds lists of labels"):
        fitted.score(TEXTS, [[label] for label in LABELS])
    with pytest.raises(ValueError, match="y holds no lists of labels"):
        EmbeddingClassifier(C=1.0).fit(TEXTS, SEVERAL).score(TEXTS, LABELS)


def test_a_sparse_indicator_matrix_is_as_good_as_a_dense_one():
    hot = np.eye(3, dtype=int)[np.unique(LABELS, return_inverse=True)[1]]
    dense, sparse = (EmbeddingClassifier(C=10).fit(TEXTS, y) for y in (hot, csr_matrix(hot)))
    assert np.array_equal(dense.predict_proba(TEXTS), sparse.predict_proba(TEXTS))
    assert sparse.score(TEXTS, csr_matrix(hot)) == dense.score(TEXTS, hot) > 0.9


def test_what_cannot_be_fitted_is_said(fitted):
    with pytest.raises(ValueError, match="expected a list of texts"):
        EmbeddingClassifier().fit("one text", ["a"])
    with pytest.raises(ValueError, match=r"X\[1\] is int"):
        EmbeddingClassifier().fit(["a", 1], ["a", "b"])
    with pytest.raises(ValueError, match="1 class"):
        EmbeddingClassifier().fit(TEXTS, ["same"] * len(TEXTS))
    with pytest.raises(ValueError, match="expected one for each"):
        EmbeddingClassifier().fit(TEXTS, LABELS[:-1])
    with pytest.raises(ValueError, match="X is empty"):
        EmbeddingClassifier().fit([], [])
    with pytest.raises(ValueError, match="X is empty"):
        fitted.predict([])
    with pytest.raises(DataError, match="class_weight has 'fod'"):
        EmbeddingClassifier(C=1.0, class_weight={"fod": 5.0}).fit(TEXTS, LABELS)
    with pytest.raises(ModelError):
        EmbeddingClassifier(model="no/such/folder").fit(TEXTS, LABELS)
