r"""Ladder VAE: several layers of latent vectors, each posterior a compromise between evidence and prior.

Bottom-up perceptrons give each layer an estimate N(m_i, s_i^2) of z_i from x; top-down ones the prior
N(mu_i, sigma_i^2) of z_i from the layer above. The posterior is their product, weighed by precision,

    1 / s^2 = 1 / s_i^2 + 1 / sigma_i^2,      m = s^2 (m_i / s_i^2 + mu_i / sigma_i^2)

so that what the top-down path knows already needs not be said again. The rest is `creo.latent.hierarchical`; warm-up of
the rate, which keeps the upper layers alive, is on by default, as in the paper.

Reference: Sonderby, Raiko, Maaloe, Sonderby, Winther (2016), https://arxiv.org/abs/1602.02282.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn

from creo.distributions.heads import Head, HeadName, head_for
from creo.errors import OptionError, SpaceError
from creo.latent.chooser import Chooser, Normal, normal
from creo.latent.hierarchical import HierarchicalVAE
from creo.nn import ConditionEmbedding
from creo.nn.mlp import MLP
from creo.nn.shaped import NetworkName, reader, writer
from creo.spaces import Continuous, Ordinal, Space

#: Samples of less variables get smaller networks, where nothing else is said.
SMALL = 64


class LadderVAE(HierarchicalVAE):
    """The model of the module docstring.

    Args:
        space: what one sample is.
        latents: sizes of the latent layers, from the one next to the data to the top.
        first: (scaled x (B, *shape), context or None) to (B, hidden).
        decoder: (z_1 (B, latents[0]), context or None) to head parameters (B, *shape, head.size).
        head: the distribution of every variable given its parameters.
        hidden: units of the perceptrons between layers.
        context: size of the condition's embedding; 0 for none.
        options: of `HierarchicalVAE`.
    """

    def __init__(
        self,
        space: Space,
        latents: Sequence[int],
        first: nn.Module,
        decoder: nn.Module,
        head: Head,
        *,
        hidden: int,
        context: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(space, head, **options)
        if not latents or min(latents) < 1:
            raise OptionError(
                f"latents are the sizes of at least one layer, at least 1 each; received {tuple(latents)}"
            )
        shared: dict[str, Any] = {"hidden": (hidden,), "context": context}
        self.latents, self.decoder = tuple(latents), decoder
        self.up = nn.ModuleList([first, *(MLP(hidden, hidden, **shared) for _ in latents[1:])])
        self.estimate = nn.ModuleList(nn.Linear(hidden, 2 * size) for size in latents)
        self.down = nn.ModuleList(MLP(above, 2 * size, **shared) for size, above in pairwise(latents))

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        latents: tuple[int, ...] = (),
        hidden: int = 0,
        layers: int = 2,
        network: NetworkName = "auto",
        channels: int = 32,
        head: HeadName = "auto",
        components: int = 3,
        std: float = 0.0,
        beta: float = 1.0,
        warmup: int = 1000,
        free_bits: float = 0.0,
        samples: int = 32,
        width: int = 32,
    ) -> Self:
        """A ladder VAE with networks that suit the space.

        Args:
            space: Continuous or Ordinal.
            condition: what it is conditioned on, or None.
            latents: sizes of the latent layers, from the one next to the data to the top; empty: 32 16 8, or 8 4 2
                for less than 64 variables.
            hidden: units of each hidden layer; 0: 256, or 64 for less than 64 variables.
            layers: hidden layers of the perceptrons next to the data.
            network: of these, mlp or conv (images only); auto is conv for images of at least 16 x 16.
            channels: of the convolutions at full size.
            head: distribution of a pixel or variable given z_1; as of vae.
            components: logistics in the mixture of the logistic head.
            std: fixed standard deviation of the gaussian head, in raw units; 0 learns it.
            beta: weight of the rate in the loss; 1 is the evidence lower bound.
            warmup: training steps over which it rises from 0.
            free_bits: nats below which a layer's rate does not count in the loss.
            samples: draws per sample in log_prob.
            width: size of the condition's embedding.
        """
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"a ladder VAE models Continuous and Ordinal; received {space}")
        small = space.dims < SMALL
        latents, hidden = latents or ((8, 4, 2) if small else (32, 16, 8)), hidden or (64 if small else 256)
        of_pixel = head_for(space, head, components=components, std=std or None)
        context = 0 if condition is None else width
        shared: dict[str, Any] = dict(
            network=network, hidden=(hidden,) * layers, channels=channels, context=context
        )
        return cls(
            space,
            latents,
            reader(space.shape, hidden, **shared),
            writer(latents[0], space.shape, of_pixel.size, **shared),
            of_pixel,
            hidden=hidden,
            context=context,
            beta=beta,
            warmup=warmup,
            free_bits=free_bits,
            samples=samples,
            condition=condition,
            embedding=None if condition is None else ConditionEmbedding(condition, width),
        )

    def evidence(self, x: Tensor, e: Tensor | None) -> list[Tensor]:
        """Each layer's estimate of its latents, (B, 2 d_i), from the layer next to the data on."""
        h, found = self.head.scaled(x, self.dtype), []
        for up, estimate in zip(self.up, self.estimate, strict=True):
            h = up(h, e)
            found.append(estimate(torch.nn.functional.silu(h)))
        return found

    def descend(self, n: int, e: Tensor | None, evidence: Sequence[Tensor] | None, choose: Chooser) -> Tensor:
        zeros = torch.zeros(n, self.latents[-1], dtype=self.dtype, device=self.device)
        p = Normal(zeros, zeros)
        for i in reversed(range(len(self.latents))):
            q = None if evidence is None else product(normal(evidence[i]), p)
            z = choose(p, q)
            if i:
                p = normal(self.down[i - 1](z, e))
        return z

    def parameters_of(self, features: Tensor, e: Tensor | None) -> Tensor:
        return self.decoder(features, e)


def product(a: Normal, b: Normal) -> Normal:
    """The normal distribution proportional to the product of two densities."""
    precision_a, precision_b = (-2 * a.log_std).exp(), (-2 * b.log_std).exp()
    total = precision_a + precision_b
    return Normal((a.mean * precision_a + b.mean * precision_b) / total, -0.5 * total.log())
