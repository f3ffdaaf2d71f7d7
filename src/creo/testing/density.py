"""Is `log_prob` the logarithm of a probability? Normalisation, and bounds below the truth.

EXACT      sum or integral of exp(log_prob) = 1
BOUND      sum or integral of exp(E[log_prob]) <= 1
ESTIMATE   the sum is 1 within the noise of the estimate and a stated slack
"""

from __future__ import annotations

import torch
from torch import Tensor

from creo.model import GenerativeModel, Likelihood, seeded
from creo.testing.failure import fail, require
from creo.testing.measure import Estimate, distinct, double, is_tiny, points, reals, total_mass

#: Standard errors that a random quantity may be away from its expectation. Checks are seeded, so a model that
#: passes keeps passing; 4.5 is exceeded by chance once in 150 000.
SIGMAS = 4.5


def check_normalised(
    model: GenerativeModel, c: Tensor | None = None, *, tolerance: float = 1e-3, seed: int = 0
) -> None:
    """Probabilities sum (densities integrate) to 1 over the whole space, for every condition tried.

    A discrete space is enumerated; one or two real coordinates are integrated on an adaptive grid. A lower bound
    must not exceed 1, and must not be vacuous (below 1e-9).

    Args:
        model: of a space with at most 5000 points and at most two real coordinates (see `tiny_spaces`).
        c: conditions, (B, *condition.shape); the first two different ones are tried.
        tolerance: how far from 1 the total may be, beyond the noise of random log-probs.
        seed: of the noise that random log-probs use.

    Raises:
        CheckFailed: with the total.
    """
    if not is_tiny(model.space):
        fail(
            f"{model.space} has {points(model.space)} points and {reals(model.space)} real coordinates: "
            "check normalisation on a smaller space"
        )
    exact = double(model)
    with seeded(seed):
        for one in distinct(c):
            _check_total(exact, one, tolerance)


def _check_total(model: GenerativeModel, c: Tensor | None, tolerance: float) -> None:
    mass = total_mass(model, c, tolerance=tolerance / 4)
    of = "exp(log_prob)" + ("" if c is None else f" given c = {c.tolist()}")
    found = f"{of} sums to {mass.total:.6g} over {model.space}"
    if mass.discretisation > tolerance:
        found += f" (an integral good to {mass.discretisation:.1g} only)"
    slack = tolerance + SIGMAS * mass.error + min(mass.discretisation, 10 * tolerance)
    if model.likelihood is Likelihood.EXACT:
        require(abs(mass.total - 1) <= slack, f"{found} instead of 1")
    kind = model.likelihood.value
    require(mass.total <= 1 + slack, f"{found}; with likelihood {kind!r} it is at most 1")
    require(mass.total > 1e-9, f"{found}: the {kind} says nothing")


def check_bound_below_exact(
    model: GenerativeModel,
    x: Tensor,
    exact: Tensor,
    c: Tensor | None = None,
    *,
    repeats: int = 32,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> Estimate:
    """A BOUND is below the exact log-probability, where that is known (say, of a linear-Gaussian model).

    Args:
        model: whose `log_prob` is a bound.
        x: raw data, (B, *space.shape).
        exact: the true log p(x), (B,) nats.
        c: conditions, (B, *condition.shape), or None.
        repeats: calls of `log_prob` that are averaged; 4.5 standard errors of the mean are allowed.
        tolerance: allowed on top, nats.
        seed: of the bound's own noise.

    Returns:
        The averaged bound and its standard error, to check how tight it is.
    """
    with seeded(seed), torch.no_grad():
        draws = torch.stack([model.log_prob(x, c).double() for _ in range(repeats)])
    found = Estimate(draws.mean(0), draws.std(0) / repeats**0.5)
    over = found.mean - exact.double() - SIGMAS * found.error - tolerance
    worst = int(over.argmax())
    require(
        over[worst] <= 0,
        f"the bound of example {worst} is {found.mean[worst]:.6f} +- {found.error[worst]:.2g} nats, "
        f"above the exact log p = {exact[worst].item():.6f}",
    )
    return found
