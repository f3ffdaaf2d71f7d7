"""Sampling from autoregressive models: caches beside evaluating the whole network for each symbol. One thread.

Gated PixelCNN, small (8 layers of 32 channels), 16 binary images of 28 x 28: the row cache, beside one pass of the
whole network per pixel, of which some are timed and counted 784 times (each costs the same). That both ways draw the
same images from the same random numbers is checked on 8 x 8 images in float64.

MADE with 784 binary inputs and two hidden layers of 2048, 1024 samples at once: incremental sampling in units of one
forward pass of the same batch; the naive way takes 784.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from creo.autoregressive import MADE, GatedPixelCNN
from creo.model import seeded
from creo.spaces import Ordinal

IMAGES, FASTER, PASSES = 16, 60.0, 4.0


def seconds(call: Callable[[], Any]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def pixelcnn(side: int) -> GatedPixelCNN:
    """An untrained small model; what it costs does not depend on its weights."""
    with seeded(0):
        return GatedPixelCNN.for_space(Ordinal((1, side, side), 2), size="small").eval()


@torch.no_grad()
def by_whole_passes(model: GatedPixelCNN, n: int) -> Tensor:
    """Samples by one pass of the whole network per pixel."""
    x = torch.zeros(n, *model.space.shape, dtype=torch.uint8)
    for i, place in enumerate(model.order.tolist()):
        token = torch.multinomial(model.logits(x)[:, i].softmax(-1), 1).squeeze(1)
        x.view(n, -1)[:, place] = token.to(x.dtype)
    return x


def same_samples(side: int) -> bool:
    """Whether both ways draw the same images from the same random numbers."""
    model = pixelcnn(side).double()
    with seeded(1):
        slow = by_whole_passes(model, IMAGES)
    with seeded(1):
        return torch.equal(model.sample(IMAGES), slow)


def pixelcnn_row(rounds: int, side: int) -> dict[str, Any]:
    """How many times faster the cache is."""
    model, same = pixelcnn(28), same_samples(side)
    x = torch.randint(2, (IMAGES, 1, 28, 28)).to(torch.uint8)
    passed = torch.no_grad()(lambda: model.logits(x))
    passed(), model.sample(IMAGES)
    ratios, took = [], []
    for _ in range(rounds):
        whole = statistics.median(seconds(passed) for _ in range(3))
        took.append(seconds(lambda: model.sample(IMAGES)))
        ratios.append(784 * whole / took[-1])
    ratio = statistics.median(ratios)
    return {
        "name": f"gated-pixelcnn small, sampling {IMAGES} binary 28 x 28 images",
        "value": round(ratio, 1), "unit": "x faster", "spread": [round(min(ratios), 1), round(max(ratios), 1)],
        "better": "higher", "target": FASTER, "met": same and ratio >= FASTER,
        "peer": "a whole pass per pixel", "peer_value": 1.0, "seeds": [0], "threads": 1,
        "note": f"gated-pixelcnn: {statistics.median(took):.2f} s for {IMAGES} images; the same samples as by whole "
        f"passes in float64 at {side} x {side}: {'yes' if same else 'no'}.",
    }  # fmt: skip


def made_row(rounds: int, batch: int) -> dict[str, Any]:
    """Sampling in units of a forward pass."""
    with seeded(0):
        model = MADE.for_space(Ordinal((784,), 2), hidden=(2048, 2048)).eval()
    x = torch.randint(2, (batch, 784)).to(torch.uint8)
    passed = torch.no_grad()(lambda: model.log_prob(x))
    passed()
    units = []
    for _ in range(rounds):
        once = statistics.median(seconds(passed) for _ in range(3))
        units.append(seconds(lambda: model.sample(batch)) / once)
    unit = statistics.median(units)
    return {
        "name": f"MADE, 784 inputs, hidden 2 x 2048, sampling {batch} at once",
        "value": round(unit, 2), "unit": "passes", "spread": [round(min(units), 2), round(max(units), 2)],
        "better": "lower", "target": PASSES, "met": unit <= PASSES,
        "peer": "a whole pass per variable", "peer_value": 784, "seeds": [0], "threads": 1,
    }  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the result; quick: one round, smaller sizes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if quick:
            return [pixelcnn_row(1, 5), made_row(1, 256)]
        return [pixelcnn_row(3, 8), made_row(5, 1024)]
    finally:
        torch.set_num_threads(threads)
