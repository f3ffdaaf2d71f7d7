r"""Fitting one Gaussian to a mixture by forward and by reverse KL: mode-covering against mode-seeking.

    forward:  argmin over g of KL(p || g) = argmax E_p[log g]:    zero-avoiding; g covers every mode of p.
    reverse:  argmin over g of KL(g || p) = argmin E_g[log g/p]:  zero-forcing; g settles on one mode.

Forward has a closed form, the moments of p: m = sum_k w_k m_k, C = sum_k w_k (C_k + (m_k - m)(m_k - m)'). Reverse is a
search: E_g is a Gauss-Hermite rule (x = m + L z, nodes z), -E_g[log g] = log|L| + const is exact, and L-BFGS descends
from every component and from the forward fit; the best end point is kept. Where modes are far apart the reverse fit is
the component with the largest weight and its KL is -log w (nats).

Source: Bishop 2006, Pattern Recognition and Machine Learning, section 10.1.2 (figure 10.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, kl_divergence

from creo.errors import DataError, SpaceError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gaussian_mixture(weights: Tensor, means: Tensor, covariances: Tensor) -> MixtureSameFamily:
    """A mixture of K Gaussians, computed in the means' dtype.

    Args:
        weights: (K,) positive; normalised here.
        means: (K, d).
        covariances: (K, d, d).

    Raises:
        SpaceError: if shapes do not fit. DataError: if weights are not positive or a covariance not positive definite.
    """
    k, d = means.shape if means.ndim == 2 else (0, 0)
    if k == 0 or weights.shape != (k,) or covariances.shape != (k, d, d):
        shapes = f"{tuple(weights.shape)}, {tuple(means.shape)}, {tuple(covariances.shape)}"
        raise SpaceError(
            f"a mixture needs weights (K,), means (K, d), covariances (K, d, d); received {shapes}"
        )
    weights, covariances = weights.to(means.dtype), covariances.to(means.dtype)
    if not bool((weights > 0).all()):
        raise DataError(f"mixture weights must be positive; received {weights.tolist()}")
    if bool(torch.linalg.cholesky_ex(covariances).info.any()):
        raise DataError("every covariance of a mixture must be positive definite")
    parts = MultivariateNormal(means, covariances, validate_args=False)
    return MixtureSameFamily(Categorical(weights), parts, validate_args=False)


def moment_match(mixture: MixtureSameFamily) -> MultivariateNormal:
    """The Gaussian of least forward KL(p || g): the one with the mixture's mean and covariance."""
    parts: Any = mixture.component_distribution
    weights = mixture.mixture_distribution.probs
    mean = weights @ parts.mean
    spread = parts.mean - mean
    covariance = (weights[:, None, None] * parts.covariance_matrix).sum(0) + (spread.T * weights) @ spread
    return MultivariateNormal(mean, covariance)


