r"""Gaussians given a part of their variables, and completions of many samples mask by mask.

With x ~ N(m, S) of which the part x_k is known, the rest is drawn by Matheron's rule: with y ~ N(m, S) whole,

    x_u = y_u + S_uk S_kk^{-1} (x_k - y_k)

is a draw of N(m_u + S_uk S_kk^{-1} (x_k - m_k), S_uu - S_uk S_kk^{-1} S_ku), and log p(x_k) is the density of
N(m_k, S_kk), in nats. Samples that share a mask share one Cholesky factor.

Reference: Chiles, Delfiner (2012), Geostatistics, chapter 7, https://doi.org/10.1002/9781118136188.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from creo.distributions.gaussian import full_log_prob, full_sample


def by_mask(known: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(mask (D,), indices of the rows that have it) for every different row of (B, D)."""
    masks, which = known.unique(dim=0, return_inverse=True)
    for i, mask in enumerate(masks):
        yield mask, (which == i).nonzero().squeeze(1)


def marginal_log_prob(x: Tensor, known: Tensor, mean: Tensor, scale_tril: Tensor) -> Tensor:
    """log p(x_k) of rows x (B, D) with one mask (D,) under N(mean, L L^T): (B,) nats."""
    if not known.any():
        return x.new_zeros(len(x))
    rows = scale_tril[known]
    return full_log_prob(x[:, known], mean[known], torch.linalg.cholesky(rows @ rows.T))


def gaussian_fill(x: Tensor, known: Tensor, mean: Tensor, scale_tril: Tensor) -> Tensor:
    """Rows x (B, D) with what one mask (D,) calls unknown drawn from its conditional under N(mean, L L^T)."""
    y = full_sample(len(x), mean, scale_tril)
    if known.any():
        rows = scale_tril[known]
        weights = torch.cholesky_solve((x - y)[:, known].T, torch.linalg.cholesky(rows @ rows.T))
        y = y + (scale_tril @ (rows.T @ weights)).T
    return torch.where(known, x, y)
