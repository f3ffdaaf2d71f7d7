"""What makes a diffusion model this one: path, objective, solver, steps and coupling in one value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from creo.diffusion.coupling import Coupling, independent
from creo.diffusion.objective import Objective, WeightName
from creo.diffusion.paths import Path
from creo.diffusion.predictions import PREDICTIONS
from creo.diffusion.solvers import Solver

PredictionName = Literal["auto", "data", "noise", "score", "v", "velocity", "F"]
WeightChoice = Literal["auto", "output", "simple", "likelihood", "min-snr", "edm", "p2"]


@dataclass(frozen=True)
class Choices:
    """What makes a diffusion model this one.

    Args:
        path: from data to noise.
        objective: prediction, time density and loss weight.
        solver: that samples where nothing else is said.
        steps: network calls of a sample where nothing else is said (times on the grid).
        coupling: of data and noise in training.
    """

    path: Path
    objective: Objective
    solver: Solver
    steps: int = 50
    coupling: Coupling = independent

    def adjusted(self, prediction: PredictionName = "auto", weight: WeightChoice = "auto") -> Choices:
        """The same with another prediction or weight; auto keeps what is there."""
        objective = self.objective
        if prediction != "auto":
            objective = replace(objective, prediction=PREDICTIONS[prediction])
        if weight != "auto":
            name: WeightName = weight
            objective = replace(objective, weight=name)
        return replace(self, objective=objective)
