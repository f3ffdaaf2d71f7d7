"""KL divergence from the truth to every flow on the 2-D densities, nats.

Every model trains on its data set's training split (50 000 points) in one thread, for a budget of CPU seconds that is
turned into steps by timing the first ones, so that a busy machine changes nothing; the divergence is the mean of
log p(x) - log q(x) over the test split, with its standard error as spread. The leading model, the autoregressive spline
flow, has the budget of the target, at most three CPU-minutes for at most 0.02 nats (checkerboard 0.05); the others,
shown beside it, have less.
"""

from __future__ import annotations

import time
from typing import Any

import torch

import creo
from creo.model import seeded

DENSITIES = (
    "moons", "rings", "pinwheel", "checkerboard", "eight-gaussians", "25-gaussians", "two-spirals", "banana",
)  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "nsf-ar": {"layers": 2, "hidden": (128, 128), "bins": 32},
    "nsf": {"layers": 4, "hidden": (128, 128), "bins": 32},
    "naf": {"layers": 2, "hidden": (128, 128), "units": 16},
    "maf": {"layers": 6}, "iaf": {"layers": 4}, "realnvp": {"layers": 8}, "nice": {"layers": 8},
    "residual-flow": {"layers": 6}, "cnf": {}, "ffjord": {},
    "planar": {"layers": 16}, "radial": {"layers": 16}, "sylvester": {"layers": 8, "rank": 2}, "linear-flow": {},
}  # fmt: skip
LEADING = "nsf-ar"
LEADING_SECONDS, OTHER_SECONDS = 60.0, 2.0
SETTINGS = {name: {"batch_size": 512, "lr": 3e-3} for name in ("nsf-ar", "nsf", "naf")}


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per density and model; quick: two densities, three models, two seconds each."""
    torch.set_num_threads(1)
    densities = DENSITIES[:2] if quick else DENSITIES
    chosen = ("linear-flow", "realnvp", LEADING) if quick else tuple(MODELS)
    seconds = {name: LEADING_SECONDS if name == LEADING else OTHER_SECONDS for name in chosen}
    return [
        measure(density, name, 2.0 if quick else seconds[name]) for name in chosen for density in densities
    ]


def train(name: str, data: Any, steps: int) -> tuple[Any, float]:
    """The trained model and the CPU seconds of its training."""
    with seeded(0):
        model = creo.build(name, data.space, **MODELS[name])
    start = time.process_time()
    creo.fit(model, data, steps=steps, seed=0, progress=False, threads=1, **SETTINGS.get(name, {}))
    return model.eval(), time.process_time() - start


def measure(density: str, name: str, seconds: float) -> dict[str, Any]:
    """One model on one density, for so many CPU seconds."""
    data = creo.load_data(density)
    few, many = (train(name, data, steps)[1] for steps in (10, 40))
    steps = max(int(30 * seconds / max(many - few, 1e-3)), 20)
    model, used = train(name, data, steps)
    x = data.test[:]
    with torch.no_grad():
        gap = data.density.log_prob(x).double() - model.log_prob(x).double()
    value, error = float(gap.mean()), float(gap.std()) / len(gap) ** 0.5
    target = (0.05 if density == "checkerboard" else 0.02) if name == LEADING else None
    return {
        "name": f"KL(truth, {name}) on {density}", "value": round(value, 4), "unit": "nats",
        "spread": [round(value - error, 4), round(value + error, 4)], "better": "lower", "target": target,
        "met": None if target is None else value <= target, "peer": None, "peer_value": None,
        "note": f"{name}: budget {seconds:.0f} CPU-s", "cpu_seconds": round(used), "steps": steps,
        "seeds": [0], "threads": 1,
    }  # fmt: skip
