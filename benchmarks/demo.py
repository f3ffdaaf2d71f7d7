"""`make demo` on a clean clone with an empty pip cache: wall-clock time in all, of the training part, and memory.

The last commit of this repository is cloned into a temporary folder and `make demo` is run there with pip's cache in
another one, so that everything is fetched from the package index and installed anew. The training part is what
`creo demo` takes: six models, their evaluation and the report. Memory is the largest resident size of one process.
"""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MINUTES, TRAINING_MINUTES, GIB = 12.0, 5.0, 4.0


def _timed(command: list[str], where: Path, environment: dict[str, str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return (time.perf_counter() - start) / 60


def _row(name: str, value: float, unit: str, target: float) -> dict[str, Any]:
    return {
        "name": name, "value": round(value, 2), "unit": unit, "spread": None, "better": "lower", "target": target,
        "met": value <= target, "peer": None, "peer_value": None,
    }  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """Three rows; quick: the demo alone, in this environment, with two seconds a model."""
    with tempfile.TemporaryDirectory() as folder:
        clone, environment = Path(folder) / "creo", {**os.environ, "PIP_CACHE_DIR": f"{folder}/pip"}
        environment.pop("CREO_DATA", None)
        if quick:
            demo = [str(ROOT / ".venv/bin/creo"), "demo", "--minutes", "0.03"]
            training = total = _timed(demo, Path(folder), environment)
        else:
            subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
            install = _timed(["make", ".venv/.installed-run"], clone, environment)
            training = _timed(["make", "demo"], clone, environment)
            total = install + training
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return [
        _row("make demo on a clean clone, empty pip cache", total, "min", MINUTES),
        _row("make demo, the training part", training, "min", TRAINING_MINUTES),
        _row("make demo, largest process", memory, "GiB", GIB),
    ]
