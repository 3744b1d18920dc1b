"""Losses, one entry each: what it computes, from which paper, on which data, with which options.

An entry is built into an `Objective`, a function of vectors; `build_loss` puts it under the trainer. The table in
``docs/losses.md`` is made from these entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from embedft.errors import ConfigError
from embedft.training.heads import CrossEntropy
from embedft.training.labelled import PairedClasses, SupervisedContrastive
from embedft.training.losses import checks as losschecks
from embedft.training.losses import objectives
from embedft.training.losses.distillation import Divergence, MarginMSE
from embedft.training.losses.guide import Guide
from embedft.training.losses.masks import PairSet
from embedft.training.losses.needs import Needs, rows_of
from embedft.training.losses.objectives import OfValues, Triplets
from embedft.training.losses.ranking import Gist, Ranking
from embedft.training.losses.vectorloss import Objective, VectorLoss


@dataclass(frozen=True)
class Option:
    """An option of a loss.

    Attributes:
        default: its value if it is not set.
        meaning: in a few words.
        kind: its type.
        choices: all values it can have, where it is a text.
        above: it must be larger than this; None if it may also be 0.
    """

    default: float | bool | str | None
    meaning: str
    kind: type[float] | type[bool] | type[str] = float
    choices: tuple[str, ...] = ()
    above: float | None = None

    def fault(self, value: object) -> str:
        """What is expected instead of ``value``; empty if it is right."""
        if self.kind is bool:
            return "" if isinstance(value, bool) else "true or false"
        if self.kind is str:
            return "" if value in self.choices else " or ".join(self.choices)
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
        if self.above is not None:
            return "" if number > self.above else f"a number above {self.above:g}"
        return "" if number >= 0 else "a number of at least 0"


@dataclass(frozen=True)
class Loss:
    """A loss.

    Attributes:
        build: makes its objective out of its options.
        needs: the rows it is trained on.
        formula: of the batch, in one line.
        paper: where it comes from.
        options: by name.
        cached: whether the gradient cache makes sense: rows are compared across the batch. For others gradient
            accumulation gives the same with half the work.
        guided: whether it needs a guide.
        masked: whether it can be told known positives.
        even: whether it needs an even number of dimensions.
    """

    build: Callable[..., Objective]
    needs: Needs
    formula: str
    paper: str
    options: Mapping[str, Option] = field(default_factory=dict)
    cached: bool = False
    guided: bool = False
    masked: bool = False
    even: bool = False


def _margin(default: float, meaning: str = "distance from which a dissimilar pair costs nothing") -> dict[str, Option]:
    return {"margin": Option(default, meaning)}


SCALE = {"scale": Option(20.0, "inverse temperature", above=0)}
SENTENCE_BERT = "Reimers & Gurevych 2019, arXiv:1908.10084"
HADSELL = "Hadsell, Chopra & LeCun 2006, eq. 4"

LOSSES: dict[str, Loss] = {
    "mnrl": Loss(
        Ranking,
        "pairs",
        "-log(exp(scale * cos(a, p)) / sum over c of exp(scale * cos(a, c)))",
        "Henderson et al. 2017, arXiv:1705.00652; van den Oord et al. 2018, arXiv:1807.03748",
        {
            **SCALE,
            "learn_scale": Option(False, "train the scale too, from its value, up to 100 (CLIP)", bool),
            "symmetric": Option(False, "also find the anchor of each positive; the mean of both", bool),
            "mask": Option(True, "duplicates and known positives are never negatives", bool),
        },
        cached=True,
        masked=True,
    ),
    "gist": Loss(
        Gist,
        "pairs",
        "-log(exp(cos(a, p) / t) / sum of exp(cos(x, y) / t)), (x, y) of (a, c), (a, a'), (p, p') with "
        "teacher(x, y) <= teacher(a, p) - margin",
        "Solatorio 2024, arXiv:2402.16829",
        {
            "temperature": Option(0.01, "what cosines are divided by", above=0),
            **_margin(0.0, "how much less similar than the positive a negative must be to the guide"),
            "margin_strategy": Option("absolute", "or a share of the similarity", str, ("absolute", "relative")),
            "contrast_anchors": Option(True, "anchors against anchors", bool),
            "contrast_positives": Option(True, "positives against positives", bool),
        },
        cached=True,
        guided=True,
        masked=True,
    ),
    "triplet": Loss(
        Triplets,
        "triplets",
        "max(0, d(a, p) - d(a, n) + margin), d = 1 - cos",
        "Schroff, Kalenichenko & Philbin 2015, arXiv:1503.03832",
        _margin(0.2, "how much farther the negative shall be"),
    ),
    "distil_margin_mse": Loss(
        MarginMSE,
        "triplets",
        "(scale * (cos(a, p) - cos(a, n)) - (teacher(a, p) - teacher(a, n)))^2",
        "Hofstätter et al. 2020, arXiv:2010.02666",
        {"scale": Option(1.0, "what cosines are multiplied by; 1 if the teacher's scores are cosines", above=0)},
        guided=True,
    ),
    "distil_kl": Loss(
        Divergence,
        "pairs",
        "KL(softmax(teacher(a, c) / t_teacher) || softmax(cos(a, c) / t)) * t^2 over candidates c",
        "Lin, Yang & Lin 2020, arXiv:2010.11386; Hinton et al. 2015, arXiv:1503.02531",
        {
            "in_batch": Option(True, "all texts of the batch are candidates; false: those of the anchor's rows", bool),
            "student_temperature": Option(0.05, "what the encoder's scores are divided by", above=0),
            "teacher_temperature": Option(None, "of the teacher's; by default 0.05, for a cross-encoder 1", above=0),
        },
        cached=True,
        guided=True,
    ),
    "cosent": Loss(
        partial(OfValues, objectives.cosent),
        "scored pairs",
        "log(1 + sum of exp(scale * (cos_i - cos_j)) over i, j with score i < score j)",
        "Su 2022, kexue.fm/archives/8847",
        SCALE,
        cached=True,
    ),
    "angle": Loss(
        partial(OfValues, objectives.angle),
        "scored pairs",
        "as cosent, with |sum of Re(z) + Im(z)| for cos, z = left / right, each scaled to 1, read as complex numbers",
        "Li & Li 2023, arXiv:2309.12871",
        SCALE,
        cached=True,
        even=True,
    ),
    "cross_entropy": Loss(
        CrossEntropy,
        "labelled texts",
        "-log softmax(head(x)) at the class, x of length 1; of several classes -log sigmoid of each",
        "Kumar et al. 2022, arXiv:2202.10054 (a fitted head first, then both)",
    ),
    "supcon": Loss(
        SupervisedContrastive,
        "labelled texts",
        "-log softmax(scale * cos(x, y)) at the y of the same class, their mean, over all y of the batch",
        "Khosla et al. 2020, arXiv:2004.11362, eq. 2",
        SCALE,
        cached=True,
    ),
    "paired": Loss(
        PairedClasses,
        "labelled texts",
        "(cos(x, y) - [same class])^2 over the pairs of the batch, like and unlike ones counted alike",
        "Tunstall et al. 2022, arXiv:2209.11055 (SetFit)",
        cached=True,
    ),
    "cosine": Loss(partial(OfValues, objectives.cosine), "scored pairs", "(cos - score)^2", SENTENCE_BERT),
    "contrastive": Loss(
        partial(OfValues, objectives.contrastive),
        "scored pairs of 0 and 1",
        "(y * d^2 + (1 - y) * max(0, margin - d)^2) / 2, d = 1 - cos",
        HADSELL,
        _margin(0.5),
    ),
    "online_contrastive": Loss(
        partial(OfValues, objectives.online_contrastive),
        "scored pairs of 0 and 1",
        "sum of d^2 over similar pairs with d > least d of dissimilar ones, plus sum of max(0, margin - d)^2 over "
        "dissimilar pairs with d < largest d of similar ones",
        f"{HADSELL}; hard pairs as in sentence-transformers",
        _margin(0.5),
        cached=True,
    ),
}


def build_loss(
    name: str,
    options: Mapping[str, float | bool | str],
    model: Any,
    truncate_dim: int | None = None,
    *,
    gradient_cache: bool = False,
    matryoshka: Sequence[int] = (),
    guide: Guide | None = None,
    known: PairSet | None = None,
    objective: Objective | None = None,
) -> VectorLoss:
    """The loss module around ``model``; check name and options beforehand with `check_loss`.

    Args:
        name: of the loss.
        options: of the loss; its own defaults where missing.
        model: a SentenceTransformer.
        truncate_dim: dimensions that count; None for all.
        gradient_cache: keep one chunk's activations at a time, see `embedft.training.losses.cache`.
        matryoshka: numbers of leading dimensions that the loss is also applied to; the sum is minimised.
        guide: for losses that need one.
        objective: for ``cross_entropy``, which begins with a fitted head (`embedft.training.heads.cross_entropy`).
        known: positives of anchors anywhere in the training data, for losses that mask them.
    """
    loss = LOSSES[name]
    settings: dict[str, Any] = {key: option.default for key, option in loss.options.items()} | dict(options)
    if loss.guided:
        settings["guide"] = guide
    if loss.masked:
        settings["known"] = known
    whole = truncate_dim or model.get_embedding_dimension()
    dims = [truncate_dim, *(dim for dim in sorted(matryoshka, reverse=True) if dim != whole)]
    objective = objective or loss.build(**settings)
    return VectorLoss(objective.to(model.device), model, dims=dims, gradient_cache=gradient_cache)


def rows_for(
    name: str, rows: pa.Table, *, options: Mapping[str, float | bool | str] | None = None, source: str = ""
) -> pa.Table:
    """The rows as a loss takes them: for triplets one for each negative, else those that are of use to it.

    Args:
        name: of the loss.
        rows: of the training set.
        options: of the loss; ``in_batch: false`` needs rows with negatives.
        source: where the rows come from, for errors.

    Raises:
        DataError: the rows lack what the loss needs.
    """
    return rows_of(needs_of(name, options or {}), rows, loss=name, source=source)


def is_guided(name: str | None) -> bool:
    """Whether there is a loss of that name that needs a guide."""
    return name is not None and name in LOSSES and LOSSES[name].guided


def needs_of(name: str, options: Mapping[str, float | bool | str]) -> Needs:
    """The rows that a loss is trained on with these options."""
    # One's own positive alone is a distribution over one candidate: it teaches nothing.
    return "pairs with negatives" if options.get("in_batch") is False else LOSSES[name].needs


def check_loss(
    name: str,
    options: Mapping[str, float | bool | str],
    allowed: Sequence[str],
    *,
    gradient_cache: bool = False,
    gradient_checkpointing: bool = False,
    matryoshka: Sequence[int] = (),
    guide: str | None = None,
    dim: int | None = None,
    field: str = "training",
) -> None:
    """Raise ConfigError if a configuration asks of a loss what it cannot do.

    Args:
        name: of the loss.
        options: of the loss.
        allowed: losses of the task.
        gradient_cache: see `embedft.training.losses.cache`.
        gradient_checkpointing: of the encoder.
        matryoshka: numbers of leading dimensions.
        guide: name of the guide, if there is one.
        dim: of the encoder's vectors, once it is known.
        field: the section of the configuration that names the loss and its options.
    """
    losschecks.check_name(name, LOSSES, allowed, field)
    loss = LOSSES[name]
    losschecks.check_options(name, loss, options, field)
    losschecks.check_learned_scale(options, field)
    guided = [other for other in allowed if LOSSES[other].guided]
    losschecks.check_guide(name, loss, options, guide, field, guided=guided)
    losschecks.check_dims(name, loss, matryoshka, dim)
    if gradient_cache and not loss.cached:
        able = ", ".join(other for other in allowed if LOSSES[other].cached)
        raise ConfigError(
            f"training.gradient_cache: there is none for the loss {name}, whose rows do not depend on each other.",
            hint=f"leave it out and use training.gradient_accumulation{', or use ' + able if able else ''}.",
        )
    if gradient_cache and gradient_checkpointing:
        raise ConfigError(
            "training.gradient_cache and training.gradient_checkpointing are both set; each computes activations "
            "twice to save memory.",
            hint="leave gradient_checkpointing out: the cache alone needs less memory.",
        )
