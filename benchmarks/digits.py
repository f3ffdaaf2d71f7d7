"""Every learned density model on the digits, textbook split, three seeds: test negative log-likelihood in nats.

Each model trains with its own defaults for the same time (30 s of one thread, or less where it is done), the best
weights on validation are kept, and the 447 test images are evaluated. The baseline is the histogram of independent
pixels. The value of a row is the mean over seeds, its spread the range.
"""

from __future__ import annotations

import statistics
from typing import Any

import creo
from creo.model import Likelihood, seeded

MODELS = ("independent", "gaussian", "mixture", "made", "realnvp", "vae")
SEEDS = (0, 1, 2)
TARGETS = {"made": 99.0}


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per model; quick: one seed and two seconds each."""
    data = creo.load_data("digits")
    seeds, minutes = (SEEDS[:1], 2 / 60) if quick else (SEEDS, 0.5)
    rows, histogram = [], float("inf")
    for name in MODELS:
        nlls, seconds = [], []
        for seed in seeds:
            with seeded(seed):
                model = creo.build(name, data.space)
            fitted = creo.fit(model, data, minutes=minutes, seed=seed, progress=False, threads=1)
            values = {v.name: v for v in creo.evaluate(fitted.model, data.test, seed=seed).values}
            nlls.append(values["NLL"].value)
            seconds.append(fitted.cpu_seconds)
        mean = statistics.mean(nlls)
        if name == "independent":
            histogram = mean
        target = TARGETS.get(name, histogram)
        rows.append(
            {
                "name": f"digits test NLL, {name}", "value": round(mean, 2),
                "unit": f"nats ({'exact' if model.likelihood is Likelihood.EXACT else 'bound'})",
                "spread": [round(min(nlls), 2), round(max(nlls), 2)], "better": "lower",
                "target": None if name == "independent" else round(target, 2),
                "met": name == "independent" or mean < target or (name in TARGETS and mean <= target),
                "peer": "independent pixels" if name != "independent" else None,
                "peer_value": None if name == "independent" else round(histogram, 2),
                "note": f"{statistics.mean(seconds):.0f} CPU-s a seed", "seeds": list(seeds),
            }
        )  # fmt: skip
    return rows
