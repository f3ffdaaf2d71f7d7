"""One training step of the U-Net beside diffusers' UNet2DModel: 28 x 28, attention at 14 x 14, 1.6 to 1.8 M parameters.

Both predict noise with a squared error and step Adam. creo is at its default, which in training multiplies bfloat16
numbers on processors that can, and in float32 throughout; the peer, with its default attention (heads of size 8), is
at its default (float32), and under bfloat16 autocast with images channels last. One thread; the two networks
alternate; the value is the ratio of median processor seconds, the spread the range of the ratios of neighbours.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from creo.nn.unet import Precision, UNet, multiplies_bfloat16

BATCH, SHAPE = 64, (1, 28, 28)
#: creo's precision, whether the peer is in bfloat16 channels last, target.
PAIRS: tuple[tuple[Precision, bool, float | None], ...] = (
    ("auto", False, 2.5),
    ("auto", True, 2.0),
    ("float32", False, None),
)

Network = Callable[[Tensor, Tensor], Tensor]


def ours(precision: Precision = "auto") -> tuple[nn.Module, Network]:
    """creo's U-Net."""
    net = UNet(SHAPE, channels=32, multipliers=(1, 2, 2), blocks=2, attend=(14,), precision=precision)
    return net, lambda x, u: net(x, u)


def peer(last: bool) -> tuple[nn.Module, Network] | None:
    """diffusers' U-Net of the same sizes, None where it is not installed."""
    try:
        from diffusers import UNet2DModel
    except ImportError:
        return None
    net = UNet2DModel(
        sample_size=28, in_channels=1, out_channels=1, layers_per_block=2, block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), norm_num_groups=8,
    )  # fmt: skip
    if last:
        net = net.to(memory_format=torch.channels_last)
    return net, lambda x, u: net(x, 1000 * u).sample


def stepper(net: nn.Module, call: Network, half: bool) -> Callable[[], float]:
    """A function that makes one training step and returns its processor seconds."""
    adam = torch.optim.Adam(net.parameters(), 1e-4, fused=True)
    x, u, z = torch.randn(BATCH, *SHAPE), torch.rand(BATCH), torch.randn(BATCH, *SHAPE)

    def step() -> float:
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
            loss = (call(x, u).float() - z).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        return time.process_time() - start

    return step


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per pair of precisions; quick: two rounds instead of seven."""
    torch.set_num_threads(1)
    return [measure(*pair, rounds=2 if quick else 7) for pair in PAIRS]


def measure(precision: Precision, half: bool, target: float | None, *, rounds: int) -> dict[str, Any]:
    """creo at a precision beside the peer at its own."""
    torch.manual_seed(0)
    (net, call), other = ours(precision), peer(half)
    mine, theirs = stepper(net, call, False), None if other is None else stepper(*other, half)
    times = [(mine(), theirs() if theirs else float("nan")) for _ in range(rounds + 1)][1:]
    ours_s, theirs_s = (statistics.median(t) for t in zip(*times, strict=True))
    ratios = [b / a for a, b in times]
    used = "bfloat16" if precision == "auto" and multiplies_bfloat16("cpu") else "float32"
    size, theirs_size = (sum(p.numel() for p in n[0].parameters()) / 1e6 if n else 0 for n in ((net,), other))
    beside = "bfloat16, channels last" if half else "default (float32)"
    return {
        "name": f"U-Net training step, batch 64: creo in {used} faster than the peer, {beside}, by",
        "value": round(theirs_s / ours_s, 2) if theirs else None, "unit": "times",
        "spread": [round(min(ratios), 2), round(max(ratios), 2)] if theirs else None,
        "better": "higher", "target": target, "met": None if target is None else theirs_s >= target * ours_s,
        "peer": "diffusers UNet2DModel", "peer_value": 1.0, "seeds": [0],
        "note": f"{ours_s:.2f} and {theirs_s:.2f} CPU-s a step, {size:.2f} and {theirs_size:.2f} M parameters",
    }  # fmt: skip
