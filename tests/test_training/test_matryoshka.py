"""A loss on several numbers of dimensions is sentence-transformers' MatryoshkaLoss around it, from one forward pass."""

import pytest
import torch
from loss_cases import CASE_IDS, CASES, PAIRS, assert_equal_losses, batch_of, guide_of, small, value_and_gradients
from sentence_transformers.sentence_transformer import losses as reference

from embedft.training.losses.registry import LOSSES, build_loss

DIMS = [32, 16, 6]
# Its decorator counts calls of the model's forward; GISTEmbedLoss cuts the guide too, which is not what was asked.
NESTED = [
    pytest.param(case, id=name)
    for case, name in zip(CASES, CASE_IDS, strict=True)
    if case[0] != "gist" and case[1] in ({}, {"symmetric": True}, {"margin": 1.2})
]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nested")
    return small(folder), *guide_of(folder)


@pytest.mark.parametrize("case", NESTED)
def test_value_and_gradients_are_those_of_the_reference(setting, case):
    encoder, guide_encoder, guide = setting
    name, options, rows, of_reference = case
    model = encoder.sentence_transformer
    features, labels = batch_of(encoder, rows)
    nested = reference.MatryoshkaLoss(model, of_reference(model, guide_encoder), DIMS)
    theirs = value_and_gradients(nested, features, labels)
    loss = build_loss(name, options, model, matryoshka=DIMS[1:], guide=guide)
    assert_equal_losses(value_and_gradients(loss, features, labels), theirs)
    if LOSSES[name].cached:
        cached = build_loss(name, options, model, matryoshka=DIMS[1:], guide=guide, gradient_cache=True)
        assert_equal_losses(value_and_gradients(cached, features, labels), theirs)


def test_the_encoder_runs_once(setting):
    encoder = setting[0]
    model = encoder.sentence_transformer
    seen = []
    hook = model[0].model.register_forward_hook(lambda *_: seen.append(1))
    features, labels = batch_of(encoder, PAIRS)
    build_loss("mnrl", {}, model)(features, labels)
    alone = len(seen)
    build_loss("mnrl", {}, model, matryoshka=[16, 8])(features, labels)
    hook.remove()
    assert len(seen) == 2 * alone


@pytest.mark.parametrize(("truncate_dim", "matryoshka"), [(None, [32, 8]), (8, [8]), (8, [])])
def test_the_whole_vector_counts_once(setting, truncate_dim, matryoshka):
    encoder = setting[0]
    model = encoder.sentence_transformer
    features, labels = batch_of(encoder, PAIRS)

    def value(dim):
        return build_loss("mnrl", {}, model, dim)(features, labels)

    found = build_loss("mnrl", {}, model, truncate_dim, matryoshka=matryoshka)(features, labels)
    expected = value(truncate_dim) + (value(8) if truncate_dim is None else 0)
    torch.testing.assert_close(found, expected)
