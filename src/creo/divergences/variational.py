r"""Variational lower bounds on KL(p || q) in nats, from a critic T evaluated at draws of p and of q.

| bound              | value                            | tight at                    | variance                       |
|--------------------|----------------------------------|-----------------------------|--------------------------------|
| `nwj`              | E_p[T] - E_q[e^(T - 1)]          | T = 1 + log p/q             | that of e^T under q            |
| `donsker_varadhan` | E_p[T] - log E_q[e^T]            | T = log p/q + any constant  | smaller; never below NWJ's     |

Larger is better (closer to the KL). NWJ is the f-GAN objective of KL, unbiased for its bound. Donsker-Varadhan is the
tighter for every T (log z <= z/e), but its mean over q stands inside a logarithm: on n draws it exceeds the true
bound by about Var_q(e^T) / (2 n E_q[e^T]^2), so on few draws it is no bound at all, and its minibatch gradient is
biased. Both need of the order of e^KL draws to see a large KL.

Sources: Donsker and Varadhan 1983; Nguyen, Wainwright and Jordan 2010, https://arxiv.org/abs/0809.0853; Belghazi et
al. 2018, https://arxiv.org/abs/1801.04062; McAllester and Stratos 2020, https://arxiv.org/abs/1811.04251 (the limit).
"""

from __future__ import annotations

import math

from torch import Tensor

from creo.errors import DataError


def _check_critics(critic_p: Tensor, critic_q: Tensor) -> None:
    for name, values in (("critic_p", critic_p), ("critic_q", critic_q)):
        if not values.numel():
            raise DataError(
                f"{name} is empty; the bound needs critic values at draws from both distributions"
            )


def nwj(critic_p: Tensor, critic_q: Tensor) -> Tensor:
    """Nguyen-Wainwright-Jordan bound E_p[T] - E_q[e^(T - 1)] <= KL(p || q), nats.

    Args:
        critic_p: T at draws from p, any shape.
        critic_q: T at draws from q, any shape.

    Returns:
        A differentiable scalar.

    Raises:
        DataError: if there are no draws.
    """
    _check_critics(critic_p, critic_q)
    return critic_p.mean() - (critic_q - 1).exp().mean()


def donsker_varadhan(critic_p: Tensor, critic_q: Tensor) -> Tensor:
    """Donsker-Varadhan bound E_p[T] - log E_q[e^T] <= KL(p || q) (in the limit of many draws of q), nats.

    Args:
        critic_p: T at draws from p, any shape.
        critic_q: T at draws from q, any shape.

    Returns:
        A differentiable scalar.

    Raises:
        DataError: if there are no draws.
    """
    _check_critics(critic_p, critic_q)
    return critic_p.mean() - critic_q.flatten().logsumexp(0) + math.log(critic_q.numel())
