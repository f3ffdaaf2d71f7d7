"""Autoregressive models of dynamically binarised MNIST: test negative log-likelihood in nats, exactly.

MADE (two hidden layers of 500, a random order) and a small Gated PixelCNN, which trains 40 processor minutes on two
cores in bfloat16; on a machine with a GPU also the base sizes of PixelCNN and the image transformer. Hours
in all: not part of a routine run.
"""

from __future__ import annotations

from typing import Any

import torch

import creo
from creo.model import seeded

#: name -> (model, options, minutes, target, needs a GPU)
CASES: dict[str, tuple[str, dict[str, Any], float, float, bool]] = {
    "MADE": ("made", {"hidden": (500, 500), "order": "random", "dropout": 0.0}, 10.0, 88.0, False),
    "gated-pixelcnn small": ("gated-pixelcnn", {"size": "small"}, 20.0, 83.5, False),
    "pixelcnn base": ("pixelcnn", {"size": "base"}, 60.0, 81.0, True),
    "image-transformer base": ("image-transformer", {"size": "base"}, 60.0, 79.0, True),
}


def row(name: str, minutes: float | None = None, seed: int = 0) -> dict[str, Any]:
    """Train one case and evaluate it on the test split."""
    model_name, options, long, target, gpu = CASES[name]
    data = creo.load_data("mnist-binary")
    with seeded(seed):
        model = creo.build(model_name, data.space, **options)
    device = "cuda" if gpu else "cpu"
    done = creo.fit(
        model, data, minutes=minutes or long, seed=seed, precision="bfloat16", device=device, progress=False
    )
    nll = creo.evaluate(done.model, data.test, seed=seed)["NLL"].value
    return {
        "name": f"mnist-binary test NLL, {name} ({device}, {minutes or long:g} min)",
        "value": round(nll, 2), "unit": "nats", "spread": None, "better": "lower",
        "target": target, "met": nll <= target, "peer": None, "peer_value": None, "seeds": [seed],
        "note": f"{name}: {done.cpu_seconds:.0f} CPU-s.",
    }  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per case that this machine can run; quick: six seconds each."""
    able = [name for name, case in CASES.items() if not case[-1] or torch.cuda.is_available()]
    return [row(name, 0.1 if quick else None) for name in able]
