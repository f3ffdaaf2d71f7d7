r"""Causal attention: every place takes in what the places up to it have, weighed by how well they answer its query.

    y_i = sum_{j <= i} softmax_j(q_i . k_j / sqrt(d)) v_j

torch's own product computes it without keeping the N x N weights. In bfloat16 on a CPU its gradient takes several times
longer than the weights themselves do, so there short sequences, whose weights are small, are computed as written.

Reference: Vaswani et al. (2017), https://arxiv.org/abs/1706.03762.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Places up to which the weights are kept in memory.
SHORT = 128


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """y of the module docstring: queries, keys and values (B, heads, N, d) to (B, heads, N, d)."""
    places = q.shape[-2]
    if q.device.type != "cpu" or q.dtype != torch.bfloat16 or places > SHORT:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    later = torch.full((places, places), -torch.inf, dtype=q.dtype).triu(1)
    weights = (q @ k.mT * q.shape[-1] ** -0.5 + later).softmax(-1)
    return weights.to(v.dtype) @ v
