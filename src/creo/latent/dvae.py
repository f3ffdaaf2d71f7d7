r"""Discrete VAE: a distribution over codes for every place of a grid, relaxed by Gumbel noise to be trained.

    q(k_i | x) = softmax(encoder(x)_i),    p(k_i) = 1 / K,    p(x | k) = prod_j head(x_j; decoder(e_k)_j)

In training the one-hot code is replaced by a point inside the simplex,

    y_i = softmax((logits_i + g_i) / tau),   g_i Gumbel noise,      the decoder sees sum_k y_ik e_k

which tends to a sample of q as tau -> 0 and has a gradient for every tau > 0. tau falls from 1 to `temperature` along
half a cosine over `anneal` steps, which a buffer counts. The loss is distortion + beta rate, distortion relaxed and

    rate = KL(q(k | x) || p(k)) = sum_i (log K - H(q_i)),      nats per raw sample,

which bounds nothing. `log_prob` does: it draws codes from q itself, importance-weighted. A second stage
(`creo.training.two_stage`) models the most probable codes.

References:
    Jang, Gu, Poole (2017), https://arxiv.org/abs/1611.01144; Maddison, Mnih, Teh (2017),
    https://arxiv.org/abs/1611.00712; Ramesh et al. (2021), DALL-E, https://arxiv.org/abs/2102.12092.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn

from creo.distributions.heads import Head, HeadName, head_for
from creo.errors import OptionError, SpaceError
from creo.latent.coded import CodedModel
from creo.latent.quantise import perplexity
from creo.latent.vqvae import codes_for
from creo.latent.weighted import Weigher, Weighted
from creo.model import Terms, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.nn.feature_maps import map_networks
from creo.nn.shaped import NetworkName
from creo.spaces import Continuous, Ordinal, Space


class DVAE(Weighted, CodedModel):
    """The model of the module docstring.

    Args:
        space: what one sample is.
        encoder: (scaled x (B, *shape), context or None) to logits (B, K, *grid).
        decoder: (vectors (B, D, *grid), context or None) to head parameters (B, *shape, head.size).
        head: the distribution of every variable given its parameters.
        codes: K.
        dim: D.
        grid: sizes of the grid of places.
        temperature: at which tau ends.
        anneal: steps until then.
        beta: weight of the rate in the loss.
        samples: draws per sample in `log_prob`, where nothing else is said.
        condition: what it is conditioned on, or None.
        embedding: maps raw conditions to the networks' context vectors; None if unconditional.
    """

    steps: Tensor

    def __init__(
        self,
        space: Space,
        encoder: nn.Module,
        decoder: nn.Module,
        head: Head,
        *,
        codes: int,
        dim: int,
        grid: tuple[int, ...],
        temperature: float = 1 / 16,
        anneal: int = 1000,
        beta: float = 1.0,
        samples: int = 16,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
    ) -> None:
        if not 0 < temperature <= 1 or anneal < 0 or beta < 0 or samples < 1:
            raise OptionError(
                "temperature must be in (0, 1], anneal and beta at least 0, samples at least 1; received "
                f"temperature={temperature}, anneal={anneal}, beta={beta}, samples={samples}"
            )
        super().__init__(space, Ordinal(grid, codes), head, condition=condition, embedding=embedding)
        self.encoder, self.decoder, self.grid = encoder, decoder, grid
        self.codebook = nn.Parameter(torch.randn(codes, dim))
        self.temperature, self.anneal, self.beta, self.samples = temperature, anneal, beta, samples
        self.likelihood_note = f"importance-weighted bound over codes, {samples} samples"
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        codes: int = 0,
        dim: int = 32,
        temperature: float = 0.0625,
        anneal: int = 1000,
        beta: float = 1.0,
        network: NetworkName = "auto",
        downsampling: int = 0,
        channels: int = 0,
        blocks: int = 2,
        places: int = 0,
        hidden: int = 256,
        layers: int = 2,
        head: HeadName = "auto",
        components: int = 3,
        std: float = 0.0,
        samples: int = 16,
        width: int = 32,
    ) -> Self:
        """A discrete VAE with networks that suit the space.

        Args:
            space: Continuous or Ordinal.
            condition: what it is conditioned on, or None.
            codes: K, values of every symbol; 0: 512 for samples of 256 variables or more, 64 from 32 on, else 16.
            dim: D, numbers of a code.
            temperature: of the relaxation at its end, in (0, 1].
            anneal: steps over which it falls there from 1.
            beta: weight of the rate in the loss.
            network: conv (pictures), mlp, or auto: conv for pictures.
            downsampling: how often pictures are halved; 0: until their shorter side is at most 8, at least once.
            channels: of the convolutions on the grid; 0: 8 times the shorter side, at most 64.
            blocks: residual blocks on the grid, of encoder and decoder each.
            places: number of codes of a sample that is no picture; 0: 4, or 1 for less than 8 variables.
            hidden: units of each hidden layer of the perceptrons.
            layers: hidden layers of each perceptron.
            head: distribution of a pixel or variable given the codes; as of vae.
            components: logistics in the mixture of the logistic head.
            std: fixed standard deviation of the gaussian head, in raw units; 0 learns it.
            samples: draws per sample in log_prob.
            width: size of the condition's embedding.
        """
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"a discrete VAE models Continuous and Ordinal; received {space}")
        of_pixel, codes = (
            head_for(space, head, components=components, std=std or None),
            codes or codes_for(space),
        )
        encoder, decoder, grid = map_networks(
            space.shape,
            codes,
            dim,
            of_pixel.size,
            network=network,
            downsampling=downsampling,
            channels=channels,
            blocks=blocks,
            places=places or (4 if space.dims >= 8 else 1),
            hidden=(hidden,) * layers,
            context=0 if condition is None else width,
        )
        return cls(
            space, encoder, decoder, of_pixel,
            codes=codes, dim=dim, grid=grid, temperature=temperature, anneal=anneal, beta=beta, samples=samples,
            condition=condition, embedding=None if condition is None else ConditionEmbedding(condition, width),
        )  # fmt: skip

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=64, lr=2e-3, ema=0.99)

    def log_posterior(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """log q(k_i | x), (B, *grid, K)."""
        self.check_batch(x, c)
        logits = self.encoder(self.head.scaled(x, self.dtype), self.context(c)).movedim(1, -1)
        return logits.to(self.codebook.dtype).log_softmax(-1)

    @property
    def tau(self) -> float:
        """The temperature now."""
        gone = min(1.0, int(self.steps) / self.anneal) if self.anneal else 1.0
        return self.temperature + (1 - self.temperature) * (1 + math.cos(math.pi * gone)) / 2

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """distortion + beta rate, relaxed, in nats per sample, averaged over the batch."""
        if self.training and torch.is_grad_enabled():
            self.steps += 1
        log_q = self.log_posterior(x, c)
        y = relaxed(log_q, self.tau)
        params = self.parameters_of((y @ self.codebook).movedim(-1, 1), self.context(c))
        distortion = -self.head.log_prob(params, x).flatten(1).sum(1).mean()
        rate = (log_q.exp() * (log_q + math.log(self.code_space.levels))).flatten(1).sum(1).mean()
        parts = {
            "distortion": distortion.detach(),
            "rate": rate.detach(),
            "temperature": torch.tensor(self.tau),
            "perplexity": perplexity(log_q.argmax(-1).flatten()),
        }
        return Terms(distortion + self.beta * rate, parts)

    def codes(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The most probable codes, (B, *grid)."""
        return self.log_posterior(x, c).argmax(-1)

    def vectors(self, codes: Tensor) -> Tensor:
        return self.codebook[codes.long()].movedim(-1, 1)

    def parameters_of(self, vectors: Tensor, e: Tensor | None) -> Tensor:
        return self.decoder(vectors, e)

    def log_code_prior(self, codes: Tensor) -> Tensor:
        places = self.code_space.dims
        return self.codebook.new_full((len(codes),), -places * math.log(self.code_space.levels))

    def draw_codes(self, n: int) -> Tensor:
        return torch.randint(self.code_space.levels, (n, *self.grid), device=self.device)

    def weigher(self, x: Tensor, c: Tensor | None = None) -> Weigher:
        """The latents are codes: w = p(k) p(x | k, c) / q(k | x, c)."""
        flat = self.log_posterior(x, c).flatten(0, -2)

        def log_w(k: int) -> Tensor:
            chosen = torch.multinomial(flat.exp(), k, replacement=True)
            of_codes = flat.gather(1, chosen).view(len(x), -1, k).sum(1).T
            codes = chosen.T.reshape(k * len(x), *self.grid)
            many = x.repeat(k, *(1 for _ in self.space.shape))
            given = None if c is None else c.repeat(k, *(1 for _ in c.shape[1:]))
            log_joint = self.log_code_prior(codes) + self.log_likelihood(many, codes, given)
            return log_joint.view(k, -1) - of_codes

        return log_w


def relaxed(log_q: Tensor, tau: float) -> Tensor:
    """A point of the simplex near a draw from the categorical distributions log_q (..., K): Gumbel-softmax."""
    gumbel = -torch.empty_like(log_q).exponential_().log()
    return ((log_q + gumbel) / tau).softmax(-1)
