r"""Gaussian mixtures under noise, in closed form: the truth that solvers and objectives are held against.

For data p(x_0) = sum_k w_k N(m_k, s_k^2 I) and x_t = alpha x_0 + sigma z,

    p_t     = sum_k w_k N(alpha m_k, v_k I),           v_k = alpha^2 s_k^2 + sigma^2
    E[x_0 | x_t]
            = sum_k r_k (m_k + alpha s_k^2 / v_k (x_t - alpha m_k)),
    r_k     = w_k N(x_t; alpha m_k, v_k) / p_t(x_t).

With one component it is the Gaussian. A `Mixture` is a denoiser, so it can stand wherever a trained one does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from creo.diffusion.paths import Path


@dataclass(frozen=True)
class Mixture:
    """Isotropic Gaussian components.

    Args:
        path: of the noising.
        weights: (K,), adding up to 1.
        means: (K, D).
        stds: (K,).
    """

    path: Path
    weights: Tensor
    means: Tensor
    stds: Tensor

    def _components(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets (B, K, D) from the noisy means, alpha and variances, (B or 1, K)."""
        alpha, sigma = (k.reshape(-1, 1) for k in self.path(t))
        offset = x[:, None] - alpha[..., None] * self.means
        return offset, alpha, alpha.square() * self.stds.square() + sigma.square()

    def _joint(self, offset: Tensor, variance: Tensor) -> Tensor:
        d = offset.shape[-1]
        return (
            self.weights.log() - (offset.square().sum(-1) / variance + d * (2 * math.pi * variance).log()) / 2
        )

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        """log p_t(x) in nats, (B,), of x (B, D) at times t: (B,) or one for all."""
        offset, _, variance = self._components(x, t)
        return self._joint(offset, variance).logsumexp(1)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """E[x_0 | x_t = x], (B, D)."""
        offset, alpha, variance = self._components(x, t)
        shares = self._joint(offset, variance).softmax(1)
        gain = alpha * self.stds.square() / variance
        return (shares[..., None] * (self.means + gain[..., None] * offset)).sum(1)

    def sample(self, n: int) -> Tensor:
        """Clean data, (n, D)."""
        k = torch.multinomial(self.weights, n, replacement=True)
        return self.means[k] + self.stds[k, None] * torch.randn(
            n, self.means.shape[1], dtype=self.means.dtype
        )
