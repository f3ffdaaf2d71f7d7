"""Nearest codes of 8192 vectors among 4096 in 64 dimensions, beside vector-quantize-pytorch, and their memory.

Both answer the index of the nearest code and the code itself for every vector; vector-quantize-pytorch in evaluation
mode, where its codebook does not learn. creo multiplies matrices in chunks and takes a minimum; the peer forms all
distances with their square roots, and a one-hot matrix. One thread, CPU seconds, alternating; the median over rounds.
Memory is what the process's peak grows by during the first call.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from creo.latent.nearest import CHUNK_SCORES
from creo.latent.quantise import EMACodebook

VECTORS, CODES, DIM, TARGET = 8192, 4096, 64, 4.0
Call = Callable[[Tensor], Tensor]


def ours(codes: Tensor) -> Call:
    """Indices and codes by creo."""
    book = EMACodebook(DIM, CODES).eval()
    book.codes.copy_(codes)
    return lambda z: book(z).digits[:, 0]


def theirs(codes: Tensor) -> Call | None:
    """The same by vector-quantize-pytorch, if it is installed."""
    try:
        from vector_quantize_pytorch import VectorQuantize
    except ImportError:
        return None
    layer = VectorQuantize(dim=DIM, codebook_size=CODES).eval()
    layer.codebook = codes
    return lambda z: layer(z[None])[1][0]


def seconds(call: Call, z: Tensor) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    call(z)
    return time.process_time() - start


def peak() -> float:
    """The most memory the process has had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def growth(call: Call, z: Tensor) -> float:
    """MiB by which the peak grows during a call."""
    before = peak()
    call(z)
    return peak() - before


@torch.no_grad()
def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the result; quick: fewer rounds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    z, codes = torch.randn(VECTORS, DIM), torch.randn(CODES, DIM)
    mine, peer = ours(codes), theirs(codes)
    mine(z[:8])  # what the first product allocates once
    grown = growth(mine, z)
    what = f"nearest of {CODES} codes to {VECTORS} vectors of {DIM} numbers"
    base = {"better": "higher", "target": None, "met": None, "peer": None, "peer_value": None, "seeds": [0]}
    if peer is None:
        took = [1e3 * seconds(mine, z) for _ in range(3)]
        return [base | {"name": what, "value": round(statistics.median(took), 1), "unit": "ms", "better": "lower",
                        "spread": [round(min(took), 1), round(max(took), 1)], "threads": 1}]  # fmt: skip
    grown_peer = growth(peer, z)
    agreed = float((mine(z) == peer(z)).double().mean())
    pairs = [(seconds(mine, z), seconds(peer, z)) for _ in range(3 if quick else 15)]
    gains = [b / a for a, b in pairs]
    ms = [1e3 * statistics.median(column) for column in zip(*pairs, strict=True)]
    gain = statistics.median(gains)
    note = (
        f"{ms[0]:.0f} against {ms[1]:.0f} CPU-ms; the same code for {agreed:.2%} of the vectors; "
        f"creo holds {CHUNK_SCORES // CODES} x {CODES} scores at a time"
    )
    return [
        base | {"name": f"{what}: times faster", "value": round(gain, 2), "unit": "x", "target": TARGET,
                "spread": [round(min(gains), 2), round(max(gains), 2)], "met": gain >= TARGET,
                "peer": "vector-quantize-pytorch", "peer_value": 1.0, "note": note, "threads": 1},
        base | {"name": f"{what}: memory", "value": round(grown, 1), "unit": "MiB", "better": "lower",
                "spread": None, "peer": "vector-quantize-pytorch", "peer_value": round(grown_peer, 1),
                "note": note, "threads": 1},
    ]  # fmt: skip
