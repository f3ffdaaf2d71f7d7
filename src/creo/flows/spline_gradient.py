r"""The rational-quadratic spline and its gradient in one step, written out for speed.

With the notation of `creo.flows.spline`, u = 1 - t, b = d_{k+1} + d_k - 2 s, and

    v = t (s t + d_k u) / q,    q = s + b t u,    n = d_{k+1} t^2 + 2 s t u + d_k u^2
    y = y_k + h v,              l = log dy/dx = log(n s^2 / q^2)

the chain rule goes from (y, l) to (t, s, d_k, d_{k+1}), from there to the bin's sizes and borders, and through the
softmax p of the raw sizes r: size_k = p_k and start_k = sum_{j<k} p_j (up to a scale and a constant each), so

    dL/dr_j = p_j (g_start [j < k] + g_size [j = k] - c),      c = g_size p_k + g_start start_k.

All bins are touched by the softmax, by one running sum that finds the bin, and by this last line; everything else
is done for the chosen bin alone, x and y (B, n), its two shares, borders or slopes (B, 2, n).

A gradient of the gradient (`create_graph=True`) is left to autograd, through the plain formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_BIN = 1e-3
MIN_SLOPE = 1e-3
#: softplus(SLOPE_ONE) + MIN_SLOPE = 1
SLOPE_ONE = math.log(math.expm1(1 - MIN_SLOPE))

Plain = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def locate(at: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """The bin k of positions `at` in [0, 1] of the box, (B, 1, n), and the sums of the shares before it, (B, 2, n).

    The comparisons are made in floats, and k is one: booleans would be converted at every step.
    """
    bins = p.shape[2]
    left, total = at / (1 - MIN_BIN * bins), torch.zeros_like(at)
    k, below = torch.zeros_like(at), torch.zeros_like(p[:, :, 0])
    for share in p.unbind(2)[:-1]:
        total.add_(share[:, :1])
        past = left.sub_(MIN_BIN / (1 - MIN_BIN * bins)).sub(total).sign_().relu_()
        k.add_(past)
        below.addcmul_(share, past)
    return k, below


def rows_of_slopes(k: Tensor, bins: int, circular: bool) -> tuple[Tensor, Tensor]:
    """Rows of the raw slopes left and right of bins k (B, 1, n); at a border whose slope is given, any row."""
    if circular:
        return k, (k + 1).remainder_(bins)
    return (k - 1).clamp_(min=0), k.clamp(max=bins - 2)


def inner_knots(k: Tensor, bins: int) -> Tensor:
    """1 for knots inside the box and 0 for its borders, left and right of bins k (B, 1, n), (B, 2, n)."""
    return torch.cat([k.clamp(max=1), (bins - 1 - k).clamp_(max=1)], 1)


class Spline(torch.autograd.Function):
    """y and log dy/dx (B, n) of x (B, n) and raw parameters h (B, rows, n), and what `backward` needs.

    Args:
        x, h: as said.
        bins: K, at least 2.
        bound: half the side of the box.
        circular: the slopes are periodic and x lies in the box; otherwise the tails are linear.
        plain: the same function of (x, h) in differentiable operations.
    """

    @staticmethod
    def forward(
        x: Tensor, h: Tensor, bins: int, bound: float, circular: bool, plain: Plain
    ) -> tuple[Tensor, ...]:
        """The spline at the chosen bins."""
        side, slack = 2 * bound, 1 - MIN_BIN * bins
        inside = x.clamp(-bound, bound)
        p = torch.softmax(h[:, : 2 * bins].unflatten(1, (2, bins)), 2)
        kf, below = locate((inside + bound).div_(side).unsqueeze(1), p)
        k = kf.long()
        share = p.gather(2, k.unsqueeze(1).expand(-1, 2, -1, -1)).squeeze(2)
        given = h[:, 2 * bins :]
        raw = torch.cat([given.gather(1, rows) for rows in rows_of_slopes(k, bins, circular)], 1)
        raw = raw if circular else raw.mul_(inner_knots(kf, bins))
        slopes = F.softplus(raw + SLOPE_ONE).add_(MIN_SLOPE)
        width, height = share.mul(slack * side).add_(MIN_BIN * side).unbind(1)
        x0, y0 = below.mul(slack * side).add_(kf.mul(MIN_BIN * side).sub_(bound)).unbind(1)
        d0, d1 = slopes.unbind(1)
        t, s = (inside - x0).div_(width).clamp_(0, 1), height / width
        u = 1 - t
        tt = t * u
        q = torch.addcmul(s, d0 + d1 - 2 * s, tt)
        v = (s * t).addcmul_(d0, u).mul_(t).div_(q)
        n = (d1 * t).mul_(t).addcmul_(s, tt, value=2).addcmul_(d0 * u, u)
        free = (x == inside).to(x.dtype)
        y = torch.addcmul(y0, height, v).add_(x - inside)
        log_slope = (s / q).square_().mul_(n).log_().mul_(free)
        return y, log_slope, p, kf, share, below, slopes, width, t, s, q, v, n, free

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep the inputs and the chosen bins."""
        x, h, ctx.bins, ctx.bound, ctx.circular, ctx.plain = inputs
        ctx.save_for_backward(x, h, *output[2:])
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, gy: Tensor | None, gl: Tensor | None, *rest: None) -> tuple[Tensor | None, ...]:
        """Gradients of x and h."""
        x, h, *kept = ctx.saved_tensors
        gy = torch.zeros_like(x) if gy is None else gy
        gl = torch.zeros_like(x) if gl is None else gl
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            grads = torch.autograd.grad(ctx.plain(x, h), (x, h), (gy, gl), create_graph=True)
            return *grads, None, None, None, None
        gx, gsize, gstart, gslopes = _chosen_bins(gy, gl, ctx.bins, ctx.bound, *kept[2:])
        gh = _raw_sizes_and_slopes(gsize, gstart, gslopes, ctx.circular, *kept[:5])
        return gx, gh, None, None, None, None


