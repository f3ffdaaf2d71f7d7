"""What richer priors and posteriors of a VAE gain on binary MNIST, at equal training.

784-200-200-16 with tanh, binarised anew at each visit, equal steps of Muon, batches and rate; one thread, bfloat16.
The test negative log-likelihood is the importance-weighted bound with 1000 samples, on the first pictures of the test
split; its spread is the standard error over pictures. Gains are of the same pictures, so their errors are smaller.
Needs the data set (`$CREO_DATA`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import creo

SEED, STEPS, SAMPLES, PICTURES, CHUNK = 0, 4000, 1000, 1000, 100
NETWORKS: dict[str, Any] = {
    "latent": 16,
    "hidden": 200,
    "layers": 2,
    "activation": "tanh",
    "residual": False,
    "network": "mlp",
}
SETTINGS: dict[str, Any] = {
    "batch_size": 250, "optimiser": "muon", "lr": 2e-3, "ema": 0.999, "precision": "bfloat16", "threads": 1,
    "progress": False, "sample_every": 0, "seed": SEED,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "standard prior, diagonal posterior": {},
    "mixture prior (100)": {"prior": "mixture", "prior_components": 100},
    "VampPrior (100)": {"prior": "vamp", "prior_components": 100},
    "flow prior (realnvp)": {"prior": "realnvp"},
    "flow prior (maf)": {"prior": "maf"},
    "full covariance posterior": {"posterior": "full"},
    "iaf posterior": {"posterior": "iaf"},
    "planar posterior": {"posterior": "planar"},
}


@torch.no_grad()
def nll(model: Any, x: Tensor, samples: int) -> Tensor:
    """The estimate of every picture, (n,) nats."""
    with creo.seeded(SEED):
        return torch.cat([-model.log_prob(part, samples=samples) for part in x.split(CHUNK)])


def measured(options: dict[str, Any], steps: int, samples: int, pictures: int) -> tuple[Tensor, float]:
    """Estimates of the test pictures by a model with these options, and the CPU seconds of its training."""
    data = creo.load_data("mnist-binary")
    with creo.seeded(SEED):
        model = creo.build("vae", data.space, **NETWORKS, **options)
    run = creo.fit(model, data, steps=steps, **SETTINGS)
    with creo.seeded(SEED):
        x = data.test[:pictures]
    return nll(run.model, x, samples), run.cpu_seconds


def row(name: str, each: Tensor, first: Tensor, seconds: float, samples: int) -> dict[str, Any]:
    """One case, beside the first."""
    gain, root = first - each, len(each) ** 0.5
    note = (
        f"{name}: {float(gain.mean()):.2f} ± {float(gain.std()) / root:.2f} nats gained; {seconds:.0f} CPU-s."
    )
    return {
        "name": f"mnist-binary test NLL, {name}, {samples} samples",
        "value": round(float(each.mean()), 2), "unit": "nats", "spread": round(float(each.std()) / root, 2),
        "better": "lower", "target": None, "met": None, "peer": None, "peer_value": None, "seeds": [SEED],
        "threads": 1, "note": note,
    }  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per case; quick: a few steps, samples and pictures."""
    torch.set_num_threads(1)
    size = (20, 20, 50) if quick else (STEPS, SAMPLES, PICTURES)
    found = {name: measured(options, *size) for name, options in CASES.items()}
    first = next(iter(found.values()))[0]
    return [row(name, each, first, seconds, size[1]) for name, (each, seconds) in found.items()]
