r"""log p(x | z) of a batch under many latents each: sums of a head's log-probabilities, fast where it matters.

For binary pictures the sum over pixels of log sigma(+-a) is

    sum_i x_i a_i - softplus(a_i)            with slope x_i - sigma(a_i),
    softplus(a) = max(a, 0) - log sigma(|a|),

and a sum of logarithms is the logarithm of a product: sigma(|a|) is in [1/2, 1), so products of 16 of them are far from
underflow. That leaves one logarithm for 16 pixels, and nothing is kept for the slope but the logits.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from creo.distributions.heads import Bernoulli, Head


@singledispatch
def log_likelihood(head: Head, params: Tensor, x: Tensor) -> Tensor:
    """log p(x | parameters), summed over variables.

    Args:
        head: the distribution of every variable.
        params: (s, b, *shape, head.size).
        x: raw data, (b, *shape).

    Returns:
        (s, b) nats.
    """
    return head.log_prob(params, x.expand(params.shape[:-1])).flatten(2).sum(2)


@log_likelihood.register
def _(head: Bernoulli, params: Tensor, x: Tensor) -> Tensor:
    logits = params.flatten(2)
    return _BernoulliSum.apply(logits, x.flatten(1).to(torch.promote_types(logits.dtype, torch.float32)))


def _log_of_product(p: Tensor) -> Tensor:
    """sum of log p over the last axis, p in [1/2, 1]: by products of up to 16, written over p."""
    for _ in range(4):
        half, odd = divmod(p.shape[-1], 2)
        if odd or not half:
            break
        p = p[..., :half].mul_(p[..., half:])
    return p.log().sum(-1)


class _BernoulliSum(torch.autograd.Function):
    """The sum of the module docstring: logits (s, b, D), x (b, D) floating to (s, b)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, x)
        wide = logits.to(x.dtype)
        room = (x - 0.5) * wide
        linear = room.sum(-1)
        size = torch.abs(wide, out=room)
        linear -= 0.5 * size.sum(-1)  # max(a, 0) = (a + |a|) / 2
        return linear + _log_of_product(size.sigmoid_())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        logits, x = ctx.saved_tensors
        return (x - logits.sigmoid()).mul_(slope.unsqueeze(-1)).to(logits.dtype), None
