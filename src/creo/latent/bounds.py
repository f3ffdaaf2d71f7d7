"""One importance-weighted bound, from which ELBO, IWAE and MIWAE follow.

With z_k ~ q(z | x) independent and log weights log w = log p(x, z) - log q(z | x), arranged as (m, k, b) for M groups
of K samples of each of B data:

    bound_b = 1/M sum_m log( 1/K sum_k w_mkb )        E[bound] <= log p(x_b)

(M, K) = (1, 1) is the ELBO, (M, 1) the ELBO with less noise, (1, K) IWAE, (M, K) MIWAE. The expectation does not
depend on M; it grows with K towards log p(x), and is log p(x) for every K when q is the exact posterior, because the
weights are then constant. Nats; larger is better.

References:
    Burda, Grosse, Salakhutdinov (2016), https://arxiv.org/abs/1509.00519 (IWAE);
    Rainforth et al. (2018), https://arxiv.org/abs/1802.04537 (MIWAE, and why the encoder may prefer larger M).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from creo.errors import OptionError


def importance_weighted_bound(log_w: Tensor) -> Tensor:
    """The bound of the module docstring.

    Args:
        log_w: log p(x, z) - log q(z | x) in nats, (m, k, b).

    Returns:
        (b,) nats.
    """
    if log_w.ndim != 3:
        raise OptionError(f"log_w must have shape (m, k, b); received {tuple(log_w.shape)}")
    return (torch.logsumexp(log_w, 1) - math.log(log_w.shape[1])).mean(0)


def iwae_in_chunks(log_w: Callable[[int], Tensor], samples: int, chunk: int) -> Tensor:
    """The bound with (m, k) = (1, samples), drawing at most `chunk` samples at a time.

    Args:
        log_w: draws k samples and returns their log weights, (k, b).
        samples: K.
        chunk: largest k asked of `log_w` at once: what bounds the memory.

    Returns:
        (b,) nats.
    """
    sizes = [min(chunk, samples - start) for start in range(0, samples, chunk)]
    parts = [torch.logsumexp(log_w(k), 0) for k in sizes]
    return torch.logsumexp(torch.stack(parts), 0) - math.log(samples)


def kl_to_standard_normal(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL( N(mean, e^(2 log_std)) || N(0, I) ) summed over the last axis: (*, d) to (*,) nats."""
    return (0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std).sum(-1)
