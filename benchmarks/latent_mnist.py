"""VAE and IWAE of dynamically binarised MNIST: test negative log-likelihood in nats, by 5000 samples.

One stochastic layer of Burda, Grosse, Salakhutdinov (2016), https://arxiv.org/abs/1509.00519: 784-200-200-50, tanh. The
IWAE is trained in two stages of the same model, K = 5 and then K = 50 of which one sample is back-propagated. One
thread, bfloat16, at most 40 processor minutes each; the estimate itself takes some minutes more and is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

import creo
from creo.model import GenerativeModel, seeded

SAMPLES, CHUNK = 5000, 100


@dataclass(frozen=True)
class Stage:
    """A model, its options, and how it is trained."""

    steps: int
    options: dict[str, Any]
    settings: dict[str, Any]


PAPER = {"latent": 50, "hidden": 200, "layers": 2, "activation": "tanh", "residual": False, "network": "mlp"}
COMMON = {
    "precision": "bfloat16",
    "threads": 1,
    "ema": 0.999,
    "clip": 0.0,
    "batch_size": 100,
    "progress": False,
}
#: name -> (stages, target in nats)
CASES: dict[str, tuple[tuple[Stage, ...], float]] = {
    "VAE": ((Stage(340_000, {"beta_warmup": 6000}, {"lr": 2e-3}),), 88.0),
    "IWAE-50": (
        (
            Stage(60_000, {"bound": "iwae", "k": 5}, {"lr": 2e-3}),
            Stage(28_000, {"bound": "iwae", "k": 50, "keep": 1}, {"lr": 1e-3}),
        ),
        86.0,
    ),
}


def trained(stages: tuple[Stage, ...], share: float, seed: int) -> tuple[GenerativeModel, float, int]:
    """The model after all stages, the CPU seconds and the epochs it took."""
    data = creo.load_data("mnist-binary")
    model, seconds, examples = None, 0.0, 0
    for stage in stages:
        with seeded(seed):
            following = creo.build("vae", data.space, **PAPER, **stage.options)
        if model is not None:
            following.load_state_dict(model.state_dict())
        steps = max(1, round(share * stage.steps))
        run = creo.fit(following, data, steps=steps, seed=seed, **{**COMMON, **stage.settings})
        model, seconds = run.model, seconds + run.cpu_seconds
        examples += run.steps * COMMON["batch_size"]
        print(
            f"{stage.options}: {run.steps} steps, {run.cpu_seconds:.0f} CPU-s, valid {run.best:.2f}",
            flush=True,
        )
    if model is None:
        raise ValueError("training has at least one stage")
    return model, seconds, examples // len(data.train)


@torch.no_grad()
def nll(model: GenerativeModel, x: torch.Tensor, samples: int, seed: int) -> torch.Tensor:
    """The estimate for every picture, (n,) nats."""
    with seeded(seed):
        return torch.cat([-model.log_prob(part, samples=samples) for part in x.split(CHUNK)])


def row(name: str, share: float, samples: int, pictures: int | None, seed: int = 0) -> dict[str, Any]:
    """Train one case and estimate its likelihood on the test split."""
    torch.set_num_threads(1)
    stages, target = CASES[name]
    model, seconds, epochs = trained(stages, share, seed)
    each = nll(model.eval(), creo.load_data("mnist-binary").test[:][:pictures], samples, seed)
    value = float(each.mean())
    return {
        "name": f"mnist-binary test NLL, {name}, {samples}-sample estimate",
        "value": round(value, 2), "unit": "nats", "spread": round(float(each.std()) / len(each) ** 0.5, 2),
        "better": "lower", "target": target, "met": value <= target and seconds <= 2400,
        "peer": None, "peer_value": None, "seeds": [seed], "threads": 1,
        "note": f"{name}: {seconds:.0f} CPU-s, {epochs} epochs, {len(each)} test pictures.",
    }  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per case; quick: a hundredth of the time, few pictures and samples."""
    size = (0.005, 50, 200) if quick else (1.0, SAMPLES, None)
    return [row(name, *size) for name in CASES]
