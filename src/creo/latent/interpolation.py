r"""Paths between codes.

    linear      z_t = (1 - t) a + t b
    spherical   z_t = [sin((1 - t) w) a + sin(t w) b] / sin w,     cos w = a.b / (|a| |b|)

In many dimensions nearly all of N(0, I) lies at the distance sqrt(d) from the origin; a straight path passes through
the emptiness within, a spherical one keeps to the shell (and is the straight one where a and b are parallel).

Reference: White (2016), Sampling generative networks, https://arxiv.org/abs/1609.04468; Shoemake (1985),
https://doi.org/10.1145/325334.325242.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from creo.errors import OptionError

PathName = Literal["linear", "spherical"]

#: Angle below which a spherical path is taken to be straight.
PARALLEL = 1e-4


def linear(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Straight paths between a and b, (B, d) each: (B, steps, d), ends included."""
    t = _times(a, steps)
    return (1 - t) * a.unsqueeze(1) + t * b.unsqueeze(1)


def spherical(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Paths along great circles, with lengths between those of a and b, (B, d) each: (B, steps, d)."""
    t = _times(a, steps)
    cosine = torch.nn.functional.cosine_similarity(a, b, -1).clamp(-1, 1)
    angle = torch.acos(cosine)[:, None, None]
    sine = angle.sin()
    curved = (((1 - t) * angle).sin() * a.unsqueeze(1) + (t * angle).sin() * b.unsqueeze(1)) / sine
    return torch.where(sine > PARALLEL, curved, linear(a, b, steps))


def _times(a: Tensor, steps: int) -> Tensor:
    if steps < 2:
        raise OptionError(f"a path has at least 2 steps, its ends; received {steps}")
    return torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)[None, :, None]


PATHS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {"linear": linear, "spherical": spherical}
