"""Training without padding is training: step by step the losses and gradients of sentence-transformers."""

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)

from embedft.data.docstrings import docstring_data
from embedft.encoder import Encoder
from embedft.training.batches import PairCollator
from embedft.training.losses.registry import build_loss

STEPS, BATCH, MAX_LENGTH = 20, 24, 96


def trained(make_loss, pairs):
    """Losses of each step and the gradient of the first, flattened."""
    encoder = Encoder.load("bundled", precision="float32")
    model = encoder.sentence_transformer.train()
    loss = make_loss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    collate = PairCollator(encoder, MAX_LENGTH)
    losses, first = [], None
    for step in range(STEPS):
        batch = collate(pairs[step * BATCH : (step + 1) * BATCH])
        features = [
            {key: batch[f"{column}_{key}"] for key in ("input_ids", "attention_mask")}
            for column in ("anchor", "positive")
        ]
        optimizer.zero_grad()
        value = loss(features, batch["label"])
        value.backward()
        if first is None:
            gradients = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
            first = torch.cat(gradients).clone()
        optimizer.step()
        losses.append(value.item())
    return torch.tensor(losses), first


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_the_first_20_steps_have_the_losses_of_sentence_transformers(cached):
    table = docstring_data(limit=1500).training_pairs()
    rows = list({row["anchor"]: row for row in table.to_pylist()}.values())
    rows = list({row["positive"]: row | {"negatives": []} for row in rows}.values())[: STEPS * BATCH]
    assert len(rows) == STEPS * BATCH
    reference = CachedMultipleNegativesRankingLoss if cached else MultipleNegativesRankingLoss
    options = {"mini_batch_size": 7} if cached else {}
    theirs, their_gradient = trained(lambda model: reference(model, **options), rows)
    ours, our_gradient = trained(lambda model: build_loss("mnrl", {}, model, gradient_cache=cached), rows)
    assert theirs[0] > 0.01
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert torch.nn.functional.cosine_similarity(our_gradient, their_gradient, dim=0) > 0.9999
