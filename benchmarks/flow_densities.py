"""KL divergence from the truth to every flow on the 2-D densities, nats.

Each model trains with its own defaults, wider networks where it has them, on its data set's training split for at most
three minutes of one thread, and the divergence is the mean of log p(x) - log q(x) over the test split, with its
standard error as spread. Target: 0.02 nats (checkerboard 0.05) for the spline flow.
"""

from __future__ import annotations

from typing import Any

import torch

import creo
from creo.model import seeded

DENSITIES = (
    "moons", "rings", "pinwheel", "checkerboard", "eight-gaussians", "25-gaussians", "two-spirals", "banana",
)  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "linear-flow": {}, "planar": {"layers": 16}, "radial": {"layers": 16}, "sylvester": {"layers": 8, "rank": 2},
    "nice": {"layers": 8}, "realnvp": {"layers": 12}, "maf": {"layers": 8, "hidden": (128, 128)},
    "iaf": {"layers": 8}, "nsf": {"layers": 6, "hidden": (128, 128), "bins": 16},
    "nsf-ar": {"layers": 4, "hidden": (128, 128), "bins": 16}, "cnf": {"hidden": (64, 64, 64)},
}  # fmt: skip
TARGETED = "nsf"


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per density and model; quick: two densities, three models, three seconds each."""
    torch.set_num_threads(1)
    densities = DENSITIES[:2] if quick else DENSITIES
    chosen = ("linear-flow", "realnvp", "nsf") if quick else tuple(MODELS)
    return [measure(density, name, 0.05 if quick else 3.0) for density in densities for name in chosen]


def measure(density: str, name: str, minutes: float) -> dict[str, Any]:
    """One model on one density."""
    data = creo.load_data(density)
    with seeded(0):
        model = creo.build(name, data.space, **MODELS[name])
    fitted = creo.fit(model, data, minutes=minutes, seed=0, progress=False, threads=1)
    x = data.test[:]
    with torch.no_grad():
        gap = data.density.log_prob(x).double() - fitted.model.eval().log_prob(x).double()
    value, error = float(gap.mean()), float(gap.std()) / len(gap) ** 0.5
    target = (0.05 if density == "checkerboard" else 0.02) if name == TARGETED else None
    return {
        "name": f"KL(truth, {name}) on {density}", "value": round(value, 4), "unit": "nats",
        "spread": [round(value - error, 4), round(value + error, 4)], "better": "lower", "target": target,
        "met": None if target is None else value <= target, "peer": None, "peer_value": None,
        "note": f"{fitted.cpu_seconds:.0f} CPU-s, {len(x)} test points", "seeds": [0], "threads": 1,
    }  # fmt: skip
