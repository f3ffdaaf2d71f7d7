"""How long one waits before anything happens: `creo --help` and `import creo`, beside `import torch`.

Each number is taken in fresh processes. `creo --help` and `import torch` alternate (A B A B ...), and the ratio is
the median over the pairs. What creo adds to `import torch` is timed inside a process that has just imported torch:
importing creo, and then looking up its main functions, which imports the modules behind them. Bytecode is cached, as
in every installation.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

HELP_TARGET, IMPORT_TARGET = 0.25, 50.0
_HELP = [sys.executable, "-m", "creo", "--help"]
_TORCH = [sys.executable, "-c", "import torch"]
_ADDED = [
    sys.executable,
    "-c",
    "import time, torch; start = time.perf_counter(); import creo; alone = time.perf_counter(); "
    "creo.build, creo.load_data, creo.fit, creo.evaluate; print(alone - start, time.perf_counter() - start)",
]


def environment() -> dict[str, str]:
    """One thread, and bytecode written and used."""
    here = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return here | {"OMP_NUM_THREADS": "1"}


def seconds(command: list[str]) -> float:
    """Wall-clock time of a process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
    return time.perf_counter() - start


def added() -> tuple[float, float]:
    """Milliseconds that importing creo takes after torch: alone, and with its main functions."""
    said = subprocess.run(_ADDED, check=True, capture_output=True, text=True, env=environment()).stdout
    alone, all_of_it = map(float, said.split())
    return 1e3 * alone, 1e3 * all_of_it


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the result; quick: fewer pairs."""
    pairs = 3 if quick else 15
    seconds(_HELP), seconds(_TORCH), added()  # files read once, bytecode compiled
    helps, torches = [], []
    for _ in range(pairs):
        helps.append(seconds(_HELP))
        torches.append(seconds(_TORCH))
    ratios = [h / t for h, t in zip(helps, torches, strict=True)]
    alone, all_of_it = zip(*(added() for _ in range(pairs)), strict=True)
    base = f"import torch {1e3 * statistics.median(torches):.0f} ms"
    note = f"{base}, creo --help {1e3 * statistics.median(helps):.0f} ms."
    return [
        row("creo --help over import torch", ratios, "x", HELP_TARGET, 3) | {"note": note},
        row("import creo, on top of import torch", alone, "ms", IMPORT_TARGET, 1),
        row("import creo and its main functions, on top of import torch", all_of_it, "ms", IMPORT_TARGET, 1),
    ]


def row(name: str, values: Sequence[float], unit: str, target: float, digits: int) -> dict[str, Any]:
    """A row from repetitions of a measurement where lower is better."""
    value = statistics.median(values)
    return {
        "name": name, "value": round(value, digits), "unit": unit,
        "spread": [round(min(values), digits), round(max(values), digits)],
        "better": "lower", "target": target, "met": value <= target, "peer": None, "peer_value": None, "threads": 1,
    }  # fmt: skip
