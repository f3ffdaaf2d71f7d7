r"""Residual flow: a stack of contractions added to the identity, free of masks and triangles.

    x -> preprocess -> (ActNorm -> x + g(x)) x layers -> ActNorm -> z ~ N(0, I)

Every entry influences every other in each layer. The determinant is exact in evaluation; in training it is exact up to
`EXACT` dimensions and the Russian-roulette estimate beyond (`creo.flows.residual`), so that a step then costs a few
vector products whatever the dimension. Sampling iterates every layer's contraction.

Source: Chen, Behrmann, Duvenaud, Jacobsen 2019, https://arxiv.org/abs/1906.02735.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from creo.errors import OptionError
from creo.flows.flow import DequantiseName, Flow, PreprocessName
from creo.flows.layer import Layer
from creo.flows.residual import Contraction, LogDetName, Residual
from creo.flows.standardise import ActNorm
from creo.model import TrainingDefaults
from creo.spaces import Space

#: Dimensions up to which the exact determinant is used in training too.
EXACT = 6


class ResidualFlow(Flow):
    """Normal noise through invertible residual layers; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        layers: int = 4,
        hidden: tuple[int, ...] = (32, 32),
        lipschitz: float = 0.97,
        log_det: LogDetName | None = None,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
    ) -> Self:
        """Contractions added to the identity.

        Args:
            space: Continuous or Ordinal.
            condition: any space, or None.
            layers: number of residual layers.
            hidden: widths of the hidden layers of every contraction.
            lipschitz: largest Lipschitz constant of a contraction; nearer to 1 bends more and samples slower.
            log_det: in training, exact or roulette; if not given, exact up to 6 dimensions.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
        """
        if layers < 1:
            raise OptionError(f"layers must be at least 1; received {layers}")
        name: LogDetName = log_det or ("exact" if space.dims <= EXACT else "roulette")

        def stack(context: int) -> Iterator[Layer]:
            for _ in range(layers):
                yield ActNorm(space.shape)
                network = Contraction(space.dims, hidden=hidden, context=context, lipschitz=lipschitz)
                yield Residual(network, log_det=name)
            yield ActNorm(space.shape)

        return cls.compose(space, condition, stack, preprocess=preprocess, dequantise=dequantise)

    def training_defaults(self) -> TrainingDefaults:
        """Adam at 2e-3 with averaged weights."""
        return TrainingDefaults(batch_size=256, lr=2e-3, ema=0.998)
