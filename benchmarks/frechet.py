"""Frechet distance of 10 000 samples of 2048 features to a cached reference, beside the usual square roots.

Features are Gaussian with a full-rank covariance of condition about 100. What is timed is everything a model's samples
cost once the reference is known: moments and distance. Peers are the two ways in use: scipy's `sqrtm` of the product
of covariances (as pytorch-fid and clean-fid do), and the eigenvalues of the product by `torch.linalg.eigvals` (as
torchmetrics does), both in float64 on the same moments. The distances agree, which is checked. One thread; times are
of the processor, so a busy machine does not blur them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from creo.evaluation.frechet import FrechetReference, Moments

TARGETS = {"scipy sqrtm": 10.0, "torch eigvals": 8.0}


def by_sqrtm(a: Moments, b: Moments) -> float:
    """tr (S1 S2)^(1/2) by the Schur form."""
    from scipy.linalg import sqrtm

    return float(sqrtm((a.covariance @ b.covariance).numpy()).trace().real)


def by_eigvals(a: Moments, b: Moments) -> float:
    """The same by the eigenvalues of a matrix that is not symmetric."""
    return float(torch.linalg.eigvals(a.covariance @ b.covariance).sqrt().sum().real)


def distance(root: Callable[[Moments, Moments], float], x: Tensor, b: Moments) -> float:
    """FD by a peer's trace of the root."""
    a = Moments.of([x])
    traces = float(a.covariance.trace() + b.covariance.trace())
    return float((a.mean - b.mean).square().sum()) + traces - 2 * root(a, b)


def timed(call: Callable[[], float]) -> tuple[float, float]:
    """CPU seconds and value of one call."""
    start = time.process_time()
    value = call()
    return time.process_time() - start, value


def rows(d: int, n: int, rounds: int) -> list[dict[str, Any]]:
    """A row per peer: how many times faster, median of paired rounds."""
    scale = torch.linspace(0.3, 3, d, dtype=torch.float64)
    x = torch.randn(n, d, dtype=torch.float64) * scale
    y = (
        torch.randn(n, d, dtype=torch.float64)
        @ torch.linalg.qr(torch.randn(d, d, dtype=torch.float64))[0]
        * 2
        + 0.1
    )
    moments = Moments.of([y])
    reference = FrechetReference.of(moments)
    found = []
    for name, root in (("scipy sqrtm", by_sqrtm), ("torch eigvals", by_eigvals)):
        ratios, took, gap = [], [], 0.0
        for _ in range(rounds):
            ours, value = timed(lambda: reference.distance(x))
            theirs, other = timed(lambda root=root: distance(root, x, moments))
            ratios.append(theirs / ours)
            took.append(ours)
            gap = max(gap, abs(value / other - 1))
        ratio = statistics.median(ratios)
        found.append({
            "name": f"Frechet distance, {n} samples of {d} features, reference cached, against {name}",
            "value": round(ratio, 1), "unit": "x faster",
            "spread": [round(min(ratios), 1), round(max(ratios), 1)], "better": "higher",
            "target": TARGETS[name], "met": ratio >= TARGETS[name] and gap < 1e-8,
            "peer": name, "peer_value": 1.0, "seeds": [0], "threads": 1,
            "note": f"creo {statistics.median(took):.2f} CPU-s; values differ by {gap:.0e} relative",
        })  # fmt: skip
    return found


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the result; quick: 256 features."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        rows(16, 100, 1)  # scipy's import is not its speed
        return rows(256, 1000, 1) if quick else rows(2048, 10_000, 1)
    finally:
        torch.set_num_threads(threads)
