r"""The Gaussian: the baseline every density model has to beat, in closed form.

    p(x) = N(x; m, S),    m, S = mean and (shrunk) covariance of the training data

One pass over the data fits it; there is nothing to train. Given labels, every class has its own mean and
covariance, drawn towards what all classes share (see `creo.classical.covariance`).

**Ordinal data** are dequantised: y = x + u with u uniform on [0, 1)^D, and P(x) is the mass of the unit cell, so

    log P(x) >= E_u[log N(x + u; m, S)] = log N(x + 1/2; m, S) - tr(S^{-1}) / 24        (Jensen; Cov(u) = I/12)

which is exact arithmetic, without any noise; the covariance of y is Cov(x) + I/12, and that S maximises the bound.
Sampling rounds a draw of y down and clamps it to the levels, which moves the tails' mass onto the first and last
level: P(x) only grows by that, and the bound holds.

`log_prob` is in nats of the raw sample. Cost: O(N D^2 + D^3) to fit, O(D^2) a sample or a density.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from creo.classical.classwise import class_of, class_rows, number_of_classes
from creo.classical.conditioning import by_mask, gaussian_fill
from creo.classical.covariance import Moments, optimal_shrinkage, shrunk_covariance
from creo.distributions.gaussian import full_log_prob, full_sample
from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel, Likelihood, Report, Terms
from creo.spaces import Continuous, Ordinal, Space


class Gaussian(GenerativeModel):
    """A full-covariance Gaussian, one per class if conditional; see the module docstring.

    Args:
        space: Continuous or Ordinal.
        condition: Categories, or None.
        shrinkage: weight of "no correlations" against the sample's correlations, in [0, 1]; None: by the formula.
        prior: number of samples that the shared covariance counts for in a class's own; None: the dimension.

    Raises:
        SpaceError: for other spaces or conditions.
    """

    mean: Tensor
    scale_tril: Tensor

    def __init__(
        self,
        space: Space,
        condition: Space | None = None,
        *,
        shrinkage: float | None = None,
        prior: float | None = None,
    ) -> None:
        super().__init__(space, condition)
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"a Gaussian models Continuous or Ordinal spaces; received {space}")
        if shrinkage is not None and not 0 <= shrinkage <= 1:
            raise OptionError(f"shrinkage is a weight in [0, 1]; received {shrinkage}")
        if prior is not None and not prior > 0:
            raise OptionError(f"prior is a positive number of samples; received {prior}")
        self.shrinkage, self.prior = shrinkage, float(space.dims if prior is None else prior)
        classes, d = number_of_classes(condition, "a Gaussian"), space.dims
        centre, width = (0.0, 1.0) if isinstance(space, Continuous) else (space.levels / 2, space.levels / 4)
        self.register_buffer("mean", torch.full((classes, d), centre))
        self.register_buffer("scale_tril", width * torch.eye(d).repeat(classes, 1, 1))
        if space.discrete:
            self.likelihood = Likelihood.BOUND
            self.likelihood_note = "uniform dequantisation, its expectation in closed form"

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        shrinkage: float | None = None,
        prior: float | None = None,
    ) -> Self:
        """A Gaussian of `space`, one per class if `condition` is Categories.

        Args:
            space: Continuous or Ordinal.
            condition: Categories, or None.
            shrinkage: weight of "no correlations" against the sample's correlations; by formula if not given.
            prior: samples that the shared covariance counts for in a class's own; the dimension if not given.
        """
        return cls(space, condition, shrinkage=shrinkage, prior=prior)

    @torch.no_grad()
    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Fit in closed form; see `GenerativeModel.initialise`."""
        self.check_batch(x, c)
        parts = [
            Moments.of(x[rows].reshape(-1, self.space.dims)) for rows in class_rows(c, len(x), len(self.mean))
        ]
        counts = torch.tensor([m.count for m in parts], dtype=torch.float64, device=x.device)
        means = torch.stack([m.mean for m in parts])
        overall = counts @ means / len(x)
        noise = torch.eye(self.space.dims, dtype=torch.float64, device=x.device) / 12 * self.space.discrete
        weight = optimal_shrinkage(parts) if self.shrinkage is None else self.shrinkage
        pooled = shrunk_covariance(sum(m.scatter for m in parts) / len(x) + noise, weight)
        if len(parts) > 1:
            means = (counts[:, None] * means + overall) / (counts[:, None] + 1)
            scatter = torch.stack([m.scatter + m.count * noise for m in parts])
            pooled = (scatter + self.prior * pooled) / (counts[:, None, None] + self.prior)
        self.mean.copy_(means + 0.5 * self.space.discrete)
        self.scale_tril.copy_(torch.linalg.cholesky(pooled))
        if report is not None:
            report(Terms(self.loss(x[:4096], None if c is None else c[:4096]).loss))

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Log-density in nats, (B,); on an ordinal space the lower bound of the module docstring."""
        self.check_batch(x, c)
        y = x.reshape(len(x), self.space.dims).to(self.mean.dtype) + 0.5 * self.space.discrete
        out = y.new_empty(len(y))
        for k, rows in enumerate(class_rows(c, len(y), len(self.mean))):
            out[rows] = full_log_prob(y[rows], self.mean[k], self.scale_tril[k])
        return out - self._dequantisation_cost()[class_of(c)] if self.space.discrete else out

    def _dequantisation_cost(self) -> Tensor:
        """tr(S^{-1}) / 24 = |L^{-1}|^2 / 24 for every class."""
        eye = torch.eye(self.space.dims, dtype=self.dtype, device=self.device)
        inverse = torch.linalg.solve_triangular(self.scale_tril, eye, upper=False)
        return inverse.square().sum((1, 2)) / 24

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Exact draws; see `GenerativeModel.sample`."""
        c = self.expand_condition(n, c)
        y = self.mean.new_empty(n, self.space.dims)
        for k, rows in enumerate(class_rows(c, n, len(self.mean))):
            y[rows] = full_sample(len(y[rows]), self.mean[k], self.scale_tril[k])
        return self._raw(y.reshape(n, *self.space.shape))

    def _raw(self, y: Tensor) -> Tensor:
        """The level that a point of an ordinal space lies in; a real one as it is."""
        if isinstance(self.space, Ordinal):
            return y.floor().clamp(0, self.space.levels - 1).to(self.space.dtype)
        return y

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor, c: Tensor | None = None) -> Tensor:
        """Draws of p(unknown | known): exact on real data, through uniform dequantisation on levels.

        Args:
            x: raw data (B, *space.shape); values where `known` is False are ignored (but must be in range).
            known: booleans, (*space.shape) for all samples or (B, *space.shape).
            c: conditions, (B,) or one for all; None if unconditional.
        """
        c, keep = self.expand_condition(len(x), c), self.expand_known(x, known)
        y = x.to(self.device).reshape(len(x), -1).to(self.dtype)
        y = y + torch.rand_like(y) if self.space.discrete else y
        out = y.clone()
        for k, rows in enumerate(class_rows(c, len(x), len(self.mean))):
            mine = torch.arange(len(x), device=y.device)[rows]
            for mask, some in by_mask(keep[mine]):
                at = mine[some]
                out[at] = gaussian_fill(y[at], mask, self.mean[k], self.scale_tril[k])
        return torch.where(keep.view(x.shape), x.to(self.device), self._raw(out.view(x.shape)).to(x.dtype))
