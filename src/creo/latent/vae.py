r"""Variational autoencoder: a latent vector, an amortised posterior, any likelihood head.

    p(z)        a prior (`creo.latent.priors`)                         N(0, I) unless said otherwise
    p(x | z, c) = prod_i head(x_i; decoder(z, c)_i)
    q(z | x, c) a posterior family (`creo.latent.posteriors`) given encoder(x, c)

Training raises an importance-weighted bound (`creo.latent.bounds`) by a gradient estimator
(`creo.latent.estimators`). With the ELBO and a closed form of the rate that is: lower distortion + beta rate, in nats
per raw sample,

    distortion = -E_q log p(x | z, c)  (one sample)      rate = KL(q(z | x, c) || p(z))  (closed form)

and the rate may cost otherwise (`creo.latent.rate`). Everything that varies is an argument. `log_prob` is the bound
with (1, `samples`), tighter the more there are. Networks see levels scaled to [-1, 1] and continuous data standardised;
the head works in raw units, so that no log-determinant is forgotten.

References:
    Kingma, Welling (2014), https://arxiv.org/abs/1312.6114;
    Rezende, Mohamed, Wierstra (2014), https://arxiv.org/abs/1401.4082;
    Burda, Grosse, Salakhutdinov (2016), https://arxiv.org/abs/1509.00519;
    Alemi et al. (2018), rate and distortion, https://arxiv.org/abs/1711.00464.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from creo.distributions.heads import Head
from creo.errors import OptionError, SpaceError
from creo.latent.beta import DecoderHeadName, decoder_head
from creo.latent.bounds import Bound, BoundName, bound_for
from creo.latent.estimators import EstimatorName, Objective, estimator_for
from creo.latent.likelihood import log_likelihood
from creo.latent.networks import Activation, encoder_decoder, start_from_marginals
from creo.latent.posteriors import Diagonals, Family, Posterior, posterior_for
from creo.latent.priors import Prior, Standard, prior_for
from creo.latent.rate import RateCost
from creo.latent.weighted import CHUNK_NUMBERS, Weigher, Weighted
from creo.model import Report, Terms, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.nn.shaped import NetworkName
from creo.spaces import Continuous, Ordinal, Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

#: Variance of a posterior mean over data above which a latent entry counts as active (Burda et al., section 5.2).
ACTIVE = 0.01


class Encoding:
    """Scaled data (and a context) to posteriors: an encoder network and the family that reads its outputs."""

    def __init__(self, encoder: nn.Module, family: Family) -> None:
        self.encoder, self.family = encoder, family

    def __call__(self, x: Tensor, e: Tensor | None = None) -> Posterior:
        return self.family(_wide(self.encoder(x, e)))


class VAE(Weighted):
    """The model of the module docstring.

    Args:
        space: what one sample is.
        encoder: (scaled x (B, *shape), context or None) to (B, family.size).
        decoder: (z (B, latent), context or None) to head parameters (B, *shape, head.size).
        head: the distribution of every variable given its parameters.
        latent: dimensions of z.
        family: of posteriors; None: diagonal.
        prior: None: standard normal.
        bound: what training raises; None: the ELBO.
        estimator: of its gradient; auto is analytic (the rate in closed form) for the ELBO where there is one, and
            pathwise elsewhere.
        keep: samples that are back-propagated, drawn by weight; 0: all.
        cost: of the rate, or its weight beta; `log_prob` does not depend on it.
        samples: draws per sample in `log_prob`, where nothing else is said.
        condition: what it is conditioned on, or None.
        embedding: maps raw conditions to the networks' context vectors; None if unconditional.
    """

    #: training steps seen: what warm-up and capacity go by
    steps: Tensor

    def __init__(
        self,
        space: Space,
        encoder: nn.Module,
        decoder: nn.Module,
        head: Head,
        *,
        latent: int,
        family: Family | None = None,
        prior: Prior | None = None,
        bound: Bound | None = None,
        estimator: EstimatorName = "auto",
        keep: int = 0,
        cost: RateCost | float = 1.0,
        samples: int = 128,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
    ) -> None:
        super().__init__(space, condition)
        if samples < 1:
            raise OptionError(f"log_prob takes at least 1 sample; received samples={samples}")
        self.encoder, self.decoder, self.head, self.embedding = encoder, decoder, head, embedding
        self.family = Diagonals(latent) if family is None else family
        self.prior = Standard(latent) if prior is None else prior
        self.latent, self.samples = latent, samples
        self.cost = cost if isinstance(cost, RateCost) else RateCost(cost)
        self.bound = Bound() if bound is None else bound
        self.analytic = self._is_analytic(estimator)
        gradient = "pathwise" if estimator in ("auto", "analytic") else estimator
        self.objective = Objective(self.bound, estimator_for(gradient), keep)
        self.encoding = Encoding(self.encoder, self.family)
        self.likelihood_note = f"importance-weighted bound, {samples} samples"
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def _is_analytic(self, estimator: EstimatorName) -> bool:
        """Whether the rate is a closed form, which needs the ELBO, and a pair q, p that has one."""
        zeros = torch.zeros(1, self.family.size)
        able = self.bound == Bound(self.bound.m) and self.prior.rate(self.family(zeros)) is not None
        if not able and (estimator == "analytic" or self.cost.shapes):
            what = "estimator='analytic'" if estimator == "analytic" else "free_bits and capacity"
            raise OptionError(
                f"{what} needs bound='elbo', prior='standard' and posterior='diagonal' or 'full': a rate in closed form"
            )
        return able and estimator in ("auto", "analytic")

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
        residual: bool = True,
        head: DecoderHeadName = "auto",
        components: int = 3,
        std: float = 0.0,
        bound: BoundName = "elbo",
        m: int = 0,
        k: int = 0,
        elbo_share: float = 0.5,
        estimator: EstimatorName = "auto",
        keep: int = 0,
        prior: str = "standard",
        prior_components: int = 32,
        posterior: str = "diagonal",
        beta: float = 1.0,
        beta_warmup: int = 0,
        free_bits: float = 0.0,
        capacity: float = 0.0,
        capacity_steps: int = 0,
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
            activation: silu, tanh or relu, of the perceptrons.
            residual: perceptrons add a layer's input to its output.
            head: distribution of a pixel or variable given z: bernoulli (2 levels), categorical, adjacent (a table
                by neighbours' log-odds), logistic (discretised, mixture), gaussian (continuous data), beta
                (continuous data of bounded range); auto picks by the space.
            components: logistics in the mixture of the logistic head.
            std: fixed standard deviation of the gaussian head, in raw units; 0 learns it.
            bound: what training raises: elbo, iwae, miwae, piwae or ciwae.
            m: groups of samples whose bounds are averaged; 0 is the bound's own number.
            k: samples in a group whose weights are averaged; 0 is the bound's own number.
            elbo_share: weight of the ELBO in ciwae.
            estimator: of the gradient: analytic (elbo with the rate in closed form), pathwise, stl, dreg or score;
                auto is analytic where it can be, else pathwise.
            keep: samples per example that are back-propagated, drawn by weight (faster); 0 is all.
            prior: standard, mixture, vamp, or a model of vectors with an exact likelihood (maf, nsf, made-mixed, ...).
            prior_components: components of the mixture, or pseudo-inputs of vamp.
            posterior: diagonal, full, or an invertible flow (iaf, planar, realnvp, ...).
            beta: weight of the rate (KL) in the loss; 1 is the bound itself.
            beta_warmup: training steps over which that weight rises from 0.
            free_bits: nats of each latent dimension's rate that cost nothing.
            capacity: nats that the rate is drawn to (with a large beta); 0 is off.
            capacity_steps: training steps over which the capacity rises from 0.
            samples: draws per sample in log_prob.
            dropout: probability of dropping a hidden unit of the perceptrons in training.
            width: size of the condition's embedding.
        """
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"VAE models Continuous and Ordinal; received {space}")
        of_pixel = decoder_head(space, head, components=components, std=std or None)
        embedding = None if condition is None else ConditionEmbedding(condition, width)
        family = posterior_for(posterior, latent)
        encoder, decoder = encoder_decoder(
            space.shape, family.size, latent, of_pixel.size, network=network, hidden=(hidden,) * layers,
            channels=channels, context=0 if condition is None else width, dropout=dropout,
            activation=activation, residual=residual,
        )  # fmt: skip
        encode = Encoding(encoder, family) if condition is None else None
        return cls(
            space,
            encoder,
            decoder,
            of_pixel,
            latent=latent,
            family=family,
            prior=prior_for(prior, latent, components=prior_components, shape=space.shape, encode=encode),
            bound=bound_for(bound, m=m, k=k, share=elbo_share),
            estimator=estimator,
            keep=keep,
            cost=RateCost(beta, beta_warmup, free_bits, capacity, capacity_steps),
            samples=samples,
            condition=condition,
            embedding=embedding,
        )

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=128, lr=1e-3, ema=0.99)

    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        self.head.initialise(x)
        start_from_marginals(self.decoder, self.head, x)
        if self.embedding is not None and c is not None:
            self.embedding.initialise(c)
        self.prior.initialise(lambda n: self.head.scaled(x[torch.randint(len(x), (n,))], self.dtype))

    def _context(self, c: Tensor | None) -> Tensor | None:
        return None if self.embedding is None else self.embedding(c)

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Posterior:
        """q(z | x, c) of a batch of raw data."""
        self.check_batch(x, c)
        return self.encoding(self.head.scaled(x, self.dtype), self._context(c))

    def log_likelihood(self, x: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor:
        """log p(x | z, c) of raw x (B, *shape) under s latents each, z (s, B, latent): (s, B) nats."""
        return self._log_likelihood(x, z, self._context(c))

    def _log_likelihood(self, x: Tensor, z: Tensor, e: Tensor | None) -> Tensor:
        """Where no gradient is wanted, as many draws at a time as `CHUNK_NUMBERS` of the head's numbers allow."""
        chunk = len(z) if torch.is_grad_enabled() else max(1, CHUNK_NUMBERS // (x.numel() * self.head.size))

        def of(z: Tensor) -> Tensor:
            params = self.decoder(z.flatten(0, 1), None if e is None else e.repeat(len(z), 1))
            return log_likelihood(self.head, params.unflatten(0, z.shape[:2]), x)

        return torch.cat([of(part) for part in z.split(chunk)])

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """Minus the bound, or distortion + the cost of the rate; nats per sample, averaged over the batch."""
        q, e = self.posterior(x, c), self._context(c)
        if self.training:
            self.steps += 1
        terms = self._analytic(x, q, e) if self.analytic else self._sampled(x, q, e)
        active = (q.mean.detach().var(0, correction=0) > ACTIVE).sum()
        return Terms(terms.loss, {**terms.parts, "active": active})

    def _step(self) -> int:
        return int(self.steps) if self.cost.warmup or self.cost.capacity_steps else 0

    def _analytic(self, x: Tensor, q: Posterior, e: Tensor | None) -> Terms:
        z, _ = q.push(q.noise(self.bound.m))
        distortion = -self._log_likelihood(x, z, e).mean()
        rates = self.prior.rate(q).mean(0)  # type: ignore[union-attr]  # `_is_analytic` has asked
        rate = rates.sum()
        parts = {"nll": distortion + rate, "distortion": distortion, "rate": rate}
        loss = distortion + self.cost(rates, self._step())
        return Terms(loss, {name: value.detach() for name, value in parts.items()})

    def _sampled(self, x: Tensor, q: Posterior, e: Tensor | None) -> Terms:
        found = self.objective(
            q,
            lambda z: (self._log_likelihood(x, z, e), self.prior.log_prob(z)),
            self.cost.weight(self._step()),
        )
        nll = -self.bound.value(found.log_w).mean()
        return Terms(-found.value.mean(), {"nll": nll, "distortion": found.distortion, "rate": found.rate})

    def weigher(self, x: Tensor, c: Tensor | None = None) -> Weigher:
        q, e = self.posterior(x, c), self._context(c)

        def log_w(k: int) -> Tensor:
            z, log_q = q.push(q.noise(k))
            return self._log_likelihood(x, z, e) + self.prior.log_prob(z) - log_q

        return log_w

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Mean of the posterior q(z | x, c) (of a flow posterior, where noise 0 goes), (B, latent)."""
        return self.posterior(x, c).at_centre()

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
        return self.decode(self.prior.sample(n), c, draw=True)

    def pictures(self, x: Tensor, c: Tensor | None = None) -> Mapping[str, Callable[[], Figure | Image]]:
        """Reconstructions, traversals and interpolations of pictures, and the map of a 2-D code."""
        from creo.latent.plots import latent_pictures

        return latent_pictures(self, x, c)


def _wide(outputs: Tensor) -> Tensor:
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
