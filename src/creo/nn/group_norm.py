r"""Group normalisation, scale and shift, and an optional SiLU, as one step on images.

    y = f(w (x - mean_g) / sqrt(var_g + eps) + b),        w = gamma (1 + scale),  b = beta (1 + scale) + shift

with mean and variance over the pixels and the channels of a group g; gamma and beta are learned per channel, scale and
shift (B, C) come from a context, f is SiLU or the identity. For images that lie channels last on a processor, both
directions are written out: sums over pixels are then sums of rows, of (B, H W, C), in float32, and with
s_0 = sum_p dh, s_1 = sum_p dh x per channel, dw = (s_1 - mean s_0) / std and A = w / std,

    dx = A dh - e_1/var x + (e_1/var mean - e_0/std),         e_0 = mean_g(w s_0),  e_1 = mean_g(w dw)

is two passes over the pixels more than dh itself. PyTorch's own kernel is several times slower in that layout.
Elsewhere, and for second derivatives, the plain expression is used.

Source: Wu, He 2018, https://arxiv.org/abs/1803.08494.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.nn.backward import differentiable, transformed

EPS = 1e-5

#: Numbers that are worked on at a time.
CACHED = 2**18


def plain(x: Tensor, w: Tensor, b: Tensor, groups: int, silu: bool = True) -> Tensor:
    """The formula of the module docstring for rows x (B, P, C) and w, b (B or 1, 1, C)."""
    grouped = x.unflatten(2, (groups, -1))
    variance, mean = torch.var_mean(grouped, (1, 3), correction=0, keepdim=True)
    h = ((grouped - mean) * (variance + EPS).rsqrt()).flatten(2) * w + b
    return F.silu(h) if silu else h


class _RowNorm(torch.autograd.Function):
    """`plain`, with its backward pass written out, a few images at a time so that they stay in the cache."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor, groups: int, silu: bool) -> Tensor:
        y, moments = torch.empty_like(x), []
        for x_, w_, b_, y_ in _parts(x, w, b, y):
            mean, rstd = _moments(x_, groups)
            gain = rstd * w_
            _affine(x_, gain, b_ - mean * gain, out=y_)
            if silu:
                F.silu(y_, inplace=True)
            moments.append((mean, rstd))
        ctx.groups, ctx.silu = groups, silu
        ctx.save_for_backward(x, w, b, *(torch.cat(m) for m in zip(*moments, strict=True)))
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w, b, mean, rstd = ctx.saved_tensors
        if torch.is_grad_enabled():
            again = partial(plain, groups=ctx.groups, silu=ctx.silu)
            return *differentiable(again, (x, w, b), ctx.needs_input_grad[:3], g), None, None
        dx, sums = torch.empty_like(x), []
        for part in _parts(x, w, b, g.contiguous(), mean, rstd, dx):
            sums.append(_backward(ctx.groups, ctx.silu, *part))
        dw, db = (torch.cat(s) for s in zip(*sums, strict=True))
        return dx, dw.sum_to_size(w.shape).to(w.dtype), db.sum_to_size(b.shape).to(b.dtype), None, None


def _parts(x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The rows of x and of the others (B or 1, ...), some images at a time."""
    size = max(1, CACHED // x[0].numel())
    return zip(*(t.expand(len(x), *t.shape[1:]).split(size) for t in (x, *others)), strict=True)


def _backward(groups: int, silu: bool, *part: Tensor) -> tuple[Tensor, Tensor]:
    """Write dx; dw and db per image, (B, 1, C)."""
    x, w, b, g, mean, rstd, dx = part
    gain = rstd * w
    dh = torch.ops.aten.silu_backward(g, _affine(x, gain, b - mean * gain)) if silu else g
    s0, s1 = (s.sum(1, keepdim=True, dtype=mean.dtype) for s in (dh, dh * x))
    dw = (s1 - mean * s0) * rstd
    e0, e1 = (_over_group(w * s, groups) / x.shape[1] for s in (s0, dw))
    slope = rstd.square() * e1
    _affine(x, -slope, slope * mean - rstd * e0, out=dx).addcmul_(dh, gain.to(dh.dtype))
    return dw, s0


def _over_group(per_channel: Tensor, groups: int) -> Tensor:
    """Means over each group's channels, (B, 1, C) to the same."""
    grouped = per_channel.unflatten(2, (groups, -1))
    return grouped.mean(3, keepdim=True).expand_as(grouped).flatten(2)


def _moments(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and 1 / standard deviation of each channel's group, (B, 1, C), at least float32."""
    rows = x.to(torch.promote_types(x.dtype, torch.float32), copy=True)
    own = rows.mean(1, keepdim=True)
    spread = rows.sub_(own).square_().mean(1, keepdim=True)
    mean = _over_group(own, groups)
    return mean, (_over_group(spread + (own - mean).square(), groups) + EPS).rsqrt()


def _affine(x: Tensor, gain: Tensor, shift: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.addcmul(shift.to(x.dtype), x, gain.to(x.dtype), out=out)


class Norm(nn.Module):
    """The map of the module docstring; 8 groups, or as many as divide the channels.

    Args:
        channels: C.
        silu: whether f is SiLU.
    """

    def __init__(self, channels: int, *, silu: bool = True) -> None:
        super().__init__()
        self.groups, self.silu = math.gcd(8, channels), silu
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, modulation: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W), and scale and shift side by side (B, 2 C), to the same shape."""
        w, b = self.weight[None, None], self.bias[None, None]
        if modulation is not None:
            scale, shift = modulation[:, None].to(w.dtype).chunk(2, -1)
            w, b = w * (1 + scale), b * (1 + scale) + shift
        if x.is_cpu and x.is_contiguous(memory_format=torch.channels_last) and not transformed():
            y = _RowNorm.apply(x.permute(0, 2, 3, 1).flatten(1, 2), w, b, self.groups, self.silu)
        else:
            y = plain(x.flatten(2).transpose(1, 2), w.to(x.dtype), b.to(x.dtype), self.groups, self.silu)
        return y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
