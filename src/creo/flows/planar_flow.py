r"""Planar, radial and Sylvester flows: many small bumps, one after the other.

    x -> preprocess -> (planar | radial | Sylvester layer) x layers -> scale and shift -> z ~ N(0, I)

The density is in closed form; a sample solves scalar equations, layer by layer. Their main use is as posteriors of low
dimension; as models of data they need many layers and are instructive rather than strong.

Sources: Rezende, Mohamed 2015, https://arxiv.org/abs/1505.05770; van den Berg et al. 2018,
https://arxiv.org/abs/1803.05649.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Self

from creo.errors import OptionError
from creo.flows.flow import DequantiseName, Flow, PreprocessName
from creo.flows.layer import Layer
from creo.flows.planar import Planar, Radial
from creo.flows.standardise import ActNorm
from creo.flows.sylvester import Sylvester
from creo.model import TrainingDefaults
from creo.spaces import Space


class _BumpFlow(Flow):
    def training_defaults(self) -> TrainingDefaults:
        """Few parameters: larger steps."""
        return TrainingDefaults(batch_size=256, lr=5e-3, ema=0.99)


def _stack(space: Space, layers: int, make: Callable[[int], Layer]) -> Callable[[int], Iterator[Layer]]:
    """`layers` times what `make` makes for a context of some size, then a scale."""
    if layers < 1:
        raise OptionError(f"layers must be at least 1; received {layers}")

    def stack(context: int) -> Iterator[Layer]:
        yield from (make(context) for _ in range(layers))
        yield ActNorm(space.shape)

    return stack


class PlanarFlow(_BumpFlow):
    """Normal noise through planar layers; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        layers: int = 8,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
    ) -> Self:
        """Planar layers.

        Args:
            space: Continuous or Ordinal.
            condition: any space, or None.
            layers: how many.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
        """
        stack = _stack(space, layers, lambda context: Planar(space.shape, context=context))
        return cls.compose(space, condition, stack, preprocess=preprocess, dequantise=dequantise)


class RadialFlow(_BumpFlow):
    """Normal noise through radial layers; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        layers: int = 8,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
    ) -> Self:
        """Radial layers.

        Args:
            space: Continuous or Ordinal.
            condition: any space, or None.
            layers: how many.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
        """
        stack = _stack(space, layers, lambda context: Radial(space.shape, context=context))
        return cls.compose(space, condition, stack, preprocess=preprocess, dequantise=dequantise)


class SylvesterFlow(_BumpFlow):
    """Normal noise through Sylvester layers; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        layers: int = 4,
        rank: int = 8,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
    ) -> Self:
        """Sylvester layers.

        Args:
            space: Continuous or Ordinal.
            condition: any space, or None.
            layers: how many.
            rank: bumps per layer (at most the dimension is used).
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
        """
        m = min(rank, space.dims)
        stack = _stack(space, layers, lambda context: Sylvester(space.shape, rank=m, context=context))
        return cls.compose(space, condition, stack, preprocess=preprocess, dequantise=dequantise)
