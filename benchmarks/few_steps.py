"""Samples by 1, 2 and 4 network calls: a flow, the same after reflow, a consistency model, one distilled from the flow.

On a 2-D density, with one perceptron of three layers of 128 and 1000 updates of 256 for all. The flow is trained on the
data, reflow on 10 000 pairs of noise and sample made by it (starting from its weights), consistency on the data,
distillation on the data's points and the flow's field. Sliced Wasserstein-2 distance to the test points; beside it that
of fresh draws, and the flow with 50 calls in the note. Crookedness is the mean squared difference of the velocity and
the chord (`creo.diffusion.reflow`): 0 is straight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import creo
from creo.diffusion.model import Diffusion
from creo.diffusion.reflow import crookedness, few_steps
from creo.divergences.transport import sliced_wasserstein
from creo.model import GenerativeModel, seeded
from creo.training.reflow import reflow

DENSITIES, CALLS, STEPS, PAIRS = ("moons",), (1, 2, 4), 1000, 10_000
OPTIONS: dict[str, Any] = {"hidden": (128, 128, 128)}
TRAINING: dict[str, Any] = {"batch_size": 256, "lr": 2e-3, "progress": False, "threads": 1, "seed": 0}


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the result; quick: 50 steps."""
    torch.set_num_threads(1)
    return [
        row
        for density in DENSITIES
        for row in measure(density, 50 if quick else STEPS, 500 if quick else PAIRS)
    ]


def trained(name: str, data: Any, steps: int, teacher: Diffusion | None = None) -> GenerativeModel:
    """A model of that name, taught by another one if given."""
    with seeded(0):
        model = creo.build(name, data.space, **OPTIONS)
    if teacher is not None:
        model.taught_by(teacher)
    creo.fit(model, data, steps=steps, eval_every=steps, **TRAINING)
    return model


def measure(density: str, steps: int, pairs: int) -> list[dict[str, Any]]:
    """Crookedness before and after reflow, and distances of all ways to sample."""
    data = creo.load_data(density)
    flow = trained("flow-matching", data, steps)
    straight = reflow(flow, pairs=pairs, steps=steps, eval_every=steps, **TRAINING)
    alone = trained("consistency", data, steps)
    taught = trained("consistency", data, steps, flow)
    truth = data.test[:]
    with seeded(1):
        fresh = _distance(data.density.sample((len(truth),)), truth)
        long = _distance(flow.sample(len(truth), steps=50), truth)
        crooked = [crookedness(m, 2000) for m in (flow, straight)]
    rows = [
        _row(f"crookedness of the flow on {density}", crooked[0], None, None),
        _row(f"crookedness after reflow on {density}", crooked[1], round(crooked[0] / 4, 4), None),
    ]
    for calls in CALLS:
        with seeded(2):
            drawn = {
                "flow": few_steps(flow, len(truth), calls=calls),
                "after reflow": few_steps(straight, len(truth), calls=calls),
                "consistency": alone.sample(len(truth), steps=calls),
                "distilled consistency": taught.sample(len(truth), steps=calls),
            }
        for name, x in drawn.items():
            what = f"{name} on {density}, {calls} network call{'s' * (calls > 1)}: sliced Wasserstein-2"
            rows.append(_row(what, _distance(x, truth), None, fresh, f"flow, 50 calls: {long:.3f}"))
    return rows


def _distance(x: Tensor, y: Tensor) -> float:
    return float(sliced_wasserstein(x, y).value)


def _row(name: str, value: float, target: float | None, peer: float | None, note: str = "") -> dict[str, Any]:
    return {
        "name": name, "value": round(value, 4), "unit": "", "spread": None, "better": "lower", "target": target,
        "met": None if target is None else value <= target, "peer": None if peer is None else "fresh draws",
        "peer_value": None if peer is None else round(peer, 4), "note": note, "seeds": [0], "threads": 1,
    }  # fmt: skip
