r"""f-divergences as objects.

For convex f on [0, inf) with f(1) = 0, and u = p/q,

    D_f(p || q) = E_q[f(p/q)] = sup over T of  E_p[T(x)] - E_q[f*(T(x))],     f*(t) = sup over u >= 0 of  u t - f(u).

D_f >= 0, and 0 iff p = q; smaller is closer; KL and its kin are in nats. The supremum is reached by T = f'(p/q). A
critic network's free output v is mapped into the domain of f* by an activation g, T = g(v): that is the f-GAN
objective. `reverse` is the divergence with the arguments exchanged, of generator u f(1/u).

| object             | f(u)                               | f*(t)                   | dom f*       | g(v)              |
|--------------------|------------------------------------|-------------------------|--------------|-------------------|
| `KL`               | u log u                            | e^(t-1)                 | R            | v                 |
| `ReverseKL`        | -log u                             | -1 - log(-t)            | t < 0        | -e^-v             |
| `Jeffreys`         | (u - 1) log u                      | w + 1/w + t - 2         | R            | v                 |
| `JensenShannon`    | (u log u - (u+1) log((u+1)/2))/2   | -log(2 - e^(2t))/2      | t < log(2)/2 | log(2 sigma(v))/2 |
| `TotalVariation`   | |u - 1|/2                          | max(t, -1/2)            | t <= 1/2     | tanh(v)/2         |
| `SquaredHellinger` | (sqrt(u) - 1)^2/2                  | t/(1 - 2t)              | t < 1/2      | (1 - e^-v)/2      |
| `Pearson`          | (u - 1)^2                          | t + t^2/4; -1 if t < -2 | R            | v                 |
| `Neyman`           | (u - 1)^2/u                        | 2 - 2 sqrt(1 - t)       | t <= 1       | 1 - e^-v          |
| `Alpha(a)`         | (u^b - 1 - b (u - 1))/(b c)        | ((1 + c t)^(b/c) - 1)/b | 1 + c t > 0  | (e^(c v) - 1)/c   |

where w e^w = e^(1-t) for Jeffreys, and b = (1 + a)/2, c = b - 1 in the last row. There a -> 1 is KL and a -> -1
reverse KL (up to the term u - 1 in f, which changes no value), a = 0 is 4 H^2, a = 3 half Pearson, a = -3 half Neyman;
for a > 1 also every 1 + c t <= 0 belongs to the domain, with f* = -1/b. Amari's sign of a is the opposite where he
writes E_p[f(q/p)]. `Hellinger` is the metric sqrt(H^2): its generator and conjugate are those of H^2, its values the
roots of H^2's. H^2, TV and JS have the maxima 1, 1 and log 2.

Sources: Nowozin, Cseke and Tomioka 2016, https://arxiv.org/abs/1606.00709 (activations; JS and H^2 there are twice
these); Nguyen, Wainwright and Jordan 2010, https://arxiv.org/abs/0809.0853; Amari 2016, Information Geometry, ch. 3;
Liese and Vajda 2006, IEEE Trans. Inf. Theory 52.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from creo.divergences.f_interface import Estimate, FDivergence, bounded_below
from creo.divergences.gaussian_forms import GaussianPair, gaussian_kl, gaussian_log_affinity
from creo.errors import OptionError, UnknownName, suggestion

__all__ = [
    "F_DIVERGENCES", "KL", "Alpha", "Estimate", "FDivergence", "Hellinger", "Jeffreys", "JensenShannon", "Neyman",
    "Pearson", "ReverseKL", "SquaredHellinger", "TotalVariation", "f_divergence",
]  # fmt: skip


class KL(FDivergence):
    """Kullback-Leibler divergence E_p[log p/q], nats: as a fit of q it covers modes."""

    name = "kl"

    def of_log_ratio(self, log_u: Tensor) -> Tensor:
        log_u = bounded_below(log_u)
        return log_u.exp() * log_u

    def _conjugate(self, t: Tensor) -> Tensor:
        return (t - 1).exp()

    def optimal_critic(self, log_u: Tensor) -> Tensor:
        return 1 + log_u

    @property
    def reverse(self) -> FDivergence:
        return ReverseKL()

    def _gaussian(self, pair: GaussianPair) -> Tensor:
        return gaussian_kl(pair)


class ReverseKL(FDivergence):
    """KL(q || p) = E_q[log q/p], nats: as a fit of q it seeks modes."""

    name = "reverse-kl"
    domain = (-math.inf, 0.0)

    def of_log_ratio(self, log_u: Tensor) -> Tensor:
        return -log_u

    def _conjugate(self, t: Tensor) -> Tensor:
        return -1 - (-t).log()

    def optimal_critic(self, log_u: Tensor) -> Tensor:
        return -(-log_u).exp()

    def activation(self, v: Tensor) -> Tensor:
        return -(-v).exp()

    def conjugate_of_activation(self, v: Tensor) -> Tensor:
        return v - 1

    @property
    def reverse(self) -> FDivergence:
        return KL()

    def _gaussian(self, pair: GaussianPair) -> Tensor:
        return gaussian_kl(GaussianPair(pair.mean_q, pair.cov_q, pair.mean_p, pair.cov_p))


class _LogOmega(torch.autograd.Function):
    """The l with l + e^l = s, that is log W(e^s) without the overflow; dl/ds = 1 / (1 + e^l)."""

    @staticmethod
    def forward(ctx: Any, s: Tensor) -> Tensor:
        l = torch.where(
            s > 1, s.clamp_min(1).log(), s
        )  # right of the root, so Newton on this convex map descends
        for _ in range(8):
            l = l - (l + l.exp() - s) / (1 + l.exp())
        ctx.save_for_backward(l)
        return l

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (l,) = ctx.saved_tensors
        return grads[0] / (1 + l.exp())


class Jeffreys(FDivergence):
    """KL(p || q) + KL(q || p), nats; symmetric."""

    name = "jeffreys"

    def of_log_ratio(self, log_u: Tensor) -> Tensor:
        return torch.expm1(log_u) * log_u

    def _conjugate(self, t: Tensor) -> Tensor:
        log_w: Tensor = _LogOmega.apply(1 - t)
        return log_w.exp() + (-log_w).exp() + t - 2

    def optimal_critic(self, log_u: Tensor) -> Tensor:
        return log_u - torch.expm1(-log_u)

    def _gaussian(self, pair: GaussianPair) -> Tensor:
        return KL()._gaussian(pair) + ReverseKL()._gaussian(pair)


class JensenShannon(FDivergence):
    """(KL(p || m) + KL(q || m)) / 2 with m = (p + q)/2, nats, at most log 2; the game of the original GAN."""

    name = "jensen-shannon"
    domain = (-math.inf, math.log(2) / 2)

    def of_log_ratio(self, log_u: Tensor) -> Tensor:
        log_u = bounded_below(log_u)
        log_m = torch.logaddexp(log_u, torch.zeros_like(log_u)) - math.log(2)
        return 0.5 * (log_u.exp() * (log_u - log_m) - log_m)

    def _conjugate(self, t: Tensor) -> Tensor:
        return -0.5 * (2 - (2 * t).exp()).log()

    def optimal_critic(self, log_u: Tensor) -> Tensor:
        return self.activation(log_u)

    def activation(self, v: Tensor) -> Tensor:
        return 0.5 * (math.log(2) + logsigmoid(v))

    def conjugate_of_activation(self, v: Tensor) -> Tensor:
        return -self.activation(-v)


class TotalVariation(FDivergence):
    """Half the integral of |p - q|: the largest difference of an event's probability, at most 1; symmetric."""

    name = "total-variation"
    domain = (-math.inf, 0.5)

    def of_log_ratio(self, log_u: Tensor) -> Tensor:
        return 0.5 * torch.expm1(log_u).abs()

    def _conjugate(self, t: Tensor) -> Tensor:
        return t.clamp_min(-0.5)

    def optimal_critic(self, log_u: Tensor) -> Tensor:
        return 0.5 * log_u.sign()

    def activation(self, v: Tensor) -> Tensor:
        return 0.5 * v.tanh()


