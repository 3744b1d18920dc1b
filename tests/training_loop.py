"""A few steps of training in plain torch, on small texts, for tests of what a trainer does to parameters."""

import torch

from embedft.encoder import Encoder
from embedft.training.batches import PairCollator
from embedft.training.losses.registry import build_loss

PLANTS = ["fern", "rose", "cactus", "tomato", "ivy", "basil", "orchid", "lemon tree", "moss", "pea", "yew", "leek"]
ROWS = [
    {"anchor": f"how to water a {plant}", "positive": f"The {plant} wants moist roots, {number} times a month."}
    | {"negatives": [f"A {plant} is not an animal."]}
    for number, plant in enumerate(PLANTS[:6])
]


def fresh():
    """The bundled encoder, whose modules nobody else trains."""
    return Encoder.load("bundled", precision="float32")


def columns(encoder, rows=ROWS):
    """The features of each column, and the label."""
    batch = PairCollator(encoder, 64)(rows)
    names = ("anchor", "positive", "negative")
    features = [{key: batch[f"{name}_{key}"] for key in ("input_ids", "attention_mask")} for name in names]
    return features, batch["label"]


def vectors(encoder, model, texts=tuple(PLANTS)):
    """Unit vectors by the weights as they are now."""
    return torch.from_numpy(encoder.of(model, "float32").encode(list(texts)))


def train(encoder, steps=3, *, groups=None, loss=None, after=lambda step: None):
    """Some steps of AdamW; gives the optimizer."""
    model = encoder.sentence_transformer.train()
    loss = loss or build_loss("mnrl", {}, model)
    if groups is None:
        groups = [parameter for parameter in loss.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.1)
    features, label = columns(encoder)
    for step in range(steps):
        optimizer.zero_grad()
        loss(features, label).backward()
        optimizer.step()
        after(step + 1)
    model.eval()
    return optimizer
