r"""A flow as a generative model: preprocessing, invertible layers, normal noise.

    x -> preprocess -> layers -> z ~ N(0, I)
    log p(x | c) = log N(z; 0, I) + sum of the layers' log-determinants                    (nats of the raw sample)

| space      | preprocess                                             | `log_prob`                                   |
|------------|--------------------------------------------------------|----------------------------------------------|
| Continuous | standardise by the training data                       | exact                                        |
| Ordinal    | dequantisation, then Gaussianise by histograms         | lower bound, tighter with more noise samples |

For an ordinal space `forward` and `inverse` speak of the dequantised sample y in [0, levels]^D, of which `y.floor()`
are the levels; `log_prob` and `sample` speak of the levels. The bound with K noise samples is
log (1/K) sum_k p(x + u_k) / q(u_k); training uses K = 1. The noise u is uniform, or learned with
`dequantise="variational"`, which costs one more network and makes the bound tighter.

A layer that draws on the way to the noise (`creo.flows.surjection`) makes a bound of any log-density.

A model of this family is a class with a `for_space` that lists layers and hands them to `Flow.compose`.

Source: Papamakarios et al. 2021, https://arxiv.org/abs/1912.02762.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor

from creo.distributions.gaussian import standard_log_prob
from creo.errors import OptionError, SpaceError
from creo.flows.dequantise import UniformDequantise
from creo.flows.gaussianise import Gaussianise
from creo.flows.layer import Compose, Layer
from creo.flows.standardise import Standardise
from creo.flows.variational_dequantise import VariationalDequantise
from creo.model import GenerativeModel, Likelihood, Report, Terms, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.spaces import Continuous, Ordinal, Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

CONTEXT_WIDTH = 32

PreprocessName = Literal["histogram", "scale"]
DequantiseName = Literal["uniform", "variational"]


class Flow(GenerativeModel):
    """Normal noise through a composition of invertible layers; see the module docstring.

    Args:
        space: Continuous or Ordinal.
        flow: from (dequantised) data to noise; takes the condition's embedding if there is one.
        condition: any space, or None.
        embedding: raw conditions to (B, context) for the layers; needed if there is a condition.
        dequantise: of an ordinal space; uniform if not given.

    Raises:
        SpaceError: for other spaces.
    """

    def __init__(
        self,
        space: Space,
        flow: Layer,
        *,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
        dequantise: UniformDequantise | None = None,
    ) -> None:
        super().__init__(space, condition)
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"a flow models Continuous or Ordinal spaces; received {space}")
        if (condition is None) != (embedding is None):
            raise OptionError("give a condition and an embedding of it, or neither")
        self.flow, self.embedding = flow, embedding
        self.dequantise: UniformDequantise | None = None
        if isinstance(space, Ordinal):
            self.dequantise = UniformDequantise(space) if dequantise is None else dequantise
            noise = "variational" if isinstance(dequantise, VariationalDequantise) else "uniform"
            self.likelihood = Likelihood.BOUND
            self.likelihood_note = f"{noise} dequantisation, importance-weighted, 8 samples"
        elif flow.noisy_forward:
            self.likelihood, self.likelihood_note = Likelihood.BOUND, "stochastic layers, 1 sample"

    @classmethod
    def compose(
        cls,
        space: Space,
        condition: Space | None,
        layers: Callable[[int], Iterable[Layer]],
        *,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
        least: int = 1,
    ) -> Self:
        """The preprocessing that suits the space, then layers.

        Args:
            space: Continuous or Ordinal.
            condition: any space, or None.
            layers: makes the layers for conditions embedded in that many numbers (0: no condition).
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
            least: the number of dimensions that the layers need.

        Raises:
            SpaceError: for other spaces, or too few dimensions.
        """
        if not isinstance(space, Continuous | Ordinal) or space.dims < least:
            need = f" of at least {least} dimensions" if least > 1 else ""
            raise SpaceError(f"{cls.__name__} needs numeric samples{need}; received {space}")
        context = 0 if condition is None else CONTEXT_WIDTH
        embedding = None if condition is None else ConditionEmbedding(condition, context)
        histogram = isinstance(space, Ordinal) and preprocess == "histogram"
        first = Gaussianise(space) if histogram else Standardise(space.shape)  # type: ignore[arg-type]
        learned = isinstance(space, Ordinal) and dequantise == "variational"
        noise = VariationalDequantise(space, context=context) if learned else None  # type: ignore[arg-type]
        flow = Compose([first, *layers(context)])
        return cls(space, flow, condition=condition, embedding=embedding, dequantise=noise)

    def training_defaults(self) -> TrainingDefaults:
        """Adam at 1e-3 with averaged weights."""
        return TrainingDefaults(batch_size=128, lr=1e-3, ema=0.998)

    def _embed(self, c: Tensor | None) -> Tensor | None:
        return None if c is None or self.embedding is None else self.embedding(c).to(self.dtype)

    @torch.no_grad()
    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Histograms and scales of the data and of what arrives at every layer; see `GenerativeModel.initialise`."""
        self.check_batch(x, c)
        if self.embedding is not None and c is not None:
            self.embedding.initialise(c)
        e = self._embed(c)
        y = x.to(self.dtype) if self.dequantise is None else self.dequantise(x, e)[0]
        self.flow.initialise(y, e)

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Data to noise: (z, log |det dz/dx|); of an ordinal space, the dequantised data, floating (B, *shape)."""
        z, log_det = self.flow.forward(x, self._embed(c))
        return z.contiguous(), log_det

    def inverse(self, z: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise to (dequantised) data: (x, log |det dx/dz|)."""
        x, log_det = self.flow.inverse(z, self._embed(c))
        return x.contiguous(), log_det

    def log_prob(self, x: Tensor, c: Tensor | None = None, *, samples: int = 8) -> Tensor:
        """Log-density in nats, (B,); of an ordinal space, a lower bound.

        Args:
            x: raw data, (B, *space.shape).
            c: conditions, (B, *condition.shape), or None.
            samples: K, the dequantisation noises that the bound averages over (ordinal spaces only).
        """
        self.check_batch(x, c)
        if samples < 1:
            raise OptionError(f"samples must be at least 1; received {samples}")
        e = self._embed(c)
        if self.dequantise is None:
            return self._density(x.to(self.dtype), e)
        e = None if e is None else e.repeat(samples, 1)
        y, log_det = self.dequantise(x.repeat(samples, *[1] * len(self.space.shape)), e)
        log_w = self._density(y, e) + log_det
        return log_w.unflatten(0, (samples, len(x))).logsumexp(0) - math.log(samples)

    def _density(self, y: Tensor, e: Tensor | None) -> Tensor:
        z, log_det = self.flow.forward(y, e)
        return standard_log_prob(z) + log_det

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """Negative log-likelihood in nats per sample; of an ordinal space, the bound with one noise sample."""
        nll = -self.log_prob(x, c, samples=1).mean()
        return Terms(nll, {"nll": nll.detach()})

    def pictures(self, x: Tensor, c: Tensor | None = None) -> Mapping[str, Callable[[], Figure | Image]]:
        """On the plane: `layers`, a density and a grid through the layers, and `trajectories` of continuous ones."""
        if self.space.shape != (2,) or self.dequantise is not None or not isinstance(self.flow, Compose):
            return {}
        from creo.flows.continuous import Continuous as ContinuousLayer
        from creo.flows.pictures import layers_picture, trajectories_picture

        flow, shown = self.flow, x[:300].to(self.dtype)
        e = self._embed(None if c is None else c[:300])
        one = None if e is None else e[:1]
        drawn: dict[str, Callable[[], Figure | Image]] = {"layers": lambda: layers_picture(flow, shown, e)}
        for layer in flow:
            if isinstance(layer, ContinuousLayer):
                drawn["trajectories"] = partial(trajectories_picture, layer, one)
        return drawn

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Draw samples; see `GenerativeModel.sample`.

        Args:
            n: how many.
            c: conditions, or None.
            temperature: standard deviation of the noise that is pushed through; 1 is exact sampling.
        """
        c = self.expand_condition(n, c)
        shape = self.flow.output_shape(self.space.shape)
        z = temperature * torch.randn(n, *shape, dtype=self.dtype, device=self.device)
        y = self.flow.generate(z, self._embed(c)).contiguous()
        return y if self.dequantise is None else self.dequantise.inverse(y)[0]