def _chosen_bins(
    gy: Tensor, gl: Tensor, bins: int, bound: float,
    share: Tensor, below: Tensor, slopes: Tensor, width: Tensor, t: Tensor, s: Tensor, q: Tensor, v: Tensor, n: Tensor,
    free: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of x (B, n), and of the chosen bins' shares, the shares before them and their slopes, (B, 2, n)."""
    inner, gl = gy * free, gl * free
    d0, d1 = slopes.unbind(1)
    u = 1 - t
    tt, turn, square = t * u, 1 - 2 * t, t * t
    gn = gl / n
    gv = (inner * s).mul_(width).div_(q)  # of the numerator of v
    gq = (gv * v).add_(gl / q, alpha=2).neg_()
    gt = (gq * (d0 + d1 - 2 * s)).addcmul_(gv, d0).mul_(turn).addcmul_(gv * s, t, value=2)
    gt.addcmul_(gn, (d1 * t).addcmul_(s, turn).sub_(d0 * u), value=2)
    gs = torch.add(gq, gl / s, alpha=2).addcmul_(gv, square).addcmul_(gn - gq, tt, value=2)
    both = gq * tt
    gslopes = torch.stack([torch.addcmul(both, gv, tt).addcmul_(gn, u * u), both.addcmul_(gn, square)], 1)
    gx, gs = gt.div_(width), gs.div_(width)
    scale = 2 * bound * (1 - MIN_BIN * bins)
    gsize = torch.stack([(gx * t).addcmul_(gs, s).neg_(), torch.addcmul(gs, inner, v)], 1).mul_(scale)
    gstart = torch.stack([-gx, inner], 1).mul_(scale)
    return gx.add_(gy).sub_(inner), gsize, gstart, gslopes


def _raw_sizes_and_slopes(
    gsize: Tensor, gstart: Tensor, gslopes: Tensor, circular: bool,
    p: Tensor, kf: Tensor, share: Tensor, below: Tensor, slopes: Tensor,
) -> Tensor:  # fmt: skip
    """Gradient of the raw parameters (B, rows, n), by the last formula of the module docstring."""
    bins, k = p.shape[2], kf.long()
    gsize = gsize.mul_(share)
    c = torch.addcmul(gsize, gstart, below)
    before = (kf - torch.arange(bins, dtype=kf.dtype, device=kf.device)[:, None]).clamp_(0, 1)
    sizes = (before.unsqueeze(1) * gstart.unsqueeze(2)).sub_(c.unsqueeze(2)).mul_(p)
    sizes.scatter_add_(2, k.unsqueeze(1).expand(-1, 2, -1, -1), gsize.unsqueeze(2))
    gslopes = gslopes.mul_(1 - (MIN_SLOPE - slopes).exp_())  # 1 - exp(-softplus) = sigmoid
    gslopes = gslopes if circular else gslopes.mul_(inner_knots(kf, bins))
    raw_slopes = p.new_zeros(len(p), bins if circular else bins - 1, p.shape[3])
    for rows, gradient in zip(rows_of_slopes(k, bins, circular), gslopes.split(1, 1), strict=True):
        raw_slopes.scatter_add_(1, rows, gradient)
    return torch.cat([sizes.flatten(1, 2), raw_slopes], 1)
