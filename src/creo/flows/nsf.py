r"""Neural spline flows: couplings, or autoregressive layers, whose elementwise map is a rational-quadratic spline.

    nsf        x -> preprocess -> (ActNorm -> spline coupling) x layers -> z ~ N(0, I)

As in the paper (section 3.1) the entries that a coupling keeps may go through splines too, whose parameters are trained
but depend on no other entry (`unconditional=True`). It costs time and gained nothing at equal steps on the tables where
it was tried, except where couplings split by halves; so it is off.

A spline bends where an affine map only scales and shifts: few layers make sharp and disconnected densities.

Source: Durkan, Bekasov, Murray, Papamakarios 2019, https://arxiv.org/abs/1906.04032.
"""

from __future__ import annotations

from functools import partial
from typing import Self

from creo.flows.flow import DequantiseName, Flow, PreprocessName
from creo.flows.realnvp import SplitName, couplings
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
        residual: bool | None = None,
        split: SplitName = "alternating",
        unconditional: bool = False,
        dropout: float | None = None,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
    ) -> Self:
        """Spline couplings.

        Args:
            space: Continuous or Ordinal, of at least two dimensions.
            condition: any space, or None.
            layers: number of couplings.
            hidden: widths of the hidden layers of every coupling's network.
            bins: of a spline.
            bound: a spline bends inside [-bound, bound], in units of standardised data.
            residual: networks with residual connections and SiLU, or plain ones with ReLU; if not given, the former
                for ordinal spaces and the latter for continuous ones.
            split: a coupling keeps every other entry, or one half and then the other.
            unconditional: the entries that a coupling keeps go through splines of their own, whose parameters depend on
                no other entry.
            dropout: in those networks; if not given, 0.2 for ordinal spaces and 0 for continuous ones.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
        """
        rate = 0.2 * space.discrete if dropout is None else dropout
        spline = RationalQuadratic(bins, bound=bound)
        stack = partial(
            couplings, space.shape, layers, spline, hidden=hidden, dropout=rate, split=split,
            residual=space.discrete if residual is None else residual, unconditional=unconditional,
        )  # fmt: skip
        return cls.compose(
            space,
            condition,
            lambda context: stack(context=context),
            preprocess=preprocess,
            dequantise=dequantise,
            least=2,
        )
