"""Flows on the digits, textbook split: test negative log-likelihood in nats after at most two CPU-minutes.

Every model trains with its own defaults in one thread, for a budget of CPU seconds that is turned into steps by timing
the first ones; the value is the bound with eight dequantisation samples on the 447 test images. Targets: below 100
nats, and for the best below `realnvp`, which is trained beside it for the same time.
"""

from __future__ import annotations

import time
from typing import Any

import torch

import creo
from creo.data import Data
from creo.model import seeded

MODELS: dict[str, dict[str, Any]] = {"realnvp": {}, "maf": {"hidden": (256, 256)}, "nsf": {}, "nsf-ar": {}}
SECONDS = 60.0


def train(name: str, data: Data, steps: int) -> tuple[Any, float]:
    """The trained model and the CPU seconds of its training."""
    with seeded(0):
        model = creo.build(name, data.space, **MODELS[name])
    start = time.process_time()
    creo.fit(model, data, steps=steps, seed=0, progress=False, threads=1)
    return model.eval(), time.process_time() - start


def measure(name: str, data: Data, seconds: float) -> dict[str, Any]:
    """A model's row."""
    few, many = (train(name, data, steps)[1] for steps in (10, 40))
    steps = max(int(30 * seconds / max(many - few, 1e-3)), 20)
    model, used = train(name, data, steps)
    value = creo.evaluate(model, data.test, seed=0)["NLL"].value
    return {
        "name": f"digits test NLL, {name} (bound)", "value": round(value, 2), "unit": "nats", "spread": None,
        "better": "lower", "target": 100.0, "met": value < 100.0, "peer": None, "peer_value": None,
        "note": f"budget {seconds:.0f} CPU-s", "cpu_seconds": round(used), "steps": steps, "seeds": [0], "threads": 1,
    }  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per model; quick: two seconds each, two models."""
    torch.set_num_threads(1)
    data = creo.load_data("digits")
    names = ("realnvp", "nsf") if quick else tuple(MODELS)
    return [measure(name, data, 2.0 if quick else SECONDS) for name in names]
