r"""The linear flow: one matrix between data and noise, which is the Gaussian with full covariance.

    z = L U (x - mean) / std + b(c)      =>      x | c ~ N(m(c), S)

Under a condition the mean moves, the covariance stays: linear-Gaussian regression. Its maximum likelihood is known in
closed form, so it is the flow to test a training loop with.

Source: Dinh, Krueger, Bengio 2015, https://arxiv.org/abs/1410.8516 (section 3).
"""

from __future__ import annotations

from typing import Literal, Self

from creo.errors import OptionError
from creo.flows.flow import DequantiseName, Flow, PreprocessName
from creo.flows.layer import Layer
from creo.flows.linear import LU, QR
from creo.model import TrainingDefaults
from creo.spaces import Space


class LinearFlow(Flow):
    """Normal noise through a matrix; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        matrix: Literal["lu", "qr"] = "lu",
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
    ) -> Self:
        """One linear layer after the preprocessing.

        Args:
            space: Continuous or Ordinal.
            condition: any space, or None.
            matrix: its decomposition.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
        """
        kinds: dict[str, type[LU] | type[QR]] = {"lu": LU, "qr": QR}
        if matrix not in kinds:
            raise OptionError(f"matrix is lu or qr; received {matrix!r}")

        def layers(context: int) -> list[Layer]:
            return [kinds[matrix](space.shape, context=context)]

        return cls.compose(space, condition, layers, preprocess=preprocess, dequantise=dequantise)

    def training_defaults(self) -> TrainingDefaults:
        """A convex problem bears a larger step."""
        return TrainingDefaults(batch_size=256, lr=1e-2, ema=0.99)