class SquaredHellinger(FDivergence):
    """H^2 = 1 - integral of sqrt(p q), at most 1; symmetric."""

    name = "squared-hellinger"
    domain = (-math.inf, 0.5)

    def of_log_ratio(self, log_u: Tensor) -> Tensor:
        return 0.5 * torch.expm1(log_u / 2).square()

    def _conjugate(self, t: Tensor) -> Tensor:
        return t / (1 - 2 * t)

    def optimal_critic(self, log_u: Tensor) -> Tensor:
        return -0.5 * torch.expm1(-log_u / 2)

    def activation(self, v: Tensor) -> Tensor:
        return -0.5 * torch.expm1(-v)

    def conjugate_of_activation(self, v: Tensor) -> Tensor:
        return 0.5 * torch.expm1(v)

    def _gaussian(self, pair: GaussianPair) -> Tensor:
        return -torch.expm1(gaussian_log_affinity(pair, 0.5))


class Hellinger(SquaredHellinger):
    """The Hellinger metric sqrt(H^2), at most 1. A bound or estimate below 0 counts as 0."""

    name = "hellinger"

    def _finish(self, value: Tensor) -> Tensor:
        return value.clamp_min(0).sqrt()

    def _finish_error(self, value: Tensor, error: Tensor) -> Tensor:
        return error / (2 * self._finish(value))  # delta method


