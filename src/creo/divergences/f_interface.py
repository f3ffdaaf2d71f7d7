"""The interface of an f-divergence D_f(p || q) = E_q[f(p/q)]: six small functions give every way to evaluate it.

A subclass gives f, its conjugate f*, f', the critic's activation g, the domain of f*, and the divergence with its
arguments exchanged; from these follow, once for all divergences,

- the exact value between discrete distributions;
- the Monte Carlo value from log-ratios l = log p(x) - log q(x): mean of f(e^l) over draws from q, or of
  f(e^l) e^-l = f_reverse(e^-l) over draws from p;
- the variational lower bound E_p[g(v)] - E_q[f*(g(v))] from a critic's outputs v (the f-GAN objective).

The formulas of the individual divergences, and the sources, are in `creo.divergences.f_divergence`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from creo.divergences.gaussian_forms import GaussianPair
from creo.errors import DataError, OptionError, SpaceError


@dataclass(frozen=True)
class Estimate:
    """A Monte Carlo value with its standard error (both scalar tensors, in the divergence's unit) from n draws."""

    value: Tensor
    standard_error: Tensor
    n: int


def _log_probabilities(p: Tensor, log: bool, name: str) -> Tensor:
    if not p.is_floating_point() or p.ndim == 0:
        raise SpaceError(
            f"{name} must be a floating-point tensor (..., K); received {p.dtype}, {tuple(p.shape)}"
        )
    if not log and bool((p < 0).any()):
        raise DataError(f"{name} has negative probabilities (log-probabilities need log=True)")
    total = p.exp().sum(-1) if log else p.sum(-1)
    if not bool(((total - 1).abs() < 1e-3).all()):
        worst = float(total.flatten()[(total - 1).abs().flatten().argmax()])
        raise DataError(f"{name} must sum to 1 over its last axis; received a sum of {worst:g}")
    return p if log else p.log()


def bounded_below(log_u: Tensor) -> Tensor:
    """log u with u = 0 replaced by the smallest normal number, where u log u is 0 to rounding instead of NaN."""
    return log_u.clamp_min(math.log(torch.finfo(log_u.dtype).tiny))


class FDivergence:
    """Base of all f-divergences. A subclass gives f (of log u), f*, f', the activation, the domain and `reverse`.

    Attributes:
        name: the key in `F_DIVERGENCES`.
        domain: (low, high), the interval on which f* is finite (its ends may or may not belong to it).
    """

    name: ClassVar[str]
    domain: tuple[float, float] = (-math.inf, math.inf)

    def of_log_ratio(self, log_u: Tensor) -> Tensor:
        """f(u) from log u, elementwise; log u may be -inf."""
        raise NotImplementedError

    def _conjugate(self, t: Tensor) -> Tensor:
        """f*(t) on `domain`, elementwise."""
        raise NotImplementedError

    def optimal_critic(self, log_u: Tensor) -> Tensor:
        """T = f'(u) from log u = log p(x) - log q(x): the critic at which the variational bound is tight."""
        raise NotImplementedError

    def activation(self, v: Tensor) -> Tensor:
        """g(v): maps a critic network's real output into the domain of f*, increasing."""
        return v

    @property
    def reverse(self) -> FDivergence:
        """The divergence whose value at (q, p) is this one's at (p, q)."""
        return self

    def conjugate(self, t: Tensor) -> Tensor:
        """f*(t), elementwise; inf right of `domain`."""
        return self._conjugate(t).masked_fill(t > self.domain[1], math.inf)

    def conjugate_of_activation(self, v: Tensor) -> Tensor:
        """f*(g(v)), in a form that neither overflows early nor loses digits."""
        return self.conjugate(self.activation(v))

    def generator(self, u: Tensor) -> Tensor:
        """f(u), elementwise, u >= 0."""
        return self.of_log_ratio(u.log())

    def discrete(self, p: Tensor, q: Tensor, *, log: bool = False) -> Tensor:
        """Exact D_f(p || q) between discrete distributions.

        Args:
            p: (..., K) probabilities, zeros allowed; or log-probabilities.
            q: (..., K) likewise.
            log: whether p and q are log-probabilities (-inf allowed).

        Returns:
            (...) values; inf where f makes it so (KL when some p > 0 = q).

        Raises:
            SpaceError: if the last axes differ. DataError: if p or q is negative, NaN or does not sum to 1.
        """
        log_p, log_q = _log_probabilities(p, log, "p"), _log_probabilities(q, log, "q")
        if p.shape[-1] != q.shape[-1]:
            raise SpaceError(
                f"p and q must have equally many outcomes; received {p.shape[-1]} and {q.shape[-1]}"
            )
        log_u = torch.where((log_p == -torch.inf) & (log_q == -torch.inf), 0, log_p - log_q)
        below = log_q.exp() * self.of_log_ratio(log_u.clamp_max(0))
        above = log_p.exp() * self.reverse.of_log_ratio((-log_u).clamp_max(0))  # q f(p/q) = p f_reverse(q/p)
        return self._finish(torch.where(log_u > 0, above, below).sum(-1))

    def gaussian(self, mean_p: Tensor, cov_p: Tensor, mean_q: Tensor, cov_q: Tensor) -> Tensor:
        """Exact D_f between N(mean_p, cov_p) and N(mean_q, cov_q); inf where the integral diverges.

        Args:
            mean_p: (..., d). cov_p: (..., d, d). mean_q: (..., d). cov_q: (..., d, d).

        Raises:
            OptionError: if this divergence has no closed form between Gaussians.
            SpaceError, DataError: for shapes that do not fit and covariances that are not positive definite.
        """
        return self._finish(self._gaussian(GaussianPair(mean_p, cov_p, mean_q, cov_q)))

    def monte_carlo(self, log_ratio: Tensor, *, drawn_from: str = "p") -> Estimate:
        """Unbiased estimate of D_f(p || q) with standard error, from log p(x) - log q(x) at draws x.

        Args:
            log_ratio: (n,) log-ratios, n at least 2.
            drawn_from: whether the x are from `p` (mean of f(u)/u) or from `q` (mean of f(u)). Choose the one whose
                terms vary less: for KL draw from p, for reverse KL from q. Where f(u) has heavy tails the standard
                error itself is unreliable.

        Raises:
            DataError: for fewer than 2 values or NaN. OptionError: if `drawn_from` is neither.
        """
        if log_ratio.ndim != 1 or len(log_ratio) < 2 or bool(log_ratio.isnan().any()):
            raise DataError(
                f"log_ratio must be (n,) with n >= 2 and no NaN; received shape {tuple(log_ratio.shape)}"
            )
        if drawn_from not in ("p", "q"):
            raise OptionError(f"drawn_from must be 'p' or 'q'; received {drawn_from!r}")
        terms = self.of_log_ratio(log_ratio) if drawn_from == "q" else self.reverse.of_log_ratio(-log_ratio)
        mean, error = terms.mean(), terms.std() / math.sqrt(len(terms))
        return Estimate(self._finish(mean), self._finish_error(mean, error), len(terms))

    def variational_bound(self, critic_p: Tensor, critic_q: Tensor, *, activated: bool = False) -> Tensor:
        """E_p[g(v)] - E_q[f*(g(v))], which the critic maximises: a lower bound on D_f(p || q) in expectation.

        Args:
            critic_p: the critic's outputs v at draws from p, any shape.
            critic_q: the critic's outputs v at draws from q, any shape.
            activated: whether these are T = g(v) already.

        Returns:
            A differentiable scalar. A generator that produces q minimises it (the f-GAN game).
        """
        if activated:
            return self._finish(critic_p.mean() - self.conjugate(critic_q).mean())
        return self._finish(self.activation(critic_p).mean() - self.conjugate_of_activation(critic_q).mean())

    def _gaussian(self, pair: GaussianPair) -> Tensor:
        raise OptionError(
            f"{self!r} has no closed form between Gaussians; use monte_carlo on log-ratios of draws"
        )

    def _finish(self, value: Tensor) -> Tensor:
        return value

    def _finish_error(self, value: Tensor, error: Tensor) -> Tensor:
        return error

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).items()))
