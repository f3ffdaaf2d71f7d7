"""Precision, recall, density and coverage of 10 000 samples against 10 000, 64 features, beside the `prdc` package.

The same float64 features, k = 5; the four values are equal, which is checked. Memory is the peak (VmHWM, Linux) of a
process that does only this, torch included. Pairs alternate, one thread for both; times are of the processor, so a
busy machine blurs them less.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from torch import Tensor

from creo.evaluation.prdc import prdc

NAMES = ("precision", "recall", "density", "coverage")
_MEMORY = """
import torch
from creo.evaluation.prdc import prdc
torch.set_num_threads(1)
torch.manual_seed(0)
x, y = torch.randn({n}, 64, dtype=torch.float64), torch.randn({n}, 64, dtype=torch.float64)
prdc(x, y)
lines = open("/proc/self/status").read().splitlines()
print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024)
"""


def theirs(x: Tensor, y: Tensor) -> dict[str, float]:
    """The package of the metrics' authors."""
    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):
        return {k: float(v) for k, v in compute_prdc(x.numpy(), y.numpy(), nearest_k=5).items()}


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the result; quick: 1000 samples."""
    n, rounds = (1000, 1) if quick else (10_000, 5)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        x, y = torch.randn(n, 64, dtype=torch.float64), 0.95 * torch.randn(n, 64, dtype=torch.float64)
        theirs(x[:50], y[:50])  # its imports are not its speed
        ratios, took, same = [], [], True
        for _ in range(rounds):
            start = time.process_time()
            ours = prdc(x, y, k=5)
            middle = time.process_time()
            peer = theirs(x, y)
            took.append(middle - start)
            ratios.append((time.process_time() - middle) / took[-1])
            same = same and all(abs(getattr(ours, k) - peer[k]) < 1e-9 for k in NAMES)
    finally:
        torch.set_num_threads(threads)
    ratio = statistics.median(ratios)
    script = _MEMORY.format(n=n)
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    common = {"seeds": [0], "threads": 1}
    speed = {
        "name": f"precision, recall, density, coverage, {n} against {n}, 64 features", "value": round(ratio, 1),
        "unit": "x faster", "spread": [round(min(ratios), 1), round(max(ratios), 1)], "better": "higher",
        "target": 5.0, "met": ratio >= 5 and same, "peer": "prdc", "peer_value": 1.0,
        "note": f"creo {statistics.median(took):.1f} CPU-s; values {'equal' if same else 'DIFFER'}",
    }  # fmt: skip
    memory = {
        "name": f"the same, peak memory of the whole process ({n} against {n})",
        "value": round(float(out)), "unit": "MiB",
        "spread": None, "better": "lower", "target": 1024, "met": float(out) < 1024,
        "peer": None, "peer_value": None,
    }  # fmt: skip
    return [speed | common, memory | common]
