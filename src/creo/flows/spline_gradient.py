r"""The rational-quadratic spline and its gradient in one step, written out for speed.

With the notation of `creo.flows.spline`, u = 1 - t, b = d_{k+1} + d_k - 2 s, and

    v = t (s t + d_k u) / q,    q = s + b t u,    n = d_{k+1} t^2 + 2 s t u + d_k u^2
    y = y_k + h v,              l = log dy/dx = log(n s^2 / q^2)

the chain rule goes from (y, l) to (t, s, d_k, d_{k+1}), from there to the bin's sizes and borders, and through the
softmax p of the raw sizes r: size_k = p_k and start_k = sum_{j<k} p_j (up to a scale and a constant each), so

    dL/dr_j = p_j (g_start [j < k] + g_size [j = k] - c),      c = g_size p_k + g_start start_k.

All bins are touched by the softmax, by one running sum that finds the bin, and by this last line; everything else
is done for the chosen bin alone. Parameters come first, so that each is one block of memory: x and y (B, n), the
chosen bin's two shares, borders or slopes (2, B, n), all bins' shares (2, K, B, n).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from creo.flows.written import Written

MIN_BIN = 1e-3
MIN_SLOPE = 1e-3
#: softplus(SLOPE_ONE) + MIN_SLOPE = 1
SLOPE_ONE = math.log(math.expm1(1 - MIN_SLOPE))

Plain = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def chosen(at: Tensor, p: Tensor, knots: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What belongs to the bin k of positions `at` in [0, 1] of the box, (B, n).

    The bins are passed one after the other, up to k, in floats (`past` is 1 or 0), without an index.

    Args:
        at: as said.
        p: shares of all bins' widths and heights, (2, K, B, n).
        knots: raw slopes at all knots, (K + 1, B, n).

    Returns:
        k (B, n), floating; its shares, the sums of the shares before it, and the raw slopes left and right of it, each
        (2, B, n).
    """
    slack = 1 - MIN_BIN * p.shape[1]
    left, end, past = at / slack, torch.zeros_like(at), torch.empty_like(at)
    widths, pairs, shares = p[0, :-1] + MIN_BIN / slack, knots.unfold(0, 2, 1).movedim(3, 1), p.unbind(1)
    k, below = torch.zeros_like(at), torch.zeros_like(shares[0])
    share, raw, compiled = shares[0].clone(), pairs[0].clone(), torch.compiler.is_compiling()
    for width, passed, entered, pair in zip(
        widths.unbind(0), shares, shares[1:], pairs[1:].unbind(0), strict=False
    ):
        torch.ge(left, end.add_(width), out=past)
        k.add_(past)
        below.addcmul_(passed, past)
        if not compiled:
            share.lerp_(entered, past)
            raw.lerp_(pair, past)
    if compiled:  # one pass with an index is what compilers do best
        index = k.long()
        share = p.gather(1, index.expand(2, 1, -1, -1)).squeeze(1)
        raw = knots.gather(0, torch.stack([index, index + 1]))
    return k, share, below, raw


def all_knots(given: Tensor, circular: bool) -> Tensor:
    """Raw slopes at all knots from the given ones, (rows, B, n); 0 is slope 1, of the borders of linear tails."""
    if circular:
        return torch.cat([given, given[:1]])
    border = torch.zeros_like(given[:1])
    return torch.cat([border, given, border])


