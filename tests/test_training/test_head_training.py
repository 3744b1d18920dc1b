"""Training on labelled texts: losses equal their formulas, batches hold several texts of a class, heads are kept."""

import numpy as np
import pytest
import torch
from families import bert, saved
from labelled_texts import write

from embedft.config import DataConfig, RunConfig
from embedft.encoder import Encoder
from embedft.heads import Head
from embedft.tasks.classification import TASK
from embedft.training.heads import CrossEntropy, cross_entropy, fit_head, head_of, probe_mlp
from embedft.training.labelled import (
    TEXTS_A_CLASS,
    ClassBatchSampler,
    LabelledCollator,
    PairedClasses,
    SupervisedContrastive,
)
from embedft.training.losses.vectorloss import VectorLoss


def data_of(path, *, several=False):
    config = DataConfig(path=write(path, several=several))
    return TASK.prepare(TASK.read(config), config, 0).data


def run_of(path, **head):
    return RunConfig(task="classification", data=DataConfig(path=path), head=head)


class Rows(list):
    """Rows as ``datasets`` gives them."""

    def __getitem__(self, key):
        return [row[key] for row in self] if isinstance(key, str) else list.__getitem__(self, key)


def features(batch):
    return [{name.removeprefix("text_"): value for name, value in batch.items() if name.startswith("text_")}]


@pytest.mark.parametrize("scale", [5.0, 20.0])
def test_the_contrastive_loss_is_that_of_khosla(scale):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(12, 8, generator=generator)
    classes = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 4])  # 3 stands alone
    found = SupervisedContrastive(scale).of([classes])([vectors])
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    each = []
    for i in range(12):
        others = [a for a in range(12) if a != i]
        positives = [p for p in others if classes[p] == classes[i]]
        if positives:
            total = torch.logsumexp(torch.stack([scale * unit[i] @ unit[a] for a in others]), 0)
            each.append(-sum(scale * unit[i] @ unit[p] - total for p in positives) / len(positives))
    assert float(found) == pytest.approx(float(sum(each) / 11), rel=1e-5)


