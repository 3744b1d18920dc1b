"""Heads: the optimum is scikit-learn's, calibration lowers the loss, what is saved is what is loaded."""

import json
import warnings

import numpy as np
import pytest
from labelled_texts import rows, write
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from embedft.config import HeadConfig
from embedft.encoder import Encoder
from embedft.errors import ArtifactError, DataError, WrongModelError
from embedft.heads import Head, fit_centroids, fit_logistic
from embedft.heads.fit import Target, adjusted, class_weights, folds_of, log_loss, temperature_for
from embedft.heads.logistic import fit_path, sigmoid_loss
from embedft.tasks.classification import TASK


def cone(classes=5, count=400, dim=24, seed=0):
    """Unit vectors in a narrow cone, as those of an encoder, and class numbers."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, count)
    centres = rng.normal(size=(classes, dim)) * 0.5
    vectors = 2 * rng.normal(size=dim) + centres[target] + 0.7 * rng.normal(size=(count, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), target


def names(numbers):
    return [(f"c{number}",) for number in numbers]


@pytest.fixture(scope="module")
def vectors(encoder):
    return encoder.encode_documents([row["text"] for row in rows()])


def labels():
    return [(row["label"],) for row in rows()]


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("strength", [1.0, 30.0])
@pytest.mark.parametrize("balanced", [None, "balanced"])
def test_the_optimum_is_that_of_scikit_learn(classes, strength, balanced, monkeypatch):
    points, target = cone(classes)
    target = np.where(np.arange(len(target)) % 3, target, 0)  # uneven
    monkeypatch.setattr("embedft.heads.fit.TOLERANCE", 1e-7)
    settings = HeadConfig(regularisation=strength, class_weight=balanced, calibrate=False, in_scope=0.0)
    head = fit_logistic(points, names(target), settings)
    peer = LogisticRegression(C=strength, class_weight=balanced, tol=1e-9, max_iter=10_000).fit(points, target)
    assert np.abs(head.probabilities(points) - peer.predict_proba(points)).max() < 1e-4
    if classes > 2:
        assert np.abs(head.layers[0][0] - peer.coef_).max() < 1e-3 * np.abs(peer.coef_).max()


def test_one_against_the_rest_is_that_of_scikit_learn():
    points, target = cone(4)
    hot = np.eye(4)[target] + np.eye(4)[(target + np.arange(len(target)) % 2) % 4] > 0
    weights = np.ones(hot.shape)
    (fit,) = fit_path(points, hot.astype(float), weights, 4, [10.0], loss=sigmoid_loss, tolerance=1e-8)
    peer = OneVsRestClassifier(LogisticRegression(C=10, tol=1e-9, max_iter=10_000)).fit(points, hot)
    assert np.abs(1 / (1 + np.exp(-fit(points))) - peer.predict_proba(points)).max() < 1e-3


def test_many_labels_are_each_fitted_as_well_as_a_few():
    rng = np.random.default_rng(0)
    hot = rng.random((900, 150)) < 0.01
    points = hot @ rng.normal(size=(150, 32)) + 0.5 * rng.normal(size=(900, 32)) + 1.5 * rng.normal(size=32)
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    (fit,) = fit_path(points, hot.astype(np.float32), np.ones(hot.shape), 150, [10.0], loss=sigmoid_loss)
    peer = OneVsRestClassifier(LogisticRegression(C=10, max_iter=1000)).fit(points, hot)
    target = Target(tuple(map(str, range(150))), True, hot)
    chances = np.clip(peer.predict_proba(points), 1e-9, 1 - 1e-9)
    assert log_loss(fit(points), target) < 1.01 * log_loss(np.log(chances / (1 - chances)), target)


@pytest.mark.parametrize("several", [False, True])
def test_many_texts_that_are_alike_are_fitted(several):
    points, target = cone(classes=4, count=40, dim=64)
    rows = np.arange(20_000) % 40
    settings = HeadConfig(regularisation=1000.0, calibrate=False, in_scope=0.0)
    head = fit_logistic(points.astype(np.float32)[rows], names(target[rows]), settings, several=several)
    assert head.predict(points) == names(target)


def test_vectors_far_from_zero_are_fitted_as_those_around_it():
    points, target = cone(classes=3, count=300)
    settings = HeadConfig(regularisation=10.0, calibrate=False, in_scope=0.0)
    near = fit_logistic(points.astype(np.float32), names(target), settings)
    far = fit_logistic(points.astype(np.float32) + np.float32(1000), names(target), settings)
    assert np.abs(near.layers[0][0] - far.layers[0][0]).max() < 0.02 * np.abs(near.layers[0][0]).max()


def test_fp32_by_the_default_tolerance_predicts_as_the_optimum():
    points, target = cone(count=1000)
    fits = fit_path(points.astype(np.float32), target, np.ones(len(target)), 5, [1.0, 10.0])
    for strength, fit in zip((1.0, 10.0), fits, strict=True):
        peer = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000).fit(points, target)
        assert fit.converged
        assert (fit(points).argmax(1) == peer.predict(points)).mean() > 0.995


@pytest.mark.parametrize("several", [False, True])
def test_balanced_weights_give_each_class_the_same(several):
    given = names([0] * 6 + [1] * 2) if not several else [("a",)] * 6 + [("a", "b")] * 2
    target = Target.of(given, several=several)
    weights = class_weights(target, "balanced")
    if several:
        assert (weights * target.hot)[:, 1].sum() == pytest.approx((weights * ~target.hot)[:, 1].sum())
    else:
        assert weights[:6].sum() == pytest.approx(weights[6:].sum()) == 4


def test_folds_have_their_share_of_each_class():
    target = Target.of(names(np.repeat([0, 1, 2], [30, 9, 2])))
    fold = folds_of(target, 3, seed=0)
    counts = np.array([np.bincount(fold[target.hot[:, c]], minlength=3) for c in range(3)])
    assert (counts.max(1) - counts.min(1) <= 1).all()
    assert np.array_equal(fold, folds_of(target, 3, seed=0))


def test_a_temperature_undoes_a_scale():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (3000, 3))
    drawn = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    target = Target.of(names(drawn))
    assert temperature_for(3 * logits, target) == pytest.approx(3, rel=0.1)
    assert log_loss(3 * logits, target, 3.0) == pytest.approx(log_loss(logits, target))


def test_calibration_on_dev_lowers_the_loss_there_and_the_threshold_lets_its_share_pass():
    points, target = cone(count=900)
    dev = (points[600:], names(target[600:]))
    settings = HeadConfig(regularisation=1000.0, in_scope=0.9)
    head = fit_logistic(points[:600], names(target[:600]), settings, dev=dev)
    goal = Target.of(dev[1])
    logits = head.logits(dev[0])
    assert head.record["calibrated_on"] == "dev"
    assert log_loss(logits, goal, head.temperature) <= log_loss(logits, goal)
    assert 0.9 <= head.in_scope(dev[0]).mean() < 0.91
    bare = fit_logistic(points[:600], names(target[:600]), HeadConfig(regularisation=1000.0, calibrate=False), dev=dev)
    assert bare.temperature == 1.0
    assert bare.predict(points) == head.predict(points)


@pytest.mark.parametrize("strength", [None, 10.0])
def test_a_small_dev_is_heard_with_the_folds_and_a_large_one_alone(strength):
    points, target = cone(count=1000)
    settings = HeadConfig(regularisation=strength)
    fits = {
        count: fit_logistic(
            points[:60], names(target[:60]), settings, dev=(points[60 : 60 + count], names(target[60 : 60 + count]))
        )
        for count in (5, 100)
    }
    assert (fits[5].record["calibrated_on"], fits[5].record["calibrated_texts"]) == ("3 folds and dev", 65)
    assert (fits[100].record["calibrated_on"], fits[100].record["calibrated_texts"]) == ("dev", 100)
    assert all(head.in_scope(points[160:]).mean() > 0.9 for head in fits.values())


def test_a_few_texts_without_an_error_do_not_make_a_head_sure_of_everything():
    logits = np.eye(3)
    assert 0.2 < temperature_for(logits, Target.of(names([0, 1, 2]))) < 1
    assert temperature_for(np.tile(logits, (3000, 1)), Target.of(names([0, 1, 2] * 3000))) < 0.15


@pytest.mark.parametrize("count", [5, 20, 40])
def test_the_next_text_is_in_scope_by_the_chance_that_is_asked(count):
    rng = np.random.default_rng(0)
    head = fit_centroids(np.eye(2), names([0, 1]))
    passed = []
    for _ in range(300):
        points, other = rng.normal(size=(count, 2)), rng.normal(size=(50, 2))
        own = adjusted(head, head.logits(points), names([0] * count), HeadConfig(calibrate=False), on="dev")
        passed.append(own.in_scope(other).mean())
    assert np.mean(passed) == pytest.approx(min(0.95, count / (count + 1)), abs=0.02)


def test_a_class_weight_of_no_class_is_refused():
    target = Target.of(names([0, 0, 1]))
    assert class_weights(target, {"c1": 3.0}).tolist() == [1, 1, 3]
    # A fold need not have all classes that are weighted.
    assert class_weights(target, {"c0": 2.0, "c1": 3.0, "c2": 9.0}).tolist() == [2, 2, 3]
    with pytest.raises(DataError, match="class_weight has 'c7', which is no class"):
        class_weights(target, {"c0": 2.0, "c7": 3.0})


def test_a_quick_head_knows_every_class(encoder, tmp_path, monkeypatch):
    from embedft.config import DataConfig
    from embedft.heads.frozen import quick_head

    monkeypatch.setattr("embedft.heads.frozen.QUICK_TEXTS", 20)
    rare = [{"text": f"{animal} number {number}", "label": animal} for animal in ("cat", "dog") for number in (1, 2)]
    data = TASK.read(DataConfig(path=write(tmp_path / "data", train=[*rows(), *rare])))
    for seed in range(3):
        assert quick_head(encoder, data, seed=seed).classes == ("cat", "dog", "food", "trains", "weather")


def test_c_is_chosen_by_cross_validation_and_equal_seeds_give_equal_heads(vectors):
    one, two = (fit_logistic(vectors, labels(), seed=3) for _ in range(2))
    assert one.record["C"] in (1, 3, 10, 30, 100)
    assert one.record["calibrated_on"] == "3 folds"
    assert np.array_equal(one.layers[0][0], two.layers[0][0]) and one.threshold == two.threshold
    assert np.mean([said == given for said, given in zip(one.predict(vectors), labels(), strict=True)]) > 0.95


def test_several_classes_are_each_a_decision(encoder):
    given = [tuple(row["label"]) for row in rows(several=True)]
    points = encoder.encode_documents([row["text"] for row in rows()])
    head = fit_logistic(points, given, HeadConfig(regularisation=100.0))
    assert head.several and head.classes == ("europe", "food", "trains", "weather")
    right = [set(said) == set(row) for said, row in zip(head.predict(points), given, strict=True)]
    assert np.mean(right) > 0.9


def test_centroids_say_the_class_with_the_nearest_mean(vectors):
    head = fit_centroids(vectors, labels())
    means = {name: vectors[[row == (name,) for row in labels()]].mean(0) for name in head.classes}
    means = np.stack([means[name] / np.linalg.norm(means[name]) for name in head.classes])
    assert head.predict(vectors) == [(head.classes[best],) for best in (vectors @ means.T).argmax(1)]


def test_what_is_saved_is_what_is_loaded(vectors, tmp_path):
    texts = [row["text"] for row in rows()]
    head = fit_logistic(vectors, labels(), texts=texts, encoder="f" * 64)
    again = Head.load(head.save(tmp_path / "head"))
    assert sorted(path.name for path in (tmp_path / "head").iterdir()) == [
        "examples.parquet", "examples.safetensors", "head.json", "head.safetensors",
    ]  # fmt: skip
    assert np.array_equal(head.probabilities(vectors), again.probabilities(vectors))
    assert np.array_equal(head.in_scope(vectors), again.in_scope(vectors))
    assert (again.classes, again.encoder, again.record) == (head.classes, head.encoder, head.record)
    near = again.explain(vectors[:3], k=2)
    assert [row[0].text for row in near] == texts[:3]
    assert all(abs(row[0].similarity - 1) < 1e-2 and row[0].similarity >= row[1].similarity for row in near)


def test_a_damaged_head_is_refused_by_name(vectors, tmp_path):
    head = fit_logistic(vectors, labels(), texts=[row["text"] for row in rows()])
    for file, harm, said in (
        ("head.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-7]), "SHA-256"),
        ("examples.parquet", lambda path: path.unlink(), "is missing"),
        ("head.json", lambda path: path.write_text("{"), "is damaged"),
        ("head.json", lambda path: path.write_text(path.read_text().replace('"format": 1', '"format": 9')), "format 9"),
        ("head.json", lambda path: path.unlink(), "holds no head"),
    ):
        folder = head.save(tmp_path / f"{file}-{said}".replace(" ", "-"))
        harm(folder / file)
        with pytest.raises(ArtifactError, match=said):
            Head.load(folder)


def test_classes_and_outputs_must_agree(vectors, tmp_path):
    folder = fit_logistic(vectors, labels()).save(tmp_path / "head")
    record = json.loads((folder / "head.json").read_text())
    (folder / "head.json").write_text(json.dumps({**record, "classes": ["one"]}))
    with pytest.raises(ArtifactError, match="output for each class"):
        Head.load(folder)


def test_a_head_is_refused_with_another_encoder(encoder, vectors):
    head = fit_logistic(vectors, labels(), encoder=encoder.fingerprint)
    head.check_encoder(encoder)
    with pytest.raises(WrongModelError, match="another encoder"):
        head.check_encoder(Encoder.load("bundled", precision="float32", truncate_dim=64))


def test_one_class_is_refused(vectors):
    with pytest.raises(DataError, match="all 72 texts have one label, x"):
        fit_logistic(vectors, [("x",)] * 72)


def test_the_task_takes_the_head_beside_the_encoder_and_else_fits_one(encoder, tmp_path):
    from embedft.config import DataConfig

    data = TASK.read(DataConfig(path=write(tmp_path / "data")))
    own = TASK.evaluate(encoder, data, "test", ["accuracy"], show_progress=False)
    model = encoder.save(tmp_path / "run" / "model")
    beside = Encoder.load(model, precision="float32")
    points = beside.encode_documents([row["text"] for row in rows()])
    wrong = [("weather",) if row == ("food",) else ("food",) if row == ("weather",) else row for row in labels()]
    fit_logistic(points, wrong, encoder=beside.fingerprint).save(tmp_path / "run" / "head")
    other = TASK.evaluate(beside, data, "test", ["accuracy"], show_progress=False)
    assert own.metrics["accuracy"] > 0.8 > 0.5 > other.metrics["accuracy"]


def test_vectors_without_scale_do_not_warn():
    points, target = cone(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head = fit_logistic(points * 1e4 + 50, names(target), HeadConfig(regularisation=1.0))
    assert np.isfinite(head.probabilities(points * 1e4 + 50)).all()
