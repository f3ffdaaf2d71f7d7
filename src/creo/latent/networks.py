"""Encoder and decoder networks of latent models: perceptrons or convolutions, by the space's shape.

    encoder   (scaled x (B, *shape), context) -> (B, outputs)
    decoder   (z (B, latent), context) -> (B, *shape, size)

`residual=False` with tanh and two layers of 200 are the networks of Burda, Grosse, Salakhutdinov (2016),
https://arxiv.org/abs/1509.00519.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError
from creo.nn.mlp import MLP
from creo.nn.shaped import FlatReader, FlatWriter, NetworkName, reader, writer

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
