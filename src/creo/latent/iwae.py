r"""Importance-weighted autoencoder: the VAE of the paper, trained on the bound with K samples.

    log p(x) >= E log 1/K sum_k p(x, z_k) / q(z_k | x)                 (Burda et al., equation 8)

The networks are the paper's with one stochastic layer: perceptrons with two hidden layers of 200 tanh units each and 50
latent entries. Anything else of a VAE can be had too: it is `VAE` with other defaults.

Reference: Burda, Grosse, Salakhutdinov (2016), https://arxiv.org/abs/1509.00519.
"""

from __future__ import annotations

from typing import Self

from creo.latent.beta import DecoderHeadName
from creo.latent.bounds import BoundName
from creo.latent.estimators import EstimatorName
from creo.latent.networks import Activation
from creo.latent.vae import VAE
from creo.spaces import Space


class IWAE(VAE):
    """A VAE with the importance-weighted bound; see the module docstring."""

    @classmethod
    def for_space(  # type: ignore[override]
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        k: int = 50,
        latent: int = 50,
        hidden: int = 200,
        layers: int = 2,
        activation: Activation = "tanh",
        head: DecoderHeadName = "auto",
        components: int = 3,
        std: float = 0.0,
        bound: BoundName = "iwae",
        m: int = 0,
        estimator: EstimatorName = "pathwise",
        keep: int = 0,
        prior: str = "standard",
        prior_components: int = 32,
        posterior: str = "diagonal",
        samples: int = 128,
        width: int = 32,
    ) -> Self:
        """The paper's networks and bound.

        Args:
            space: Continuous or Ordinal.
            condition: what it is conditioned on, or None.
            k: samples of z whose weights are averaged.
            latent: dimensions of the latent z.
            hidden: units of each hidden layer.
            layers: hidden layers of encoder and decoder.
            activation: silu, tanh or relu.
            head: distribution of a pixel or variable given z, as of vae.
            components: logistics in the mixture of the logistic head.
            std: fixed standard deviation of the gaussian head, in raw units; 0 learns it.
            bound: what training raises: iwae, miwae, piwae or ciwae (and elbo).
            m: groups of samples whose bounds are averaged; 0 is the bound's own number.
            estimator: of the gradient: pathwise, stl, dreg or score.
            keep: samples per example that are back-propagated, drawn by weight (faster); 0 is all.
            prior: standard, mixture, vamp, or a model of vectors with an exact likelihood (maf, nsf, made-mixed, ...).
            prior_components: components of the mixture, or pseudo-inputs of vamp.
            posterior: diagonal, full, or an invertible flow (iaf, planar, realnvp, ...).
            samples: draws per sample in log_prob.
            width: size of the condition's embedding.
        """
        return super().for_space(
            space, condition, k=k, m=m, bound=bound, estimator=estimator, keep=keep, latent=latent, hidden=hidden,
            layers=layers, activation=activation, residual=False, network="mlp", head=head, components=components,
            std=std, prior=prior, prior_components=prior_components, posterior=posterior, samples=samples, width=width,
        )  # fmt: skip
