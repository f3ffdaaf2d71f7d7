"""Eight two-dimensional densities that are known exactly: sampler and `log_prob`.

Each is a `torch.distributions.Distribution` over R^2, of three kinds:

- mixtures of Gaussians (`eight-gaussians`, `25-gaussians`), also seen through a volume-preserving map (`pinwheel`,
  `banana`): closed form;
- a curve with Gaussian noise, p(x) = integral of N(x; curve(t), sigma^2 I) w(t) dt (`moons`, `two-spirals`) by
  Gauss-Legendre quadrature, whose error is below 1e-9 nats in the square shown; for circles (`rings`) the integral is
  a Bessel function;
- uniform on squares (`checkerboard`): closed form, minus infinity outside.

`log_prob` is in nats, (B, 2) -> (B,), computed in float64 and differentiable (its gradient is the score); `extent` is
the half-width of a centred square that holds all but a negligible part of the mass. Shapes and scales follow Grathwohl
et al., FFJORD (2019), https://arxiv.org/abs/1810.01367, and Srivastava et al., VEEGAN (2017),
https://arxiv.org/abs/1705.07761, for the grid of 25.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from creo.data.dataset import Data, Split
from creo.data.listing import find_data
from creo.data.load import Request
from creo.model import seeded
from creo.spaces import Continuous

SIZES = (50_000, 5_000, 5_000)
SEED = 0


class Density(Distribution):
    """A density over R^2; a subclass gives `_draw(n)` and `_log_prob(x)` for x (B, 2), both in float64."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector
    #: half-width of a centred square that holds practically all of the mass
    extent: float = 4.0

    def __init__(self) -> None:
        super().__init__(event_shape=torch.Size((2,)), validate_args=False)

    def _draw(self, n: int) -> Tensor:
        raise NotImplementedError

    def _log_prob(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Exact draws (*sample_shape, 2), float32, from torch's global generator."""
        shape = tuple(sample_shape)
        return self._draw(math.prod(shape)).reshape(*shape, 2).float()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats of points (*, 2), shape (*)."""
        flat = value.reshape(-1, 2).double()
        # in parts whose intermediate values stay in the processor's cache
        parts = [self._log_prob(part) for part in flat.split(256)]
        return torch.cat(parts).to(value.dtype).reshape(value.shape[:-1])


def _normal(n: int) -> Tensor:
    return torch.randn(n, 2, dtype=torch.float64)


def _log_normal(squared_distance: Tensor, sigma: float) -> Tensor:
    """log N(x; m, sigma^2 I) in two dimensions, from |x - m|^2."""
    return -squared_distance / (2 * sigma**2) - math.log(2 * math.pi * sigma**2)


class GaussianModes(Density):
    """Equal mixture of isotropic Gaussians: p(x) = 1/K sum_k N(x; centre_k, sigma^2 I).

    Args:
        centres: (K, 2).
        sigma: standard deviation of every mode.
        extent: half-width of the square that holds them.
    """

    def __init__(self, centres: Tensor, sigma: float, extent: float) -> None:
        super().__init__()
        self.centres, self.sigma, self.extent = centres.double(), sigma, extent

    def _draw(self, n: int) -> Tensor:
        return self.centres[torch.randint(len(self.centres), (n,))] + self.sigma * _normal(n)

    def _log_prob(self, x: Tensor) -> Tensor:
        squared = (x[:, None] - self.centres).square().sum(-1)
        return _log_normal(squared, self.sigma).logsumexp(1) - math.log(len(self.centres))


class NoisyCurve(Density):
    """Points of `arms` curves plus Gaussian noise: p(x) = 1/A sum_a int_0^T N(x; curve_a(t), sigma^2 I) w(t) dt.

    Args:
        curve: t (n,) -> points of every arm (arms, n, 2).
        inverse_cdf: uniform (n,) in [0, 1] -> t, how points are spread along the curve.
        weight: t -> w(t), the density of t that `inverse_cdf` gives.
        end: T.
        sigma: standard deviation of the noise.
        extent: half-width of the square that holds practically all of it.
        nodes: number of Gauss-Legendre nodes; their spacing on the curve must stay below sigma.
    """

    def __init__(
        self,
        curve: Callable[[Tensor], Tensor],
        inverse_cdf: Callable[[Tensor], Tensor],
        weight: Callable[[Tensor], Tensor],
        *,
        end: float,
        sigma: float,
        extent: float,
        nodes: int,
    ) -> None:
        super().__init__()
        self.curve, self.inverse_cdf, self.weight = curve, inverse_cdf, weight
        self.end, self.sigma, self.extent = end, sigma, extent
        roots, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(nodes))
        t = (roots + 1) * end / 2
        points = curve(t)
        self.points = points.flatten(0, 1)
        self.log_weights = (weights * end / 2 * weight(t) / len(points)).log().repeat(len(points))

    def _draw(self, n: int) -> Tensor:
        points = self.curve(self.inverse_cdf(torch.rand(n, dtype=torch.float64)))
        return points[torch.randint(len(points), (n,)), torch.arange(n)] + self.sigma * _normal(n)

    def _log_prob(self, x: Tensor) -> Tensor:
        # |x - p|^2 expanded, so that the sum over points is one matrix product
        squared = x.square().sum(1, keepdim=True) - 2 * x @ self.points.T + self.points.square().sum(1)
        return (_log_normal(squared, self.sigma) + self.log_weights).logsumexp(1)


class Rings(Density):
    """Concentric circles of radius r_k plus Gaussian noise, in closed form with the Bessel function I_0.

    p(x) = 1/K sum_k exp(-(|x|^2 + r_k^2) / (2 sigma^2)) I_0(|x| r_k / sigma^2) / (2 pi sigma^2)
    """

    def __init__(self, radii: tuple[float, ...] = (0.75, 1.5, 2.25, 3.0), sigma: float = 0.16) -> None:
        super().__init__()
        self.radii, self.sigma, self.extent = torch.tensor(radii, dtype=torch.float64), sigma, 4.25

    def _draw(self, n: int) -> Tensor:
        angle = 2 * math.pi * torch.rand(n, dtype=torch.float64)
        circle = torch.stack([angle.cos(), angle.sin()], 1)
        return self.radii[torch.randint(len(self.radii), (n, 1))] * circle + self.sigma * _normal(n)

    def _log_prob(self, x: Tensor) -> Tensor:
        # the smallest positive number keeps the gradient of the norm finite at the centre
        rho = (x.square().sum(1, keepdim=True) + 1e-300).sqrt()
        bessel = torch.special.i0e(rho * self.radii / self.sigma**2).log()
        return (_log_normal((rho - self.radii).square(), self.sigma) + bessel).logsumexp(1) - math.log(
            len(self.radii)
        )


class Pinwheel(Density):
    """Gaussian arms, each rotated by an angle that grows with the radius: x = s R(a_k + phi(|v|)) v.

    v ~ N((1, 0), diag(radial^2, tangential^2)); turning every circle on itself preserves area, so the density is that
    of v, divided by s^2.
    """

    arms, radial, tangential, rate, scale = 5, 0.3, 0.1, 0.25, 2.0
    extent = 5.5

    def _angles(self, radius: Tensor) -> Tensor:
        arms = torch.arange(self.arms, dtype=torch.float64) * (2 * math.pi / self.arms)
        return arms + self.rate * radius.exp()

    def _draw(self, n: int) -> Tensor:
        v = _normal(n) * torch.tensor([self.radial, self.tangential]).double() + torch.tensor([1.0, 0.0])
        arm = torch.randint(self.arms, (n, 1))
        angle = self._angles(v.norm(dim=1, keepdim=True)).gather(1, arm)
        return self.scale * _rotate(v[:, None], angle)[:, 0]

    def _log_prob(self, x: Tensor) -> Tensor:
        x = x / self.scale
        radius = (x.square().sum(1, keepdim=True) + 1e-300).sqrt()
        v = _rotate(x[:, None], -self._angles(radius))
        squared = ((v[..., 0] - 1) / self.radial).square() + (v[..., 1] / self.tangential).square()
        constant = math.log(2 * math.pi * self.radial * self.tangential * self.arms * self.scale**2)
        return (-squared / 2).logsumexp(1) - constant


def _rotate(v: Tensor, angle: Tensor) -> Tensor:
    """v (B, 1, 2) turned by each of `angle` (B, K): (B, K, 2)."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([v[..., 0] * cos - v[..., 1] * sin, v[..., 0] * sin + v[..., 1] * cos], -1)


class Checkerboard(Density):
    """Uniform on the 8 dark squares of side 2 of a 4 x 4 board on [-4, 4]^2: density 1/32 there, 0 elsewhere."""

    _BITS = 20

    def _draw(self, n: int) -> Tensor:
        column, half = torch.randint(4, (n,)), torch.randint(2, (n,))
        cell = torch.stack([column, 2 * half + column % 2], 1)
        # midpoints of a fine grid are exact in float32, so no point is rounded out of its square
        offset = (torch.randint(2**self._BITS, (n, 2)) + 0.5) / 2**self._BITS
        return 2 * (cell + offset.double()) - 4

    def _log_prob(self, x: Tensor) -> Tensor:
        cell = ((x + 4) / 2).floor()
        inside = ((cell >= 0) & (cell < 4)).all(1) & ((cell[:, 0] - cell[:, 1]) % 2 == 0)
        return torch.where(inside, -math.log(32.0), -math.inf).to(x.dtype)


class Banana(Density):
    """x_1 ~ N(0, a^2), x_2 | x_1 ~ N(b (x_1^2 - a^2), s^2): a Gaussian bent without changing areas.

    Haario, Saksman, Tamminen (1999), https://doi.org/10.1007/s001800050022.
    """

    width, bend, noise = 1.25, 0.4, 0.5
    extent = 15.0

    def _draw(self, n: int) -> Tensor:
        v = _normal(n)
        x1 = self.width * v[:, 0]
        return torch.stack([x1, self.noise * v[:, 1] + self.bend * (x1.square() - self.width**2)], 1)

    def _log_prob(self, x: Tensor) -> Tensor:
        u = x[:, 0] / self.width
        v = (x[:, 1] - self.bend * (x[:, 0].square() - self.width**2)) / self.noise
        return -(u.square() + v.square()) / 2 - math.log(2 * math.pi * self.width * self.noise)


def eight_gaussians() -> Density:
    """Eight modes of standard deviation 0.35 on a circle of radius 2.8."""
    angle = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    return GaussianModes(2.8 * torch.stack([angle.cos(), angle.sin()], 1), 0.35, extent=5.0)


def twenty_five_gaussians() -> Density:
    """Modes of standard deviation 0.05 at {-4, -2, 0, 2, 4}^2."""
    line = torch.arange(-4.0, 5.0, 2.0)
    return GaussianModes(torch.cartesian_prod(line, line), 0.05, extent=4.5)


def moons() -> Density:
    """Two half circles of radius 2, interleaved, with noise of standard deviation 0.2."""

    def curve(t: Tensor) -> Tensor:
        upper = torch.stack([t.cos(), t.sin()], -1)
        both = torch.stack([upper, torch.tensor([1.0, 0.5]).double() - upper])
        return 2 * (both - torch.tensor([0.5, 0.25]).double())

    flat = lambda t: torch.full_like(t, 1 / math.pi)
    return NoisyCurve(curve, lambda u: u * math.pi, flat, end=math.pi, sigma=0.2, extent=4.5, nodes=128)


def two_spirals() -> Density:
    """Two arms of one and a half turns with noise of standard deviation 0.1, uniform in area: t = T sqrt(u)."""
    end = 3 * math.pi

    def curve(t: Tensor) -> Tensor:
        arm = torch.stack([-t.cos() * t, t.sin() * t], -1) / 3
        return torch.stack([arm, -arm])

    def weight(t: Tensor) -> Tensor:
        return 2 * t / end**2

    return NoisyCurve(curve, lambda u: end * u.sqrt(), weight, end=end, sigma=0.1, extent=4.5, nodes=640)


DENSITIES: dict[str, Callable[[], Density]] = {
    "moons": moons,
    "rings": Rings,
    "pinwheel": Pinwheel,
    "checkerboard": Checkerboard,
    "eight-gaussians": eight_gaussians,
    "25-gaussians": twenty_five_gaussians,
    "two-spirals": two_spirals,
    "banana": Banana,
}


def load(request: Request) -> Data:
    """50000/5000/5000 draws with a fixed seed; `data.density` is the density itself."""
    density = DENSITIES[request.name]()
    with seeded(SEED):
        train, valid, test = (Split(density.sample((n,))) for n in SIZES)
    entry = find_data(request.name)
    return Data(
        request.spec,
        Continuous((2,)),
        train,
        valid,
        test,
        source=entry.source,
        licence=entry.licence,
        density=density,
    )
