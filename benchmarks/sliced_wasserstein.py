"""Sliced Wasserstein distance beside POT, on the same points and the same directions.

Points from two Gaussians in 64 dimensions, 256 directions, order 2, float64, uniform weights; POT computes with numpy
and with torch, and the faster of the two is the peer. The two values agree to rounding, which is checked. One thread;
creo and POT alternate, and the ratio is the median over rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from creo.divergences.transport import sliced_wasserstein

DIMENSIONS, DIRECTIONS, TARGET = 64, 256, 3.0


def seconds(call: Callable[[], Any]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peers(x: Tensor, y: Tensor, theta: Tensor) -> dict[str, Callable[[], float]]:
    """POT with numpy and with torch; none where it is not installed."""
    try:
        import ot
    except ImportError:
        return {}
    arrays = x.numpy(), y.numpy(), theta.T.numpy()
    return {
        "numpy": lambda: float(ot.sliced_wasserstein_distance(*arrays[:2], projections=arrays[2])),
        "torch": lambda: float(ot.sliced_wasserstein_distance(x, y, projections=theta.T)),
    }


def compare(n: int, m: int, rounds: int) -> dict[str, Any]:
    """One row: how many times faster than the faster of POT's two ways."""
    x, y = (
        torch.randn(n, DIMENSIONS, dtype=torch.float64),
        torch.randn(m, DIMENSIONS, dtype=torch.float64) + 0.5,
    )
    theta = torch.nn.functional.normalize(torch.randn(DIRECTIONS, DIMENSIONS, dtype=torch.float64), dim=-1)

    def ours() -> float:
        return float(sliced_wasserstein(x, y, directions=theta).value)

    others = peers(x, y, theta)
    ratios: dict[str, list[float]] = {name: [] for name in others}
    took = []
    for _ in range(rounds):
        for name, other in others.items():
            before, theirs, after = seconds(ours), seconds(other), seconds(ours)
            took += [before, after]
            ratios[name].append(theirs / ((before + after) / 2))
    gap = max((abs(other() / ours() - 1) for other in others.values()), default=0.0)
    row = {
        "name": f"sliced Wasserstein, {n} and {m} points, {DIMENSIONS} dimensions, {DIRECTIONS} directions",
        "better": "higher", "seeds": [0], "threads": 1,
    }  # fmt: skip
    if not others:
        took = [1e3 * seconds(ours) for _ in range(rounds)]
        spread = [round(min(took), 2), round(max(took), 2)]
        value = {
            "value": round(statistics.median(took), 2),
            "unit": "ms",
            "spread": spread,
            "better": "lower",
        }
        return row | value | {"target": None, "met": None, "peer": None, "peer_value": None}
    faster = min(ratios, key=lambda name: statistics.median(ratios[name]))
    ratio = statistics.median(ratios[faster])
    return row | {
        "value": round(ratio, 2), "unit": "x faster",
        "spread": [round(min(ratios[faster]), 2), round(max(ratios[faster]), 2)],
        "target": TARGET, "met": ratio >= TARGET and gap < 1e-9,
        "peer": f"POT with {faster}", "peer_value": 1.0,
        "note": f"{n} and {m} points: creo {1e3 * statistics.median(took):.1f} ms; values differ by {gap:.0e} relative",
    }  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the result; quick: fewer points and rounds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        sizes = ((1000, 1000),) if quick else ((1000, 1000), (5000, 5000), (5000, 3000))
        return [compare(n, m, 3 if quick else 7) for n, m in sizes]
    finally:
        torch.set_num_threads(threads)
