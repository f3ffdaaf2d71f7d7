r"""Convolutional layers of image flows: invertible 1 x 1 convolutions, and couplings of channels.

    Invertible1x1     y[:, p] = W x[:, p] at every pixel p;          log |det| = H W log |det W|
    ChannelCoupling   half of the channels sets, by a convolutional network, the map of the other half's entries

W = P L U starts as a random rotation, so that the layer mixes all channels from the start; the permutation P and the
signs of U's diagonal are kept, L and U are trained, and log |det W| = sum log |diag U|.

Source: Kingma, Dhariwal 2018 (Glow), https://arxiv.org/abs/1807.03039.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.flows.coupling import Affine, Elementwise
from creo.flows.layer import Layer
from creo.flows.linear import LU
from creo.nn.conv import ConditionedConv


class Invertible1x1(Layer):
    """The same matrix at every pixel; see the module docstring.

    Args:
        channels: C.
    """

    order: Tensor
    back: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.matrix = LU((channels,))
        order = self.matrix.set_matrix(torch.linalg.qr(torch.randn(channels, channels))[0])
        self.register_buffer("order", order.argsort())
        self.register_buffer("back", order)

    def _apply_to(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        pixels = x.movedim(1, -1).flatten(0, -2)
        with torch.autocast(x.device.type, enabled=False):
            if inverse:
                y = self.matrix.solve((pixels - self.matrix.bias).index_select(1, self.back))
            else:
                y = self.matrix.multiply(pixels).index_select(1, self.order) + self.matrix.bias
        log_det = self.matrix.log_det() * math.prod(x.shape[2:])
        y = y.unflatten(0, (len(x), *x.shape[2:])).movedim(-1, 1)
        return y, (-log_det if inverse else log_det).expand(len(x))

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Multiply every pixel."""
        return self._apply_to(x, inverse=False)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Solve for every pixel."""
        return self._apply_to(y, inverse=True)


class ConvNet(nn.Module):
    """3 x 3 convolution, 1 x 1 convolution, 3 x 3 convolution from 0; conditions enter as biases of the hidden ones.

    Args:
        inputs: channels of x.
        outputs: channels of y.
        hidden: channels in between.
        context: size of a condition's embedding; 0 for none.
    """

    def __init__(self, inputs: int, outputs: int, *, hidden: int, context: int = 0) -> None:
        super().__init__()
        self.first = ConditionedConv(inputs, hidden, context=context, slope=0.0)
        self.middle = nn.Conv2d(hidden, hidden, 1)
        self.last = nn.Conv2d(hidden, outputs, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """(B, outputs, H, W)."""
        return self.last(F.relu(self.middle(self.first(x, e))))


class MaskedConvCoupling(Layer):
    """A coupling of images whose mask keeps entries (a checkerboard, or channels): the network sees mask * x.

    Args:
        mask: (C, H, W) booleans, True where entries are kept.
        hidden: channels of the network.
        elementwise: the map of the others.
        context: size of a condition's embedding; 0 for none.
    """

    mask: Tensor

    def __init__(
        self, mask: Tensor, *, hidden: int, elementwise: Elementwise | None = None, context: int = 0
    ) -> None:
        super().__init__()
        self.register_buffer("mask", mask.bool())
        self.elementwise = Affine() if elementwise is None else elementwise
        channels = mask.shape[0]
        self.network = ConvNet(
            channels + 1, channels * self.elementwise.parameters, hidden=hidden, context=context
        )

    def _answers(self, x: Tensor, e: Tensor | None) -> Tensor:
        """(B, parameters, D), from kept entries and from the mask itself, which tells a 0 from an absent entry."""
        seen = torch.where(self.mask, x, 0.0)
        kept = self.mask[:1].to(x.dtype).expand(len(x), -1, -1, -1)
        h = self.network(torch.cat([seen, kept], 1), e).to(x.dtype)
        return h.unflatten(1, (self.elementwise.parameters, -1)).flatten(2)

    def _merge(self, x: Tensor, changed: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        keep = self.mask.flatten()
        y = torch.where(keep, x.flatten(1), changed).reshape_as(x)
        return y, torch.where(keep, 0.0, log_slope).sum(1)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Change the entries that the mask does not keep."""
        return self._merge(x, *self.elementwise.forward(x.flatten(1), self._answers(x, e)))

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Change them back."""
        return self._merge(y, *self.elementwise.inverse(y.flatten(1), self._answers(y, e)))


class ChannelCoupling(Layer):
    """A coupling in which the first channels set the map of the others.

    Args:
        channels: C, at least 2.
        hidden: channels of the network.
        elementwise: the map of the others.
        context: size of a condition's embedding; 0 for none.
        swap: whether the last channels set the map of the first instead.
    """

    def __init__(
        self,
        channels: int,
        *,
        hidden: int,
        elementwise: Elementwise | None = None,
        context: int = 0,
        swap: bool = False,
    ) -> None:
        super().__init__()
        self.elementwise = Affine() if elementwise is None else elementwise
        self.sizes, self.swap = [channels - channels // 2, channels // 2], swap
        kept, changed = reversed(self.sizes) if swap else self.sizes
        self.network = ConvNet(kept, changed * self.elementwise.parameters, hidden=hidden, context=context)

    def _apply_to(self, x: Tensor, e: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        first, second = x.split(self.sizes, 1)
        a, b = (second, first) if self.swap else (first, second)
        h = self.network(a, e).to(x.dtype).unflatten(1, (self.elementwise.parameters, -1)).flatten(2)
        step = self.elementwise.inverse if inverse else self.elementwise.forward
        changed, log_slope = step(b.flatten(1), h)
        changed = changed.reshape_as(b)
        return torch.cat([changed, a] if self.swap else [a, changed], 1), log_slope.sum(1)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Change one half."""
        return self._apply_to(x, e, inverse=False)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Change it back."""
        return self._apply_to(y, e, inverse=True)
