r"""The contract of a flow's layers, and their composition.

A layer maps data towards noise and says what that does to the density:

    y, log_det = layer.forward(x, e)        log p(x | e) = log p(y | e) + log_det         (change of variables)
    x, log_det = layer.inverse(y, e)        the log-determinant of this direction

x is (B, *shape), y (B, *output_shape(shape)), log_det (B,) in nats, e (B, context) the embedding of a condition or
None. For a bijection log_det = log |det dy/dx| and the two directions' values are each other's negative. A layer may
change the shape (squeeze, split). It may be stochastic or surjective (dequantisation, slicing, a VAE step): then
log_det is its likelihood contribution, with E[log p(y) + log_det] <= log p(x) over the layer's noise, and a
composition that contains it gives a bound.

`initialise` is called once, with training data, layer after layer, so that a layer can take scales from the data as
they arrive at it.

Sources: Tabak, Turner 2013, https://doi.org/10.1002/cpa.21423; Papamakarios et al. 2021,
https://arxiv.org/abs/1912.02762; stochastic and surjective layers: Nielsen et al. 2020,
https://arxiv.org/abs/2007.02731.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from creo.errors import OptionError


class Layer(nn.Module, ABC):
    """Base of all layers; a new one gives `forward` and `inverse`."""

    #: whether `forward`, or `inverse`, draws noise: a flow that draws on the way to the noise has a bound
    noisy_forward: bool = False
    noisy_inverse: bool = False

    @abstractmethod
    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Data to noise: (y, log_det), log_det (B,) in nats."""

    @abstractmethod
    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise to data: (x, log_det of this direction)."""

    def generate(self, y: Tensor, e: Tensor | None = None) -> Tensor:
        """`inverse` without the log-determinant, for layers that can save it."""
        return self.inverse(y, e)[0]

    def initialise(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Set what is computed from data, and return the output for the next layer."""
        return self.forward(x, e)[0]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one sample's output given that of its input."""
        return shape


class Compose(Layer):
    """Layers one after the other, the first one nearest to the data.

    Raises:
        OptionError: if there is none.
    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        if not len(self):
            raise OptionError("a flow is composed of at least one layer; received none")

    @property
    def noisy_forward(self) -> bool:  # type: ignore[override]
        """Whether any layer draws on the way to the noise."""
        return any(layer.noisy_forward for layer in self)

    @property
    def noisy_inverse(self) -> bool:  # type: ignore[override]
        """Whether any layer draws on the way to the data."""
        return any(layer.noisy_inverse for layer in self)

    def __iter__(self) -> Iterator[Layer]:
        return (layer for layer in self.layers if isinstance(layer, Layer))

    def __len__(self) -> int:
        return len(self.layers)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All layers in order; the log-determinants add."""
        log_dets = []
        for layer in self:
            x, log_det = layer.forward(x, e)
            log_dets.append(log_det)
        return x, torch.stack(log_dets).sum(0)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All inverses, last layer first."""
        log_dets = []
        for layer in reversed(list(self)):
            y, log_det = layer.inverse(y, e)
            log_dets.append(log_det)
        return y, torch.stack(log_dets).sum(0)

    def generate(self, y: Tensor, e: Tensor | None = None) -> Tensor:
        """All inverses, last layer first, without log-determinants."""
        for layer in reversed(list(self)):
            y = layer.generate(y, e)
        return y

    def initialise(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Each layer in turn, with the data that arrive at it."""
        for layer in self:
            x = layer.initialise(x, e)
        return x

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Through all layers."""
        for layer in self:
            shape = layer.output_shape(shape)
        return shape


class Inverted(Layer):
    """A layer used backwards: `forward` is the other's `inverse`.

    Args:
        layer: any bijection.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer

    @property
    def noisy_forward(self) -> bool:  # type: ignore[override]
        """Whether the other's inverse draws."""
        return self.layer.noisy_inverse

    @property
    def noisy_inverse(self) -> bool:  # type: ignore[override]
        """Whether the other's forward draws."""
        return self.layer.noisy_forward

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The layer's inverse."""
        return self.layer.inverse(x, e)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The layer's forward."""
        return self.layer.forward(y, e)
