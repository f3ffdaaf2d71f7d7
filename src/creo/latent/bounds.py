r"""One importance-weighted bound, from which ELBO, IWAE, MIWAE, PIWAE and CIWAE follow.

With z_k ~ q(z | x) independent and log weights log w = log p(x, z) - log q(z | x), arranged as (m, k, b) for M groups
of K samples of each of B data:

    L_b = 1/M sum_m log( 1/K sum_k w_mkb )        E[L] <= log p(x_b)

| bound | value                          | decoder's weights dL/dlog w    | encoder's, where other    |
|-------|--------------------------------|--------------------------------|---------------------------|
| ELBO  | (M, K) = (M, 1)                | 1 / M                          |                           |
| IWAE  | (1, K)                         | w / sum_k w                    |                           |
| MIWAE | (M, K)                         | w / (M sum_k w)                |                           |
| PIWAE | as IWAE with M K samples       | w / sum_mk w                   | as MIWAE                  |
| CIWAE | a ELBO + (1 - a) MIWAE         | a / (M K) + (1 - a) w / (M sum_k w) |                      |

The expectation does not depend on M; it grows with K towards log p(x), and is log p(x) for every K when q is the exact
posterior, because the weights are then constant. Nats; larger is better.

The decoder wants a tight bound. The encoder's gradient, however, loses its signal against its noise as K grows, which
is why PIWAE gives it smaller groups.

References:
    Burda, Grosse, Salakhutdinov (2016), https://arxiv.org/abs/1509.00519 (IWAE);
    Rainforth et al. (2018), https://arxiv.org/abs/1802.04537 (MIWAE, PIWAE, CIWAE);
    Tucker, Lawson, Gu, Maddison (2019), https://arxiv.org/abs/1810.04152 (the squared weights of `doubly`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from creo.errors import OptionError

BoundName = Literal["elbo", "iwae", "miwae", "piwae", "ciwae"]


def centred(reward: Tensor) -> Tensor:
    """Each of (s, ...) minus the mean of the others along the first axis; itself if it is alone."""
    s = len(reward)
    return reward if s == 1 else (reward - reward.mean(0)) * (s / (s - 1))


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


@dataclass(frozen=True)
class Bound:
    """MIWAE, and so ELBO at K = 1 and IWAE at M = 1: a value, and how much each sample's gradient weighs in it.

    Args:
        m: M, groups of samples, whose bounds are averaged.
        k: K, samples in a group, whose weights are averaged.
    """

    m: int = 1
    k: int = 1

    def __post_init__(self) -> None:
        if self.m < 1 or self.k < 1:
            raise OptionError(f"a bound needs m >= 1 and k >= 1; received m={self.m}, k={self.k}")

    @property
    def samples(self) -> int:
        """How many samples of z it takes."""
        return self.m * self.k

    def value(self, log_w: Tensor) -> Tensor:
        """(b,) nats of log weights (m, k, b)."""
        return importance_weighted_bound(log_w)

    def weights(self, log_w: Tensor) -> Tensor:
        """dL/dlog w, (m, k, b): what the decoder's and the prior's gradients weigh; they sum to 1 over (m, k)."""
        return log_w.softmax(1) / self.m

    def encoder_weights(self, log_w: Tensor) -> Tensor:
        """What the encoder's gradients weigh, (m, k, b)."""
        return self.weights(log_w)

    def doubly(self, log_w: Tensor) -> Tensor:
        """What the encoder's path through z weighs in the doubly reparametrised estimator, (m, k, b)."""
        return log_w.softmax(1).square() / self.m

    def credit(self, log_w: Tensor) -> Tensor:
        """L - L_{-k}, (m, k, b): what sample k has done for the bound, by which the score of q(z_k) is multiplied.

        L_{-k} has the geometric mean of its group's others in the place of w_k (K > 1), or is the mean of the other
        groups' bounds (K = 1, M > 1), or 0.
        """
        k = log_w.shape[1]
        if k == 1:
            return centred(log_w) / self.m
        own = torch.eye(k, dtype=torch.bool, device=log_w.device)[:, :, None]
        others = log_w.unsqueeze(1).masked_fill(own, -math.inf).logsumexp(2)
        geometric = (log_w.sum(1, keepdim=True) - log_w) / (k - 1)
        return (torch.logsumexp(log_w, 1, keepdim=True) - torch.logaddexp(others, geometric)) / self.m