@pytest.mark.parametrize("objective", [SupervisedContrastive(), PairedClasses()])
def test_classes_as_numbers_and_as_lists_of_0_and_1_give_the_same_loss(objective):
    vectors = torch.randn(8, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    classes = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    hot = torch.nn.functional.one_hot(classes).float()
    assert torch.allclose(objective.of([classes])([vectors]), objective.of([hot])([vectors]))
    lone = objective.of([torch.arange(8)])([vectors])
    lone.backward()
    assert torch.isfinite(lone) and torch.isfinite(vectors.grad).all()


def test_the_paired_loss_is_the_mean_squared_error_of_cosines():
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = PairedClasses().of([torch.tensor([0, 0, 0])])([vectors])
    assert float(found) == pytest.approx(2 / 3)  # cosines 1, 0, 0 of one class
    found = PairedClasses().of([torch.tensor([0, 1, 2])])([vectors])
    assert float(found) == pytest.approx(1 / 3)


@pytest.mark.parametrize("sizes", [(20, 20, 20), (50, 3, 1, 17), (1, 1, 1, 1)])
def test_each_text_comes_once_an_epoch_beside_others_of_its_class(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    dataset = Rows({"label": int(label)} for label in labels)
    sampler = ClassBatchSampler(dataset, 16, seed=0)
    epochs = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        rows = np.concatenate(batches)
        assert len(set(rows.tolist())) == len(rows) >= len(labels) - 1
        epochs.append(rows.tolist())
        again = ClassBatchSampler(dataset, 16, seed=0)
        again.set_epoch(epoch)
        assert list(again) == batches
    assert epochs[0] != epochs[1]
    if min(sizes) >= TEXTS_A_CLASS:
        full = [np.bincount(labels[batch]) for batch in batches if len(batch) == 16]
        assert all((counts[counts > 0] >= 2).mean() > 0.5 for counts in full)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("weight", [None, "balanced"])
def test_cross_entropy_is_torchs_and_begins_at_the_fitted_head(tmp_path, several, weight):
    data = data_of(tmp_path / "data", several=several)
    encoder = Encoder.load("bundled", precision="float32")
    config = run_of(tmp_path / "data", kind="linear", class_weight=weight)
    objective = cross_entropy(encoder, data, config)
    rows = TASK.training_rows(data).to_pylist()[:10]
    batch = LabelledCollator(encoder, 32)(rows)
    vectors = torch.from_numpy(encoder.encode_documents([row["text"] for row in rows]))
    logits = torch.from_numpy(objective.head.logits(vectors.numpy())).float()
    loss = VectorLoss(objective, encoder.sentence_transformer)(features(batch), batch["label"])
    if weight is None:
        of = torch.nn.functional.binary_cross_entropy_with_logits if several else torch.nn.functional.cross_entropy
        assert loss.item() == pytest.approx(of(logits, batch["label"]).item(), rel=1e-3)
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in objective.parameters())
    assert objective.head.classes == TASK.head_for(encoder, data).classes


@pytest.mark.parametrize("dim", [None, 16])
@pytest.mark.parametrize("name", ["bundled", "without a normalisation"])
def test_a_head_is_trained_on_the_vectors_that_it_is_judged_on(tmp_path, name, dim):
    path = "bundled" if name == "bundled" else saved(tmp_path, bert())
    encoder = Encoder.load(path, precision="float32", truncate_dim=dim)
    weight = np.random.default_rng(0).normal(size=(3, encoder.dim)).astype(np.float32)
    head = Head("linear", ("a", "b", "c"), False, ((weight, np.zeros(3, np.float32)),))
    rows = [{"text": f"plant number {number}", "label": number % 3} for number in range(5)]
    batch = LabelledCollator(encoder, 32)(rows)
    model = encoder.sentence_transformer.eval()
    loss = VectorLoss(CrossEntropy(head), model, dims=[encoder.truncate_dim])(features(batch), batch["label"])
    logits = torch.from_numpy(head.logits(encoder.encode_documents([row["text"] for row in rows]))).float()
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, batch["label"]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_few_steps_end_to_end_lower_the_loss_and_the_head_is_kept(tmp_path, kind):
    data = data_of(tmp_path / "data")
    encoder = Encoder.load("bundled", precision="float32")
    config = run_of(tmp_path / "data", kind=kind, hidden=32, regularisation=1.0)
    objective = cross_entropy(encoder, data, config)
    loss = VectorLoss(objective, encoder.sentence_transformer)
    rows = TASK.training_rows(data).to_pylist()
    batch = LabelledCollator(encoder, 32)(rows)
    optimiser = torch.optim.AdamW(
        [
            {"params": encoder.sentence_transformer.parameters(), "lr": 1e-4},
            {"params": objective.parameters(), "lr": 1e-4 * objective.learning_rate_scale},
        ]
    )
    seen = []
    for _ in range(4):
        optimiser.zero_grad()
        value = loss(features(batch), batch["label"])
        value.backward()
        optimiser.step()
        seen.append(value.item())
    assert seen[-1] < seen[0]
    trained = encoder.of(encoder.sentence_transformer, "float32")
    head = head_of(objective, trained, data, config)
    head.check_encoder(trained)
    assert (head.kind, head.record["calibrated_on"], len(head.layers)) == (kind, "dev", 1 + (kind == "mlp"))
    again = Head.load(head.save(tmp_path / "head"))
    one, two = (TASK.evaluate(trained, data, "test", ["accuracy", "nll"], show_progress=False, head=h)
                for h in (head, again))  # fmt: skip
    assert one.metrics == two.metrics and one.metrics["accuracy"] > 0.7


def test_a_probed_mlp_is_the_same_for_the_same_seed(encoder, tmp_path):
    data = data_of(tmp_path / "data")
    table = data.splits["train"]
    vectors = encoder.encode_documents(table["text"].to_pylist())
    labels = [tuple(row) for row in table["labels"].to_pylist()]
    settings = run_of(tmp_path / "data", kind="mlp", hidden=16).head
    one, two = (probe_mlp(vectors, labels, settings, seed=1) for _ in range(2))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(one.layers, two.layers, strict=True))
    assert np.mean([said == given for said, given in zip(one.predict(vectors), labels, strict=True)]) > 0.9


def test_the_head_of_a_run_is_calibrated_on_dev_and_explains(encoder, tmp_path):
    data = data_of(tmp_path / "data")
    head = fit_head(encoder, data, run_of(tmp_path / "data"))
    assert head.record["calibrated_on"] == "3 folds and dev" and head.encoder == encoder.fingerprint
    text = data.splits["train"]["text"][0].as_py()
    assert head.explain(encoder.encode_documents([text]), k=1)[0][0].text == text


def test_a_head_takes_the_first_dimensions_for_matryoshka():
    start = Head("linear", ("a", "b"), False, ((np.eye(2, 4, dtype=np.float32), np.zeros(2, np.float32)),))
    objective = CrossEntropy(start)
    vectors = torch.eye(4)[:3]
    assert torch.equal(objective.logits(vectors[:, :2]), objective.logits(vectors)[:, :2])


def test_end_to_end_training_begins_with_the_classes_of_the_fitted_head_and_softer_logits(encoder, tmp_path):
    data, config = data_of(tmp_path / "data"), run_of(tmp_path / "data", kind="linear")
    fitted = fit_head(encoder, data, run_of(tmp_path / "again", calibrate=False))
    vectors = encoder.encode_documents(data.splits["test"]["text"].to_pylist())
    begun = cross_entropy(encoder, data, config).logits(torch.from_numpy(vectors)).detach().numpy()
    plain = fitted.logits(vectors)
    np.testing.assert_array_equal(begun.argmax(1), plain.argmax(1))
    assert 0.1 < np.abs(begun).mean() / np.abs(plain).mean() < 0.6
