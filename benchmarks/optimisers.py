"""Adam and Muon at about equal time: a VAE of dynamically binarised MNIST, test likelihood by 500 samples.

The IWAE paper's network (784-200-200-50, tanh), ELBO, bfloat16, one thread, cosine schedule. Adam at the batch that
served it best; Muon at a larger one, as its extra work does not grow with the batch. The values are not the best this
network can do: see `latent_mnist`.
"""

from __future__ import annotations

from typing import Any

import torch

import creo
from benchmarks.latent_mnist import COMMON, PAPER, nll
from creo.model import seeded

#: optimiser, batch, learning rate, steps
CASES = (
    ("adam", 100, 2e-3, 40_000),
    ("adam", 250, 4e-3, 26_000),
    ("muon", 500, 2e-3, 8500),
    ("muon", 1000, 2e-3, 5100),
)
SAMPLES, PICTURES = 500, 2000


def row(optimiser: str, batch: int, lr: float, steps: int, pictures: int) -> dict[str, Any]:
    """Train one model and estimate its likelihood."""
    data = creo.load_data("mnist-binary")
    with seeded(0):
        model = creo.build("vae", data.space, **PAPER)
    settings = {**COMMON, "batch_size": batch, "lr": lr, "optimiser": optimiser}
    run = creo.fit(model, data, steps=steps, seed=0, eval_every=max(1, steps // 4), **settings)
    each = nll(run.model.eval(), data.test[:pictures], SAMPLES, 0)
    return {
        "name": f"{optimiser}, batch {batch}, learning rate {lr}: test NLL by {SAMPLES} samples",
        "value": round(float(each.mean()), 2), "unit": "nats",
        "spread": round(float(each.std()) / len(each) ** 0.5, 2), "better": "lower", "target": None, "met": None,
        "peer": None, "peer_value": None, "seeds": [0], "threads": 1,
        "note": f"{optimiser}, batch {batch}: {run.steps} steps, {run.cpu_seconds:.0f} CPU-s.",
    }  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per case, on the first test pictures; quick: a hundredth of the steps."""
    torch.set_num_threads(1)
    return [
        row(name, batch, lr, max(1, steps // (100 if quick else 1)), 50 if quick else PICTURES)
        for name, batch, lr, steps in CASES
    ]
