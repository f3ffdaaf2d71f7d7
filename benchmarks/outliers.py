"""Does a model of clothing know that a digit is no clothing? AUROC of every score, Fashion-MNIST against MNIST.

A flow is trained briefly on Fashion-MNIST and then shown 300 test pictures of it and 300 of MNIST. 1: every digit
scores as more of an outlier than every piece of clothing; 0.5: chance; below: digits look *more* like clothing than
clothing does. That is what the raw likelihood says, as it is known to. Needs the two data sets (`$CREO_DATA`).
"""

from __future__ import annotations

from typing import Any

import creo
from creo.evaluation.outliers import compare_kinds

STEPS, SAMPLES, SEED = 100, 300, 0


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the result; quick: a few steps."""
    own, other = creo.load_data("fashion-mnist"), creo.load_data("mnist")
    with creo.seeded(SEED):
        model = creo.build("realnvp", own.space)
    steps = 20 if quick else STEPS
    trained = creo.fit(model, own, steps=steps, batch_size=64, seed=SEED, progress=False)
    values = compare_kinds(trained.model, own, other, n=100 if quick else SAMPLES, seed=SEED)
    bits = creo.evaluate(trained.model, own.test[:200], pictures=False, samples=20)["bits/dim"]
    note = (
        f"RealNVP after {steps} steps of 64 pictures, {bits.kind} {bits.value:.2f} bits/dim on Fashion-MNIST; "
        "the background of the ratio is a histogram per pixel."
    )
    return [
        {
            "name": f"AUROC, Fashion-MNIST against MNIST, by {v.protocol['score']}", "value": round(v.value, 3),
            "unit": "", "spread": None if v.stderr is None else round(v.stderr, 3), "better": "higher",
            "target": None, "met": None, "peer": None, "peer_value": None, "seeds": [SEED], "note": note,
        }
        for v in values
    ]  # fmt: skip
