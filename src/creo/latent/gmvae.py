r"""Gaussian-mixture VAE: the code comes from one of C Gaussians, which cluster the data.

    y ~ Categorical(pi),    z ~ N(m_y, diag s_y^2),    x ~ head(decoder(z))

How it is trained and what its likelihood is: `creo.latent.class_vae`. pi, m and s are learned; the means start apart.

References:
    Dilokthanakul et al. (2016), https://arxiv.org/abs/1611.02648; Jiang et al. (2017), https://arxiv.org/abs/1611.05148.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from creo.distributions.heads import HeadName, head_for
from creo.errors import SpaceError
from creo.latent.class_vae import ClassVAE, classes_for
from creo.latent.networks import encoder_decoder
from creo.model import Terms
from creo.nn.shaped import NetworkName, reader
from creo.spaces import Continuous, Ordinal, Space

#: Standard deviation of the means of the Gaussians at the start.
APART = 2.0


class GMVAE(ClassVAE):
    """The model of the module docstring; arguments as of `ClassVAE`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logits = nn.Parameter(torch.zeros(self.classes))
        self.centre = nn.Parameter(APART * torch.randn(self.classes, self.latent))
        self.log_std = nn.Parameter(torch.zeros(self.classes, self.latent))

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        classes: int = 0,
        latent: int = 8,
        hidden: int = 128,
        layers: int = 2,
        network: NetworkName = "auto",
        channels: int = 16,
        head: HeadName = "auto",
        components: int = 3,
        std: float = 0.0,
        samples: int = 16,
        width: int = 16,
    ) -> Self:
        """A Gaussian-mixture VAE with networks that suit the space.

        Args:
            space: Continuous or Ordinal.
            condition: None.
            classes: C, Gaussians in the mixture; 0: 10, or 3 in a space of few dimensions.
            latent: dimensions of the latent z.
            hidden: units of each hidden layer of the perceptrons.
            layers: hidden layers of each perceptron.
            network: mlp or conv (images only); auto is conv for images of at least 16 x 16.
            channels: channels of the convolutional networks at full size.
            head: distribution of a pixel or variable given z, as of vae.
            components: logistics in the mixture of the logistic head.
            std: fixed standard deviation of the gaussian head, in raw units; 0 learns it.
            samples: draws per class in log_prob.
            width: size of the class's embedding in the encoder.
        """
        if condition is not None:
            raise SpaceError(
                f"gmvae finds classes by itself and is unconditional; received {condition}: ssvae takes labels, vae any"
            )
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"gmvae models Continuous and Ordinal; received {space}")
        size = classes_for(space, classes)
        of_pixel = head_for(space, head, components=components, std=std or None)
        shared: dict[str, Any] = dict(network=network, hidden=(hidden,) * layers, channels=channels)
        encoder = reader(space.shape, 2 * latent, context=width, **shared)
        decoder = encoder_decoder(space.shape, 1, latent, of_pixel.size, **shared)[1]
        classifier = reader(space.shape, size, **shared)
        return cls(
            space, classifier, encoder, decoder, of_pixel,
            classes=size, latent=latent, width=width, samples=samples,
        )  # fmt: skip

    def _told(self, y: Tensor) -> None:
        return None

    def _prior(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.centre[y], self.log_std[y]

    def class_log_prior(self) -> Tensor:
        return self.logits.log_softmax(0)

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """-U(x), in nats per sample, averaged over the batch."""
        self.check_batch(x, c)
        return self._mean_terms(self._unlabelled(x))

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Mean of p(x | z), (B, *space.shape), rounded to a level on ordinal data."""
        self.expand_condition(len(z), c)
        return self._decoded(z, torch.zeros(len(z), dtype=torch.long, device=z.device), draw=False)
