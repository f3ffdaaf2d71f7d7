r"""Components of mixtures and their M steps (n_k = sum_n r_nk, the samples that component k answers for).

| components          | p_k                         | M step                                                      |
|---------------------|-----------------------------|-------------------------------------------------------------|
| `FullGaussians`     | N(m_k, S_k)                 | S_k = (sum_n r_nk (x_n - m_k)(x_n - m_k)' + ridge V) / n_k   |
| `DiagonalGaussians` | N(m_k, diag s_k^2)          | the diagonal of the same                                    |
| `Categoricals`      | prod_d theta_kd[x_d]        | theta_kdl = (n_kdl + smoothing pi_dl) / (n_k + smoothing)   |

V is the diagonal of the data's variances, so `ridge` has no unit: it is the posterior mode under a prior proportional
to exp(-ridge tr(V S^-1) / 2), and keeps a component from collapsing onto a point. pi_dl is the histogram of entry d
over all data (with one pseudo-count per entry): a Dirichlet prior worth `smoothing` samples a component, so that a
component knows about levels that it has not seen. With two levels the categoricals are Bernoullis.
"""

from __future__ import annotations

import torch
from torch import Tensor

from creo.classical.conditioning import by_mask, gaussian_fill, marginal_log_prob
from creo.classical.covariance import guarded_std
from creo.classical.em import Components
from creo.classical.indicators import Indicators
from creo.distributions.gaussian import LOG_2PI, diagonal_log_prob, full_log_prob, full_sample
from creo.spaces import Ordinal, Space

TINY = 1e-6  # samples that a component that has died out answers for, so that it stays finite


class DiagonalGaussians(Components[Tensor]):
    """K Gaussians with a standard deviation per entry.

    Args:
        k: number of components.
        space: what one sample is.
        ridge: weight of the prior in samples.
    """

    mean: Tensor
    scale: Tensor
    variance: Tensor

    def __init__(self, k: int, space: Space, *, ridge: float) -> None:
        super().__init__()
        self.ridge = ridge
        self.register_buffer("mean", torch.randn(k, space.dims))
        self.register_buffer("scale", self._unit_scale(k, space.dims))
        self.register_buffer("variance", torch.ones(space.dims))

    @staticmethod
    def _unit_scale(k: int, dims: int) -> Tensor:
        return torch.ones(k, dims)

    def encode(self, x: Tensor) -> Tensor:
        """Flattened, in the dtype of the components."""
        return x.reshape(len(x), self.mean.shape[1]).to(self.mean.dtype)

    def set_prior(self, x: Tensor) -> None:
        """V of the module docstring; constant entries get a small width, see `guarded_std`."""
        self.variance.copy_(guarded_std(x.var(0, correction=0)).square())

    def log_prob(self, x: Tensor) -> Tensor:
        """(B, K), one component at a time so that memory stays (B, D)."""
        log_std = self.scale.log()
        each = [diagonal_log_prob(x, m, s) for m, s in zip(self.mean, log_std, strict=True)]
        return torch.stack(each, 1)

    def maximise(self, x: Tensor, responsibility: Tensor) -> None:
        """Weighted means, then weighted squares about them."""
        count = responsibility.sum(0).clamp_min(TINY)
        self.mean.copy_(responsibility.T @ x / count[:, None])
        for k, r in enumerate(responsibility.T):
            square = r @ (x - self.mean[k]).square()
            self.scale[k] = ((square + self.ridge * self.variance) / count[k]).sqrt()

    def log_prior(self) -> Tensor:
        """-ridge/2 sum_k sum_d V_d / s_kd^2."""
        return -0.5 * self.ridge * (self.variance / self.scale.square()).sum()

    def sample(self, component: Tensor) -> Tensor:
        """Exact draws."""
        mean = self.mean[component]
        return mean + self.scale[component] * torch.randn_like(mean)

    def known_log_prob(self, x: Tensor, known: Tensor) -> Tensor:
        """One component at a time."""
        z = [(x - m) / s for m, s in zip(self.mean, self.scale, strict=True)]
        each = [-0.5 * (r.square() + LOG_2PI) - s.log() for r, s in zip(z, self.scale, strict=True)]
        return torch.stack([torch.where(known, e, 0.0).sum(1) for e in each], 1)

    def fill(self, x: Tensor, known: Tensor, component: Tensor) -> Tensor:
        """Entries are independent given the component."""
        return torch.where(known, x, self.sample(component).to(x.dtype))


