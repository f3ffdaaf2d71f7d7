"""The number a run is judged by while it trains: the loss of its only player on validation data.

Where the loss has a part called `nll` (the negative log-likelihood in nats, or its bound), that is the number, so
runs with regularised or weighted losses are still selected by likelihood.
"""

from __future__ import annotations

import torch

from creo.data.dataset import Split
from creo.model import GenerativeModel
from creo.training.settings import Settings

EXAMPLES, CHUNK = 2000, 500


@torch.no_grad()
def validate(
    model: GenerativeModel, split: Split, settings: Settings, device: torch.device
) -> dict[str, float]:
    """Mean loss and parts over (the first 2000 examples of) a split, in evaluation mode, in nats per sample."""
    training = model.training
    model.eval()
    sums: dict[str, float] = {}
    n = min(len(split), EXAMPLES)
    for start in range(0, n, CHUNK):
        x, c = split.take(torch.arange(start, min(start + CHUNK, n)))
        x, c = x.to(device), None if c is None or model.condition is None else c.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            terms = model.loss(x, c)
        for name, value in {"loss": terms.loss, **terms.parts}.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(x) / n
    model.train(training)
    return sums
