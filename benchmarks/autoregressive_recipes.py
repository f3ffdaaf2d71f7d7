"""Recipes of the autoregressive family: bits per dimension and time of a short training on every image data set.

Each row is one command, `creo train MODEL --data DATA --steps N --precision bfloat16`, seed 0, one thread: what some
minutes of one processor core buy, not what the model can reach. The base sizes run on a GPU only. The likelihood is
exact, of the first test images (at most 1000); its spread is the standard error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

import creo
from creo.model import GenerativeModel, seeded

TEST = 1000


@dataclass(frozen=True)
class Recipe:
    """One row: a data set, a model with its options, and how long it trains."""

    data: str
    model: str
    steps: int
    options: dict[str, Any] = field(default_factory=dict)
    gpu: bool = False


RECIPES = (
    Recipe("digits", "made", 3000),
    Recipe("digits", "gated-pixelcnn", 1000),
    Recipe("digits", "image-transformer", 1000),
    Recipe("mnist-binary", "made", 5000, {"hidden": (1024,), "direct": True}),
    Recipe("mnist-binary", "pixelcnn", 600, {"size": "small"}),
    Recipe("mnist", "gated-pixelcnn", 300, {"size": "small"}),
    Recipe("fashion-mnist", "gated-pixelcnn", 300, {"size": "small"}),
    Recipe("cifar10", "pixelcnn++", 200, {"size": "small"}),
    *(
        Recipe(data, model, 30_000, {"size": "base"}, gpu=True)
        for data, model in (
            ("mnist-binary", "pixelcnn"), ("mnist-binary", "image-transformer"), ("mnist", "gated-pixelcnn"),
            ("fashion-mnist", "gated-pixelcnn"), ("cifar10", "pixelcnn++"),
        )
    ),
)  # fmt: skip


@torch.no_grad()
def bits(model: GenerativeModel, x: torch.Tensor) -> tuple[float, float]:
    """Bits per dimension, and its standard error."""
    each = torch.cat([-model.log_prob(part.to(model.device)).cpu() for part in x.split(50)])
    each = each / (model.space.dims * math.log(2))
    return float(each.mean()), float(each.std() / len(each) ** 0.5)


def row(recipe: Recipe, share: float, test: int) -> dict[str, Any]:
    """Train one recipe and evaluate it."""
    data, steps = creo.load_data(recipe.data), max(2, round(share * recipe.steps))
    with seeded(0):
        model = creo.build(recipe.model, data.space, **recipe.options)
    run = creo.fit(
        model, data, steps=steps, seed=0, precision="bfloat16", threads=1, eval_every=max(steps // 2, 1),
        device="cuda" if recipe.gpu else "cpu", progress=False,
    )  # fmt: skip
    x = data.test.head(test)[0]
    value, error = bits(run.model.eval(), x)
    options = "".join(f", {name}={value}" for name, value in recipe.options.items())
    size, nats = sum(p.numel() for p in model.parameters()), value * data.space.dims * math.log(2)
    print(f"{recipe}: {value:.4f} bits/dim, {run.cpu_seconds:.0f} CPU-s", flush=True)
    return {
        "name": f"{recipe.data}, {recipe.model}{options}, {steps} steps", "value": round(value, 4),
        "unit": "bits/dim", "spread": round(error, 4), "better": "lower", "target": None, "met": None,
        "peer": None, "peer_value": None, "seeds": [0], "threads": 1,
        "note": f"{recipe.data}, {recipe.model}: {nats:.2f} nats, {run.cpu_seconds:.0f} CPU-s, {size} parameters.",
    }  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per recipe that this machine can run; quick: a hundredth of the steps."""
    torch.set_num_threads(1)
    able = [recipe for recipe in RECIPES if not recipe.gpu or torch.cuda.is_available()]
    return [row(recipe, 0.005 if quick else 1.0, 50 if quick else TEST) for recipe in able]
