"""KL divergence from the truth to every flow on the 2-D densities, ten CPU seconds each, nats.

Measured as in `flow_densities`. What a model can do in a short time, not its best.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.flow_densities import DENSITIES, measure

MODELS: dict[str, dict[str, Any]] = {
    "linear-flow": {}, "planar": {"layers": 16}, "radial": {"layers": 16}, "sylvester": {"layers": 8, "rank": 2},
    "nice": {"layers": 8}, "realnvp": {"layers": 8}, "maf": {"layers": 6}, "iaf": {"layers": 4},
    "nsf": {"layers": 4, "hidden": (128, 128), "bins": 32}, "nsf-ar": {"hidden": (128, 128), "bins": 32},
    "naf": {"hidden": (128, 128), "units": 16}, "residual-flow": {"layers": 6}, "cnf": {}, "ffjord": {},
}  # fmt: skip
SECONDS = 10.0


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per density and model; quick: one density, three models, two seconds each."""
    torch.set_num_threads(1)
    densities = DENSITIES[:1] if quick else DENSITIES
    chosen = ("linear-flow", "realnvp", "nsf") if quick else tuple(MODELS)
    return [
        measure(density, name, MODELS[name], seconds=2.0 if quick else SECONDS)
        | {"cell": (name, density), "note": f"KL(truth, model), {2 if quick else 10} CPU-s of training each"}
        for density in densities
        for name in chosen
    ]
