"""Heads in training: end to end with the encoder by cross entropy, or fitted when the encoder is done."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from embedft.config import HeadConfig, RunConfig
from embedft.data.dataset import Dataset
from embedft.encoder import Encoder
from embedft.heads.fit import FEW, Target, adjusted, class_weights, fit_logistic
from embedft.heads.frozen import examples_of, labels_of, logistic_head, texts_of
from embedft.heads.head import Floats, Head, Kind, Layer
from embedft.training.losses.vectorloss import FromVectors, Objective

logger = logging.getLogger("embedft")

# A head has fewer weights than the encoder and no pretraining to keep.
HEAD_RATE = 10.0
# The fitted head's logits when training begins, as a share of what they were. A head that fits the training texts
# already has so small a loss that the encoder learns little: best dev accuracy of 320 steps on banking77 0.925 with all
# of them (what it was before), 0.937 with 0.3, 0.934 with 0.1; of 170 steps on trec6 0.916, 0.927, 0.930.
SOFTENED = 0.3
# Of a hidden layer on frozen vectors, before it is trained with the encoder.
PROBE_EPOCHS, PROBE_BATCH, PROBE_RATE = 30, 256, 3e-3


class CrossEntropy(Objective):
    """Cross entropy of a head on the vectors; binary cross entropy of each class where a text may have several.

    The head begins as one that was fitted on the vectors of the encoder as it was: from random weights the first steps
    would tear at what the encoder knows (Kumar et al. 2022, arXiv:2202.10054). It is softened, so that there is
    something to learn, and its learning rate is ten times the encoder's.

    Attributes:
        learning_rate_scale: of the head to the encoder.
    """

    learning_rate_scale = HEAD_RATE

    def __init__(self, start: Head, *, dropout: float = 0.0, weights: np.ndarray | None = None) -> None:
        """Around a head.

        Args:
            start: where its weights begin.
            dropout: of vectors and hidden units, in training.
            weights: of each class, (classes,), or, of several, of its absence and presence, (2, classes).
        """
        super().__init__()
        self.start = start.without_examples()
        self.layers = torch.nn.ModuleList(_Linear(*layer) for layer in start.layers)
        self.dropout = torch.nn.Dropout(dropout)
        self.balance = torch.from_numpy(np.asarray(weights, np.float32)) if weights is not None else None

    @property
    def head(self) -> Head:
        """The head as it is now, neither calibrated nor bound to an encoder."""
        layers = tuple(
            (layer.weight.detach().cpu().numpy().copy(), layer.bias.detach().cpu().numpy().copy())
            for layer in self._layers()
        )
        return replace(self.start, layers=layers)

    def _layers(self) -> list[_Linear]:
        return [layer for layer in self.layers if isinstance(layer, _Linear)]

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """(n, classes), of the first dimensions of vectors, however many there are."""
        states = vectors
        for number, layer in enumerate(self._layers()):
            states = self.dropout(torch.relu(states) if number else states)
            weight = layer.weight if number else layer.weight[:, : states.shape[1]]
            states = torch.nn.functional.linear(states, weight, layer.bias)
        return states

    def of(self, labels: Sequence[torch.Tensor]) -> FromVectors:
        """Of class numbers (n,), or of 0 and 1 (n, classes)."""
        goal = labels[0]
        balance = None if self.balance is None else self.balance.to(goal.device)

        def loss(columns: Sequence[torch.Tensor]) -> torch.Tensor:
            # As the head is fitted and judged: of unit length, also where the modules do not see to that, or are cut.
            logits = self.logits(torch.nn.functional.normalize(columns[0], dim=1))
            if not self.start.several:
                return torch.nn.functional.cross_entropy(logits, goal, weight=balance)
            weight = None if balance is None else torch.where(goal > 0, balance[1], balance[0])
            return torch.nn.functional.binary_cross_entropy_with_logits(logits, goal, weight=weight)

        return loss


class _Linear(torch.nn.Module):
    """Weight and bias of a layer, begun with a copy of what is given."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(np.array(weight, np.float32)))
        self.bias = torch.nn.Parameter(torch.from_numpy(np.array(bias, np.float32)))


