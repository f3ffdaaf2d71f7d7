r"""Autoencoder: a code that the data can be restored from; no density.

    z = f(x~),    loss = -log head(x; g(z)) + sparsity |z|_1                    x~ = x, or x corrupted

| variant   | what it does                                       | option                         |
|-----------|----------------------------------------------------|--------------------------------|
| plain     | restores x through a code of `latent` numbers      |                                |
| linear    | no hidden layers, Gaussian head: the code spans PCA's subspace (Baldi, Hornik) | `layers=0` |
| denoising | restores x from x + noise, or with parts set to 0  | `corruption`, `masking`        |
| sparse    | pays for what codes are not 0                      | `sparsity`                     |

The head says what an error costs: with `std` fixed it is the squared error over 2 std^2, on binary pictures the
cross-entropy. Codes are standardised by nothing; `sample` draws them from a Gaussian with the mean and covariance that
training's codes had lately, which is no model of them: `likelihood` is none. How good the code is at a given rate,
`creo.latent.diagnostics.rate_distortion` measures by quantising it.

References:
    Baldi, Hornik (1989), https://doi.org/10.1016/0893-6080(89)90014-2;
    Hinton, Salakhutdinov (2006), https://doi.org/10.1126/science.1127647;
    Vincent, Larochelle, Bengio, Manzagol (2008), https://doi.org/10.1145/1390156.1390294 (denoising);
    Ranzato, Boureau, LeCun (2007), https://papers.nips.cc/paper/3363 (sparse).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from creo.distributions.gaussian import full_sample
from creo.distributions.heads import Head, HeadName, head_for
from creo.errors import OptionError, SpaceError
from creo.latent.likelihood import log_likelihood
from creo.latent.networks import Activation, encoder_decoder, start_from_marginals
from creo.model import GenerativeModel, Likelihood, Report, Terms, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.nn.shaped import NetworkName
from creo.spaces import Continuous, Ordinal, Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

#: How much of the codes' running moments a training step keeps, once there have been many.
MEMORY = 0.98
#: Added to the codes' covariance, in the unit of their mean variance.
JITTER = 1e-4


class Autoencoder(GenerativeModel):
    """The model of the module docstring.

    Args:
        space: Continuous or Ordinal.
        encoder: (scaled x (B, *shape), context or None) to codes (B, latent).
        decoder: (codes, context or None) to head parameters (B, *shape, head.size).
        head: whose negative log-probability is the cost of an error.
        latent: size of a code.
        corruption: standard deviation of the noise added to what the encoder sees in training, in scaled units.
        masking: share of its entries set to 0 in training.
        sparsity: cost of a code's absolute values, nats.
        condition: what networks are also given, or None.
        embedding: maps raw conditions to context vectors; None if unconditional.
    """

    likelihood = Likelihood.NONE
    no_likelihood = "its code has no distribution (vae has one)"
    code_mean: Tensor
    code_square: Tensor
    steps: Tensor

    def __init__(
        self,
        space: Space,
        encoder: nn.Module,
        decoder: nn.Module,
        head: Head,
        *,
        latent: int,
        corruption: float = 0.0,
        masking: float = 0.0,
        sparsity: float = 0.0,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
    ) -> None:
        super().__init__(space, condition)
        if corruption < 0 or sparsity < 0 or not 0 <= masking < 1:
            raise OptionError(
                "an autoencoder needs corruption >= 0, sparsity >= 0 and masking in [0, 1); "
                f"received {corruption}, {sparsity} and {masking}"
            )
        self.encoder, self.decoder, self.head, self.embedding = encoder, decoder, head, embedding
        self.latent, self.corruption, self.masking, self.sparsity = latent, corruption, masking, sparsity
        self.register_buffer("code_mean", torch.zeros(latent))
        self.register_buffer("code_square", torch.eye(latent))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        latent: int = 16,
        hidden: int = 256,
        layers: int = 2,
        network: NetworkName = "auto",
        channels: int = 32,
        activation: Activation = "silu",
        head: HeadName = "auto",
        components: int = 3,
        std: float = 1.0,
        corruption: float = 0.0,
        masking: float = 0.0,
        sparsity: float = 0.0,
        width: int = 32,
    ) -> Self:
        """An autoencoder with networks that suit the space.

        Args:
            space: Continuous or Ordinal.
            condition: what its networks are also given, or None.
            latent: size of a code.
            hidden: units of each hidden layer of the perceptrons.
            layers: hidden layers of each perceptron; 0: linear, which finds PCA's subspace.
            network: mlp or conv (images only); auto is conv for images of at least 16 x 16.
            channels: channels of the convolutional networks at full size.
            activation: silu, tanh or relu, of the perceptrons.
            head: what an error costs: bernoulli (2 levels), categorical, adjacent, logistic, gaussian (squared error).
            components: logistics in the mixture of the logistic head.
            std: of the gaussian head, in raw units: errors cost their square over 2 std^2.
            corruption: standard deviation of the noise added to the input in training (levels span -1 to 1).
            masking: share of the input set to 0 in training.
            sparsity: cost of a code's absolute values, nats.
            width: size of the condition's embedding.
        """
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"an autoencoder models Continuous and Ordinal; received {space}")
        cost = head_for(space, head, components=components, std=std)
        encoder, decoder = encoder_decoder(
            space.shape, latent, latent, cost.size, hidden=(hidden,) * layers, channels=channels,
            network=network if layers else "mlp", context=0 if condition is None else width, activation=activation,
        )  # fmt: skip
        embedding = None if condition is None else ConditionEmbedding(condition, width)
        return cls(
            space, encoder, decoder, cost, latent=latent, corruption=corruption, masking=masking,
            sparsity=sparsity, condition=condition, embedding=embedding,
        )  # fmt: skip

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=128, lr=1e-3, ema=0.99)

    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        self.head.initialise(x)
        start_from_marginals(self.decoder, self.head, x)
        if self.embedding is not None and c is not None:
            self.embedding.initialise(c)

    def _context(self, c: Tensor | None) -> Tensor | None:
        return None if self.embedding is None else self.embedding(c)

    def _corrupted(self, x: Tensor) -> Tensor:
        """What the encoder sees in training of scaled x."""
        if self.corruption:
            x = x + self.corruption * torch.randn_like(x)
        return x * (torch.rand_like(x) >= self.masking) if self.masking else x

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """The cost of the errors and of the code; nats per sample, averaged over the batch."""
        self.check_batch(x, c)
        seen, e = self.head.scaled(x, self.dtype), self._context(c)
        z = self.encoder(self._corrupted(seen) if self.training else seen, e)
        if self.training:
            self._remember(z.detach().to(self.dtype))
        distortion = -log_likelihood(self.head, self.decoder(z, e).unsqueeze(0), x).mean()
        size = z.float().abs().sum(1).mean()
        parts = {"distortion": distortion.detach(), "size": size.detach()}
        return Terms(distortion + self.sparsity * size if self.sparsity else distortion, parts)

    @torch.no_grad()
    def _remember(self, z: Tensor) -> None:
        """Running first and second moments of codes."""
        self.steps += 1
        new = 1 / min(float(self.steps), 1 / (1 - MEMORY))
        self.code_mean.lerp_(z.mean(0), new)
        self.code_square.lerp_(z.T @ z / len(z), new)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Codes, (B, latent)."""
        self.check_batch(x, c)
        return self.encoder(self.head.scaled(x, self.dtype), self._context(c))

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """What codes (B, latent) stand for: the head's mean, rounded to a level on ordinal data."""
        x = self.head.mean(self.decoder(z, self._context(self.expand_condition(len(z), c))))
        return x.round().to(self.space.dtype) if self.space.discrete else x

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Codes from a Gaussian like training's codes, decoded."""
        c = self.expand_condition(n, c)
        covariance = self.code_square - torch.outer(self.code_mean, self.code_mean)
        covariance.diagonal().add_(JITTER * covariance.diagonal().mean().clamp_min(JITTER))
        return self.decode(full_sample(n, self.code_mean, torch.linalg.cholesky(covariance)), c)

    def pictures(self, x: Tensor, c: Tensor | None = None) -> Mapping[str, Callable[[], Figure | Image]]:
        """Reconstructions, the map of a 2-D code, traversals, an interpolation, and rate against distortion."""
        from creo.latent.plots import latent_pictures, rate_distortion_plot

        return latent_pictures(self, x, c) | {"rate-distortion": lambda: rate_distortion_plot(self, x, c)}
