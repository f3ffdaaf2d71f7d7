r"""Expectation maximisation for any mixture p(x) = sum_k w_k p_k(x).

    E   r_nk = w_k p_k(x_n) / sum_j w_j p_j(x_n)         in logarithms, by log-sum-exp
    M   w_k = sum_n r_nk / N,   p_k = argmax sum_n r_nk log p_k(x_n) + log prior(p_k)

Each round raises sum_n log p(x_n) + sum_k log prior(p_k), or leaves it; what a family of components has to give is
the M step, its log-densities, and its log-prior. Rounds stop when the objective gains less than `tolerance` nats per
sample.

In the first rounds a component that has lost its data (fewer than 1% of an even share) is given a random part of the
largest one's, the one move that may lower the objective; later ones may die out.

Source: Dempster, Laird, Rubin 1977, https://doi.org/10.1111/j.2517-6161.1977.tb01600.x; the prior (MAP): Green 1990,
https://doi.org/10.1111/j.2517-6161.1990.tb01798.x.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from creo.model import Report, Terms

MIN_SHARE = 0.01
REVIVAL_ROUNDS = 10

Encoded = TypeVar("Encoded")


class Components(nn.Module, ABC, Generic[Encoded]):
    """K distributions of one family, all their parameters buffers of fixed shape."""

    @abstractmethod
    def encode(self, x: Tensor) -> Encoded:
        """Raw data (B, *shape) in the form that the other methods want, once for all rounds."""

    @abstractmethod
    def set_prior(self, x: Encoded) -> None:
        """Take the prior's scale from all (encoded) data."""

    @abstractmethod
    def log_prob(self, x: Encoded) -> Tensor:
        """log p_k(x_n) in nats for encoded data, (B, K)."""

    @abstractmethod
    def maximise(self, x: Encoded, responsibility: Tensor) -> None:
        """The M step for encoded data and responsibilities (N, K)."""

    @abstractmethod
    def log_prior(self) -> Tensor:
        """sum_k log prior(p_k) up to a constant, scalar, nats."""

    @abstractmethod
    def sample(self, component: Tensor) -> Tensor:
        """One draw from each component named in (n,), flattened: (n, D)."""

    @abstractmethod
    def known_log_prob(self, x: Tensor, known: Tensor) -> Tensor:
        """log p_k of the known entries of flattened raw rows x (B, D), known (B, D): (B, K) nats."""

    @abstractmethod
    def fill(self, x: Tensor, known: Tensor, component: Tensor) -> Tensor:
        """Flattened raw rows x (B, D) with their unknown entries drawn, given the known ones, from `component` (B,)."""


def revive(responsibility: Tensor) -> Tensor:
    """Responsibilities (N, K) in which every component without data takes random parts of the largest one's."""
    share = responsibility.sum(0)
    for k in (share < MIN_SHARE * share.mean()).nonzero().flatten().tolist():
        largest = int(responsibility.sum(0).argmax())
        part = responsibility[:, largest] * torch.rand_like(responsibility[:, largest])
        responsibility = responsibility.clone()
        responsibility[:, k] += part
        responsibility[:, largest] -= part
    return responsibility


def expectation_maximisation(
    components: Components[Encoded],
    x: Tensor,
    responsibility: Tensor,
    *,
    steps: int,
    tolerance: float,
    report: Report | None = None,
) -> Tensor:
    """Fit `components` in place, from initial responsibilities; see the module docstring.

    Args:
        components: what is fitted; computes in its own dtype.
        x: raw data, (N, *shape).
        responsibility: (N, K), rows sum to 1: where to start.
        steps: at most this many rounds.
        tolerance: nats per sample; a round that gains less is the last.
        report: called every round with the negative objective and the negative log-likelihood, nats per sample.

    Returns:
        log w, (K,).
    """
    data = components.encode(x)
    components.set_prior(data)
    best = -torch.inf
    for i in range(steps):
        responsibility = revive(responsibility) if i < REVIVAL_ROUNDS else responsibility
        log_weight = responsibility.mean(0).log()
        components.maximise(data, responsibility)
        joint = components.log_prob(data) + log_weight
        log_prob = joint.logsumexp(1, keepdim=True)
        responsibility = (joint - log_prob).exp()
        objective = log_prob.mean() + components.log_prior() / len(responsibility)
        if report is not None:
            report(Terms(-objective, {"nll": -log_prob.mean()}))
        if objective - best < tolerance:
            break
        best = float(objective)
    return log_weight