def cross_entropy(encoder: Encoder, data: Dataset, config: RunConfig) -> CrossEntropy:
    """The objective of an end-to-end run, its head begun on the vectors of ``encoder``.

    Args:
        encoder: as it is before training.
        data: labelled texts, prepared.
        config: kind, size, dropout and class weights of the head; the seed.

    Raises:
        DataError: train has one class alone.
    """
    vectors = encoder.encode_documents(texts_of(data, "train"))
    labels = labels_of(data, "train")
    settings, seed = config.head, config.training.seed
    if settings.kind == "mlp":
        start = probe_mlp(vectors, labels, settings, seed=seed)
    else:
        # Temperature and threshold would be thrown away.
        bare = settings.model_copy(update={"calibrate": False, "in_scope": 0.0})
        start = replace(fit_logistic(vectors, labels, bare, seed=seed), kind="linear")
    *first, (weight, bias) = start.layers
    start = replace(
        start, layers=(*first, (SOFTENED * weight, SOFTENED * bias)), temperature=1.0, threshold=None, record={}
    )
    dropout = settings.dropout if settings.kind == "mlp" else 0.0
    return CrossEntropy(start, dropout=dropout, weights=_balance(labels, settings))


def probe_mlp(vectors: Floats, labels: Sequence[tuple[str, ...]], settings: HeadConfig, *, seed: int) -> Head:
    """A head with one hidden layer, trained on frozen vectors by AdamW; equal seeds give equal heads."""
    target = Target.of(labels)
    generator = torch.Generator().manual_seed(seed)
    sizes = (vectors.shape[1], settings.hidden, len(target.classes))
    layers: list[Layer] = []
    for inputs, outputs in pairwise(sizes):
        bound = inputs**-0.5
        weight = torch.empty(outputs, inputs).uniform_(-bound, bound, generator=generator).numpy()
        layers.append((weight, np.zeros(outputs, np.float32)))
    kind: Kind = "mlp"
    objective = CrossEntropy(
        Head(kind, target.classes, target.several, tuple(layers)), weights=_balance(labels, settings)
    )
    optimiser = torch.optim.AdamW(objective.parameters(), lr=PROBE_RATE, weight_decay=0.01)
    rows = torch.from_numpy(np.asarray(vectors, np.float32))
    goals = torch.from_numpy(target.hot.astype(np.float32) if target.several else target.hot.argmax(1))
    for _ in range(PROBE_EPOCHS):
        order = torch.randperm(len(rows), generator=generator)
        for begin in range(0, len(order), PROBE_BATCH):
            batch = order[begin : begin + PROBE_BATCH]
            optimiser.zero_grad()
            torch.autograd.backward(objective.of([goals[batch]])([rows[batch]]))
            optimiser.step()
    return objective.head


def _balance(labels: Sequence[tuple[str, ...]], settings: HeadConfig) -> np.ndarray | None:
    """The weight of each class, or, of several, of its absence and its presence."""
    if settings.class_weight is None:
        return None
    target = Target.of(labels)
    each = class_weights(target, settings.class_weight)
    hot = target.hot
    if not target.several:
        return np.array([each[hot[:, number]].mean() for number in range(hot.shape[1])])
    held = hot.sum(0)
    present = (each * hot).sum(0) / np.maximum(held, 1)
    absent = (each * ~hot).sum(0) / np.maximum(len(hot) - held, 1)
    return np.stack([absent, present])


def fit_head(encoder: Encoder, data: Dataset, config: RunConfig, *, show_progress: bool = False) -> Head:
    """The logistic head of an encoder, with the settings of a run; see `embedft.heads.frozen.logistic_head`."""
    return logistic_head(encoder, data, config.head, seed=config.training.seed, show_progress=show_progress)


def head_of(objective: CrossEntropy, encoder: Encoder, data: Dataset, config: RunConfig) -> Head:
    """The head that was trained end to end, calibrated on dev, bound to the encoder, with its examples.

    There are no folds that it was not trained on: a small dev is heard alone, and the log says so.

    Args:
        objective: with the weights of the kept step.
        encoder: with the weights of the same step.
        data: with a split dev.
        config: of the run.
    """
    head = replace(objective.head, encoder=encoder.fingerprint, examples=examples_of(encoder, data))
    if "dev" not in data.splits:
        return head
    labels = labels_of(data, "dev")
    if len(labels) < FEW:
        logger.warning(
            "the head's temperature and its threshold for texts out of scope stand on %d texts of dev; %d are better",
            len(labels), FEW,
        )  # fmt: skip
    return adjusted(head, head.logits(encoder.encode_documents(texts_of(data, "dev"))), labels, config.head, on="dev")
