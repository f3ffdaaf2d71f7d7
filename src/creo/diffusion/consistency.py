r"""Consistency models: one network call from noise to data, by agreeing with itself along the flow.

On the path x_sigma = y + sigma z the probability flow carries x_sigma to some x_eps. The consistency function f gives
that end from anywhere on the way. It is parametrised so that f(x, eps) = x,

    f(x, sigma) = skip x + out network(x / sqrt(1 + sigma^2), log sigma),
    skip = 1 / (1 + (sigma - eps)^2),   out = (sigma - eps) / sqrt(1 + sigma^2)          (data of unit variance)

and trained to agree with itself at neighbouring levels sigma' < sigma of a grid of N,

    loss = E  d(f(x_sigma, sigma), stop[f(x_sigma', sigma')]) / (sigma - sigma'),     d = sqrt(|.|^2 + h^2) - h,

where x_sigma' = y + sigma' z with the same z (consistency training: unbiased as the grid gets fine), or Heun's step
from x_sigma along a trained model's flow (`taught_by`: consistency distillation). N doubles every `doubling` updates.

Sampling is f of pure noise; further calls add noise again and repeat. There is no density.

For data N(0, s^2):  f(x, sigma) = x sqrt((s^2 + eps^2) / (s^2 + sigma^2)).

Sources: Song, Dhariwal, Chen, Sutskever 2023, https://arxiv.org/abs/2303.01469; Song, Dhariwal 2024,
https://arxiv.org/abs/2310.14189 (loss, weights, levels).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor, nn

from creo.diffusion.networks import NetworkName, told_network
from creo.diffusion.paths import EDM, columns
from creo.diffusion.units import Units
from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel, Likelihood, Report, Terms, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.spaces import Continuous, Ordinal, Space

if TYPE_CHECKING:
    from creo.diffusion.model import Diffusion

CONTEXT_WIDTH = 32
#: Lowest and highest level of noise, for data of unit variance.
EPS, TOP = 0.004, 40.0
#: Levels of the first and of the finest grid.
COARSE, FINE = 10, 640
#: Mean and deviation of log sigma in training (published, for unit variance), h per square root of a dimension.
MEAN, SPREAD, HUBER = -0.4, 2.0, 0.00054


class Consistency(GenerativeModel):
    """The model of the module docstring.

    Args:
        space: Continuous or Ordinal.
        network: (x (B, *shape) of unit variance, log(sigma) (B,), context (B, width) or None) to (B, *shape).
        condition: what it is conditioned on, or None.
        embedding: raw conditions to context; needed if there is a condition.
        doubling: updates after which the grid has twice as many levels.
        steps: network calls of a sample where nothing else is said.
    """

    likelihood = Likelihood.NONE
    no_likelihood: ClassVar[str] = "a consistency function carries noise to data in one call, not invertibly"
    trained: Tensor

    def __init__(
        self,
        space: Space,
        network: nn.Module,
        *,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
        doubling: int = 400,
        steps: int = 2,
    ) -> None:
        super().__init__(space, condition)
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"a consistency model is of Continuous and Ordinal spaces; received {space}")
        if doubling < 1 or steps < 1:
            raise OptionError(
                f"doubling and steps are at least 1; received doubling={doubling}, steps={steps}"
            )
        self.network, self.embedding, self.units = network, embedding, Units(space)
        self.doubling, self.steps = doubling, steps
        self.register_buffer("trained", torch.zeros((), dtype=torch.int64))
        self._teacher: list[Diffusion] = []  # a list: its weights are not this model's

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        network: NetworkName = "auto",
        hidden: tuple[int, ...] = (128, 128, 128),
        channels: int = 32,
        blocks: int = 1,
        patch: int = 1,
        doubling: int = 400,
        steps: int = 2,
    ) -> Self:
        """A network that suits the space.

        Args:
            space: Continuous or Ordinal.
            condition: what it is conditioned on, or None.
            network: mlp, unet or dit (both of images only); auto is unet for images of at least 16 x 16.
            hidden: units of the perceptron's hidden layers.
            channels: of the U-Net at full size; a DiT's sites have four times as many numbers.
            blocks: of the U-Net per size; a DiT has four times as many.
            patch: side of the squares of pixels taken as one.
            doubling: updates after which the training grid has twice as many levels (10 to 640).
            steps: network calls of a sample where nothing else is said.
        """
        net, embedding = told_network(
            space.shape, condition, network, width=CONTEXT_WIDTH, hidden=hidden, channels=channels,
            blocks=blocks, patch=patch,
        )  # fmt: skip
        return cls(space, net, condition=condition, embedding=embedding, doubling=doubling, steps=steps)

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=256, lr=1e-3, ema=0.999)

    @torch.no_grad()
    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Units of the data (those of the teacher, if there is one) and scale of the condition."""
        self.check_batch(x, c)
        if self._teacher:
            self.units.load_state_dict(self._teacher[0].units.state_dict())
        else:
            self.units.initialise(x)
        if self.embedding is not None and c is not None:
            self.embedding.initialise(c)

    def taught_by(self, teacher: Diffusion) -> Self:
        """This model, to be trained by distillation: neighbours are those of the teacher's probability flow.

        Args:
            teacher: a trained diffusion of the same space and condition; it is neither trained nor saved.

        Raises:
            OptionError: another space or condition.
        """
        if (teacher.space, teacher.condition) != (self.space, self.condition):
            raise OptionError(
                f"the teacher must be of {self.space} given {self.condition}; "
                f"it is of {teacher.space} given {teacher.condition}"
            )
        self._teacher = [teacher.eval()]
        return self

    def levels(self) -> Tensor:
        """The grid of sigma in force, rising, (N + 1,) float64."""
        n = min(COARSE * 2 ** int(self.trained.item() // self.doubling), FINE)
        return EDM(EPS, TOP)(torch.linspace(0, 1, n + 1, dtype=torch.float64))[1]

    def _told(self, c: Tensor | None) -> Tensor | None:
        return None if c is None or self.embedding is None else self.embedding(c)

    def ends(self, x: Tensor, sigma: Tensor, e: Tensor | None = None) -> Tensor:
        """f(x, sigma): where the flow ends, (B, *shape), of x (B, *shape) at sigma (B,) in units."""
        sigma = sigma.double()
        total, skip = (1 + sigma.square()).sqrt(), 1 / (1 + (sigma - EPS).square())
        out = self.network(x / columns(total, x), sigma.log().to(x.dtype), e)
        return columns(skip, x) * x + columns((sigma - EPS) / total, x) * out.to(x.dtype)

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """Disagreement at neighbouring levels (not nats)."""
        self.check_batch(x, c)
        levels, y, e = self.levels().to(x.device), self.units(x), self._told(c)
        z, i = torch.randn_like(y), _drawn(levels, len(y))
        low, high = levels[i], levels[i + 1]
        noisy = y + columns(high, y) * z
        with torch.no_grad():
            before = y + columns(low, y) * z if not self._teacher else self._backward(noisy, high, low, c)
            target = self.ends(before, low, e)
        gap = (self.ends(noisy, high, e) - target).square().flatten(1).sum(1)
        h = HUBER * math.sqrt(self.space.dims)
        loss = (((gap + h**2).sqrt() - h) / (high - low).to(gap.dtype)).mean()
        if self.training:
            self.trained += 1
        return Terms(loss, {"gap": gap.detach().mean().sqrt()})

    def _backward(self, x: Tensor, high: Tensor, low: Tensor, c: Tensor | None) -> Tensor:
        """Heun's step of the teacher's flow dx/dsigma = (x - E[y | x]) / sigma from sigma = high to low."""
        denoise = _on_levels(self._teacher[0], c)
        first = (x - denoise(x, high)) / columns(high, x)
        ahead = x + columns(low - high, x) * first
        second = (ahead - denoise(ahead, low)) / columns(low, x)
        return x + columns((low - high) / 2, x) * (first + second)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, *, steps: int | None = None) -> Tensor:
        """Draw samples.

        Args:
            n: how many.
            c: conditions, (n, *condition.shape) or one for all.
            steps: network calls; levels of noise that are equally spaced in sigma^(1/7).
        """
        e, count = self._told(self.expand_condition(n, c)), self.steps if steps is None else steps
        if count < 1:
            raise OptionError(f"a sample takes at least 1 step; received {count}")
        times = torch.linspace(1, 0, count + 1, dtype=torch.float64)[:-1]
        y = torch.zeros(n, *self.space.shape, dtype=self.dtype, device=self.device)
        for sigma in EDM(EPS, TOP)(times)[1]:
            y = self.ends(y + float(sigma**2 - EPS**2) ** 0.5 * torch.randn_like(y), sigma.expand(n), e)
        return self.units.data(y)


def _drawn(levels: Tensor, n: int) -> Tensor:
    """n indices of neighbours, by the normal law of log sigma over the intervals between levels."""
    edges = torch.special.ndtr((levels.log() - MEAN) / SPREAD)
    return torch.multinomial(edges.diff(), n, replacement=True)


def _on_levels(teacher: Diffusion, c: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    """E[y | y + sigma z = x] of (x, sigma) by a model on any path, at its nearest time."""
    denoise, path = teacher.conditioned(c), teacher.choices.path

    def call(x: Tensor, sigma: Tensor) -> Tensor:
        t = path.time(-2 * sigma.double().log()).clamp(path.t_min, path.t_max)
        return denoise(columns(path(t)[0], x) * x, t)

    return call
