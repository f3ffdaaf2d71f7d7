"""Encoder and decoder networks of latent models: perceptrons or convolutions, by the space's shape.

    encoder   (scaled x (B, *shape), context) -> (B, outputs)
    decoder   (z (B, latent), context) -> (B, *shape, size)

`residual=False` with tanh and two layers of 200 are the networks of Burda, Grosse, Salakhutdinov (2016),
https://arxiv.org/abs/1509.00519; as there, output biases start at the data's means (`start_from_marginals`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import singledispatch
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.distributions.heads import Adjacent, Bernoulli, Categorical, Head
from creo.errors import OptionError
from creo.nn.mlp import MLP
from creo.nn.shaped import FlatReader, FlatWriter, NetworkName, reader, writer

#: Examples whose levels are counted at a time.
COUNT_ROWS = 256

Activation = Literal["silu", "tanh", "relu"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "tanh": torch.tanh, "relu": F.relu}


def encoder_decoder(
    shape: tuple[int, ...],
    outputs: int,
    latent: int,
    size: int,
    *,
    network: NetworkName = "auto",
    hidden: tuple[int, ...] = (256, 256),
    channels: int = 32,
    context: int = 0,
    dropout: float = 0.0,
    activation: Activation = "silu",
    residual: bool = True,
) -> tuple[nn.Module, nn.Module]:
    """An encoder and a decoder that suit samples of `shape`.

    Args:
        shape: of one sample.
        outputs: of the encoder.
        latent: inputs of the decoder.
        size: numbers of the decoder for every variable.
        network: mlp, conv (images only), or auto; what is not residual is a perceptron.
        hidden: widths of the perceptrons' hidden layers, in both.
        channels: channels of the convolutions at full size.
        context: size of a condition's embedding; 0 for none.
        dropout: probability of dropping a hidden unit of the perceptrons in training.
        activation: of the perceptrons.
        residual: perceptrons add a layer's input to its output where the widths agree.

    Raises:
        OptionError: convolutions without residual connections, or no such activation.
    """
    if activation not in _ACTIVATIONS:
        raise OptionError(f"no activation {activation!r}; there are {', '.join(_ACTIVATIONS)}")
    common: dict[str, Any] = dict(
        hidden=hidden, context=context, dropout=dropout, activation=_ACTIVATIONS[activation]
    )
    if residual:
        shared = common | {"network": network, "channels": channels}
        return reader(shape, outputs, **shared), writer(latent, shape, size, **shared)
    if network == "conv":
        raise OptionError("residual=False is of perceptrons; convolutional networks have no such option")
    dims = math.prod(shape)
    encoder = FlatReader(MLP(dims, outputs, residual=False, **common))
    return encoder, FlatWriter(MLP(latent, dims * size, residual=False, **common), (*shape, size))


@torch.no_grad()
def start_from_marginals(decoder: nn.Module, head: Head, x: Tensor) -> None:
    """Set a perceptron's output biases so that, at z = 0, every variable has about its own histogram.

    Without this the first epochs go by learning how bright each pixel is, in code entries that are then hard
    to win back. Convolutions share their biases among pixels and stay as they are, as do heads with a scale of
    their own.

    Args:
        decoder: what `encoder_decoder` made.
        head: of its outputs.
        x: raw training data, (N, *shape).
    """
    if isinstance(decoder, FlatWriter) and isinstance(decoder.inner, MLP):
        params = marginal_parameters(head, x)
        if params is not None:
            decoder.inner.out.bias.copy_(params.flatten())


@singledispatch
def marginal_parameters(head: Head, x: Tensor) -> Tensor | None:
    """Head parameters (*shape, size) of each variable's histogram over x (N, *shape), one pseudo-count a level."""
    return None


def _log_table(x: Tensor, levels: int) -> Tensor:
    """Log-frequencies of levels, (*shape, levels); counted a few rows at a time, which caches hold."""
    parts = x.split(COUNT_ROWS)
    counts = [sum((part == v).sum(0, dtype=torch.int32) for part in parts) for v in range(levels)]
    return ((torch.stack(counts, -1).double() + 1) / (len(x) + levels)).log()


@marginal_parameters.register
def _(head: Bernoulli, x: Tensor) -> Tensor:
    table = _log_table(x, 2)
    return table[..., 1:] - table[..., :1]


@marginal_parameters.register
def _(head: Categorical, x: Tensor) -> Tensor:
    return _log_table(x, head.levels)


@marginal_parameters.register
def _(head: Adjacent, x: Tensor) -> Tensor:
    return _log_table(x, head.levels).diff(dim=-1)
