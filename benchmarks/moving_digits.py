"""Videos of moving digits: do samples move as the data do, and are continuations nearer to the future than a still?

Flow matching trains on `moving-digits` twice: on whole videos of eight frames, and on six frames given the first two.
Of whole videos the physics is measured: the median change of velocity of the centre of mass (pixels a frame; walls
apart, none) and the change of ink over time, beside the same of held-out videos and of videos whose frames are
shuffled. Of continuations the squared error against the true future, frame by frame, and rolled out twice as far as the
model was trained, beside repeating the last frame given.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

import creo
from creo.data import Data
from creo.data.moving import ink_change, jerkiness
from creo.evaluation.video import forecast_error, roll_out
from creo.model import GenerativeModel, seeded

STEPS, SAMPLES, FRAMES, GIVEN, FAR = 1000, 200, 8, 2, 14


def train(data: Data, steps: int) -> tuple[GenerativeModel, float]:
    """The model after so many steps of 64, and its CPU seconds."""
    condition = data.condition if data.condition is not None and data.condition.is_grid else None
    with seeded(0):
        model = creo.build("flow-matching", data.space, condition, patch=2, channels=48)
    begun = time.process_time()
    run = creo.fit(model, data, steps=steps, batch_size=64, lr=2e-3, seed=0, threads=1, progress=False)
    return run.model, time.process_time() - begun


def row(
    name: str, value: float, peer: str, other: float, note: str, *, target: float | None = None
) -> dict[str, Any]:
    """A row of a number that is better when lower."""
    return {
        "name": name, "value": round(value, 4), "unit": "", "spread": None, "better": "lower",
        "target": None if target is None else round(target, 4), "met": None if target is None else value <= target,
        "peer": peer, "peer_value": round(other, 4), "seeds": [0], "threads": 1, "note": note,
    }  # fmt: skip


def physics(x: Tensor, data: Tensor, note: str) -> list[dict[str, Any]]:
    """Rows of whole videos: drawn ones beside held-out ones; targets halfway (geometric) to shuffled frames."""
    shuffled = torch.stack([video[torch.randperm(len(video))] for video in data])
    jerks, real, loose = (float(jerkiness(v).nanmean()) for v in (x, data, shuffled))
    inks, true = (float(ink_change(v).mean()) for v in (x, data))
    return [
        row("drawn videos: change of velocity, pixels", jerks, "held-out videos", real, note,
            target=(real * loose) ** 0.5),
        row("shuffled frames: change of velocity, pixels", loose, "held-out videos", real, note),
        row("drawn videos: change of ink over time, share", inks, "held-out videos", true, note, target=0.1),
    ]  # fmt: skip


def forecasts(model: GenerativeModel, far: Tensor, note: str) -> list[dict[str, Any]]:
    """Rows of continuations of longer true videos, for the frames trained on and for those beyond."""
    given, truth = far[:, :GIVEN].contiguous(), far[:, GIVEN:]
    with seeded(1):
        drawn = roll_out(model, given, truth.shape[1])
    error, still = forecast_error(drawn, truth, given)
    near = FRAMES - GIVEN
    parts = {
        "first": slice(0, 1),
        f"1 to {near}": slice(0, near),
        f"{near + 1} to {len(error)}": slice(near, None),
    }
    return [
        row(f"squared error of predicted frames {name}", float(error[part].mean()), "last frame repeated",
            float(still[part].mean()), note, target=float(still[part].mean()) / 2 if part.stop else None)
        for name, part in parts.items()
    ]  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """The rows of both models; quick: few steps and samples."""
    torch.set_num_threads(1)
    steps, n = (10, 20) if quick else (STEPS, SAMPLES)
    whole, given = (creo.load_data(f"moving-digits,given={k}") for k in (0, GIVEN))
    joint, seconds = train(whole, steps)
    with seeded(1):
        x = joint.sample(n)
    rows = physics(x, whole.test.x, f"whole videos: {steps} steps of 64, {seconds:.0f} CPU-s")
    model, seconds = train(given, steps)
    far = creo.load_data(f"moving-digits,frames={GIVEN + FAR}").test[:n]
    return rows + forecasts(model, far, f"given two frames: {steps} steps of 64, {seconds:.0f} CPU-s")
