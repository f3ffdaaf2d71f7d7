"""Variational autoencoder: Gaussian latent, amortised Gaussian posterior, any likelihood head.

    p(z) = N(0, I)
    p(x | z, c) = prod_i head(x_i; decoder(z, c)_i)
    q(z | x, c) = N(mu(x, c), diag sigma^2(x, c))

Training lowers distortion + beta rate, in nats per raw sample,

    distortion = -E_q log p(x | z, c)  (one sample)      rate = KL(q(z | x, c) || p(z))  (closed form)

which is the negative evidence lower bound at beta = 1. `log_prob` is the importance-weighted bound with `samples`
draws (`creo.latent.bounds`), tighter the more there are. Networks see levels scaled to [-1, 1] and continuous data
standardised; the head works in raw units, so that no log-determinant is forgotten.

References:
    Kingma, Welling (2014), https://arxiv.org/abs/1312.6114;
    Rezende, Mohamed, Wierstra (2014), https://arxiv.org/abs/1401.4082;
    Higgins et al. (2017), beta-VAE, https://openreview.net/forum?id=Sy2fzU9gl;
    Alemi et al. (2018), rate and distortion, https://arxiv.org/abs/1711.00464.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from creo.distributions.gaussian import diagonal_log_prob
from creo.distributions.heads import Head, HeadName, head_for
from creo.errors import OptionError, SpaceError
from creo.latent.bounds import iwae_in_chunks, kl_to_standard_normal
from creo.model import GenerativeModel, Likelihood, Report, Terms, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.nn.shaped import NetworkName, reader, writer
from creo.spaces import Continuous, Ordinal, Space

#: How many head parameters `log_prob` holds in memory at a time (8 million float32 are 32 MiB).
CHUNK_NUMBERS = 2**23
#: The posterior's log standard deviation stays within this, so that no sample, however far out, overflows.
LOG_STD_LIMIT = 10.0


class VAE(GenerativeModel):
    """The model of the module docstring.

    Args:
        space: what one sample is.
        encoder: (scaled x (B, *shape), context or None) to (B, 2 * latent): mean and log deviation of q.
        decoder: (z (B, latent), context or None) to head parameters (B, *shape, head.size).
        head: the distribution of every variable given its parameters.
        latent: dimensions of z.
        beta: weight of the rate in the loss; `log_prob` does not depend on it.
        samples: draws per sample in `log_prob`, where nothing else is said.
        condition: what it is conditioned on, or None.
        embedding: maps raw conditions to the networks' context vectors; None if unconditional.
    """

    likelihood = Likelihood.BOUND

    def __init__(
        self,
        space: Space,
        encoder: nn.Module,
        decoder: nn.Module,
        head: Head,
        *,
        latent: int,
        beta: float = 1.0,
        samples: int = 128,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
    ) -> None:
        super().__init__(space, condition)
        if beta < 0 or samples < 1:
            raise OptionError(
                f"beta must be at least 0 and samples at least 1; received beta={beta}, samples={samples}"
            )
        self.encoder, self.decoder, self.head, self.embedding = encoder, decoder, head, embedding
        self.latent, self.beta, self.samples = latent, beta, samples
        self.likelihood_note = f"importance-weighted bound, {samples} samples"

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
        head: HeadName = "auto",
        components: int = 3,
        std: float = 0.0,
        beta: float = 1.0,
        samples: int = 128,
        dropout: float = 0.0,
        width: int = 32,
    ) -> Self:
        """A VAE with networks that suit the space.

        Args:
            space: Continuous or Ordinal.
            condition: what it is conditioned on, or None.
            latent: dimensions of the latent z.
            hidden: units of each hidden layer of the perceptrons.
            layers: hidden layers of each perceptron.
            network: mlp or conv (images only); auto is conv for images of at least 16 x 16.
            channels: channels of the convolutional networks at full size.
            head: distribution of a pixel or variable given z: bernoulli (2 levels), categorical, adjacent (a table
                by neighbours' log-odds), logistic (discretised, mixture), gaussian (continuous data); auto picks
                by the space.
            components: logistics in the mixture of the logistic head.
            std: fixed standard deviation of the gaussian head, in raw units; 0 learns it.
            beta: weight of the rate (KL) in the loss; 1 is the evidence lower bound.
            samples: draws per sample in log_prob.
            dropout: probability of dropping a hidden unit of the perceptrons in training.
            width: size of the condition's embedding.
        """
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"VAE models Continuous and Ordinal; received {space}")
        of_pixel = head_for(space, head, components=components, std=std or None)
        embedding = None if condition is None else ConditionEmbedding(condition, width)
        context = 0 if condition is None else width
        shared: dict[str, Any] = dict(
            network=network, hidden=(hidden,) * layers, channels=channels, context=context, dropout=dropout
        )
        encoder = reader(space.shape, 2 * latent, **shared)
        decoder = writer(latent, space.shape, of_pixel.size, **shared)
        return cls(
            space,
            encoder,
            decoder,
            of_pixel,
            latent=latent,
            beta=beta,
            samples=samples,
            condition=condition,
            embedding=embedding,
        )

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=128, lr=1e-3, ema=0.99)

    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        self.head.initialise(x)
        if self.embedding is not None and c is not None:
            self.embedding.initialise(c)

    def _context(self, c: Tensor | None) -> Tensor | None:
        return None if self.embedding is None else self.embedding(c)

    def posterior(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z | x, c), (B, latent) each."""
        self.check_batch(x, c)
        outputs = self.encoder(self.head.scaled(x, self.dtype), self._context(c))
        mean, raw = _wide(outputs).chunk(2, -1)
        return mean, raw.clamp(-LOG_STD_LIMIT, LOG_STD_LIMIT)

    def _log_likelihood(self, x: Tensor, z: Tensor, e: Tensor | None) -> Tensor:
        """log p(x | z, c), (B,) nats."""
        return self.head.log_prob(self.decoder(z, e), x).flatten(1).sum(1)

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """distortion + beta rate, in nats per sample, averaged over the batch."""
        mean, log_std = self.posterior(x, c)
        z = mean + log_std.exp() * torch.randn_like(mean)
        distortion = -self._log_likelihood(x, z, self._context(c)).mean()
        rate = kl_to_standard_normal(mean, log_std).mean()
        return Terms(
            distortion + self.beta * rate,
            {
                "nll": (distortion + rate).detach(),
                "distortion": distortion.detach(),
                "rate": rate.detach(),
            },
        )

    def log_weights(self, x: Tensor, c: Tensor | None = None, *, samples: int) -> Tensor:
        """log p(x, z_k | c) - log q(z_k | x, c) for z_k ~ q: (samples, B) nats."""
        mean, log_std = self.posterior(x, c)
        return self._log_weights(x, mean, log_std, self._context(c), samples)

    def _log_weights(self, x: Tensor, mean: Tensor, log_std: Tensor, e: Tensor | None, k: int) -> Tensor:
        z = mean + log_std.exp() * torch.randn(k, *mean.shape, dtype=mean.dtype, device=mean.device)
        likelihood = self._log_likelihood(
            x.repeat(k, *(1 for _ in self.space.shape)),
            z.flatten(0, 1),
            None if e is None else e.repeat(k, 1),
        )
        log_prior = diagonal_log_prob(z, torch.zeros_like(mean), torch.zeros_like(mean))
        return likelihood.view(k, -1) + log_prior - diagonal_log_prob(z, mean, log_std)

    def log_prob(self, x: Tensor, c: Tensor | None = None, *, samples: int | None = None) -> Tensor:
        """Importance-weighted lower bound on log p(x | c), in nats of the raw sample, in bounded memory.

        Args:
            x: raw data, (B, *space.shape).
            c: conditions, (B, *condition.shape), or None.
            samples: draws per sample; None: the model's own number.

        Returns:
            (B,) nats.
        """
        total = self.samples if samples is None else samples
        if total < 1:
            raise OptionError(f"a bound needs at least 1 sample; received samples={total}")
        self.check_batch(x, c)
        per_sample = self.space.dims * self.head.size
        rows = max(1, CHUNK_NUMBERS // per_sample)
        pieces = range(0, len(x), rows)
        bounds = [
            self._bound(x[i : i + rows], None if c is None else c[i : i + rows], total, per_sample)
            for i in pieces
        ]
        return torch.cat(bounds) if bounds else x.new_zeros(0, dtype=self.dtype)

    def _bound(self, x: Tensor, c: Tensor | None, samples: int, per_sample: int) -> Tensor:
        (mean, log_std), e = self.posterior(x, c), self._context(c)
        chunk = max(1, CHUNK_NUMBERS // (per_sample * len(x)))
        return iwae_in_chunks(lambda k: self._log_weights(x, mean, log_std, e, k), samples, chunk)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Mean of the posterior q(z | x, c), (B, latent)."""
        return self.posterior(x, c)[0]

    def decode(self, z: Tensor, c: Tensor | None = None, *, draw: bool = False) -> Tensor:
        """What a latent looks like.

        Args:
            z: latents, (B, latent).
            c: conditions, (B, *condition.shape), or None.
            draw: sample x from p(x | z, c); otherwise its mean (rounded to a level on ordinal data).

        Returns:
            Raw data, (B, *space.shape).
        """
        params = self.decoder(z, self._context(self.expand_condition(len(z), c)))
        x = self.head.sample(params) if draw else self.head.mean(params)
        return x.round().to(self.space.dtype) if self.space.discrete else x

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Draw z from the prior, then x from p(x | z, c)."""
        c = self.expand_condition(n, c)
        return self.decode(torch.randn(n, self.latent, dtype=self.dtype, device=self.device), c, draw=True)


def _wide(outputs: Tensor) -> Tensor:
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
