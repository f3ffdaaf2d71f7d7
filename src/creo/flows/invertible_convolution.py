r"""Convolutions of k x k pixels that are invertible, mixing channels and neighbours of images (C, H, W).

| layer      | y                                               | log |det|                     | inverse               |
|------------|-------------------------------------------------|-------------------------------|-----------------------|
| `Emerging` | two masked convolutions, the last from the end | H W sum of both log-diagonals | two triangular solves |
| `Periodic` | circular convolution: a matrix W_f a frequency | sum_f log |det W_f|           | a solve per frequency |

A masked convolution reads pixels before its own in raster order, and of its own the channels before and itself: a
triangular matrix. One after the other from both ends has the receptive field of an ordinary convolution. Its inverse
builds the D x D triangle, D = C H W, and solves: meant for small images and late scales. Both start as the identity.

Source: Hoogeboom, van den Berg, Welling 2019, https://arxiv.org/abs/1901.11137.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError
from creo.flows.layer import Layer


def _check_kernel(kernel: int) -> int:
    if kernel < 1 or not kernel % 2:
        raise OptionError(f"the kernel of an invertible convolution has an odd side; received {kernel}")
    return kernel


class _Causal(nn.Module):
    """y = W x + b with W triangular in raster order, channels innermost; x (B, C, H, W)."""

    mask: Tensor

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.middle = kernel // 2
        mask = torch.zeros(channels, channels, kernel, kernel)
        mask[:, :, : self.middle] = 1.0
        mask[:, :, self.middle, : self.middle] = 1.0
        mask[:, :, self.middle, self.middle] = torch.ones(channels, channels).tril(-1)
        self.register_buffer("mask", mask, persistent=False)
        self.weight = nn.Parameter(torch.zeros_like(mask))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self._kernel(), self.bias, padding=self.middle)

    def _kernel(self) -> Tensor:
        centre = F.pad(torch.diag(self.log_scale.exp())[:, :, None, None], [self.middle] * 4)
        return self.weight * self.mask + centre

    def solve(self, y: Tensor) -> Tensor:
        """x of y."""
        (b, c, h, w), dims = y.shape, math.prod(y.shape[1:])
        basis = torch.eye(dims, dtype=y.dtype, device=y.device).reshape(dims, h, w, c).movedim(3, 1)
        triangle = F.conv2d(basis, self._kernel(), padding=self.middle).movedim(1, 3).flatten(1)
        goal = (y - self.bias[:, None, None]).movedim(1, 3).flatten(1)
        x = torch.linalg.solve_triangular(triangle, goal, upper=True, left=False)
        return x.reshape(b, h, w, c).movedim(3, 1)


class Emerging(Layer):
    """Two masked convolutions, one from each end; see the module docstring.

    Args:
        channels: C.
        kernel: side, odd.
    """

    def __init__(self, channels: int, *, kernel: int = 3) -> None:
        super().__init__()
        self.first, self.second = (_Causal(channels, _check_kernel(kernel)) for _ in range(2))

    def _log_det(self, x: Tensor) -> Tensor:
        scale = (self.first.log_scale + self.second.log_scale).sum()
        return (math.prod(x.shape[2:]) * scale).expand(len(x))

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From the start, then from the end."""
        with torch.autocast(x.device.type, enabled=False):
            y = self.second(self.first(x).flip(1, 2, 3)).flip(1, 2, 3)
        return y, self._log_det(x)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Two solves."""
        with torch.autocast(y.device.type, enabled=False):
            x = self.first.solve(self.second.solve(y.flip(1, 2, 3)).flip(1, 2, 3))
        return x, -self._log_det(y)


class Periodic(Layer):
    """Circular convolution; see the module docstring.

    Args:
        channels: C.
        kernel: side, odd and at most the image's.
    """

    def __init__(self, channels: int, *, kernel: int = 3) -> None:
        super().__init__()
        self.middle = _check_kernel(kernel) // 2
        weight = torch.zeros(channels, channels, kernel, kernel)
        weight[:, :, self.middle, self.middle] = torch.eye(channels)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def _matrices(self, x: Tensor) -> Tensor:
        """W_f for every frequency, (H, W, C, C)."""
        height, width = x.shape[2:]
        if 2 * self.middle + 1 > min(height, width):
            raise OptionError(
                f"the kernel is larger than the image: {2 * self.middle + 1} and {height} x {width}"
            )
        right, below = width - 2 * self.middle - 1, height - 2 * self.middle - 1
        whole = F.pad(self.weight, [0, right, 0, below]).roll((-self.middle, -self.middle), (2, 3))
        return torch.fft.fft2(whole).permute(2, 3, 0, 1)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Multiply every frequency."""
        with torch.autocast(x.device.type, enabled=False):
            w = self._matrices(x)
            y = (w @ torch.fft.fft2(x).permute(2, 3, 1, 0)).permute(3, 2, 0, 1)
            log_det = torch.linalg.slogdet(w).logabsdet.sum()
        return torch.fft.ifft2(y).real + self.bias, log_det.expand(len(x))

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Solve for every frequency."""
        with torch.autocast(y.device.type, enabled=False):
            w = self._matrices(y)
            x = torch.linalg.solve(w, torch.fft.fft2(y - self.bias).permute(2, 3, 1, 0)).permute(3, 2, 0, 1)
            log_det = torch.linalg.slogdet(w).logabsdet.sum()
        return torch.fft.ifft2(x).real, -log_det.expand(len(y))
