"""Dropout at less than half of the usual cost on a CPU: four decisions from every random number drawn.

    y = x m / (1 - p),   m ~ Bernoulli(1 - p) independently for every entry

A decision compares 16 random bits with round(2^16 p), so p is met to 8e-6; the scale uses the p that is met.

Reference: Srivastava et al. (2014), https://jmlr.org/papers/v15/srivastava14a.html.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """y of the module docstring while training, else x.

    Args:
        x: any shape.
        p: probability that an entry becomes 0, in [0, 1).
        training: whether anything is dropped.
    """
    threshold = round(p * 2**16)
    if not training or threshold == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[: x.numel()] >= threshold - 2**15
    scale = kept.to(x.dtype).mul_(2**16 / (2**16 - threshold))
    dense = torch.empty_like(x)  # in memory as x is, but without gaps
    return x * scale.as_strided(dense.shape, dense.stride())
