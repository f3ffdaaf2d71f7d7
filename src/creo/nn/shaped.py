"""Networks between samples of any shape and vectors: perceptrons, or convolutions for pictures.

    reader   (B, *shape) -> (B, outputs)            an encoder, a critic
    writer   (B, inputs) -> (B, *shape, size)       a decoder, a generator: `size` numbers for every variable

Both take the embedding of a condition, (B, context), as a second argument. `auto` chooses convolutions for pictures
whose shorter side has at least 16 pixels, where their sharing of weights pays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from creo.nn.conv import ConvDecoder, ConvEncoder
from creo.nn.mlp import MLP

NetworkName = Literal["auto", "mlp", "conv"]

#: Shorter side from which `auto` takes convolutions.
CONV_FROM = 16


class FlatReader(nn.Module):
    """A network on vectors that reads samples of any shape.

    Args:
        inner: maps (B, dims) and a context to (B, outputs).
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """(B, outputs) of samples x (B, *shape)."""
        return self.inner(x.flatten(1), e)


class FlatWriter(nn.Module):
    """A network on vectors that answers in any shape.

    Args:
        inner: maps (B, inputs) and a context to (B, prod(shape)).
        shape: of the answer.
    """

    def __init__(self, inner: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.inner, self.shape = inner, shape

    def forward(self, z: Tensor, e: Tensor | None = None) -> Tensor:
        """(B, *shape) of vectors z (B, inputs)."""
        return self.inner(z, e).unflatten(-1, self.shape)


def _convolves(network: NetworkName, shape: tuple[int, ...]) -> bool:
    picture = len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) >= CONV_FROM
    return network == "conv" or (network == "auto" and picture)


def reader(
    shape: tuple[int, ...],
    outputs: int,
    *,
    network: NetworkName = "auto",
    hidden: tuple[int, ...] = (256, 256),
    channels: int = 32,
    context: int = 0,
    dropout: float = 0.0,
    activation: Callable[[Tensor], Tensor] = F.silu,
) -> nn.Module:
    """A network from samples (B, *shape) to vectors (B, outputs).

    Args:
        shape: of one sample.
        outputs: size of the vectors.
        network: mlp, conv (images only), or auto.
        hidden: widths of the perceptron's hidden layers.
        channels: channels of the convolutions at full size.
        context: size of a condition's embedding; 0 for none.
        dropout: probability of dropping a hidden unit of the perceptron in training.
        activation: of the perceptron.
    """
    if _convolves(network, shape):
        return ConvEncoder(shape, outputs, channels=channels, context=context)
    dims = math.prod(shape)
    return FlatReader(
        MLP(dims, outputs, hidden=hidden, context=context, dropout=dropout, activation=activation)
    )


def writer(
    inputs: int,
    shape: tuple[int, ...],
    size: int,
    *,
    network: NetworkName = "auto",
    hidden: tuple[int, ...] = (256, 256),
    channels: int = 32,
    context: int = 0,
    dropout: float = 0.0,
    activation: Callable[[Tensor], Tensor] = F.silu,
) -> nn.Module:
    """A network from vectors (B, inputs) to `size` numbers for every variable, (B, *shape, size).

    Args:
        inputs: size of the vectors.
        shape: of one sample.
        size: numbers per variable.
        network, hidden, channels, context, dropout, activation: as of `reader`.
    """
    if _convolves(network, shape):
        return ConvDecoder(inputs, shape, size, channels=channels, context=context)
    dims = math.prod(shape)
    inner = MLP(inputs, dims * size, hidden=hidden, context=context, dropout=dropout, activation=activation)
    return FlatWriter(inner, (*shape, size))
