"""Runs killed by SIGKILL at random moments and resumed, against the run that was never killed.

A MADE with dropout on the digits, 1500 steps, checkpoints every 0.2 seconds. Twenty processes are killed at moments
drawn uniformly from the life of a run after it was created, each followed by `creo resume` to the end; the end is
identical if every tensor of the last checkpoint (weights, average, optimiser state, random generator) and of the best
one, every counter and every row of metrics.jsonl (but for times) is the same.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from creo.training import RunFolder, checkpoint


def _train(out: Path, steps: int) -> list[str]:
    return [sys.executable, "-m", "creo", "train", "made", "--data", "digits", "--steps", str(steps), "--dropout",
            "0.1", "--save-every", "0.2", "--threads", "1", "--out", str(out)]  # fmt: skip


def _end(out: Path) -> tuple[Any, Any, Any, Any]:
    tensors, state, _ = RunFolder(out).newest()
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in RunFolder(out).rows()]
    best = checkpoint.read(RunFolder(out).best)[0]
    return tensors, {k: v for k, v in state.items() if "seconds" not in k}, rows, best


def _identical(a: Path, b: Path) -> bool:
    ends = [_end(p) for p in (a, b)]
    same = ends[0][1:3] == ends[1][1:3]
    for i in (0, 3):
        x, y = ends[0][i], ends[1][i]
        same &= x.keys() == y.keys() and all(torch.equal(x[n], y[n]) for n in x)
    return same


def _killed_and_resumed(out: Path, steps: int, moment: float) -> int:
    """Start a run, kill it `moment` seconds after its folder appeared, resume to the end; the step it was killed at."""
    process = subprocess.Popen(_train(out, steps), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not out.exists():
        time.sleep(0.005)
    time.sleep(moment)
    process.kill()
    if process.wait() != -9:
        return -1
    state = RunFolder(out).newest()[1]
    step = state["step"]
    if state["ended"]:  # killed after its last checkpoint, while it wrote its report
        return -1
    subprocess.run([sys.executable, "-m", "creo", "resume", str(out)], check=True, capture_output=True)
    return step


def _unless(at: list[int], kills: int, out: Path, steps: int, moment: float) -> int:
    """As `_killed_and_resumed`, unless there are enough kills already."""
    return -1 if len(at) >= kills else _killed_and_resumed(out, steps, moment)


def run(quick: bool) -> list[dict[str, Any]]:
    """One row: identical ends of all kills."""
    kills, steps = (2, 300) if quick else (20, 1500)
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        subprocess.run(_train(whole, steps), check=True, capture_output=True)
        life = RunFolder(whole).newest()[1]["seconds"]
        moments = [chance.uniform(0.0, life) for _ in range(3 * kills)]
        outs = [Path(folder) / f"killed-{i}" for i in range(len(moments))]
        identical, at = 0, []
        with ThreadPoolExecutor(2) as pool:  # two at a time, one thread each
            for out, step in zip(
                outs, pool.map(lambda o, m: _unless(at, kills, o, steps, m), outs, moments), strict=True
            ):
                if step >= 0 and len(at) < kills:  # else it was done before the kill: not a kill
                    at.append(step)
                    identical += _identical(out, whole)
    return [
        {
            "name": f"identical ends of {kills} runs killed at random moments and resumed", "value": identical,
            "unit": f"of {kills}", "spread": None, "better": "higher", "target": kills, "met": identical == kills,
            "peer": None, "peer_value": None, "note": f"resumed from steps {min(at)} to {max(at)} of {steps}",
        }
    ]  # fmt: skip
