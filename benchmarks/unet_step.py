"""One training step of the U-Net beside diffusers' UNet2DModel: 28 x 28, attention at 14 x 14, 1.6 to 1.8 M parameters.

Both predict noise with a squared error and step Adam, in float32 and under bfloat16 autocast (the peer's layout
channels last there, as creo's always is). The peer has its default attention (heads of size 8). One thread; the
networks alternate; the value is the median ratio of times over rounds, the spread its range.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from creo.nn.unet import UNet

BATCH, SHAPE = 64, (1, 28, 28)
TARGETS = {"float32": 2.5, "bfloat16": 2.0}

Network = Callable[[Tensor, Tensor], Tensor]


def ours() -> tuple[nn.Module, Network]:
    """creo's U-Net."""
    net = UNet(SHAPE, channels=32, multipliers=(1, 2, 2), blocks=2, attend=14)
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
    """A function that makes one training step and returns its seconds."""
    adam = torch.optim.Adam(net.parameters(), 1e-4, fused=True)
    x, u, z = torch.randn(BATCH, *SHAPE), torch.rand(BATCH), torch.randn(BATCH, *SHAPE)

    def step() -> float:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
            loss = (call(x, u).float() - z).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        return time.perf_counter() - start

    return step


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per precision; quick: two rounds instead of seven."""
    torch.set_num_threads(1)
    rows = []
    for precision, target in TARGETS.items():
        torch.manual_seed(0)
        half, (net, call), other = precision == "bfloat16", ours(), peer(precision == "bfloat16")
        mine = stepper(net, call, half)
        theirs = None if other is None else stepper(*other, half)
        times = [(mine(), theirs() if theirs else float("nan")) for _ in range(3 if quick else 8)][1:]
        ratios = [b / a for a, b in times]
        ratio = statistics.median(ratios) if theirs else None
        size = sum(p.numel() for p in net.parameters()) / 1e6
        theirs_size = 0 if other is None else sum(p.numel() for p in other[0].parameters()) / 1e6
        rows.append(
            {
                "name": f"U-Net training step, batch 64, {precision}: creo faster by",
                "value": None if ratio is None else round(ratio, 2), "unit": "times",
                "spread": None if ratio is None else [round(min(ratios), 2), round(max(ratios), 2)],
                "better": "higher", "target": target, "met": ratio is not None and ratio >= target,
                "peer": "diffusers UNet2DModel", "peer_value": 1.0,
                "note": f"{statistics.median(a for a, _ in times):.2f} s a step, {size:.2f} M parameters "
                f"(peer {theirs_size:.2f} M)",
            }
        )  # fmt: skip
    return rows
