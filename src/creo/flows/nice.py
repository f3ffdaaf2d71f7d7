r"""NICE: additive couplings, which keep volume, and one scale per entry at the end.

    x -> preprocess -> (additive coupling) x layers -> scale -> z ~ N(0, I)

All local change of volume is the scale's; so the density's peaks are all as high as the noise's. (The paper's logistic
noise is replaced by the family's normal noise.)

Source: Dinh, Krueger, Bengio 2015, https://arxiv.org/abs/1410.8516.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Self

from creo.errors import OptionError
from creo.flows.coupling import Additive, Coupling, alternating_mask
from creo.flows.flow import DequantiseName, Flow, PreprocessName
from creo.flows.layer import Layer
from creo.flows.standardise import ActNorm
from creo.nn import MLP
from creo.spaces import Space


class NICE(Flow):
    """Normal noise through additive couplings; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        layers: int = 4,
        hidden: tuple[int, ...] = (128, 128),
        dropout: float | None = None,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
    ) -> Self:
        """Additive couplings with alternating masks, and a scale.

        Args:
            space: Continuous or Ordinal, of at least two dimensions.
            condition: any space, or None.
            layers: number of couplings.
            hidden: widths of the hidden layers of every coupling's network.
            dropout: in those networks; if not given, 0.2 for ordinal spaces and 0 for continuous ones.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
        """
        if layers < 1:
            raise OptionError(f"layers must be at least 1; received {layers}")
        rate = 0.2 * space.discrete if dropout is None else dropout

        def stack(context: int) -> Iterator[Layer]:
            network = partial(MLP, hidden=hidden, context=context, dropout=rate, zero=True)
            for i in range(layers):
                yield Coupling(alternating_mask(space.shape, i), network, Additive())
            yield ActNorm(space.shape)

        return cls.compose(space, condition, stack, preprocess=preprocess, dequantise=dequantise, least=2)
