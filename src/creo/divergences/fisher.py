r"""Fisher divergence: how far are two scores apart, and four ways to lower it without knowing the true one.

    F(p | q) = 1/2 E_{x ~ p} |grad log p(x) - grad log q(x)|^2          (nats per squared unit of x; 0 iff p = q)

For a model of the score s of q, on samples of p:

| function                   | value                                             | equals F up to                    |
|----------------------------|---------------------------------------------------|-----------------------------------|
| `explicit_score_matching`  | 1/2 E |s(x) - grad log p(x)|^2                    | nothing: it is F                  |
| `implicit_score_matching`  | E [ tr ds/dx + 1/2 |s(x)|^2 ]                     | 1/2 E |grad log p|^2 (of p alone) |
| `sliced_score_matching`    | E [ v' (ds/dx) v + 1/2 |s(x)|^2 ],  E vv' = I     | the same, without the trace       |
| `denoising_score_matching` | 1/2 E |s(x + sigma z) + z / sigma|^2              | a constant, for p smoothed        |

Scores are functions of a batch, (B, *) to (B, *), each row's answer from that row alone; for an energy, s is
`-grad energy` (`score_of`). All functions return one value per example, (B,), differentiable in the score's parameters.

Sources: Hyvarinen 2005 (JMLR 6, 695-709); Vincent 2011 (Neural Computation 23, 1661-1674); Song, Garg, Shi, Ermon 2019,
https://arxiv.org/abs/1905.07088.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from creo.errors import OptionError

Score = Callable[[Tensor], Tensor]


def explicit_score_matching(score: Score, x: Tensor, truth: Score) -> Tensor:
    """Half the squared distance of two scores at x, (B,).

    Args:
        score: the model's.
        x: samples of the truth, (B, *).
        truth: gradient of the true log-density.
    """
    return _half_square(score(x) - truth(x))


def implicit_score_matching(score: Score, x: Tensor) -> Tensor:
    """Hyvarinen's objective with the exact trace, (B,): one backward pass per dimension.

    Args:
        score: the model's.
        x: samples, (B, *).
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        s = score(x)
        trace = torch.zeros(len(x), dtype=s.dtype, device=s.device)
        for i in range(x[0].numel()):
            column = _gradient(s.flatten(1)[:, i].sum(), x)
            trace = trace + column.flatten(1)[:, i]
        return trace + _half_square(s)


def sliced_score_matching(score: Score, x: Tensor, *, projections: int = 1) -> Tensor:
    """Hyvarinen's objective with the trace along random directions (of +-1 entries), (B,).

    The squared norm is not projected: its expectation is known (the variance-reduced form).

    Args:
        score: the model's.
        x: samples, (B, *).
        projections: directions per sample; one backward pass each.

    Raises:
        OptionError: if there are none.
    """
    if projections < 1:
        raise OptionError(f"sliced score matching needs at least 1 projection; received {projections}")
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        s = score(x)
        trace = torch.zeros(len(x), dtype=s.dtype, device=s.device)
        for _ in range(projections):
            v = torch.randint_like(x, 2) * 2 - 1
            trace = trace + (_gradient((s * v).sum(), x) * v).flatten(1).sum(1)
        return trace / projections + _half_square(s)


def denoising_score_matching(score: Score, x: Tensor, *, sigma: float | Tensor) -> Tensor:
    """Vincent's objective, (B,): the score of the noised sample should point back to the clean one.

    Args:
        score: the model's, of p smoothed by sigma.
        x: clean samples, (B, *).
        sigma: standard deviation of the noise, positive; a tensor must broadcast to x.
    """
    if not bool((torch.as_tensor(sigma) > 0).all()):
        raise OptionError(f"sigma must be positive; received {sigma}")
    z = torch.randn_like(x)
    return _half_square(score(x + sigma * z) + z / sigma)


def score_of(log_prob: Callable[[Tensor], Tensor]) -> Score:
    """The score of a log-density (B, *) to (B,), which need not be normalised; differentiable twice."""

    def score(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            return _gradient(log_prob(x).sum(), x)

    return score


def _gradient(total: Tensor, x: Tensor) -> Tensor:
    """The gradient with a graph of its own; zero where `total` does not depend on x."""
    if not total.requires_grad:
        return torch.zeros_like(x)
    return torch.autograd.grad(total, x, create_graph=True, materialize_grads=True)[0]


def _half_square(v: Tensor) -> Tensor:
    return v.flatten(1).square().sum(1) / 2
