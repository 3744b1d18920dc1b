"""Each loss has the value and the gradients of the module of sentence-transformers that its docstring names."""

import pytest
import torch
from sentence_transformers.sentence_transformer import losses as reference
from sentence_transformers.sentence_transformer.losses import TripletDistanceMetric

from embedft.errors import ConfigError
from embedft.training.losses import objectives

BINARY = torch.tensor([1.0, 0, 1, 0, 0, 1, 1, 0])
ONE_SIMILAR = torch.tensor([0.0, 0, 0, 1, 0, 0, 0, 0])
GRADED = torch.tensor([0.0, 0.2, 0.2, 0.5, 1.0, 0.9, 0.4, 0.4])


def vectors(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 16, generator=random, dtype=torch.float32).requires_grad_() for _ in range(count)]


@pytest.mark.parametrize(
    ("name", "module", "labels", "options"),
    [
        ("cosent", lambda: reference.CoSENTLoss(None), GRADED, {}),
        ("cosent", lambda: reference.CoSENTLoss(None, scale=5.0), GRADED, {"scale": 5.0}),
        ("angle", lambda: reference.AnglELoss(None), GRADED, {}),
        ("cosine", lambda: reference.CosineSimilarityLoss(None), GRADED, {}),
        ("contrastive", lambda: reference.ContrastiveLoss(None), BINARY, {}),
        ("contrastive", lambda: reference.ContrastiveLoss(None, margin=1.2), BINARY, {"margin": 1.2}),
        ("online_contrastive", lambda: reference.OnlineContrastiveLoss(None, margin=1.2), BINARY, {"margin": 1.2}),
        ("online_contrastive", lambda: reference.OnlineContrastiveLoss(None), BINARY, {}),
        *(
            ("online_contrastive", lambda: reference.OnlineContrastiveLoss(None, margin=1.2), labels, {"margin": 1.2})
            for labels in (ONE_SIMILAR, 1 - ONE_SIMILAR, torch.ones(8), torch.zeros(8))
        ),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_values_and_gradients_are_those_of_the_reference(name, module, labels, options, seed):
    left, right = vectors(2, seed)
    expected = module().compute_loss_from_embeddings([left, right], labels)
    wanted = torch.autograd.grad(expected, [left, right], allow_unused=True)
    found = getattr(objectives, name)(left, right, labels, **options)
    torch.testing.assert_close(found, expected.float())
    for one, other in zip(torch.autograd.grad(found, [left, right], allow_unused=True), wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_triplets_are_those_of_the_reference(margin):
    columns = vectors(3)
    module = reference.TripletLoss(None, TripletDistanceMetric.COSINE, triplet_margin=margin)
    expected = module.compute_loss_from_embeddings(columns, None)
    found = objectives.triplet(*columns, margin=margin)
    torch.testing.assert_close(found, expected)
    for one, other in zip(torch.autograd.grad(found, columns), torch.autograd.grad(expected, columns), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["cosent", "angle"])
def test_only_the_order_of_scores_counts(name):
    left, right = vectors(2)
    loss = getattr(objectives, name)
    assert loss(left, right, GRADED) == loss(left, right, GRADED**3 * 5)
    assert loss(left, right, torch.ones(8)) == 0, "without an order there is nothing to learn"


@pytest.mark.parametrize("scores", [GRADED, BINARY, torch.ones(8), -torch.arange(8.0), torch.zeros(1)], ids=str)
@pytest.mark.parametrize("scale", [1.0, 20.0, 10_000.0])
def test_every_two_pairs_of_different_scores_are_compared_once(scores, scale):
    left, right = (side[: len(scores)] for side in vectors(2))
    exact = scale * torch.nn.functional.cosine_similarity(left.double(), right.double())
    wrong = [exact[i] - exact[j] for i in range(len(scores)) for j in range(len(scores)) if scores[i] < scores[j]]
    expected = torch.logsumexp(torch.stack([0 * exact[0], *wrong]), 0)
    found = objectives.cosent(left, right, scores, scale=scale)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)
    for one, other in zip(*(torch.autograd.grad(loss, [left, right]) for loss in (found, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6 * scale)


@pytest.mark.parametrize("name", ["cosent", "angle"])
def test_no_matrix_of_all_pairs_is_kept(name):
    sizes = []

    def keep(tensor):
        sizes.append(tensor.numel())
        return tensor

    left, right = (torch.randn(300, 4).requires_grad_() for _ in range(2))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        getattr(objectives, name)(left, right, torch.rand(300))
    assert max(sizes) <= left.numel()


def test_angles_need_an_even_number_of_dimensions():
    with pytest.raises(ConfigError, match="not 15"):
        objectives.angle(*(side[:, :15] for side in vectors(2)), GRADED)
