"""Every learned density model on the digits, textbook split, three seeds: test negative log-likelihood in nats.

Each model trains with its own defaults for the same time (30 s of one thread, or less where it is done), the best
weights on validation are kept, and the 447 test images are evaluated. The baseline is the histogram of independent
pixels; the full-covariance Gaussian and the mixture are the other baselines that stand in every comparison. The value
of a row is the mean over seeds, its spread the range.
"""

from __future__ import annotations

import statistics
from typing import Any

import creo
from creo.data import Data
from creo.model import Likelihood, seeded

BASELINES, LEARNED = ("independent", "gaussian"), ("mixture", "made", "realnvp", "vae")
SEEDS = (0, 1, 2)
TARGETS = {"made": 99.0}  #: for the others: below the histogram


def _nll(name: str, data: Data, seed: int, minutes: float) -> tuple[float, float, Likelihood]:
    """Test NLL in nats, processor seconds of training, and what the number is."""
    with seeded(seed):
        model = creo.build(name, data.space)
    run = creo.fit(model, data, minutes=minutes, seed=seed, progress=False, threads=1)
    return creo.evaluate(run.model, data.test, seed=seed)["NLL"].value, run.cpu_seconds, model.likelihood


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per model; quick: one seed and two seconds each."""
    data = creo.load_data("digits")
    seeds, minutes = (SEEDS[:1], 2 / 60) if quick else (SEEDS, 0.5)
    rows, histogram = [], float("inf")
    for name in BASELINES + LEARNED:
        nlls, seconds, kinds = zip(*(_nll(name, data, seed, minutes) for seed in seeds), strict=True)
        mean = statistics.mean(nlls)
        histogram = mean if name == "independent" else histogram
        target = None if name in BASELINES else TARGETS.get(name, histogram)
        rows.append(
            {
                "name": f"digits test NLL, {name} ({kinds[0].value}, {statistics.mean(seconds):.0f} CPU-s a seed)",
                "value": round(mean, 2), "unit": "nats", "spread": [round(min(nlls), 2), round(max(nlls), 2)],
                "better": "lower", "target": target and round(target, 2), "met": target is None or mean < target,
                "peer": None if name == "independent" else "independent pixels",
                "peer_value": None if name == "independent" else round(histogram, 2), "seeds": list(seeds),
            }
        )  # fmt: skip
    return rows
