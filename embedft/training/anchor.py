"""Weights between the old encoder and the new one, so that what is learned costs little of what was known.

The new weights are replaced by old + share * (new - old) for each share of a list. Each mixture is scored on dev, for
what was to be learned, and on a general set, for what was not to be forgotten; one of them is kept.

Source: Wortsman et al. 2022 (WiSE-FT), arXiv:2109.01903, section 3: one vector in weight space, swept after training.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch

from embedft.config import AnchorConfig
from embedft.encoder import Encoder
from embedft.encoder.parts import TRANSFORMER, kind_of, listed_modules
from embedft.evaluation import Evaluation, compare, evaluate_similarity

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger("embedft")

State = Mapping[str, "Tensor"]
# Ends of a 95 % interval lie this many standard errors apart.
INTERVAL = 2 * 1.96
# Spearman is printed and compared to this many digits: a loss of exactly max_drop is allowed.
ROUNDING = 1e-9


class FolderState(Mapping[str, "Tensor"]):
    """The weights of a folder that `embedft.encoder.write_folder` wrote, read from disk one at a time.

    Names are those of ``SentenceTransformer.state_dict()``.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self._files: dict[str, tuple[Any, str]] = {}
        for number, (name, path) in enumerate(listed_modules(folder)):
            file = path / "model.safetensors"
            if file.is_file():
                opened: Any = safe_open(file, framework="pt")
                prefix = f"{number}.model." if kind_of(name) == TRANSFORMER else f"{number}."
                self._files |= {prefix + key: (opened, key) for key in opened.keys()}  # noqa: SIM118 - no mapping

    def __getitem__(self, name: str) -> Tensor:
        file, key = self._files[name]
        tensor: Tensor = file.get_tensor(key)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@dataclass(frozen=True)
class Point:
    """A share of the new weights, and the scores of the mixture on dev and on the general set."""

    share: float
    dev: float
    general: float


@dataclass(frozen=True)
class Anchored:
    """What a sweep came to.

    Attributes:
        share: of the new weights in those that are kept.
        kept: whether it loses no more on the general set than is allowed; where no share did, the one that loses
            least is taken.
        metric: of dev.
        curve: a point for each share, the base (share 0) first, in rising order.
    """

    share: float
    kept: bool
    metric: str
    curve: tuple[Point, ...]

    @property
    def base(self) -> Point:
        """The encoder before training."""
        return self.curve[0]

    @property
    def chosen(self) -> Point:
        """The encoder that is kept."""
        return next(point for point in self.curve if point.share == self.share)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "share": self.share,
            "within_max_drop": self.kept,
            "metric": self.metric,
            "general": {"metric": "spearman", "before": self.base.general, "after": self.chosen.general},
            "curve": [{"share": point.share, "dev": point.dev, "general": point.general} for point in self.curve],
        }


def anchor(
    model: torch.nn.Module,
    base: State,
    new: State,
    *,
    score_dev: Callable[[], Evaluation],
    score_general: Callable[[], float],
    metric: str,
    config: AnchorConfig,
) -> Anchored:
    """The sweep over the shares; ``model`` ends with the weights that are kept.

    Of the shares that lose at most ``config.max_drop`` on the general set, the best on dev is kept. A smaller share is
    preferred as long as it is worse on dev by no more than one standard error of the difference between the two on the
    same queries or pairs (the rule of Breiman et al. 1984, section 3.4.3, for the size of a tree).

    Memory: the model's weights and those of ``base``; of ``new`` one tensor at a time, if it is a `FolderState`.

    Args:
        model: whose weights are replaced, in place.
        base: the weights before training, by the names of ``model.state_dict()``.
        new: the weights after it.
        score_dev: the scores of the model on dev, as it is when it is called.
        score_general: its Spearman on the general set.
        metric: of dev, the one that decides.
        config: shares and the loss that is allowed.
    """
    shares = sorted({0.0, *config.shares})
    evaluations: dict[float, Evaluation] = {}
    curve = []
    for share in shares:
        mix(model, base, new, share)
        evaluations[share] = score_dev()
        curve.append(Point(share, evaluations[share].metrics[metric], score_general()))
        logger.info("share %g of the new weights: %s %.4f, general %.4f", share, metric, *_scores(curve[-1]))
    candidates = [point for point in curve if point.share in config.shares]
    share, kept = _choose(candidates, curve[0].general - config.max_drop, evaluations, metric)
    if not kept:
        logger.warning(
            "every share loses more than %g Spearman on the general set: the one that loses least is kept, %g",
            config.max_drop,
            share,
        )
    mix(model, base, new, share)
    return Anchored(share, kept, metric, tuple(curve))


def mix(model: torch.nn.Module, base: State, new: State, share: float) -> None:
    """Set the weights of ``model`` to base + share * (new - base), exactly the base at 0 and the new ones at 1.

    Whole numbers, such as positions, are taken from the new ones.
    """
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            after = new[name].to(tensor.device)
            if tensor.is_floating_point():
                # In fp32, whatever the weights are stored in.
                after = torch.lerp(base[name].to(tensor.device, torch.float32), after.float(), share)
            tensor.copy_(after)


def general_score(encoder: Encoder, pairs: pa.Table) -> float:
    """Spearman's correlation of cosines and scores on a general set (`embedft.data.general.read_general`)."""
    return evaluate_similarity(encoder, pairs, data="general", split="general", metrics=["spearman"]).metrics[
        "spearman"
    ]


def _choose(
    candidates: Sequence[Point], floor: float, evaluations: Mapping[float, Evaluation], metric: str
) -> tuple[float, bool]:
    """The share that is kept, and whether it stays above ``floor`` on the general set."""
    allowed = [point for point in candidates if point.general >= floor - ROUNDING]
    if not allowed:
        return max(candidates, key=lambda point: (point.general, -point.share)).share, False
    # The smaller one of two that are equal.
    best = max(allowed, key=lambda point: (point.dev, -point.share))
    for point in sorted(allowed, key=lambda point: point.share):
        if point.share >= best.share or _equal(evaluations[best.share], evaluations[point.share], metric):
            return point.share, True
    return best.share, True


def _equal(best: Evaluation, other: Evaluation, metric: str) -> bool:
    """Whether ``best`` is better than ``other`` by no more than one standard error."""
    found = compare(best, other)[metric]
    return found.difference <= (found.ci_high - found.ci_low) / INTERVAL


def _scores(point: Point) -> tuple[float, float]:
    return point.dev, point.general