class Pearson(FDivergence):
    """Pearson's chi-square E_q[(p/q - 1)^2]: punishes p > 0 where q is small hardest."""

    name = "pearson"

    def of_log_ratio(self, log_u: Tensor) -> Tensor:
        return torch.expm1(log_u).square()

    def _conjugate(self, t: Tensor) -> Tensor:
        t = t.clamp_min(-2)  # below, the supremum over u >= 0 is at u = 0
        return t + t.square() / 4

    def optimal_critic(self, log_u: Tensor) -> Tensor:
        return 2 * torch.expm1(log_u)

    @property
    def reverse(self) -> FDivergence:
        return Neyman()

    def _gaussian(self, pair: GaussianPair) -> Tensor:
        return torch.expm1(gaussian_log_affinity(pair, 2.0))


class Neyman(FDivergence):
    """Neyman's chi-square E_p[(q/p - 1)^2], Pearson's with the arguments exchanged."""

    name = "neyman"
    domain = (-math.inf, 1.0)

    def of_log_ratio(self, log_u: Tensor) -> Tensor:
        return 4 * torch.sinh(log_u / 2).square()

    def _conjugate(self, t: Tensor) -> Tensor:
        return 2 - 2 * (1 - t).sqrt()

    def optimal_critic(self, log_u: Tensor) -> Tensor:
        return -torch.expm1(-2 * log_u)

    def activation(self, v: Tensor) -> Tensor:
        return -torch.expm1(-v)

    def conjugate_of_activation(self, v: Tensor) -> Tensor:
        return -2 * torch.expm1(-v / 2)

    @property
    def reverse(self) -> FDivergence:
        return Pearson()

    def _gaussian(self, pair: GaussianPair) -> Tensor:
        return torch.expm1(gaussian_log_affinity(pair, -1.0))


def _phi(a: float, x: Tensor) -> Tensor:
    """(e^(a x) - 1) / a, continuous at a = 0 where it is x."""
    return torch.expm1(a * x) / a if a else x


class Alpha(FDivergence):
    """The alpha family (module's table, last row): alpha = 1 is KL, -1 reverse KL, 0 is 4 H^2.

    Args:
        alpha: any real number; KL and reverse KL are exact members, not limits to be approached numerically.
    """

    name = "alpha"

    def __init__(self, alpha: float) -> None:
        if not math.isfinite(alpha):
            raise OptionError(f"alpha must be finite; received {alpha}")
        self.alpha, self.b, self.c = float(alpha), (alpha + 1) / 2, (alpha - 1) / 2
        self.domain = (-math.inf, -1 / self.c if self.c < 0 else math.inf)

    def of_log_ratio(self, log_u: Tensor) -> Tensor:
        if self.alpha < 0:
            return (_phi(self.b, log_u) - torch.expm1(log_u)) / self.c
        log_u = bounded_below(log_u)
        return (log_u.exp() * (_phi(self.c, log_u) - 1) + 1) / self.b

    def _conjugate(self, t: Tensor) -> Tensor:
        if not self.c:
            return torch.expm1(t)
        scaled = self.c * t
        if self.c > 0:  # where 1 + c t <= 0 the supremum over u >= 0 is at u = 0
            scaled = scaled.clamp_min(torch.finfo(t.dtype).eps - 1)
        return _phi(self.b, torch.log1p(scaled) / self.c)

    def optimal_critic(self, log_u: Tensor) -> Tensor:
        return _phi(self.c, log_u)

    def activation(self, v: Tensor) -> Tensor:
        return _phi(self.c, v)

    def conjugate_of_activation(self, v: Tensor) -> Tensor:
        return _phi(self.b, v)

    @property
    def reverse(self) -> FDivergence:
        return Alpha(-self.alpha)

    def _gaussian(self, pair: GaussianPair) -> Tensor:
        if abs(self.alpha) == 1:
            return (KL() if self.alpha == 1 else ReverseKL())._gaussian(pair)
        return torch.expm1(gaussian_log_affinity(pair, self.b)) / (self.b * self.c)

    def __repr__(self) -> str:
        return f"Alpha({self.alpha:g})"


_PARAMETERLESS: tuple[type[FDivergence], ...] = (
    KL, ReverseKL, Jeffreys, JensenShannon, TotalVariation, SquaredHellinger, Hellinger, Pearson, Neyman,
)  # fmt: skip
F_DIVERGENCES: dict[str, FDivergence] = {kind.name: kind() for kind in _PARAMETERLESS}


def f_divergence(name: str) -> FDivergence:
    """The divergence of that name; the alpha family's members are `Alpha(a)`.

    Raises:
        UnknownName: listing what there is.
    """
    if name not in F_DIVERGENCES:
        raise UnknownName(f"unknown f-divergence {name!r}{suggestion(str(name), F_DIVERGENCES)}")
    return F_DIVERGENCES[name]