@dataclass(frozen=True)
class PIWAE(Bound):
    """IWAE over all M K samples for the decoder, MIWAE for the encoder."""

    def value(self, log_w: Tensor) -> Tensor:
        return importance_weighted_bound(log_w.reshape(1, -1, log_w.shape[2]))

    def weights(self, log_w: Tensor) -> Tensor:
        return log_w.flatten(0, 1).softmax(0).view_as(log_w)

    def encoder_weights(self, log_w: Tensor) -> Tensor:
        return Bound.weights(self, log_w)


@dataclass(frozen=True)
class CIWAE(Bound):
    """A mean of the ELBO and the bound (M, K).

    Args:
        share: a, the weight of the ELBO, in [0, 1].
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share <= 1:
            raise OptionError(f"CIWAE's share of the ELBO is in [0, 1]; received {self.share}")

    def _mean(self, elbo: Tensor | float, other: Tensor) -> Tensor:
        return self.share * elbo + (1 - self.share) * other

    def value(self, log_w: Tensor) -> Tensor:
        return self._mean(log_w.mean((0, 1)), super().value(log_w))

    def weights(self, log_w: Tensor) -> Tensor:
        return self._mean(1 / self.samples, super().weights(log_w))

    def doubly(self, log_w: Tensor) -> Tensor:
        return self._mean(1 / self.samples, super().doubly(log_w))

    def credit(self, log_w: Tensor) -> Tensor:
        each = centred(log_w.flatten(0, 1)).view_as(log_w) / self.samples
        return self._mean(each, super().credit(log_w))


#: name -> its class, and the M and K it has where nothing is said (the papers' numbers)
_BOUNDS: dict[str, tuple[type[Bound], int, int]] = {
    "elbo": (Bound, 1, 1),
    "iwae": (Bound, 1, 50),
    "miwae": (Bound, 8, 8),
    "piwae": (PIWAE, 8, 8),
    "ciwae": (CIWAE, 1, 50),
}


def bound_for(name: BoundName, *, m: int = 0, k: int = 0, share: float = 0.5) -> Bound:
    """The bound called `name`.

    Args:
        name: elbo, iwae, miwae, piwae or ciwae.
        m: M; 0: the bound's own default.
        k: K; 0: the bound's own default.
        share: of the ELBO in CIWAE.

    Raises:
        OptionError: no such bound, or a size that is another bound's.
    """
    if name not in _BOUNDS:
        raise OptionError(f"no bound {name!r}; there are {', '.join(_BOUNDS)}")
    cls, default_m, default_k = _BOUNDS[name]
    m, k = m or default_m, k or default_k
    if name == "elbo" and k > 1:
        raise OptionError(f"the ELBO averages m samples outside the logarithm; k={k} makes it bound='iwae'")
    if name == "iwae" and m > 1:
        raise OptionError(f"IWAE is one group of k samples; m={m} makes it bound='miwae'")
    return CIWAE(m, k, share) if cls is CIWAE else cls(m, k)


def iwae_in_chunks(log_w: Callable[[int], Tensor], samples: int, chunk: int) -> Tensor:
    """The bound with (m, k) = (1, samples), drawing at most `chunk` samples at a time.

    Args:
        log_w: draws k samples and returns their log weights, (k, b).
        samples: K.
        chunk: largest k asked of `log_w` at once: what bounds the memory.

    Returns:
        (b,) nats.
    """
    return iwae_with_error(log_w, samples, chunk)[0]


def iwae_with_error(log_w: Callable[[int], Tensor], samples: int, chunk: int) -> tuple[Tensor, Tensor]:
    """The bound with (m, k) = (1, samples), and the standard error that its K draws give it.

    By the delta method the error of log(mean of w) is sd(w) / (mean(w) sqrt(K)); it is infinite for K = 1, and too
    small where a few weights dominate, as every such number.

    Args:
        log_w: draws k samples and returns their log weights, (k, b).
        samples: K.
        chunk: largest k asked of `log_w` at once.

    Returns:
        (b,) nats each.
    """
    sizes = [min(chunk, samples - start) for start in range(0, samples, chunk)]
    sums = [(torch.logsumexp(w, 0), torch.logsumexp(2 * w, 0)) for w in map(log_w, sizes)]
    first, second = (torch.logsumexp(torch.stack(part), 0) for part in zip(*sums, strict=True))
    value = first - math.log(samples)
    if samples == 1:
        return value, torch.full_like(value, math.inf)
    spread = torch.expm1((second + math.log(samples) - 2 * first).clamp_min(0.0))  # var(w) / mean(w)^2
    return value, (spread / (samples - 1)).sqrt()


def kl_to_standard_normal(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL( N(mean, e^(2 log_std)) || N(0, I) ) summed over the last axis: (*, d) to (*,) nats."""
    return (0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std).sum(-1)
