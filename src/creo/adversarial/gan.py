"""The generative adversarial network: a game of two players, without a likelihood.

    G: z ~ N(0, I), c -> sample          D: sample, c -> logit of "this is data"

    discriminator lowers  E_data softplus(-D(x)) + E_z softplus(D(G(z))) + r1/2 E_data |grad_x D(x)|^2
    generator     lowers  E_z softplus(-D(G(z)))                                    (non-saturating)

The gradient penalty R1 takes the norm of each sample's own gradient; with it the game converges locally. At the
equilibrium D = 0 everywhere and the discriminator's cross-entropy is 2 ln 2 nats.

The players meet in the unit data: continuous data standardised, levels as (x + u) / levels on [-1, 1] with u uniform
on [0, 1] (dequantisation, so that D cannot tell data by its lying on a grid). Samples of levels are the generator's
output put back into its bin.

References:
    Goodfellow et al. (2014), https://arxiv.org/abs/1406.2661;
    Mescheder, Geiger, Nowozin (2018), R1, https://arxiv.org/abs/1801.04406;
    Mirza, Osindero (2014), conditional, https://arxiv.org/abs/1411.1784.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel, Likelihood, Player, Report, Terms, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.nn.shaped import NetworkName, reader, writer
from creo.spaces import Continuous, Ordinal, Space


class GAN(GenerativeModel):
    """The model of the module docstring.

    Args:
        space: Continuous or Ordinal.
        generator: a `Conditioned` network from z (B, latent) to unit data (B, *shape, 1).
        discriminator: a `Conditioned` network from unit data (B, *shape) to logits (B, 1).
        latent: dimensions of z.
        r1: weight of the gradient penalty.
        steps: discriminator updates per generator update.
        condition: what it is conditioned on, or None.
    """

    likelihood = Likelihood.NONE
    no_likelihood: ClassVar[str] = "a generator network defines samples, not their density"
    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        space: Continuous | Ordinal,
        generator: Conditioned,
        discriminator: Conditioned,
        *,
        latent: int,
        r1: float = 0.3,
        steps: int = 1,
        condition: Space | None = None,
    ) -> None:
        super().__init__(space, condition)
        if r1 < 0 or steps < 1:
            raise OptionError(f"r1 must be at least 0 and steps at least 1; received r1={r1}, steps={steps}")
        self.generator, self.discriminator = generator, discriminator
        self.latent, self.r1, self.steps = latent, r1, steps
        # x = shift + scale * unit; of levels, x + u.
        half = space.levels / 2 if isinstance(space, Ordinal) else None
        self.register_buffer("shift", torch.full(space.shape, half or 0.0))
        self.register_buffer("scale", torch.full(space.shape, half or 1.0))

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        latent: int = 32,
        hidden: int = 256,
        layers: int = 3,
        network: NetworkName = "auto",
        channels: int = 32,
        r1: float = 0.3,
        steps: int = 1,
        width: int = 32,
    ) -> Self:
        """A GAN with networks that suit the space.

        Args:
            space: Continuous or Ordinal.
            condition: what it is conditioned on, or None.
            latent: dimensions of the generator's noise z.
            hidden: units of each hidden layer of the perceptrons.
            layers: hidden layers of each perceptron.
            network: mlp or conv (images only); auto is conv for images of at least 16 x 16.
            channels: channels of the convolutional networks at full size.
            r1: weight of the gradient penalty on the discriminator; 0 turns it off.
            steps: discriminator updates per generator update.
            width: size of the condition's embedding, one for each player.
        """
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"GAN models Continuous and Ordinal; received {space}")
        context = 0 if condition is None else width
        shared: dict[str, Any] = dict(
            network=network,
            hidden=(hidden,) * layers,
            channels=channels,
            context=context,
            activation=_leaky,
        )
        return cls(
            space,
            Conditioned(writer(latent, space.shape, 1, **shared), _embedding(condition, width)),
            Conditioned(reader(space.shape, 1, **shared), _embedding(condition, width)),
            latent=latent,
            r1=r1,
            steps=steps,
            condition=condition,
        )

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(
            batch_size=128, lr=5e-4, betas=(0.5, 0.9), clip=0.0, ema=0.99, schedule="constant"
        )

    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        if isinstance(self.space, Continuous):
            spread = x.double().std(0, correction=0)
            self.shift.copy_(x.double().mean(0))
            self.scale.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))
        for player in (self.generator, self.discriminator):
            player.initialise(c)

    def players(self) -> list[Player]:
        adam = {"betas": (0.5, 0.9)}
        return [
            Player(
                "discriminator",
                list(self.discriminator.parameters()),
                self.discriminator_loss,
                steps=self.steps,
                optimiser=adam,
            ),
            Player("generator", list(self.generator.parameters()), self.generator_loss, optimiser=adam),
        ]

    def _unit(self, x: Tensor) -> Tensor:
        """Raw data as the discriminator sees them; levels with fresh dequantisation noise."""
        y = x.to(self.dtype)
        if self.space.discrete:
            y = y + torch.rand_like(y)
        return (y - self.shift) / self.scale

    def _raw(self, unit: Tensor) -> Tensor:
        """Unit data as raw data: levels are the bin the number falls in."""
        y = self.shift + self.scale * unit
        if isinstance(self.space, Ordinal):
            y = y.floor().clamp(0, self.space.levels - 1)
        return y.to(self.space.dtype if self.space.discrete else y.dtype)

    def generate(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """The generator's output for noise z (B, latent), differentiable unit data (B, *space.shape)."""
        y = self.generator(z, c).squeeze(-1)
        return torch.tanh(y) if self.space.discrete else y

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, self.latent, dtype=self.dtype, device=self.device)

    def discriminator_loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """What the discriminator lowers: its cross-entropy in nats, plus the penalty."""
        self.check_batch(x, c)
        real = self._unit(x).requires_grad_(self.r1 > 0)
        with torch.no_grad():
            fake = self.generate(self._noise(len(x)), c)
        on_real, on_fake = self.discriminator(real, c), self.discriminator(fake, c)
        entropy = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        parts = {"cross_entropy": entropy.detach(), "real_logit": on_real.mean().detach()}
        if self.r1 == 0:
            return Terms(entropy, parts)
        penalty = gradient_penalty(on_real, real)
        return Terms(entropy + 0.5 * self.r1 * penalty, parts | {"gradient_penalty": penalty.detach()})

    def generator_loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """What the generator lowers: -log of the probability that its samples pass for data, in nats."""
        self.check_batch(x, c)
        fake = self.generate(self._noise(len(x)), c)
        loss = F.softplus(-self.discriminator(fake, c)).mean()
        return Terms(loss, {"fooling": loss.detach()})

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """The generator's loss; training plays `players` instead."""
        return self.generator_loss(x, c)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """The samples of noise z, (B, latent): raw data (B, *space.shape)."""
        return self._raw(self.generate(z, self.expand_condition(len(z), c)))

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Draw z from N(0, I) and generate."""
        c = self.expand_condition(n, c)
        return self.decode(self._noise(n), c)


class Conditioned(nn.Module):
    """A player's network with its own embedding of the condition.

    Args:
        network: maps (input, context or None) to its answer.
        embedding: maps raw conditions to contexts; None if unconditional.
    """

    def __init__(self, network: nn.Module, embedding: ConditionEmbedding | None = None) -> None:
        super().__init__()
        self.network, self.embedding = network, embedding

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The network's answer to x under the raw conditions c."""
        return self.network(x, None if self.embedding is None else self.embedding(c))

    def initialise(self, c: Tensor | None) -> None:
        """Take the scale of continuous conditions from data."""
        if self.embedding is not None and c is not None:
            self.embedding.initialise(c)


def gradient_penalty(logits: Tensor, x: Tensor) -> Tensor:
    """R1: the squared norm of each sample's own gradient, averaged over the batch.

    Args:
        logits: (B, 1), each a function of its own row of x.
        x: (B, *shape), which requires gradients.

    Returns:
        A scalar that can be differentiated again.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean()


def _embedding(condition: Space | None, width: int) -> ConditionEmbedding | None:
    return None if condition is None else ConditionEmbedding(condition, width)


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)
