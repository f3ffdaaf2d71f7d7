"""VAE and IWAE of dynamically binarised MNIST: test negative log-likelihood in nats, by 5000 samples.

One stochastic layer of Burda, Grosse, Salakhutdinov (2016), https://arxiv.org/abs/1509.00519: 784-200-200-50, tanh.
Trained by Muon in large batches, in two stages of one model: K = 1, many cheap epochs, is the VAE; going on with
K = 50, of which one sample is back-propagated, makes it the IWAE, whose time is that of both. One thread, bfloat16, at
most 40 processor minutes each; the estimate itself takes some minutes more and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

import creo
from creo.model import GenerativeModel, seeded

SAMPLES, CHUNK, LIMIT = 5000, 100, 2400


@dataclass(frozen=True)
class Stage:
    """How a model is trained, going on from the stage before; what it may reach at most, in nats."""

    name: str
    target: float
    steps: int
    batch: int
    lr: float
    options: dict[str, Any]


PAPER = {"latent": 50, "hidden": 200, "layers": 2, "activation": "tanh", "residual": False, "network": "mlp"}
COMMON = {
    "precision": "bfloat16",
    "threads": 1,
    "ema": 0.999,
    "clip": 0.0,
    "progress": False,
}
STAGES = (
    Stage("VAE", 88.0, 30_000, 1000, 2e-3, {}),
    Stage("IWAE-50", 86.0, 21_000, 250, 1.5e-3, {"bound": "iwae", "k": 50, "estimator": "dreg", "keep": 1}),
)


def trained(share: float, seed: int) -> Iterator[tuple[Stage, GenerativeModel, float, int]]:
    """The model after every stage, the CPU seconds and the epochs it took so far."""
    data = creo.load_data("mnist-binary")
    before, seconds, examples = None, 0.0, 0
    for stage in STAGES:
        with seeded(seed):
            model = creo.build("vae", data.space, **PAPER, **stage.options)
        if before is not None:
            model.load_state_dict(before.state_dict())
        steps = max(1, round(share * stage.steps))
        run = creo.fit(
            model, data, steps=steps, seed=seed, optimiser="muon", lr=stage.lr, batch_size=stage.batch,
            eval_every=max(1, steps // 8), **COMMON,
        )  # fmt: skip
        seconds, examples = seconds + run.cpu_seconds, examples + run.steps * stage.batch
        print(
            f"{stage.name}: {run.steps} steps, {run.cpu_seconds:.0f} CPU-s, valid {run.best:.2f}", flush=True
        )
        yield stage, run.model, seconds, examples // len(data.train)
        before = run.model


@torch.no_grad()
def nll(model: GenerativeModel, x: torch.Tensor, samples: int, seed: int) -> torch.Tensor:
    """The estimate for every picture, (n,) nats."""
    with seeded(seed):
        return torch.cat([-model.log_prob(part, samples=samples) for part in x.split(CHUNK)])


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per stage; quick: a two-hundredth of the steps, few pictures and samples."""
    torch.set_num_threads(1)
    share, samples, pictures, seed = (0.005, 50, 200, 0) if quick else (1.0, SAMPLES, None, 0)
    x, rows = creo.load_data("mnist-binary").test[:][:pictures], []
    for stage, model, seconds, epochs in trained(share, seed):
        each = nll(model.eval(), x, samples, seed)
        value = float(each.mean())
        rows.append({
            "name": f"mnist-binary test NLL, {stage.name}, {samples}-sample estimate",
            "value": round(value, 2), "unit": "nats", "spread": round(float(each.std()) / len(each) ** 0.5, 2),
            "better": "lower", "target": stage.target, "met": value <= stage.target and seconds <= LIMIT,
            "peer": None, "peer_value": None, "seeds": [seed], "threads": 1,
            "note": f"{stage.name}: {seconds:.0f} CPU-s, {epochs} epochs, {len(each)} test pictures.",
        })  # fmt: skip
    return rows
