r"""Probabilistic PCA and factor analysis: the linear-Gaussian latent model, in closed form or by EM.

    z ~ N(0, I),    x = W z + mu + eps,    eps ~ N(0, Psi)
    p(x)     = N(mu, C),  C = W W^T + Psi
    p(z | x) = N(M^-1 W^T Psi^-1 (x - mu), M^-1),   M = I + W^T Psi^-1 W

| noise                        | Psi       | fitted by                                                    |
|------------------------------|-----------|--------------------------------------------------------------|
| `isotropic` (PPCA)           | sigma^2 I | closed form, W = U (Lambda - sigma^2 I)^(1/2), or EM         |
| `diagonal` (factor analysis) | diagonal  | EM                                                           |

U and Lambda are the `latent` leading eigenvectors and values of the sample covariance S, and sigma^2 is the mean of the
other eigenvalues. EM raises

    sum_n E_q log p(x_n, z) - E_q log q(z) = sum_n log p(x_n) - KL(q(z) || p(z | x_n)),

the ELBO of `creo.latent.bounds`: its E step q = p(z | x) closes the gap, its M step raises the rest,

    W <- S B^T (M^-1 + B S B^T)^-1,    Psi <- diag(S - W B S),    B = M^-1 W^T Psi^-1.

`log_prob` is exact, in nats, and costs O(D d) an example. As sigma^2 -> 0, `encode` is PCA's projection, whitened.

Given a condition the mean is mu + A (e(c) - mean e), where e is one-hot of labels and the numbers themselves of others.
The most likely A is that of least squares whatever C is, as all variables are regressed on the same e (Zellner), so
W and Psi are fitted to the covariance of what the regression leaves.

References:
    Tipping, Bishop (1999), https://doi.org/10.1111/1467-9868.00196;
    Rubin, Thayer (1982), EM algorithms for ML factor analysis, https://doi.org/10.1007/BF02293851;
    Neal, Hinton (1998), https://doi.org/10.1007/978-94-011-5014-9_12 (EM as a bound);
    Zellner (1962), Seemingly unrelated regressions, https://doi.org/10.1080/01621459.1962.10480664.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from creo.distributions.gaussian import LOG_2PI
from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel, Report, Terms
from creo.spaces import Categories, Continuous, Ordinal, Space

#: No noise variance is below this share of the data's mean variance.
LEAST_NOISE = 1e-6
#: Directions of e that vary less than this share of the most varying one do not vary.
SAME = 1e-10
#: What `latent=0` means at most.
MOST = 16


class PPCA(GenerativeModel):
    """The model of the module docstring.

    Args:
        space: Continuous, of at least 2 dimensions.
        condition: Categories, Continuous or Ordinal, or None.
        latent: d, below the space's dimensions.
        noise: isotropic or diagonal.
        fit: closed (isotropic noise only) or em.
        steps: at most this many rounds of EM.
        tolerance: nats per sample; EM stops after a round that gains less.

    Raises:
        SpaceError: for other spaces. OptionError: d is not in [1, D - 1], or a closed form for diagonal noise.
    """

    mean: Tensor
    weight: Tensor
    variance: Tensor
    slope: Tensor
    middle: Tensor

    def __init__(
        self,
        space: Space,
        condition: Space | None = None,
        *,
        latent: int,
        noise: Literal["isotropic", "diagonal"] = "isotropic",
        fit: Literal["closed", "em"] = "closed",
        steps: int = 200,
        tolerance: float = 1e-5,
    ) -> None:
        super().__init__(space, condition)
        if not isinstance(space, Continuous) or space.dims < 2:
            raise SpaceError(f"ppca models Continuous spaces of at least 2 dimensions; received {space}")
        if not 1 <= latent < space.dims or steps < 1:
            raise OptionError(
                f"ppca of {space} has latent in [1, {space.dims - 1}] and steps >= 1; received {latent}, {steps}"
            )
        if fit == "closed" and noise == "diagonal":
            raise OptionError("factor analysis (noise='diagonal') has no closed form: fit='em'")
        self.latent, self.noise, self.fit, self.steps, self.tolerance = latent, noise, fit, steps, tolerance
        self.register_buffer("mean", torch.zeros(space.dims))
        self.register_buffer("weight", torch.randn(space.dims, latent) / space.dims**0.5)
        self.register_buffer("variance", torch.ones(space.dims))
        if condition is not None:
            self.register_buffer("slope", torch.zeros(space.dims, _regressors(condition)))  # A
            self.register_buffer("middle", torch.zeros(_regressors(condition)))  # the mean of e

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        latent: int = 0,
        noise: Literal["isotropic", "diagonal"] = "isotropic",
        fit: Literal["auto", "closed", "em"] = "auto",
        steps: int = 200,
        tolerance: float = 1e-5,
    ) -> Self:
        """Probabilistic PCA or factor analysis of a space.

        Args:
            space: Continuous, of at least 2 dimensions.
            condition: Categories, Continuous or Ordinal, which moves the mean, or None.
            latent: dimensions of z; 0: one less than the space's, at most 16.
            noise: isotropic (probabilistic PCA) or diagonal (factor analysis).
            fit: closed, em, or auto: closed where there is a closed form.
            steps: at most this many rounds of EM.
            tolerance: nats per sample; EM stops after a round that gains less.
        """
        way = ("em" if noise == "diagonal" else "closed") if fit == "auto" else fit
        d = latent or max(1, min(MOST, space.dims - 1))
        return cls(space, condition, latent=d, noise=noise, fit=way, steps=steps, tolerance=tolerance)

    # -- fitting ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Fit to the training data; see the module docstring."""
        self.check_batch(x, c)
        flat = x.flatten(1).double()
        self.mean.copy_(flat.mean(0))
        left = flat - flat.mean(0)
        if c is not None:
            left = self._regress(left, self._seen(c).double())
        covariance = left.T @ left / len(left)
        floor = LEAST_NOISE * covariance.diagonal().mean().clamp_min(torch.finfo(torch.float32).tiny)
        (self._close if self.fit == "closed" else self._maximise)(covariance, floor, report)

    def _regress(self, centred: Tensor, e: Tensor) -> Tensor:
        """Least squares of centred data on e, of least norm; what it leaves."""
        around = e - e.mean(0)
        inverse = torch.linalg.pinv(around.T @ around, rtol=SAME, hermitian=True)
        slope = (inverse @ (around.T @ centred)).T
        self.slope.copy_(slope)
        self.middle.copy_(e.mean(0))
        return centred - around @ slope.T

    def _seen(self, c: Tensor) -> Tensor:
        """e(c), (B, regressors)."""
        if isinstance(self.condition, Categories):
            return one_hot(c.long(), self.condition.size)
        return c.reshape(len(c), -1)

    def _mean(self, c: Tensor | None) -> Tensor:
        """The mean of x given c, (B, D), or (D,) without."""
        if c is None:
            return self.mean
        return self.mean + (self._seen(c).to(self.dtype) - self.middle) @ self.slope.T

    def _close(self, covariance: Tensor, floor: Tensor, report: Report | None) -> None:
        """The maximum likelihood in closed form."""
        values, vectors = torch.linalg.eigh(covariance)
        values = values.clamp_min(0.0)
        noise = values[: -self.latent].mean().clamp_min(floor)
        scale = (values[-self.latent :] - noise).clamp_min(0.0).sqrt()
        self.weight.copy_((vectors[:, -self.latent :] * scale).flip(1))
        self.variance.copy_(noise.expand_as(self.variance))
        self._say(covariance, report)

    def _maximise(self, covariance: Tensor, floor: Tensor, report: Report | None) -> None:
        """Rounds of EM in float64, from the random start (in the data's scale)."""
        weight = self.weight.double() * covariance.diagonal().mean().sqrt()
        variance = covariance.diagonal().clamp_min(floor)
        before = -torch.inf
        for _ in range(self.steps):
            weight, variance = self.em_step(weight, variance, covariance, floor)
            self.weight.copy_(weight)
            self.variance.copy_(variance)
            now = self._say(covariance, report)
            if now - before < self.tolerance:
                break
            before = now

    def em_step(
        self, weight: Tensor, variance: Tensor, covariance: Tensor, floor: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One E and M step, (W, diagonal of Psi) to the next."""
        gain, precision = _gain(weight, variance)
        cross = covariance @ gain.T  # S B^T, (D, d)
        second = torch.linalg.inv(precision) + gain @ cross
        weight = torch.linalg.solve(second, cross.T).T
        left = covariance.diagonal() - (weight * cross).sum(1)
        left = left.mean().expand_as(left) if self.noise == "isotropic" else left
        return weight, left.clamp_min(floor)

    def _say(self, covariance: Tensor, report: Report | None) -> float:
        """Mean log-likelihood of the training data, from its covariance; reported."""
        weight, variance = self.weight.double(), self.variance.double()
        gain, precision = _gain(weight, variance)
        left = covariance.diagonal() - (covariance @ gain.T * weight).sum(1)  # diag(S - S B^T W^T)
        quadratic = (left / variance).sum()
        log_det = torch.linalg.slogdet(precision)[1] + variance.log().sum()
        value = -0.5 * (quadratic + log_det + self.space.dims * LOG_2PI)
        if report is not None:
            report(Terms(-value, {"nll": -value}))
        return float(value)

    # -- questions -------------------------------------------------------------------------------------------------

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Exact log-density in nats, (B,)."""
        self.check_batch(x, c)
        centred = x.flatten(1).to(self.dtype) - self._mean(c)
        precision = _gain(self.weight, self.variance)[1]
        white = centred / self.variance.sqrt()
        inside = white @ (self.weight / self.variance.sqrt()[:, None])  # W^T Psi^-1 (x - mu)
        root = torch.linalg.cholesky(precision)
        explained = torch.linalg.solve_triangular(root, inside.T, upper=False).square().sum(0)
        log_det = 2 * root.diagonal().log().sum() + self.variance.log().sum()
        return -0.5 * (white.square().sum(1) - explained + log_det + self.space.dims * LOG_2PI)

    def posterior_covariance(self) -> Tensor:
        """M^-1, the covariance of p(z | x), the same for all x: (d, d)."""
        return torch.linalg.inv(_gain(self.weight, self.variance)[1])

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Mean of p(z | x, c), (B, d)."""
        self.check_batch(x, c)
        return (x.flatten(1).to(self.dtype) - self._mean(c)) @ _gain(self.weight, self.variance)[0].T

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Mean of p(x | z, c), (B, *shape)."""
        mean = self._mean(self.expand_condition(len(z), c))
        return (z @ self.weight.T + mean).unflatten(1, self.space.shape)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Exact draws."""
        c = self.expand_condition(n, c)
        x = self.decode(torch.randn(n, self.latent, dtype=self.dtype, device=self.device), c)
        return x + self.variance.sqrt().view(self.space.shape) * torch.randn_like(x)


def _regressors(condition: Space) -> int:
    """How many numbers e(c) has."""
    if isinstance(condition, Categories):
        return condition.size
    if isinstance(condition, Continuous | Ordinal):
        return condition.dims
    raise SpaceError(f"ppca is conditioned on Categories, Continuous or Ordinal; received {condition}")


def _gain(weight: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """B = M^-1 W^T Psi^-1, (d, D), and M = I + W^T Psi^-1 W, (d, d)."""
    scaled = (weight / variance[:, None]).T
    precision = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device) + scaled @ weight
    return torch.linalg.solve(precision, scaled), precision