class WrittenSpline(Written):
    """The spline as a map with a written gradient.

    Args:
        bins: K, at least 2.
        bound: half the side of the box.
        circular: the slopes are periodic and x lies in the box; otherwise the tails are linear.
        plain: the same function of (x, h) in differentiable operations.
    """

    def __init__(self, bins: int, bound: float, circular: bool, plain: Plain) -> None:
        self.bins, self.bound, self.circular, self._plain = bins, bound, circular, plain

    def plain(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """See `Written.plain`."""
        return self._plain(x, h)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """See `Written.step`."""
        bins, bound = self.bins, self.bound
        side, slack = 2 * bound, 1 - MIN_BIN * bins
        inside, raw = x.clamp(-bound, bound), h.movedim(1, 0)
        p = torch.softmax(raw[: 2 * bins].unflatten(0, (2, bins)), 1)
        knots = all_knots(raw[2 * bins :], self.circular)
        k, share, below, pair = chosen((inside + bound).div_(side), p, knots)
        slopes = F.softplus(pair + SLOPE_ONE).add_(MIN_SLOPE)
        width, height = share.mul(slack * side).add_(MIN_BIN * side).unbind(0)
        x0, y0 = below.mul(slack * side).add_(k.mul(MIN_BIN * side).sub_(bound)).unbind(0)
        d0, d1 = slopes.unbind(0)
        t, s = (inside - x0).div_(width).clamp_(0, 1), height / width
        u = 1 - t
        tt = t * u
        q = torch.addcmul(s, d0 + d1 - 2 * s, tt)
        v = (s * t).addcmul_(d0, u).mul_(t).div_(q)
        n = (d1 * t).mul_(t).addcmul_(s, tt, value=2).addcmul_(d0 * u, u)
        free = (x == inside).to(x.dtype)
        y = torch.addcmul(y0, height, v).add_(x - inside)
        log_slope = (s / q).square_().mul_(n).log_().mul_(free)
        return y, log_slope, (p, k, share, below, slopes, width, t, s, q, v, n, free)

    def gradient(self, kept: Sequence[Tensor], gy: Tensor, gl: Tensor) -> tuple[Tensor, Tensor]:
        """See `Written.gradient`."""
        gx, gsize, gstart, gslopes = _chosen_bins(gy, gl, self.bins, self.bound, *kept[2:])
        return gx, _raw_sizes_and_slopes(gsize, gstart, gslopes, self.circular, *kept[:5]).movedim(0, 1)


def _chosen_bins(
    gy: Tensor, gl: Tensor, bins: int, bound: float,
    share: Tensor, below: Tensor, slopes: Tensor, width: Tensor, t: Tensor, s: Tensor, q: Tensor, v: Tensor, n: Tensor,
    free: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of x (B, n), and of the chosen bins' shares, the shares before them and their slopes, (2, B, n)."""
    inner, gl = gy * free, gl * free
    d0, d1 = slopes.unbind(0)
    u = 1 - t
    tt, turn, square = t * u, 1 - 2 * t, t * t
    gn = gl / n
    gv = (inner * s).mul_(width).div_(q)  # of the numerator of v
    gq = (gv * v).add_(gl / q, alpha=2).neg_()
    gt = (gq * (d0 + d1 - 2 * s)).addcmul_(gv, d0).mul_(turn).addcmul_(gv * s, t, value=2)
    gt.addcmul_(gn, (d1 * t).addcmul_(s, turn).sub_(d0 * u), value=2)
    gs = torch.add(gq, gl / s, alpha=2).addcmul_(gv, square).addcmul_(gn - gq, tt, value=2)
    both = gq * tt
    gslopes = torch.stack([torch.addcmul(both, gv, tt).addcmul_(gn, u * u), both.addcmul_(gn, square)])
    gx, gs = gt.div_(width), gs.div_(width)
    scale = 2 * bound * (1 - MIN_BIN * bins)
    gsize = torch.stack([(gx * t).addcmul_(gs, s).neg_(), torch.addcmul(gs, inner, v)]).mul_(scale)
    gstart = torch.stack([-gx, inner]).mul_(scale)
    return gx.add_(gy).sub_(inner), gsize, gstart, gslopes


def _raw_sizes_and_slopes(
    gsize: Tensor, gstart: Tensor, gslopes: Tensor, circular: bool,
    p: Tensor, k: Tensor, share: Tensor, below: Tensor, slopes: Tensor,
) -> Tensor:  # fmt: skip
    """Gradient of the raw parameters (rows, B, n), by the last formula of the module docstring."""
    j = torch.arange(p.shape[1], dtype=k.dtype, device=k.device)[:, None, None]
    before, here = torch.empty_like(p[0]), torch.empty_like(p[0])
    torch.lt(j, k, out=before)
    torch.eq(j, k, out=here)
    gsize = gsize.mul_(share)
    c = torch.addcmul(gsize, gstart, below).neg_()
    sizes = (
        torch.addcmul(c.unsqueeze(1), before, gstart.unsqueeze(1)).mul_(p).addcmul_(here, gsize.unsqueeze(1))
    )
    left, right = gslopes.mul_(1 - (MIN_SLOPE - slopes).exp_())  # 1 - exp(-softplus) = sigmoid
    if circular:
        raw_slopes = (here * left).addcmul_(here.roll(1, 0), right)
    else:  # knot j + 1 is left of bin j + 1 and right of bin j
        raw_slopes = (here[1:] * left).addcmul_(here[:-1], right)
    return torch.cat([sizes.flatten(0, 1), raw_slopes])
