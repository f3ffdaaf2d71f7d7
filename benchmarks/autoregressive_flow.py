"""Sampling an affine autoregressive layer beside its own log_prob, and beside zuko, nflows and normflows.

D = 64, two hidden layers of 256, one layer, one thread, float32, no gradients. Every library has a masked network of
the same sizes; creo's sampling is exact forward substitution, the peers evaluate their whole network D times. The
times are CPU seconds of the process (other processes on the machine do not count), alternating, the median over rounds;
a ratio's spread is the lowest and highest over rounds. The two largest peers are timed once.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from creo.flows import Autoregressive

DIMS, HIDDEN = 64, (256, 256)
BATCHES = {256: (8.0, 10.0), 4096: (3.5, 25.0)}  # own log_prob at most, zuko at least


def seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def ours() -> Autoregressive:
    """creo's layer, its parameters moved away from the identity."""
    layer = Autoregressive((DIMS,), hidden=HIDDEN).eval()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.01 * torch.randn_like(p))
    return layer


def peers(batch: int) -> dict[str, Callable[[], Any]]:
    """Sampling one layer of the same sizes, by the libraries that are installed."""
    found: dict[str, Callable[[], Any]] = {}
    try:
        import zuko

        transform = zuko.flows.MaskedAutoregressiveTransform(DIMS, hidden_features=HIDDEN)
        found["zuko"] = lambda y=torch.randn(batch, DIMS): transform().inv(y)
    except ImportError:
        pass
    try:
        from nflows.transforms import MaskedAffineAutoregressiveTransform

        layer = MaskedAffineAutoregressiveTransform(
            DIMS, HIDDEN[0], num_blocks=len(HIDDEN) - 1, use_residual_blocks=False
        )
        found["nflows"] = lambda y=torch.randn(batch, DIMS): layer.inverse(y)
    except ImportError:
        pass
    try:
        import normflows

        flow = normflows.flows.MaskedAffineAutoregressive(
            DIMS, HIDDEN[0], num_blocks=len(HIDDEN) - 1, use_residual_blocks=False
        )
        found["normflows"] = lambda y=torch.randn(batch, DIMS): flow.inverse(y)
    except ImportError:
        pass
    return found


def row(name: str, ratios: list[float], **more: Any) -> dict[str, Any]:
    """One ratio."""
    return {
        "name": name, "value": round(statistics.median(ratios), 2), "unit": "times",
        "spread": [round(min(ratios), 2), round(max(ratios), 2)], "peer": None, "peer_value": None,
        "seeds": [0], "threads": 1, **more,
    }  # fmt: skip


@torch.no_grad()
def run(quick: bool) -> list[dict[str, Any]]:
    """A row per batch size and comparison; quick: one round."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rows, layer = [], ours()
    for batch, (own, against) in BATCHES.items():
        y = torch.randn(batch, DIMS)
        x = layer.inverse(y)[0]
        error = float((layer.forward(x)[0] - y).abs().max())
        both = (partial(layer.forward, x), partial(layer.inverse, y))
        rounds = [(seconds(both[0]), seconds(both[1])) for _ in range(2 if quick else 15)]
        ratios = [inverse / forward for forward, inverse in rounds[1:]]
        sampling = statistics.median(inverse for _, inverse in rounds[1:])
        rows.append(
            row(
                f"sampling / log_prob, D=64, batch {batch}", ratios, better="lower", target=own,
                met=statistics.median(ratios) <= own,
                note=f"{1e3 * sampling:.2f} CPU-ms; largest error of the round trip {error:.0e}",
            )
        )  # fmt: skip
        for name, sample in peers(batch).items():
            sample()
            times = [seconds(sample) for _ in range(1 if quick else 3)]
            ratio = [t / sampling for t in times]
            target = against if name == "zuko" else 1.0
            rows.append(
                row(
                    f"sampling speed, {name} / creo, batch {batch}", ratio, better="higher", target=target,
                    met=statistics.median(ratio) >= target,
                    note=f"{name} {1e3 * statistics.median(times):.0f} CPU-ms",
                )
            )  # fmt: skip
    return rows
