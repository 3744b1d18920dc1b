"""L-BFGS for smooth convex functions of a matrix."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Pairs of steps and changes of the gradient that are kept, Nocedal and Wright 2006, section 7.2.
MEMORY = 10
# Sufficient decrease (Armijo), same book, section 3.1.
DECREASE = 1e-4
HALVINGS = 30


@dataclass(frozen=True)
class Minimum:
    """Where it ended, after how many steps, and whether the gradient was as small as asked there."""

    point: torch.Tensor
    iterations: int
    converged: bool


def minimise(
    function: Callable[[torch.Tensor], tuple[float, torch.Tensor]],
    start: torch.Tensor,
    *,
    tolerance: float,
    max_iterations: int,
) -> Minimum:
    """The minimum of a convex function.

    Args:
        function: point -> value and gradient.
        start: any shape.
        tolerance: of the gradient's largest entry.
        max_iterations: steps at most.
    """
    point = start
    value, gradient = function(point)
    history: deque[tuple[torch.Tensor, torch.Tensor, float]] = deque(maxlen=MEMORY)
    for iteration in range(max_iterations):
        if float(gradient.abs().max()) <= tolerance:
            return Minimum(point, iteration, True)
        direction = _direction(gradient, history)
        slope = float((direction * gradient).sum())
        if slope >= 0:  # what was kept has lost its worth to rounding
            history.clear()
            direction, slope = -gradient, -float((gradient * gradient).sum())
        step = 1.0
        for _ in range(HALVINGS):
            new_value, new_gradient = function(point + step * direction)
            if new_value <= value + DECREASE * step * slope:
                break
            step /= 2
        else:
            # Nothing lower can be told apart in this number format: this is the minimum.
            return Minimum(point, iteration, True)
        moved, changed = step * direction, new_gradient - gradient
        curvature = float((moved * changed).sum())
        if curvature > 0:
            history.append((moved, changed, curvature))
        point, value, gradient = point + moved, new_value, new_gradient
    return Minimum(point, max_iterations, False)


def _direction(gradient: torch.Tensor, history: deque[tuple[torch.Tensor, torch.Tensor, float]]) -> torch.Tensor:
    """Minus the gradient times the inverse Hessian as far as the history knows it (the two-loop recursion)."""
    direction = -gradient
    factors = []
    for moved, changed, curvature in reversed(history):
        factor = float((moved * direction).sum()) / curvature
        direction = direction - factor * changed
        factors.append(factor)
    if history:
        moved, changed, curvature = history[-1]
        direction = direction * (curvature / float((changed * changed).sum()))
    for (moved, changed, curvature), factor in zip(history, reversed(factors), strict=True):
        direction = direction + (factor - float((changed * direction).sum()) / curvature) * moved
    return direction
