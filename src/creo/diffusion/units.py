r"""Raw data in the units a diffusion works in: zero mean, unit variance, no gaps between levels.

    y = (x - mean) / std     (Continuous)          y = (x + u - mean) / std,  u ~ U[0, 1)     (Ordinal)
    log p(x) = log p(y) - sum log std                             (levels: at least its mean over u, a bound)

Mean and standard deviation are those of the training data: of each entry for vectors, of all entries together for
images and videos, whose entries share their units (a border that is constant stays so). Entries without spread keep
the largest one's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from creo.spaces import Space


class Units(nn.Module):
    """The map of the module docstring.

    Args:
        space: Continuous or Ordinal.
    """

    mean: Tensor
    log_std: Tensor

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space
        levels = getattr(space, "levels", 0)
        self.register_buffer("mean", torch.full(space.shape, levels / 2))
        self.register_buffer(
            "log_std", torch.full(space.shape, (levels or 1) / (12**0.5 if levels else 1)).log()
        )

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Take mean and std from raw training data, (N, *space.shape)."""
        y = x.double() + (0.5 if self.space.discrete else 0.0)
        axes = tuple(range(y.ndim)) if self.space.is_grid else 0
        variance, mean = torch.var_mean(y, axes, correction=0)
        variance = variance + (1 / 12 if self.space.discrete else 0.0)
        largest = variance.max()
        variance = torch.where(variance > 0, variance, largest if largest > 0 else torch.ones_like(largest))
        self.mean.copy_(mean.expand(self.mean.shape))
        self.log_std.copy_((variance.log() / 2).expand(self.log_std.shape))

    @property
    def log_det(self) -> Tensor:
        """log |dy/dx|, a scalar."""
        return -self.log_std.sum()

    def forward(self, x: Tensor) -> Tensor:
        """Raw data (or raw points with noise) to y; levels that are integers are dequantised."""
        y = x.to(self.mean.dtype)
        if not x.is_floating_point():
            y = y + torch.rand_like(y)
        return (y - self.mean) * (-self.log_std).exp()

    def points(self, y: Tensor) -> Tensor:
        """y in the data's units, floating."""
        return torch.addcmul(self.mean, y, self.log_std.exp())

    def data(self, y: Tensor) -> Tensor:
        """y as raw data: the level whose cell it is in, where there are levels."""
        x = self.points(y)
        if not self.space.discrete:
            return x
        return x.floor().clamp(0, self.space.levels - 1).to(self.space.dtype)  # type: ignore[attr-defined]
