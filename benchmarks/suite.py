"""How long `make test` takes in this checkout, installed beforehand, on the cores there are."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MINUTES = 8.0


def run(quick: bool) -> list[dict[str, Any]]:
    """One row; quick: only the tests of the contract."""
    environment = {k: v for k, v in os.environ.items() if k != "CREO_DATA"}
    if quick:
        environment["PYTEST"] = "tests/test_spaces.py tests/test_model.py"
    start = time.perf_counter()
    done = subprocess.run(
        ["make", "test"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    minutes = (time.perf_counter() - start) / 60
    closing = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
    passed = re.search(r"(\d+) passed", closing)
    return [
        {
            "name": "make test", "value": round(minutes, 2), "unit": "min", "spread": None, "better": "lower",
            "target": MINUTES, "met": minutes <= MINUTES and done.returncode == 0, "peer": None, "peer_value": None,
            "note": f"{passed[1] if passed else 0} passed, {os.cpu_count()} cores",
        }
    ]  # fmt: skip
