"""Error against network evaluations of every solver, on an exactly known score and on digits.

Exact: eight Gaussians on a circle under the variance-preserving path, 512 points from the same noise in float64.
Solvers of the probability flow are judged by the root mean squared distance to where 2000 steps of Heun carry the same
noise; random solvers by the sliced Wasserstein distance of 4000 samples to 4000 fresh draws of the truth, beside that
of other fresh draws, the floor. Heun and churn make two evaluations a step, so they have half as many steps.

Digits (8 x 8): one conditional flow-matching network, FID[digits-cnn] of 4000 samples against the test split, best
solver at 12 evaluations beside 1000-step ancestral sampling of the same network.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import creo
from creo.diffusion import SOLVERS, Mixture, Solver
from creo.diffusion.paths import VP
from creo.diffusion.solvers import DPMPP, LMS, VELOCITY_ADAMS, Heun, Multistep, time_grid
from creo.divergences.transport import sliced_wasserstein
from creo.model import seeded

BUDGETS = (6, 12, 24, 48)
DETERMINISTIC: dict[str, Solver] = {
    **{name: SOLVERS[name] for name in ("ddim", "lms", "dpm", "dpm++", "velocity-adams", "heun")},
    "dpm++ order 3": Multistep(DPMPP, 3), "lms order 2": Multistep(LMS, 2),
    "velocity-adams order 2": Multistep(VELOCITY_ADAMS, 2),
}  # fmt: skip
RANDOM = ("ancestral", "sde-dpm++", "churn", "euler-maruyama")
TWICE = ("heun", "churn")
BUDGET = 12  #: evaluations at which the digits are sampled


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the exact score, then of the digits; quick: fewer budgets, points and training steps."""
    torch.set_num_threads(1)
    budgets = BUDGETS[1:2] if quick else BUDGETS
    rows = exact(budgets, 128 if quick else 512) + random(budgets, 500 if quick else 4000)
    return rows + digits(200 if quick else 3000, 200 if quick else 4000, 100 if quick else 1000)


def mixture() -> Mixture:
    """Eight Gaussians on a circle, of about unit variance."""
    angles = torch.arange(8, dtype=torch.float64) * math.pi / 4
    means = math.sqrt(2) * torch.stack([angles.cos(), angles.sin()], 1)
    ones = torch.ones(8, dtype=torch.float64)
    return Mixture(VP(), ones / 8, means, 0.15 * ones)


def solved(truth: Mixture, name: str, solver: Solver, evaluations: int, x: Tensor) -> Tensor:
    """Noise x carried to data with that many evaluations of the score, the last of them to denoise."""
    steps = (evaluations - 1) // 2 + 1 if name in TWICE else evaluations
    times = time_grid(truth.path, steps, spacing=solver.spacing)
    return truth(solver(truth, truth.path, times, x), times[-1])


def row(name: str, value: float, note: str, **more: Any) -> dict[str, Any]:
    """A row without target."""
    return {
        "name": name, "value": value, "unit": "", "spread": None, "better": "lower", "target": None, "met": None,
        "peer": None, "peer_value": None, "note": note, "seeds": [0], "threads": 1, **more,
    }  # fmt: skip


def exact(budgets: tuple[int, ...], points: int) -> list[dict[str, Any]]:
    """Distance to the exact flow."""
    truth = mixture()
    with seeded(0):
        x = torch.randn(points, 2, dtype=torch.float64)
    end = solved(truth, "heun", Heun(), 4001, x)
    rows = []
    for name, solver in DETERMINISTIC.items():
        for budget in budgets:
            error = (solved(truth, name, solver, budget, x) - end).square().sum(1).mean().sqrt()
            rows.append(
                row(f"{name}, {budget} evaluations: distance to the exact flow", float(f"{error:.3g}"), "")
            )
    return rows


def random(budgets: tuple[int, ...], points: int) -> list[dict[str, Any]]:
    """Sliced Wasserstein distance of random solvers' samples to the truth."""
    truth, rows = mixture(), []
    with seeded(0):
        real, other = truth.sample(points), truth.sample(points)
        floor = round(float(sliced_wasserstein(real, other).value), 4)
        for name in RANDOM:
            for budget in budgets:
                drawn = solved(
                    truth, name, SOLVERS[name], budget, torch.randn(points, 2, dtype=torch.float64)
                )
                value = round(float(sliced_wasserstein(drawn, real).value), 4)
                label = f"{name}, {budget} evaluations: sliced Wasserstein to the truth"
                rows.append(row(label, value, f"{points} samples", peer="fresh draws", peer_value=floor))
    return rows


def digits(steps: int, n: int, long: int) -> list[dict[str, Any]]:
    """FID of few and of many evaluations of one network on the 8 x 8 digits."""
    from creo.evaluation.convnet import classifier_features
    from creo.evaluation.frechet import FrechetReference

    data = creo.load_data("digits")
    with seeded(0):
        model = creo.build("flow-matching", data.space, data.condition, hidden=(256, 256, 256))
    fitted = creo.fit(model, data, steps=steps, seed=0, progress=False, threads=1)
    features, (x, c) = classifier_features(data), data.test.head(len(data.test))
    reference, labels = FrechetReference.of(features(x)), c[torch.arange(n) % len(c)]

    def fid(solver: str, count: int) -> float:
        with seeded(0):
            return reference.distance(features(model.sample(n, labels, solver=solver, steps=count)))

    slow = fid("ancestral", long)
    few = {name: fid(name, BUDGET) for name in ("ddim", "lms", "dpm", "dpm++", "velocity-adams", "sde-dpm++")}
    best, target = min(few.values()), 1.05 * slow
    about = f"n={n}, {fitted.cpu_seconds:.0f} CPU-s of training; ancestral, {long} steps, beside it"
    return [
        row(
            f"FID[digits-cnn, n={n}] on digits, {name}, {BUDGET} evaluations", round(value, 3), about,
            peer=f"ancestral, {long} steps", peer_value=round(slow, 3),
            target=round(target, 3) if value == best else None, met=value <= target if value == best else None,
        )
        for name, value in few.items()
    ]  # fmt: skip
