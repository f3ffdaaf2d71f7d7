r"""Kernels k(x, y) between feature vectors, as small objects.

A kernel maps two batches (n, d) and (m, d) to their Gram matrix (n, m):

| kernel              | k(x, y)                                                 | notes                              |
|---------------------|---------------------------------------------------------|------------------------------------|
| `Gaussian`          | exp(-|x - y|^2 / (2 s^2))                               | characteristic; s by the median    |
| `RationalQuadratic` | sum over a of (1 + |x - y|^2 / (2 a s^2))^(-a)          | characteristic; many scales        |
| `Polynomial`        | (<x, y> scale + offset)^degree, scale = 1/d by default  | sees moments up to `degree` only   |
| `Energy`            | -|x - y|                                                | MMD^2 is then the energy distance  |

`fit(x, y)` returns the kernel with every data-dependent parameter fixed (the **median heuristic**: s is the median
distance between two different points of the pooled sample); it is a constant for the gradient.

Sources: Gretton et al. 2012 (JMLR 13, 723-773); Binkowski et al. 2018, https://arxiv.org/abs/1801.01401 (KID and
rational-quadratic mixture); Szekely and Rizzo 2013 (energy distance), Sejdinovic et al. 2013,
https://arxiv.org/abs/1207.6076 (why it is an MMD).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from creo.errors import DataError, OptionError, UnknownName, suggestion

_MEDIAN_POINTS = 2000  # the median over 2 million pairs is known far better than a bandwidth needs


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2, (n, m), from one matrix product around a common centre (which keeps cancellation small)."""
    centre = y.detach().mean(0)
    x, y = x - centre, y - centre
    return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp_min(0)


def median_distance(x: Tensor, y: Tensor) -> float:
    """The median distance between two different points of the pooled sample, from at most 2000 of them.

    The points are taken evenly along the first feature, so the value does not depend on which row came from
    which sample: a permutation test that holds it fixed stays exact.

    Raises:
        DataError: if at least half of the pairs coincide, so that the median is 0.
    """
    pool = torch.cat([x, y]).detach().double()
    if len(pool) > _MEDIAN_POINTS:
        rows = torch.linspace(0, len(pool) - 1, _MEDIAN_POINTS, device=pool.device).round().long()
        pool = pool[pool[:, 0].argsort()[rows]]
    median = float(torch.nn.functional.pdist(pool).median())
    if median == 0:
        raise DataError(
            "the median distance is 0 (most points coincide); give the kernel a bandwidth yourself"
        )
    return median


class Kernel:
    """Base of all kernels. A subclass gives `__call__` (Gram matrix) and `pairs` (matched rows)."""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """k(x_i, y_j) for all i, j: (n, d), (m, d) -> (n, m)."""
        raise NotImplementedError

    def pairs(self, x: Tensor, y: Tensor) -> Tensor:
        """k(x_i, y_i) for all i: (n, d), (n, d) -> (n,)."""
        raise NotImplementedError

    def fit(self, x: Tensor, y: Tensor) -> Kernel:
        """This kernel with its data-dependent parameters fixed from the pooled sample."""
        return self


class _Radial(Kernel):
    """A kernel that is a function of the squared distance."""

    def _of(self, squared: Tensor) -> Tensor:
        raise NotImplementedError

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return self._of(squared_distances(x, y))

    def pairs(self, x: Tensor, y: Tensor) -> Tensor:
        return self._of((x - y).square().sum(1))


def _positive(value: float | None, name: str) -> None:
    if value is not None and not value > 0:
        raise OptionError(f"{name} must be positive; received {value}")


def _known(value: float | None) -> float:
    if value is None:
        raise OptionError("the kernel's bandwidth is not fixed yet: call kernel.fit(x, y) first")
    return value


@dataclass(frozen=True)
class Gaussian(_Radial):
    """exp(-|x - y|^2 / (2 bandwidth^2)); `bandwidth=None` means the median heuristic."""

    bandwidth: float | None = None

    def __post_init__(self) -> None:
        _positive(self.bandwidth, "bandwidth")

    def _of(self, squared: Tensor) -> Tensor:
        return torch.exp(squared / (-2 * _known(self.bandwidth) ** 2))

    def fit(self, x: Tensor, y: Tensor) -> Gaussian:
        return self if self.bandwidth else replace(self, bandwidth=median_distance(x, y))


@dataclass(frozen=True)
class RationalQuadratic(_Radial):
    """Sum over `alphas` of (1 + |x - y|^2 / (2 alpha bandwidth^2))^-alpha; `bandwidth=None`: median heuristic.

    The default bandwidth 1 is the mixture of Binkowski et al. (2018), meant for features of unit scale.
    """

    alphas: Sequence[float] = (0.2, 0.5, 1.0, 2.0, 5.0)
    bandwidth: float | None = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alphas", tuple(self.alphas))
        _positive(self.bandwidth, "bandwidth")
        _positive(min(self.alphas, default=0.0), "every alpha (at least one is needed)")

    def _of(self, squared: Tensor) -> Tensor:
        half = squared / (2 * _known(self.bandwidth) ** 2)
        return torch.stack([(1 + half / a).pow(-a) for a in self.alphas]).sum(0)

    def fit(self, x: Tensor, y: Tensor) -> RationalQuadratic:
        return self if self.bandwidth else replace(self, bandwidth=median_distance(x, y))


@dataclass(frozen=True)
class Energy(_Radial):
    """-|x - y|: MMD^2 is then the energy distance 2 E|x - y| - E|x - x'| - E|y - y'|."""

    def _of(self, squared: Tensor) -> Tensor:
        tiny = torch.finfo(squared.dtype).tiny  # the gradient at coinciding points is 0, not 0/0
        return -squared.clamp_min(tiny).sqrt()


@dataclass(frozen=True)
class Polynomial(Kernel):
    """(<x, y> scale + offset)^degree; the defaults with scale 1/d are the kernel of KID."""

    degree: int = 3
    offset: float = 1.0
    scale: float | None = None

    def __post_init__(self) -> None:
        _positive(self.degree, "degree")
        _positive(self.scale, "scale")

    def _of(self, product: Tensor, d: int) -> Tensor:
        return (product * (self.scale or 1 / d) + self.offset).pow(self.degree)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return self._of(x @ y.T, x.shape[1])

    def pairs(self, x: Tensor, y: Tensor) -> Tensor:
        return self._of((x * y).sum(1), x.shape[1])


KERNELS: dict[str, type[Kernel]] = {
    "gaussian": Gaussian,
    "rational-quadratic": RationalQuadratic,
    "polynomial": Polynomial,
    "energy": Energy,
}


def as_kernel(kernel: Kernel | str) -> Kernel:
    """The kernel itself, or the default one of that name (see `KERNELS`).

    Raises:
        UnknownName: if no kernel has that name.
    """
    if isinstance(kernel, Kernel):
        return kernel
    if kernel not in KERNELS:
        raise UnknownName(f"unknown kernel {kernel!r}{suggestion(str(kernel), KERNELS)}")
    return KERNELS[kernel]()
