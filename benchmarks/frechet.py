"""Frechet distance of 10 000 samples of 2048 features to a cached reference, beside the usual square roots.

Timed is the distance once the moments of the samples are known, which is what the packages in use compute anew for
every model: pytorch-fid and clean-fid scipy's `sqrtm` of the product of the covariances, torchmetrics its eigenvalues
by `torch.linalg.eigvals`, both in float64. They are given the moments of both sides; creo has the samples' moments
and the reference's factor. The moments themselves are a row of their own, beside `torch.cov`. Features are Gaussian
with full-rank covariances; the distances agree, which is checked. Pairs alternate, one thread; times are of the
processor, so a busy machine blurs them less.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
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


def distance(root: Callable[[Moments, Moments], float], a: Moments, b: Moments) -> float:
    """FD by a peer's trace of the root."""
    traces = float(a.covariance.trace() + b.covariance.trace())
    return float((a.mean - b.mean).square().sum()) + traces - 2 * root(a, b)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds and value of one call."""
    start = time.process_time()
    value = call()
    return time.process_time() - start, value


def features(n: int, d: int) -> tuple[Tensor, Tensor]:
    """Samples and reference, (n, d) each."""
    scale = torch.linspace(0.3, 3, d, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64))[0]
    x = torch.randn(n, d, dtype=torch.float64) * scale
    return x, torch.randn(n, d, dtype=torch.float64) @ turn * 2 + 0.1


def row(name: str, peer: str, ratios: Sequence[float], target: float | None, note: str) -> dict[str, Any]:
    """How many times faster than a peer."""
    ratio = statistics.median(ratios)
    return {
        "name": name, "value": round(ratio, 1), "unit": "x faster",
        "spread": [round(min(ratios), 1), round(max(ratios), 1)], "better": "higher",
        "target": target, "met": None if target is None else ratio >= target,
        "peer": peer, "peer_value": 1.0, "seeds": [0], "threads": 1, "note": note,
    }  # fmt: skip


def paired(
    ours: Callable[[], float], theirs: Callable[[], float], rounds: int
) -> tuple[list[float], str, float]:
    """Ratios of times, what creo took, and the largest relative difference of the values."""
    ratios, took, gap = [], [], 0.0
    for _ in range(rounds):
        mine, value = timed(ours)
        others, other = timed(theirs)
        ratios.append(others / mine)
        took.append(mine)
        gap = max(gap, abs(value / other - 1))
    return ratios, f"creo {statistics.median(took):.2f} CPU-s", gap


def rows(d: int, n: int, rounds: int) -> list[dict[str, Any]]:
    """A row per peer."""
    x, y = features(n, d)
    a, b = Moments.of([x]), Moments.of([y])
    reference = FrechetReference.of(b)
    about = f"{n} samples of {d} features"
    found = []
    for name, root in (("scipy sqrtm", by_sqrtm), ("torch eigvals", by_eigvals)):
        ratios, took, gap = paired(
            lambda: reference.distance(a), lambda root=root: distance(root, a, b), rounds
        )
        if gap > 1e-8:
            raise ArithmeticError(f"FD differs from that by {name} by {gap:.0e} relative")
        note = f"{took} against {name}; values differ by {gap:.0e} relative."
        found.append(row(f"Frechet distance, {about}, reference cached", name, ratios, TARGETS[name], note))
    ratios, took, _ = paired(
        lambda: float(Moments.of([x]).covariance.trace()), lambda: float(torch.cov(x.T).trace()), rounds
    )
    return [*found, row(f"moments of {about}", "torch.cov", ratios, None, f"{took} for the moments.")]


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the result; quick: 256 features."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        rows(16, 100, 1)  # scipy's import is not its speed
        return rows(256, 1000, 1) if quick else rows(2048, 10_000, 5)
    finally:
        torch.set_num_threads(threads)
