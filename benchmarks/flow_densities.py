"""KL divergence from the truth to the autoregressive spline flow on the eight 2-D densities, nats.

The model trains on the data set's training split (50 000 points) in one thread, for a budget of CPU seconds that is
turned into steps by timing the first ones, so that a busy machine changes nothing; the divergence is the mean of
log p(x) - log q(x) over the test split, with its standard error as spread. The grid of 25 sharp modes has settings of
its own (more and narrower layers, a smaller box, larger steps, more time). Target: at most 0.02 nats (checkerboard
0.05) within three CPU-minutes. All other flows, for a shorter time, are in `flow_models`.
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
MODEL: tuple[str, dict[str, Any]] = ("nsf-ar", {"layers": 2, "hidden": (128, 128), "bins": 32})
SECONDS = 60.0
#: Model, settings of training and seconds of a density that differ from these.
OWN: dict[str, tuple[dict[str, Any], dict[str, Any], float]] = {
    "25-gaussians": ({"layers": 12, "hidden": (32, 32), "bins": 32, "bound": 2.5}, {"lr": 1e-2}, 170.0)
}
#: Settings of training that differ from a model's own.
SETTINGS = {name: {"batch_size": 512, "lr": 3e-3} for name in ("nsf-ar", "nsf", "naf")}


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per density; quick: two densities, two seconds each."""
    torch.set_num_threads(1)
    densities = DENSITIES[:2] if quick else DENSITIES
    rows = []
    for density in densities:
        options, settings, seconds = OWN.get(density, (MODEL[1], {}, SECONDS))
        rows.append(measure(density, MODEL[0], options, seconds=2.0 if quick else seconds, **settings))
    for row, density in zip(rows, densities, strict=True):
        row["target"] = 0.05 if density == "checkerboard" else 0.02
        row["met"] = row["value"] <= row["target"]
    return rows


def train(name: str, options: dict[str, Any], data: Any, steps: int, **settings: Any) -> tuple[Any, float]:
    """The trained model and the CPU seconds of its training."""
    with seeded(0):
        model = creo.build(name, data.space, **options)
    settings = SETTINGS.get(name, {}) | settings
    start = time.process_time()
    creo.fit(model, data, steps=steps, seed=0, progress=False, threads=1, **settings)
    return model.eval(), time.process_time() - start


def measure(
    density: str, name: str, options: dict[str, Any], *, seconds: float, **settings: Any
) -> dict[str, Any]:
    """One model on one density, for so many CPU seconds."""
    data = creo.load_data(density)
    few, many = (train(name, options, data, steps, **settings)[1] for steps in (10, 40))
    steps = max(int(30 * seconds / max(many - few, 1e-3)), 20)
    model, used = train(name, options, data, steps, **settings)
    x = data.test[:]
    with torch.no_grad():
        gap = data.density.log_prob(x).double() - model.log_prob(x).double()
    value, error = float(gap.mean()), float(gap.std()) / len(gap) ** 0.5
    return {
        "name": f"KL(truth, {name}) on {density}", "value": round(value, 4), "unit": "nats",
        "spread": [round(value - error, 4), round(value + error, 4)], "better": "lower", "target": None,
        "met": None, "peer": None, "peer_value": None,
        "note": f"{name}: budget {seconds:.0f} CPU-s", "cpu_seconds": round(used), "steps": steps,
        "seeds": [0], "threads": 1,
    }  # fmt: skip