def _hermite_rule(d: int, order: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (order^d, d) and weights (order^d,) for expectations under N(0, I)."""
    nodes, weights = (torch.from_numpy(a).to(like) for a in np.polynomial.hermite_e.hermegauss(order))
    grid = torch.cartesian_prod(*[nodes] * d).reshape(-1, d)
    product = torch.cartesian_prod(*[weights / weights.sum()] * d).reshape(-1, d).prod(1)
    return grid, product


@dataclass(frozen=True)
class ReverseFit:
    """A Gaussian g of locally least KL(g || p), with that KL in nats."""

    gaussian: MultivariateNormal
    kl: float


class _ReverseKL:
    """KL(g || mixture) as a function of m and of an unconstrained (d, d) matrix that encodes L."""

    def __init__(self, mixture: MixtureSameFamily, order: int) -> None:
        self.mixture = mixture
        like: Tensor = mixture.mean
        self.d = len(like)
        self.nodes, self.weights = _hermite_rule(self.d, order, like)

    def factor(self, raw: Tensor) -> Tensor:
        return raw.tril(-1) + raw.diagonal().exp().diag()

    def __call__(self, mean: Tensor, raw: Tensor) -> Tensor:
        x = mean + self.nodes @ self.factor(raw).T
        negative_entropy = -raw.diagonal().sum() - 0.5 * self.d * (1 + np.log(2 * np.pi))
        return negative_entropy - self.weights @ self.mixture.log_prob(x)

    def descend(self, start: MultivariateNormal, steps: int) -> ReverseFit:
        mean = start.mean.detach().clone().requires_grad_()
        low: Tensor = start.scale_tril.detach()
        raw = (low.tril(-1) + low.diagonal().log().diag()).requires_grad_()
        search = torch.optim.LBFGS(
            [mean, raw],
            max_iter=steps,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-9,
            tolerance_change=1e-12,
        )

        def closure() -> float:
            search.zero_grad()
            value = self(mean, raw)
            value.backward()
            return float(value.detach())

        search.step(closure)
        found = MultivariateNormal(mean.detach(), scale_tril=self.factor(raw.detach()))
        return ReverseFit(found, float(self(mean, raw).detach()))


def _distinct(fits: list[ReverseFit]) -> list[ReverseFit]:
    """The fits without those that repeat an earlier one (a symmetric KL below 1e-4 nats)."""
    kept: list[ReverseFit] = []
    for fit in fits:
        g = fit.gaussian
        gaps = [kl_divergence(g, k.gaussian) + kl_divergence(k.gaussian, g) for k in kept]
        if all(float(gap) > 1e-4 for gap in gaps):
            kept.append(fit)
    return kept


# log p has near-kinks between modes, so the rule converges slowly: as many nodes as are cheap.
_ORDER = {1: 128, 2: 32, 3: 16}


def fit_reverse_kl(
    mixture: MixtureSameFamily, *, order: int | None = None, steps: int = 200
) -> list[ReverseFit]:
    """The different Gaussians of locally least KL(g || p) that the search finds, best first.

    One search starts from every component and one from the forward fit.

    Args:
        mixture: as from `gaussian_mixture`, d at most 3; float64 recommended.
        order: Gauss-Hermite nodes per dimension; by default 128, 32 or 16 for d of 1, 2 or 3.
        steps: L-BFGS iterations per start.

    Raises:
        SpaceError: for d above 3, where the grid of nodes would be too large.
    """
    parts: Any = mixture.component_distribution
    d = parts.mean.shape[1]
    if d not in _ORDER:
        raise SpaceError(f"the quadrature of the reverse fit is meant for d <= 3; received d = {d}")
    objective = _ReverseKL(mixture, order or _ORDER[d])
    starts = [MultivariateNormal(m, c) for m, c in zip(parts.mean, parts.covariance_matrix, strict=True)]
    fits = [objective.descend(start, steps) for start in [*starts, moment_match(mixture)]]
    return _distinct(sorted(fits, key=lambda fit: fit.kl))


def _extent(mixture: MixtureSameFamily) -> list[tuple[float, float]]:
    parts: Any = mixture.component_distribution
    reach = 3.5 * parts.variance.sqrt()
    low, high = (parts.mean - reach).min(0).values, (parts.mean + reach).max(0).values
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _curves(axes: Any, mixture: MixtureSameFamily, fit: MultivariateNormal) -> None:
    ((low, high),) = _extent(mixture)
    x = torch.linspace(low, high, 400, dtype=mixture.mean.dtype)[:, None]
    axes.fill_between(x[:, 0], mixture.log_prob(x).exp(), color="0.85", label="mixture p")
    axes.plot(x[:, 0], fit.log_prob(x).exp(), color="C3", label="Gaussian g")
    axes.set(xlabel="x", ylabel="density")
    axes.legend(frameon=False)


def _contours(axes: Any, mixture: MixtureSameFamily, fit: MultivariateNormal) -> None:
    spans = [torch.linspace(low, high, 160, dtype=mixture.mean.dtype) for low, high in _extent(mixture)]
    grid = torch.cartesian_prod(*spans)
    p, g = (q.log_prob(grid).exp().reshape(160, 160).T for q in (mixture, fit))
    axes.contourf(*spans, p, levels=12, cmap="Greys")
    axes.contour(*spans, g, levels=5, colors="C3", linewidths=1.2)
    axes.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")


@torch.no_grad()
def draw_fits(mixture: MixtureSameFamily, path: str | Path | None = None) -> Figure:
    """The picture: the mixture (grey) with its forward fit and its two best different reverse fits (red).

    Args:
        mixture: as from `gaussian_mixture`, with d of 1 or 2.
        path: where to write the picture (PNG, PDF, SVG by its ending), if anywhere.

    Raises:
        SpaceError: for other d.
    """
    from matplotlib.figure import Figure

    d = len(mixture.mean)
    if d > 2:
        raise SpaceError(f"a picture needs d of 1 or 2; received d = {d}")
    with torch.enable_grad():
        reverse = fit_reverse_kl(mixture)
    best, other = reverse[0], reverse[min(1, len(reverse) - 1)]
    panels = [("forward KL(p || g): covers the modes", moment_match(mixture))]
    panels += [(f"reverse KL(g || p): best, {best.kl:.3f} nats", best.gaussian)]
    panels += [(f"reverse KL(g || p): next optimum, {other.kl:.3f} nats", other.gaussian)]
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    for axes, (title, fit) in zip(figure.subplots(1, 3), panels, strict=True):
        (_curves if d == 1 else _contours)(axes, mixture, fit)
        axes.set_title(title, fontsize=10)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure
