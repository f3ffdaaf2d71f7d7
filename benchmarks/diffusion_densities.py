"""Flow matching on the eight 2-D densities: can a classifier tell its samples from held-out data?

One recipe for all: a perceptron of four layers of 256, batches of 512, learning rate 0.002, a fixed number of steps
that takes less than three minutes of one processor. The accuracy is that of `classifier_two_sample_test` with its
perceptron, cross-fitted on 5000 samples (30 network evaluations each) and the 5000 test points: 0.5 is
indistinguishable; beside it that of fresh draws from the truth. The sliced Wasserstein distance, too, stands beside
the mean of fresh draws; its target is the largest of five of these plus their range: the sampling floor.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import Tensor

import creo
from creo.divergences.transport import sliced_wasserstein
from creo.divergences.two_sample import classifier_two_sample_test
from creo.model import seeded

DENSITIES = (
    "moons", "rings", "pinwheel", "checkerboard", "eight-gaussians", "25-gaussians", "two-spirals", "banana",
)  # fmt: skip
STEPS, FRESH = 6000, 5
OPTIONS: dict[str, Any] = {"hidden": (256, 256, 256, 256)}
TRAINING: dict[str, Any] = {"batch_size": 512, "lr": 2e-3}


def run(quick: bool) -> list[dict[str, Any]]:
    """Two rows per density; quick: two densities, 200 steps."""
    torch.set_num_threads(1)
    chosen = DENSITIES[:2] if quick else DENSITIES
    return [row for density in chosen for row in measure(density, 200 if quick else STEPS)]


def measure(density: str, steps: int) -> list[dict[str, Any]]:
    """Accuracy and distance of one density."""
    data = creo.load_data(density)
    with seeded(0):
        model = creo.build("flow-matching", data.space, **OPTIONS)
    fitted = creo.fit(
        model, data, steps=steps, eval_every=steps, seed=0, progress=False, threads=1, **TRAINING
    )
    held_out = data.test[:]
    with seeded(1):
        drawn = model.sample(len(held_out), steps=30)
        fresh = [data.density.sample((len(held_out),)) for _ in range(FRESH)]
        mine, floor = _distance(drawn, held_out), [_distance(f, held_out) for f in fresh]
    accuracies = [_accuracy(f, held_out) for f in fresh[:2]]
    accuracy, target = _accuracy(drawn, held_out), 0.55 if density == "checkerboard" else 0.53
    about = {
        "peer": "fresh draws of the truth", "seeds": [0], "threads": 1, "better": "lower",
        "note": f"{steps} steps, {fitted.cpu_seconds:.0f} CPU-s",
    }  # fmt: skip
    noise = max(floor) - min(floor)
    return [
        {
            "name": f"flow-matching on {density}: C2ST accuracy", "value": round(accuracy, 4), "unit": "",
            "spread": None, "target": target, "met": accuracy <= target,
            "peer_value": round(statistics.mean(accuracies), 4), **about,
        },
        {
            "name": f"flow-matching on {density}: sliced Wasserstein-2 to test data", "value": round(mine, 4),
            "unit": "", "spread": None, "target": round(max(floor) + noise, 4), "met": mine <= max(floor) + noise,
            "peer_value": round(statistics.mean(floor), 4), **about,
        },
    ]  # fmt: skip


def _accuracy(x: Tensor, y: Tensor) -> float:
    return classifier_two_sample_test(x, y, classifier="mlp").accuracy


def _distance(x: Tensor, y: Tensor) -> float:
    return float(sliced_wasserstein(x, y).value)
