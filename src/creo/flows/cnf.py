r"""Continuous normalizing flows: one velocity field between data and noise.

    x -> preprocess -> dx/dt = v(t, x, c), t = 0..1 -> z ~ N(0, I)

| model    | trace of dv/dx in training     | in evaluation |
|----------|--------------------------------|---------------|
| `cnf`    | exact                          | exact         |
| `ffjord` | Hutchinson's estimate, one     | exact         |

No layer has to be invertible by construction: any smooth v has a flow. The price is a solve per density and per sample;
evaluation solves adaptively to a tolerance, so that `log_prob` is exact up to that (`creo.flows.continuous`).

Sources: Chen, Rubanova, Bettencourt, Duvenaud 2018, https://arxiv.org/abs/1806.07366; Grathwohl et al. 2019,
https://arxiv.org/abs/1810.01367.
"""

from __future__ import annotations

from typing import Self

from torch import Tensor

from creo.flows.continuous import Continuous, TraceName, Velocity
from creo.flows.flow import DequantiseName, Flow, PreprocessName
from creo.flows.layer import Layer
from creo.model import Terms, TrainingDefaults
from creo.spaces import Space


class CNF(Flow):
    """Normal noise through an ordinary differential equation; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        hidden: tuple[int, ...] | None = None,
        steps: int = 8,
        method: str = "rk4",
        trace: TraceName = "exact",
        kinetic: float = 0.0,
        jacobian: float = 0.0,
        checkpoint: bool = False,
        adjoint: bool = False,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
    ) -> Self:
        """A perceptron as velocity.

        Args:
            space: Continuous or Ordinal.
            condition: any space, or None.
            hidden: widths of the velocity's hidden layers; if not given, (32, 32), above 16 dimensions (128, 128).
            steps: of a solve in training.
            method: of a solve in training: euler, midpoint, rk4 or dopri5.
            trace: in training: exact, rademacher or gaussian.
            kinetic, jacobian: weights of the regularisers in the loss; 0.01 each makes solves cheaper.
            checkpoint: less memory in training, for taking every step twice.
            adjoint: memory of one evaluation, for a second solve and a gradient up to the solver's error.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
        """

        widths = ((32, 32) if space.dims <= 16 else (128, 128)) if hidden is None else hidden

        def layers(context: int) -> list[Layer]:
            velocity = Velocity(space.dims, hidden=widths, context=context)
            layer = Continuous(
                velocity, trace=trace, method=method, steps=steps, kinetic=kinetic, jacobian=jacobian,
                checkpoint=checkpoint, adjoint=adjoint,
            )  # fmt: skip
            return [layer]

        return cls.compose(space, condition, layers, preprocess=preprocess, dequantise=dequantise)

    def training_defaults(self) -> TrainingDefaults:
        """Adam at 2e-3 with averaged weights."""
        return TrainingDefaults(batch_size=256, lr=2e-3, ema=0.998)

    @property
    def nfe(self) -> int:
        """Evaluations of the velocity in the last solve."""
        return sum(layer.nfe for layer in self._layers())

    def _layers(self) -> list[Continuous]:
        return [layer for layer in self.flow.modules() if isinstance(layer, Continuous)]

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """Negative log-likelihood in nats per sample, and the regularisers; parts also tell the evaluations, `nfe`."""
        terms = super().loss(x, c)
        loss, parts = terms.loss, {**terms.parts, "nfe": terms.loss.new_tensor(float(self.nfe))}
        for layer in self._layers():
            if layer.penalty is not None:
                loss, parts = loss + layer.penalty, parts | layer.energies
        return Terms(loss, parts)


class FFJORD(CNF):
    """`CNF` trained with Hutchinson's estimate of the trace; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        hidden: tuple[int, ...] | None = None,
        steps: int = 8,
        method: str = "rk4",
        trace: TraceName = "rademacher",
        kinetic: float = 0.0,
        jacobian: float = 0.0,
        checkpoint: bool = False,
        adjoint: bool = False,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
    ) -> Self:
        """A perceptron as velocity.

        Args:
            space: Continuous or Ordinal.
            condition: any space, or None.
            hidden: widths of the velocity's hidden layers; if not given, (32, 32), above 16 dimensions (128, 128).
            steps: of a solve in training.
            method: of a solve in training: euler, midpoint, rk4 or dopri5.
            trace: in training: exact, rademacher or gaussian.
            kinetic, jacobian: weights of the regularisers in the loss; 0.01 each makes solves cheaper.
            checkpoint: less memory in training, for taking every step twice.
            adjoint: memory of one evaluation, for a second solve and a gradient up to the solver's error.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
        """
        return super().for_space(
            space, condition, hidden=hidden, steps=steps, method=method, trace=trace, kinetic=kinetic,
            jacobian=jacobian, checkpoint=checkpoint, adjoint=adjoint, preprocess=preprocess, dequantise=dequantise,
        )  # fmt: skip
