"""Autoregressive models of dynamically binarised MNIST: test negative log-likelihood in nats, exactly.

At most 40 processor minutes each, one thread, bfloat16: MADE with direct connections (a hidden layer of 2048, raster
order) and the small Gated PixelCNN; on a machine with a GPU also the base sizes of PixelCNN and the image
transformer. Hours in all: not part of a routine run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

import creo
from creo.model import seeded

CPU_SECONDS = 2400


@dataclass(frozen=True)
class Case:
    """A model, how it is trained, and what it should reach."""

    model: str
    options: dict[str, Any]
    settings: dict[str, Any]
    target: float
    gpu: bool = False


CASES = {
    "made": Case(
        "made", {"hidden": (2048,), "direct": True, "dropout": 0.0},
        {"steps": 12_000, "lr": 2e-3, "weight_decay": 0.0, "ema": 0.999, "eval_every": 3000}, 88.0,
    ),
    "gated-pixelcnn small": Case("gated-pixelcnn", {"size": "small"}, {"steps": 3700, "eval_every": 1850}, 83.5),
    "pixelcnn base": Case("pixelcnn", {"size": "base"}, {"minutes": 60.0}, 81.0, gpu=True),
    "image-transformer base": Case("image-transformer", {"size": "base"}, {"minutes": 60.0}, 79.0, gpu=True),
}  # fmt: skip


def row(name: str, quick: bool, seed: int = 0) -> dict[str, Any]:
    """Train one case and evaluate it on the test split."""
    case, data = CASES[name], creo.load_data("mnist-binary")
    with seeded(seed):
        model = creo.build(case.model, data.space, **case.options)
    settings = case.settings | ({"steps": 10, "minutes": None} if quick else {})
    run = creo.fit(
        model, data, seed=seed, precision="bfloat16", device="cuda" if case.gpu else "cpu",
        threads=1, progress=False, **settings,
    )  # fmt: skip
    nll = creo.evaluate(run.model, data.test, seed=seed)["NLL"].value
    in_time = case.gpu or run.cpu_seconds <= CPU_SECONDS
    return {
        "name": f"mnist-binary test NLL, {name}{' on a GPU' if case.gpu else ''}",
        "value": round(nll, 2), "unit": "nats", "spread": None, "better": "lower",
        "target": case.target, "met": nll <= case.target and in_time, "peer": None, "peer_value": None,
        "seeds": [seed], "threads": 1, "note": f"{name}: {run.steps} steps, {run.cpu_seconds:.0f} CPU-s.",
    }  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per case that this machine can run; quick: ten steps each."""
    torch.set_num_threads(1)
    return [row(name, quick) for name, case in CASES.items() if not case.gpu or torch.cuda.is_available()]
