r"""Neural spline flows: couplings, or autoregressive layers, whose elementwise map is a rational-quadratic spline.

    nsf        x -> preprocess -> (ActNorm -> spline coupling) x layers -> z ~ N(0, I)

A spline bends where an affine map only scales and shifts: few layers make sharp and disconnected densities.

Source: Durkan, Bekasov, Murray, Papamakarios 2019, https://arxiv.org/abs/1906.04032.
"""

from __future__ import annotations

from functools import partial
from typing import Self

from creo.flows.flow import DequantiseName, Flow, PreprocessName
from creo.flows.realnvp import couplings
from creo.flows.spline import RationalQuadratic
from creo.spaces import Space


class NSF(Flow):
    """Normal noise through spline couplings; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        layers: int = 3,
        hidden: tuple[int, ...] = (64, 64),
        bins: int = 8,
        bound: float = 5.0,
        dropout: float | None = None,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
    ) -> Self:
        """Spline couplings with alternating masks and residual networks.

        Args:
            space: Continuous or Ordinal, of at least two dimensions.
            condition: any space, or None.
            layers: number of couplings.
            hidden: widths of the hidden layers of every coupling's network.
            bins: of a spline.
            bound: a spline bends inside [-bound, bound], in units of standardised data.
            dropout: in those networks; if not given, 0.2 for ordinal spaces and 0 for continuous ones.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
        """
        rate = 0.2 * space.discrete if dropout is None else dropout
        spline = RationalQuadratic(bins, bound=bound)
        stack = partial(couplings, space.shape, layers, spline, hidden=hidden, dropout=rate)
        return cls.compose(
            space,
            condition,
            lambda context: stack(context=context),
            preprocess=preprocess,
            dequantise=dequantise,
            least=2,
        )
