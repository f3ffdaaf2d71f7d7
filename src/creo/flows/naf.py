r"""Neural autoregressive flow: every conditional map is itself a small monotone network.

    naf    x -> preprocess -> (ActNorm -> Autoregressive(Sigmoidal), order reversed every time) x layers -> z ~ N(0, I)

A mixture of sigmoids bends anywhere and as often as it has units, where an affine map does not bend at all; one layer
approximates any density (with enough units). The density is one pass of every network; a sample solves one scalar
equation per entry, by a safeguarded Newton iteration inside forward substitution.

Source: Huang, Krueger, Lacoste, Courville 2018, https://arxiv.org/abs/1804.00779.
"""

from __future__ import annotations

from functools import partial
from typing import Self

from creo.flows.flow import DequantiseName, PreprocessName
from creo.flows.jacobi import InversionName
from creo.flows.maf import AutoregressiveFlow, autoregressives
from creo.flows.monotone import Sigmoidal
from creo.spaces import Space


class NAF(AutoregressiveFlow):
    """Normal noise through autoregressive sigmoidal maps; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        layers: int = 2,
        hidden: tuple[int, ...] = (64, 64),
        units: int = 8,
        dropout: float | None = None,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
        inversion: InversionName = "auto",
        tolerance: float | None = None,
    ) -> Self:
        """Autoregressive mixtures of sigmoids, of alternating order.

        Args:
            space: Continuous or Ordinal.
            condition: any space, or None.
            layers: number of autoregressive layers.
            hidden: widths of the hidden layers of every masked network.
            units: sigmoids of a map.
            dropout: in those networks; if not given, 0.2 for ordinal spaces and 0 for continuous ones.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
            inversion: how the slow direction is solved: auto, incremental, jacobi or gauss-seidel.
            tolerance: relative change at which rounds end; if not given, that of rounding.
        """
        rate = 0.2 * space.discrete if dropout is None else dropout
        stack = partial(
            autoregressives, space.shape, layers, Sigmoidal(units), hidden=hidden, dropout=rate, inversion=inversion,
            tolerance=tolerance,
        )  # fmt: skip
        return cls.compose(
            space,
            condition,
            lambda context: stack(context=context),
            preprocess=preprocess,
            dequantise=dequantise,
        )
