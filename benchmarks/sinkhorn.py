"""Batched Sinkhorn beside POT, 64 problems of 128 x 128 in float64, at the same marginal error.

Points from two Gaussians in the plane, squared Euclidean cost, uniform weights, epsilon relative to each problem's mean
cost. The marginal error is the summed L1 error of both marginals of the returned plans, the worst of the 64, measured
here for every solver. creo stops at its own tolerance; each solver of POT is given the loosest stopping threshold of a
grid at which its plans are as exact, so POT never does more than it must. POT runs as a loop of `ot.sinkhorn` over the
problems and as `ot.batch.solve_batch` (kernel products, the faster of its two methods on these problems; not at epsilon
0.05, creo's default, where it waits for the slowest of the 64 and takes more than ten seconds a call). One thread; the
solvers alternate, and the ratio is the median over rounds; times are the processor's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from creo.divergences.transport import cost_matrix, sinkhorn

PROBLEMS, POINTS, ERROR, STEPS = 64, 128, 1e-6, 20_000
SLOW = 0.05  # epsilon from which on the batched peer takes too long to be run
PARTS = {"a loop of ot.sinkhorn": 0.25, "ot.batch.solve_batch": 0.5}
THRESHOLDS = tuple(10 ** (-k / 4) for k in range(20, 41))  # 1e-5 to 1e-10

Solver = Callable[[], Tensor]


def problems(epsilon: float) -> Tensor:
    """Costs in units of epsilon, so that every solver is given epsilon 1 for all of them."""
    x, y = torch.randn(2, PROBLEMS, POINTS, 2, dtype=torch.float64)
    cost = cost_matrix(x, y + 1)
    return cost / (epsilon * cost.mean((1, 2), keepdim=True))


def marginal_error(plan: Tensor) -> float:
    """The summed L1 error of both marginals, the worst of the problems."""
    rows, columns = (plan.sum(-1) - 1 / POINTS).abs().sum(-1), (plan.sum(-2) - 1 / POINTS).abs().sum(-1)
    return float((rows + columns).max())


def ours(cost: Tensor) -> Solver:
    """creo's batched loop."""
    return lambda: sinkhorn(cost, epsilon=1.0, relative=False, tolerance=ERROR, max_iterations=STEPS).plan


def peers(cost: Tensor, epsilon: float) -> dict[str, Callable[[float], Solver]]:
    """POT's solvers, to be given a stopping threshold."""
    try:
        import ot
        import ot.batch
    except ImportError:
        return {}
    arrays, uniform = cost.numpy(), np.full(POINTS, 1 / POINTS)

    def loop(threshold: float) -> Solver:
        def solve() -> Tensor:
            options = {"stopThr": threshold, "numItermax": STEPS, "warn": False}
            return torch.from_numpy(
                np.stack([ot.sinkhorn(uniform, uniform, c, 1.0, **options) for c in arrays])
            )

        return solve

    def batch(threshold: float) -> Solver:
        options = {"method": "sinkhorn", "tol": threshold, "max_iter": STEPS, "grad": "detach"}
        return lambda: ot.batch.solve_batch(cost, 1.0, **options).plan

    solvers = dict(zip(PARTS, (loop, batch), strict=True))
    return solvers if epsilon > SLOW else {name: solvers[name] for name in list(PARTS)[:1]}


def loosest(solver: Callable[[float], Solver]) -> Solver:
    """The solver at the loosest threshold that is exact enough (bisection over the grid)."""
    low, high = 0, len(THRESHOLDS) - 1
    while low < high:
        middle = (low + high) // 2
        if marginal_error(solver(THRESHOLDS[middle])()) <= ERROR:
            high = middle
        else:
            low = middle + 1
    return solver(THRESHOLDS[low])


def seconds(solver: Solver) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    solver()
    return time.process_time() - start


def compare(epsilon: float, rounds: int) -> list[dict[str, Any]]:
    """Rows for one epsilon: time as a share of each peer's, and our own time."""
    cost = problems(epsilon)
    mine, others = ours(cost), {name: loosest(solver) for name, solver in peers(cost, epsilon).items()}
    ours_took: list[float] = []
    shares: dict[str, list[float]] = {name: [] for name in others}
    for _ in range(rounds):
        for name, other in others.items():
            before, took, after = seconds(mine), seconds(other), seconds(mine)
            ours_took += [before, after]
            shares[name].append((before + after) / 2 / took)
    what = f"Sinkhorn, {PROBLEMS} problems of {POINTS} x {POINTS}, epsilon {epsilon:g}"
    error = f"epsilon {epsilon:g}: marginal error creo {marginal_error(mine()):.1e}"
    error += "".join(f", {name} {marginal_error(other()):.1e}" for name, other in others.items())
    return [share_row(f"{what}: time over {name}", shares[name], name, error) for name in others] or [
        row(what, [1e3 * seconds(mine) for _ in range(rounds)], "ms", note=error)
    ]


def share_row(name: str, shares: list[float], peer: str, note: str) -> dict[str, Any]:
    """A row that compares with a peer, whose own value is 1 by definition."""
    target = PARTS[peer]
    met = statistics.median(shares) <= target
    return row(name, shares, "x", note=note) | {
        "target": target,
        "met": met,
        "peer": f"POT, {peer}",
        "peer_value": 1.0,
    }


def row(name: str, values: list[float], unit: str, *, note: str) -> dict[str, Any]:
    """A row without a peer."""
    return {
        "name": name, "value": round(statistics.median(values), 4), "unit": unit,
        "spread": [round(min(values), 4), round(max(values), 4)], "better": "lower",
        "target": None, "met": None, "peer": None, "peer_value": None, "note": note, "seeds": [0], "threads": 1,
    }  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the result; quick: fewer rounds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        return [
            r
            for epsilon in ((0.2,) if quick else (0.2, 0.1, 0.05))
            for r in compare(epsilon, 3 if quick else 7)
        ]
    finally:
        torch.set_num_threads(threads)