class FullGaussians(DiagonalGaussians):
    """K Gaussians with a full covariance each; `scale` holds their Cholesky factors, (K, D, D)."""

    @staticmethod
    def _unit_scale(k: int, dims: int) -> Tensor:
        return torch.eye(dims).repeat(k, 1, 1)

    def log_prob(self, x: Tensor) -> Tensor:
        """(B, K), one component at a time so that memory stays (B, D)."""
        each = [full_log_prob(x, m, s) for m, s in zip(self.mean, self.scale, strict=True)]
        return torch.stack(each, 1)

    def maximise(self, x: Tensor, responsibility: Tensor) -> None:
        """Weighted means, then weighted scatters about them."""
        count = responsibility.sum(0).clamp_min(TINY)
        self.mean.copy_(responsibility.T @ x / count[:, None])
        for k, r in enumerate(responsibility.T):
            z = x - self.mean[k]
            scatter = (z * r[:, None]).T @ z
            scatter.diagonal().add_(self.ridge * self.variance)
            self.scale[k] = torch.linalg.cholesky(scatter / count[k])

    def log_prior(self) -> Tensor:
        """-ridge/2 sum_k tr(V S_k^-1) = -ridge/2 sum_k |L_k^-1 V^1/2|^2."""
        root = self.variance.sqrt().diag()
        return -0.5 * self.ridge * torch.linalg.solve_triangular(self.scale, root, upper=False).square().sum()

    def sample(self, component: Tensor) -> Tensor:
        """Exact draws, component by component."""
        x = self.mean.new_empty(len(component), self.mean.shape[1])
        for k in component.unique().tolist():
            rows = component == k
            x[rows] = full_sample(int(rows.sum()), self.mean[k], self.scale[k])
        return x

    def known_log_prob(self, x: Tensor, known: Tensor) -> Tensor:
        """Mask by mask, component by component."""
        out = x.new_empty(len(x), len(self.mean))
        for mask, rows in by_mask(known):
            each = [
                marginal_log_prob(x[rows], mask, m, s) for m, s in zip(self.mean, self.scale, strict=True)
            ]
            out[rows] = torch.stack(each, 1)
        return out

    def fill(self, x: Tensor, known: Tensor, component: Tensor) -> Tensor:
        """Mask by mask, component by component."""
        x = x.clone()
        for k in component.unique().tolist():
            mine = (component == k).nonzero().squeeze(1)
            for mask, rows in by_mask(known[mine]):
                x[mine[rows]] = gaussian_fill(x[mine[rows]], mask, self.mean[k], self.scale[k])
        return x


class Categoricals(Components[Indicators]):
    """K products of categoricals over the levels of every entry.

    Args:
        k: number of components.
        space: Ordinal.
        smoothing: weight of the prior in samples.
    """

    log_theta: Tensor
    log_base: Tensor

    def __init__(self, k: int, space: Ordinal, *, smoothing: float) -> None:
        super().__init__()
        self.smoothing = smoothing
        start = torch.randn(space.dims, space.levels, k).mul(0.1).log_softmax(1)
        self.register_buffer("log_theta", start)
        self.register_buffer("log_base", torch.zeros(space.dims, space.levels).log_softmax(1))

    def encode(self, x: Tensor) -> Indicators:
        """Sparse indicators of the non-zero levels."""
        dims, levels = self.log_base.shape
        return Indicators(x.reshape(len(x), dims), levels, self.log_theta.dtype)

    def set_prior(self, x: Indicators) -> None:
        """The smoothed histogram of all data."""
        weight = torch.ones(len(x), 1, dtype=self.log_base.dtype, device=self.log_base.device)
        counts = self._counts(x, weight)[..., 0]
        self.log_base.copy_(((counts + 1 / counts.shape[1]) / (len(x) + 1)).log())

    def _counts(self, x: Indicators, weight: Tensor) -> Tensor:
        """Weighted counts of the levels, (D, levels, K) for weights (N, K)."""
        counts = x.count(weight).unflatten(0, self.log_base.shape)
        counts[:, 0] = weight.sum(0) - counts.sum(1)
        return counts.clamp_min_(0)

    def log_prob(self, x: Indicators) -> Tensor:
        """(B, K): all entries at level 0, corrected where they are not."""
        zero = self.log_theta[:, :1]
        return zero.sum((0, 1)) + x.look_up((self.log_theta - zero).flatten(0, 1))

    def maximise(self, x: Indicators, responsibility: Tensor) -> None:
        """Smoothed weighted histograms."""
        counts = self._counts(x, responsibility) + self.smoothing * self.log_base.exp()[..., None]
        self.log_theta.copy_(counts.log() - (responsibility.sum(0) + self.smoothing).log())

    def log_prior(self) -> Tensor:
        """smoothing * sum_kd sum_l pi_dl log theta_kdl."""
        return self.smoothing * (self.log_base.exp()[..., None] * self.log_theta).sum()

    def sample(self, component: Tensor) -> Tensor:
        """Exact draws by inverse distribution functions, component by component."""
        dims, levels = self.log_base.shape
        x = torch.empty(len(component), dims, dtype=torch.int64, device=component.device)
        for k in component.unique().tolist():
            rows = component == k
            cumulative = self.log_theta[..., k].double().exp().cumsum(1)
            u = torch.rand(dims, int(rows.sum()), dtype=torch.float64, device=x.device)
            x[rows] = torch.searchsorted(cumulative, u * cumulative[:, -1:], right=True).T
        return x.clamp_max_(levels - 1)

    def known_log_prob(self, x: Tensor, known: Tensor) -> Tensor:
        """Unknown entries count for nothing."""
        entry = torch.arange(x.shape[1], device=x.device)
        each = self.log_theta[entry, x.long()]  # (B, D, K)
        return (each * known.unsqueeze(-1)).sum(1)

    def fill(self, x: Tensor, known: Tensor, component: Tensor) -> Tensor:
        """Entries are independent given the component."""
        return torch.where(known, x, self.sample(component).to(x.dtype))
