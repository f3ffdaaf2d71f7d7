"""Gated PixelCNN on the digits, textbook split: test negative log-likelihood in nats, exactly, and processor seconds.

Three seeds of the default model train 1000 steps each on one thread in bfloat16; the one that is best on validation is
evaluated on the 447 test images. At most 120 processor seconds a seed.
"""

from __future__ import annotations

from typing import Any

import torch

import creo
from creo.data import Data, Split
from creo.model import GenerativeModel, seeded
from creo.training import Run

SEEDS, STEPS, TARGET, SECONDS = (0, 1, 2), 1000, 81.5, 120


@torch.no_grad()
def nats(model: GenerativeModel, split: Split) -> float:
    """Mean negative log-likelihood of a split, in float32."""
    return -float(model.log_prob(split.x).mean())


def trained(data: Data, seed: int, steps: int) -> Run:
    """A finished run of the default model."""
    with seeded(seed):
        model = creo.build("gated-pixelcnn", data.space)
    return creo.fit(model, data, steps=steps, seed=seed, precision="bfloat16", threads=1, progress=False)


def run(quick: bool) -> list[dict[str, Any]]:
    """One row; quick: one seed of 50 steps."""
    data = creo.load_data("digits")
    seeds, steps = (SEEDS[:1], 50) if quick else (SEEDS, STEPS)
    runs = [trained(data, seed, steps) for seed in seeds]
    valid = [nats(r.model, data.valid) for r in runs]
    test = [nats(r.model, data.test) for r in runs]
    best, seconds = valid.index(min(valid)), max(r.cpu_seconds for r in runs)
    return [
        {
            "name": f"digits test NLL, gated-pixelcnn, best of {len(seeds)} seeds on validation",
            "value": round(test[best], 2), "unit": "nats", "spread": [round(min(test), 2), round(max(test), 2)],
            "better": "lower", "target": TARGET, "met": test[best] <= TARGET and seconds <= SECONDS,
            "peer": None, "peer_value": None, "seeds": list(seeds), "threads": 1,
            "note": f"gated-pixelcnn: {steps} steps, at most {seconds:.0f} CPU-s a seed (target {SECONDS}); "
            f"spread over seeds.",
        }
    ]  # fmt: skip
