r"""RealNVP: a flow of affine couplings, as fast to sample as to evaluate.

    x -> preprocess -> (ActNorm -> Coupling) x layers -> z ~ N(0, I)

Every coupling keeps one half of the entries and scales and shifts the other half by functions of the kept one;
successive masks swap the halves. One pass of all networks gives the density, one more gives a sample. Preprocessing,
the meaning of `log_prob` and of the options are `creo.flows.flow`'s.

With `multiscale=True` images go through a ladder of scales (`creo.flows.multiscale`): at each of them three couplings
with checkerboards, a squeeze, and three with halves of the channels, all with convolutional networks; then half of the
channels goes to the noise.

Source: Dinh, Sohl-Dickstein, Bengio 2017, https://arxiv.org/abs/1605.08803.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal, Self

import torch.nn.functional as F

from creo.errors import OptionError
from creo.flows.convolution import MaskedConvCoupling
from creo.flows.coupling import Affine, Coupling, Elementwise, alternating_mask, halves_mask
from creo.flows.flow import DequantiseName, Flow, PreprocessName
from creo.flows.layer import Layer
from creo.flows.multiscale import Squeeze, channel_mask
from creo.flows.multiscale import multiscale as ladder_of
from creo.flows.standardise import ActNorm
from creo.nn import MLP
from creo.spaces import Space

SplitName = Literal["alternating", "halves"]
MASKS = {"alternating": alternating_mask, "halves": halves_mask}


def couplings(
    shape: tuple[int, ...],
    layers: int,
    elementwise: Elementwise,
    *,
    hidden: tuple[int, ...],
    context: int,
    dropout: float,
    residual: bool = True,
    split: SplitName = "alternating",
    unconditional: bool = False,
) -> Iterator[Layer]:
    """(ActNorm -> Coupling) x layers that start as the identity.

    Networks are residual perceptrons (SiLU) or plain ones (ReLU).
    """
    if layers < 1:
        raise OptionError(f"layers must be at least 1; received {layers}")
    if split not in MASKS:
        raise OptionError(f"split is one of {', '.join(MASKS)}; received {split!r}")
    network = partial(
        MLP, hidden=hidden, context=context, dropout=dropout, residual=residual, zero=True,
        activation=F.silu if residual else F.relu,
    )  # fmt: skip
    for i in range(layers):
        yield ActNorm(shape)
        yield Coupling(
            MASKS[split](shape, i), network, elementwise, unconditional=unconditional, context=context
        )


def image_couplings(
    shape: tuple[int, ...], *, hidden: int, context: int, elementwise: Elementwise, scales: int
) -> list[Layer]:
    """The multi-scale ladder."""
    convolutional = partial(MaskedConvCoupling, hidden=hidden, elementwise=elementwise, context=context)

    def scale(before: tuple[int, ...]) -> list[Layer]:
        inside = Squeeze().output_shape(before)
        layers: list[Layer] = []
        for i in range(3):
            layers += [ActNorm(before), convolutional(alternating_mask(before, i % 2))]
        layers.append(Squeeze())
        for i in range(3):
            layers += [ActNorm(inside), convolutional(channel_mask(inside, i))]
        return layers

    return ladder_of(shape, scales, scale)


class RealNVP(Flow):
    """Normal noise through affine couplings; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        layers: int | None = None,
        hidden: tuple[int, ...] = (128, 128),
        dropout: float | None = None,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
        bound: float = 1.0,
        multiscale: bool = False,
        scales: int = 3,
        channels: int = 32,
    ) -> Self:
        """Affine couplings with alternating masks and residual networks.

        Args:
            space: Continuous or Ordinal, of at least two dimensions.
            condition: any space, or None.
            layers: number of couplings; if not given, 4 for ordinal spaces and 8 for continuous ones.
            hidden: widths of the hidden layers of every coupling's network.
            dropout: in those networks; if not given, 0.2 for ordinal spaces and 0 for continuous ones.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
            bound: limit of a coupling's log-scale.
            multiscale: convolutional couplings on a ladder of scales, for images of even height and width;
                `layers`, `hidden` and `dropout` do not apply then.
            scales: of the ladder, at most.
            channels: of the ladder's networks.
        """
        if multiscale:
            ladder = partial(
                image_couplings, space.shape, hidden=channels, elementwise=Affine(bound), scales=scales
            )
            return cls.compose(
                space,
                condition,
                lambda context: ladder(context=context),
                preprocess=preprocess,
                dequantise=dequantise,
            )
        count = (4 if space.discrete else 8) if layers is None else layers
        rate = 0.2 * space.discrete if dropout is None else dropout
        stack = partial(couplings, space.shape, count, Affine(bound), hidden=hidden, dropout=rate)
        return cls.compose(
            space,
            condition,
            lambda context: stack(context=context),
            preprocess=preprocess,
            dequantise=dequantise,
            least=2,
        )
