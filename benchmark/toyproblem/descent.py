"""The path of a weighting through the plane, by the steps that the suite's training loop takes."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmark.registry import WEIGHTINGS
from benchmark.runs.spec import Component, derive_seed
from benchmark.tasks import Task
from benchmark.toyproblem.exact import ExactSteps
from benchmark.toyproblem.problem import BOUND, STARTS, Point, gap, losses_and_gradients
from benchmark.toyproblem.record import USUAL, MethodPaths, Path2D, Settings, rounded
from benchmark.weighting import Weighting, build_weighting

TASKS = (Task("first", "depth", 1), Task("second", "depth", 1))
EPSILON = 1e-8


def solve(name: str, options: Mapping[str, Any] | None = None, *, settings: Settings = USUAL) -> MethodPaths:
    """The paths of a registered weighting from all of ``STARTS``, each with a weighting of its own.

    Gradients are exact: a method that samples sees the same ones every time, and one that looks at another batch the
    same losses. Both losses are told less ``BOUND``, so that all are positive and every method is defined; that moves
    no gradient. The parameters of the plane are the shared ones, their last layer, and the representation, all in one.
    What a weighting raises ends the path, with its reason.

    Args:
        name: of the weighting.
        options: its own; those of its authors' toy problem when None.
        settings: of the descent.

    Raises:
        UsageError: the name or an option is unknown.
    """
    component = chosen(name) if options is None else Component.from_registry(WEIGHTINGS, name, options)
    paths = []
    for number, start in enumerate(STARTS):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("toy", name, number))
            weighting = build_weighting(name, TASKS, **component.options).double()
            paths.append(Walk(weighting, start, settings).path())
    return MethodPaths(weighting=component, paths=tuple(paths))


def chosen(name: str) -> Component:
    """A registered weighting with the options of its authors' toy problem, or its defaults."""
    return Component.from_registry(WEIGHTINGS, name, dict(getattr(WEIGHTINGS[name].factory, "toy_options", {})))


class Walk:
    """One path: the point, Adam's moments, and the weighting with its memory."""

    def __init__(self, weighting: Weighting, start: Point, settings: Settings) -> None:
        self.weighting = weighting
        self.settings = settings
        self.start = self.point = start
        self.moments = [(0.0, 0.0), (0.0, 0.0)]
        self.done = 0
        self.steps = ExactSteps(weighting, 2, settings.learning_rate, settings.betas)

    def path(self) -> Path2D:
        """Walk to the end."""
        points, error = [self._here()], None
        try:
            while self.done < self.settings.steps and error is None:
                before = self.point
                self._epoch()
                if not all(math.isfinite(v) for v in self.point):
                    error = f"diverged within {self.done} steps"
                    break
                points.append(self._here())
                rests = math.dist(before, self.point) < self.settings.rest
                if rests and gap(*points[-1][2:]) <= self.settings.reach:
                    break
        except (Exception, SystemExit) as raised:  # noqa: BLE001 - a method is foreign code: its failure is a result
            error = f"{type(raised).__name__}: {raised}"
        counted = getattr(self.weighting, "fallbacks", None)
        distance = gap(points[-1][2], points[-1][3])
        return Path2D(
            start=self.start,
            points=tuple(rounded(point) for point in points),
            steps=self.done,
            gap=rounded([distance])[0],
            reached=error is None and distance <= self.settings.reach,
            fallbacks=int(counted) if isinstance(counted, Tensor) else None,
            error=error,
        )

    def _here(self) -> tuple[float, float, float, float]:
        return (*self.point, *losses_and_gradients(*self.point)[0])

    def _epoch(self) -> None:
        total, first = torch.zeros(2, dtype=torch.float64), self.done
        while self.done < self.settings.steps and self.done - first < self.settings.epoch:
            total += self._step()
        self.weighting.epoch_end(total / (self.done - first))

    def _step(self) -> Tensor:
        """One step; the losses (2,) before it."""
        losses, gradients = self._evaluate(self.point)
        feature = torch.tensor(self.point, dtype=gradients.dtype)  # on the representation, the point is the feature
        alignments = partial(self._alignments, gradients)
        self._move(self.steps(losses.clone(), gradients, alignments, feature).tolist())
        self.steps.after(lambda: self._evaluate(self.point)[0])
        return losses

    def _evaluate(self, point: Point) -> tuple[Tensor, Tensor]:
        """(2,) losses less their bound, and (2, 2) their gradients, a row per task."""
        losses, gradients = losses_and_gradients(*point)
        return torch.tensor([loss - BOUND for loss in losses], dtype=torch.float64), torch.tensor(
            gradients, dtype=torch.float64
        )

    def _alignments(self, gradients: Tensor, ahead: Tensor) -> Tensor:
        """(2,) ⟨∇Σ L_j(θ'), ∇L_k(θ)⟩ with θ' = θ − lr Σ w_k ∇L_k(θ)."""
        rate, (x, y) = self.settings.learning_rate, ahead.tolist()
        _, there = self._evaluate((self.point[0] - rate * x, self.point[1] - rate * y))
        return gradients @ there.sum(0)

    def _move(self, direction: list[float]) -> None:
        """Adam's step (Kingma & Ba, ICLR 2015), with torch's ε."""
        self.done += 1
        (old, older), rate = self.settings.betas, self.settings.learning_rate
        moved = []
        for k, (place, slope, (mean, square)) in enumerate(zip(self.point, direction, self.moments, strict=True)):
            mean, square = old * mean + (1 - old) * slope, older * square + (1 - older) * slope * slope
            self.moments[k] = (mean, square)
            spread = math.sqrt(square / (1 - older**self.done)) + EPSILON
            moved.append(place - rate * mean / (1 - old**self.done) / spread)
        self.point = (moved[0], moved[1])
