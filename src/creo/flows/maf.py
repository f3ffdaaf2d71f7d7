r"""Masked and inverse autoregressive flows: the same layers, facing opposite ways.

    maf, nsf-ar   x -> preprocess -> (Autoregressive, order reversed every time) x layers -> z ~ N(0, I)
    iaf           the same with every autoregressive layer turned round

| model  | density                      | sample                       | elementwise map           |
|--------|------------------------------|------------------------------|---------------------------|
| maf    | one pass of every network    | forward substitution         | affine                    |
| nsf-ar | one pass of every network    | forward substitution         | rational-quadratic spline |
| iaf    | forward substitution         | one pass of every network    | affine                    |

Forward substitution (`creo.flows.substitution`) is exact and costs about one pass in arithmetic, but takes D steps one
after the other: prefer `iaf` where sampling is the inner loop (posteriors, reverse KL), the others for data. For a few
samples rounds over many entries at once are quicker (`creo.flows.jacobi`); `inversion="auto"` chooses, and `rounds`
tells how many were taken.

Sources: Papamakarios, Pavlakou, Murray 2017, https://arxiv.org/abs/1705.07057; Kingma et al. 2016,
https://arxiv.org/abs/1606.04934; Durkan et al. 2019, https://arxiv.org/abs/1906.04032.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Self

import torch

from creo.errors import OptionError
from creo.flows.autoregressive import Autoregressive
from creo.flows.coupling import Affine, Elementwise
from creo.flows.flow import DequantiseName, Flow, PreprocessName
from creo.flows.jacobi import InversionName
from creo.flows.layer import Inverted, Layer
from creo.flows.spline import RationalQuadratic
from creo.flows.standardise import ActNorm
from creo.spaces import Space


def autoregressives(
    shape: tuple[int, ...],
    layers: int,
    elementwise: Elementwise,
    *,
    hidden: tuple[int, ...],
    context: int,
    dropout: float = 0.0,
    inverted: bool = False,
    inversion: InversionName = "auto",
    tolerance: float | None = None,
) -> Iterator[Layer]:
    """Autoregressive x layers, every second one in reversed order, all turned round if `inverted`.

    Before a spline, ActNorm brings the entries into its box; an affine layer scales by itself.
    """
    if layers < 1:
        raise OptionError(f"layers must be at least 1; received {layers}")
    order = torch.arange(torch.Size(shape).numel())
    for i in range(layers):
        turned = order.flip(0) if i % 2 else order
        layer = Autoregressive(
            shape, elementwise, hidden=hidden, context=context, order=turned, dropout=dropout, inversion=inversion,
            tolerance=tolerance,
        )  # fmt: skip
        if not isinstance(elementwise, Affine):
            yield ActNorm(shape)
        yield Inverted(layer) if inverted else layer


class AutoregressiveFlow(Flow):
    """A flow with autoregressive layers."""

    @property
    def rounds(self) -> int:
        """Steps or rounds, over all layers, of the last inversion."""
        return sum(layer.rounds for layer in self.flow.modules() if isinstance(layer, Autoregressive))


class MAF(AutoregressiveFlow):
    """Normal noise through affine autoregressive layers: fast density; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        layers: int = 3,
        hidden: tuple[int, ...] = (64, 64),
        dropout: float | None = None,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
        bound: float = 2.0,
        inversion: InversionName = "auto",
        tolerance: float | None = None,
    ) -> Self:
        """Affine autoregressive layers of alternating order.

        Args:
            space: Continuous or Ordinal.
            condition: any space, or None.
            layers: number of autoregressive layers.
            hidden: widths of the hidden layers of every masked network.
            dropout: in those networks; if not given, 0.2 for ordinal spaces and 0 for continuous ones.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
            bound: limit of a layer's log-scale.
            inversion: how the slow direction is solved: auto, incremental, jacobi or gauss-seidel.
            tolerance: relative change at which rounds end; if not given, that of rounding.
        """
        rate = 0.2 * space.discrete if dropout is None else dropout
        stack = partial(
            autoregressives, space.shape, layers, Affine(bound), hidden=hidden, dropout=rate, inversion=inversion,
            tolerance=tolerance,
        )  # fmt: skip
        return cls.compose(
            space,
            condition,
            lambda context: stack(context=context),
            preprocess=preprocess,
            dequantise=dequantise,
        )


class IAF(AutoregressiveFlow):
    """Normal noise through affine autoregressive layers that are fast to sample; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        layers: int = 3,
        hidden: tuple[int, ...] = (64, 64),
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
        bound: float = 1.0,
        inversion: InversionName = "auto",
        tolerance: float | None = None,
    ) -> Self:
        """Affine autoregressive layers of alternating order, turned round.

        Args:
            space: Continuous or Ordinal.
            condition: any space, or None.
            layers: number of autoregressive layers.
            hidden: widths of the hidden layers of every masked network.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
            bound: limit of a layer's log-scale.
            inversion: how the slow direction is solved: auto, incremental, jacobi or gauss-seidel.
            tolerance: relative change at which rounds end; if not given, that of rounding.
        """
        stack = partial(
            autoregressives, space.shape, layers, Affine(bound), hidden=hidden, inverted=True, inversion=inversion,
            tolerance=tolerance,
        )  # fmt: skip
        return cls.compose(
            space,
            condition,
            lambda context: stack(context=context),
            preprocess=preprocess,
            dequantise=dequantise,
        )


class AutoregressiveNSF(AutoregressiveFlow):
    """Normal noise through autoregressive splines; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        layers: int = 2,
        hidden: tuple[int, ...] = (64, 64),
        bins: int = 8,
        bound: float = 5.0,
        dropout: float | None = None,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
        inversion: InversionName = "auto",
        tolerance: float | None = None,
    ) -> Self:
        """Autoregressive rational-quadratic splines of alternating order.

        Args:
            space: Continuous or Ordinal.
            condition: any space, or None.
            layers: number of autoregressive layers.
            hidden: widths of the hidden layers of every masked network.
            bins: of a spline.
            bound: a spline bends inside [-bound, bound], in units of standardised data.
            dropout: in those networks; if not given, 0.2 for ordinal spaces and 0 for continuous ones.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
            inversion: how the slow direction is solved: auto, incremental, jacobi or gauss-seidel.
            tolerance: relative change at which rounds end; if not given, that of rounding.
        """
        rate = 0.2 * space.discrete if dropout is None else dropout
        spline = RationalQuadratic(bins, bound=bound)
        stack = partial(
            autoregressives, space.shape, layers, spline, hidden=hidden, dropout=rate, inversion=inversion,
            tolerance=tolerance,
        )  # fmt: skip
        return cls.compose(
            space,
            condition,
            lambda context: stack(context=context),
            preprocess=preprocess,
            dequantise=dequantise,
        )
