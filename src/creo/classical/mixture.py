r"""Mixture models by expectation maximisation.

    p(x) = sum_k w_k p_k(x)

| space      | components p_k                                             | likelihood |
|------------|------------------------------------------------------------|------------|
| Continuous | Gaussians with full or diagonal covariance                 | exact      |
| Ordinal    | products over entries of categoricals (Bernoulli if 2 levels) | exact   |

`initialise` finds a start by k-means++ and then runs EM (see `creo.classical.em` and `creo.classical.components`,
which state the priors that keep components from collapsing); there is nothing left to train by gradient. Given labels,
every class has a mixture of its own; a class without training data gets that of all data.

`log_prob` is in nats of the raw sample, larger is better.

Sources: McLachlan, Peel 2000 (Finite Mixture Models); Bishop 2006, sections 9.2 and 9.3.3.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn

from creo.classical.classwise import class_rows, number_of_classes
from creo.classical.components import Categoricals, DiagonalGaussians, FullGaussians
from creo.classical.covariance import guarded_std
from creo.classical.em import Components, expectation_maximisation
from creo.classical.kmeans import kmeans, squared_distances
from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel, Report
from creo.spaces import Continuous, Ordinal, Space

START_SAMPLES = 10_000  # k-means needs no more to find a start


class Mixture(GenerativeModel):
    """K components of one family, one such mixture per class if conditional; see the module docstring.

    Args:
        space: what one sample is.
        components: makes K fresh components, `components(K)`.
        condition: Categories, or None.
        k: number of components K.
        steps: at most this many rounds of EM.
        tolerance: nats per sample; EM stops after a round that gains less.

    Raises:
        SpaceError: for conditions other than Categories.
    """

    log_weight: Tensor

    def __init__(
        self,
        space: Space,
        components: Callable[[int], Components[Any]],
        condition: Space | None = None,
        *,
        k: int = 25,
        steps: int = 200,
        tolerance: float = 1e-4,
    ) -> None:
        super().__init__(space, condition)
        if k < 1 or steps < 1 or tolerance < 0:
            raise OptionError(
                "a mixture needs components >= 1, steps >= 1 and tolerance >= 0; "
                f"received components={k}, steps={steps}, tolerance={tolerance}"
            )
        classes = number_of_classes(condition, "a mixture")
        self.steps, self.tolerance = steps, tolerance
        self.register_buffer("log_weight", torch.full((classes, k), 1.0 / k).log())
        self.parts = nn.ModuleList(components(k) for _ in range(classes))

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        components: int = 25,
        covariance: Literal["full", "diagonal"] = "full",
        ridge: float = 0.01,
        smoothing: float = 20.0,
        steps: int = 200,
        tolerance: float = 1e-4,
    ) -> Self:
        """A mixture of Gaussians on Continuous spaces, of products of categoricals on Ordinal ones.

        Args:
            space: Continuous or Ordinal.
            condition: Categories, or None.
            components: number of components, per class.
            covariance: of the Gaussians: full, or diagonal.
            ridge: weight, in samples, of the prior on the Gaussians' covariances.
            smoothing: weight, in samples, of the prior on the categoricals.
            steps: at most this many rounds of EM.
            tolerance: nats per sample; EM stops after a round that gains less.
        """
        if not ridge > 0 or not smoothing > 0:
            raise OptionError(f"ridge and smoothing must be positive; received {ridge} and {smoothing}")
        make: Callable[[int], Components[Any]]
        if isinstance(space, Ordinal):
            make = partial(Categoricals, space=space, smoothing=smoothing)
        elif isinstance(space, Continuous):
            gaussians = {"full": FullGaussians, "diagonal": DiagonalGaussians}
            if covariance not in gaussians:
                raise OptionError(f"covariance is full or diagonal; received {covariance!r}")
            make = partial(gaussians[covariance], space=space, ridge=ridge)
        else:
            raise SpaceError(f"a mixture models Continuous or Ordinal spaces; received {space}")
        return cls(space, make, condition, k=components, steps=steps, tolerance=tolerance)

    @torch.no_grad()
    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """k-means++ and EM in float64, class by class; see `GenerativeModel.initialise`."""
        self.check_batch(x, c)
        for k, rows in enumerate(class_rows(c, len(x), len(self.parts))):
            own = x[rows] if len(x[rows]) else x
            part = self._part(k)
            fitted = copy.deepcopy(part).double()
            self.log_weight[k] = expectation_maximisation(
                fitted, own, self._start(own), steps=self.steps, tolerance=self.tolerance, report=report
            )
            part.load_state_dict(fitted.state_dict())

    def _part(self, k: int) -> Components[Any]:
        return cast(Components[Any], self.parts[k])

    def _start(self, x: Tensor) -> Tensor:
        """Responsibilities (N, K), float64, all-or-nothing by the nearest centre of k-means on scaled data."""
        flat = x.reshape(len(x), self.space.dims).float()
        scale = guarded_std(flat.var(0, correction=0)) if not self.space.discrete else flat.new_ones(1)
        flat = (flat - flat.mean(0)) / scale
        subset = flat[torch.randperm(len(x))[:START_SAMPLES]]
        label = squared_distances(flat, kmeans(subset, self.log_weight.shape[1])).argmin(1)
        return nn.functional.one_hot(label, self.log_weight.shape[1]).double()

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Exact log-probability or log-density in nats, (B,)."""
        self.check_batch(x, c)
        out = self.log_weight.new_empty(len(x))
        for k, rows in enumerate(class_rows(c, len(x), len(self.parts))):
            part = self._part(k)
            out[rows] = (part.log_prob(part.encode(x[rows])) + self.log_weight[k]).logsumexp(1)
        return out

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Exact draws: a component by its weight, then from it; see `GenerativeModel.sample`."""
        c = self.expand_condition(n, c)
        out = torch.empty(n, *self.space.shape, dtype=self.space.dtype, device=self.device)
        out = out if self.space.discrete else out.to(self.dtype)
        for k, rows in enumerate(class_rows(c, n, len(self.parts))):
            if count := len(out[rows]):
                component = torch.multinomial(self.log_weight[k].exp(), count, replacement=True)
                draws = self._part(k).sample(component)
                out[rows] = draws.reshape(count, *self.space.shape).to(out.dtype)
        return out

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor, c: Tensor | None = None) -> Tensor:
        """Exact draws of p(unknown | known): a component by what is known, then the rest from it.

        Args:
            x: raw data (B, *space.shape); values where `known` is False are ignored (but must be in range).
            known: booleans, (*space.shape) for all samples or (B, *space.shape).
            c: conditions, (B,) or one for all; None if unconditional.
        """
        c, keep = self.expand_condition(len(x), c), self.expand_known(x, known)
        flat = x.to(self.device).reshape(len(x), -1)
        flat = flat if self.space.discrete else flat.to(self.log_weight.dtype)
        out = flat.clone()
        for k, rows in enumerate(class_rows(c, len(x), len(self.parts))):
            if len(flat[rows]):
                part = self._part(k)
                log_p = part.known_log_prob(flat[rows], keep[rows]) + self.log_weight[k]
                component = torch.multinomial(log_p.softmax(1), 1).squeeze(1)
                out[rows] = part.fill(flat[rows], keep[rows], component)
        return torch.where(keep, flat, out).view(x.shape).to(x.dtype)
