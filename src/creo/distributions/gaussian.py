r"""The normal distribution: log-densities in nats, sampling, for batches and for many Gaussians at once.

    log N(x; m, S) = -|L^{-1} (x - m)|^2 / 2 - log det L - D/2 log(2 pi),      S = L L^T

| function             | covariance           | shapes                                                    |
|----------------------|----------------------|-----------------------------------------------------------|
| `standard_log_prob`  | identity             | z (B, *) -> (B,), summed over all axes but the first      |
| `diagonal_log_prob`  | diag(exp(2 s))       | x, m, s broadcast, (..., D) -> (...)                      |
| `full_log_prob`      | L L^T, L lower       | x (..., B, D), m (..., D), L (..., D, D) -> (..., B)      |
| `full_sample`        | L L^T                | m (..., D), L (..., D, D) -> n draws, (..., n, D)         |
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2.0 * math.pi)


def standard_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats, (B, *) -> (B,)."""
    z = z.flatten(1)
    return -0.5 * z.square().sum(1) - 0.5 * LOG_2PI * z.shape[1]


def diagonal_log_prob(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log N(x; mean, diag(exp(2 log_std))) in nats, summed over the last axis."""
    z = (x - mean) * (-log_std).exp()
    return (-0.5 * z.square() - log_std).sum(-1) - 0.5 * LOG_2PI * z.shape[-1]


def whiten(x: Tensor, mean: Tensor, scale_tril: Tensor) -> Tensor:
    """L^{-1} (x - m) for every x: (..., B, D) under (..., D) and (..., D, D)."""
    centred = (x - mean.unsqueeze(-2)).mT
    return torch.linalg.solve_triangular(scale_tril, centred, upper=False).mT


def full_log_prob(x: Tensor, mean: Tensor, scale_tril: Tensor) -> Tensor:
    """log N(x; mean, L L^T) in nats: x (..., B, D), mean (..., D), L lower triangular (..., D, D) -> (..., B)."""
    log_det = scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
    z = whiten(x, mean, scale_tril)
    return -0.5 * z.square().sum(-1) - log_det - 0.5 * LOG_2PI * z.shape[-1]


def full_sample(n: int, mean: Tensor, scale_tril: Tensor) -> Tensor:
    """n draws from each N(mean, L L^T): mean (..., D), L (..., D, D) -> (..., n, D)."""
    eps = torch.randn(*mean.shape[:-1], n, mean.shape[-1], dtype=mean.dtype, device=mean.device)
    return mean.unsqueeze(-2) + eps @ scale_tril.mT
