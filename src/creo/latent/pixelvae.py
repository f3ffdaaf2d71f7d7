r"""PixelVAE: a latent vector for what a picture is about, causal convolutions for how its pixels follow each other.

    p(z) = N(0, I),      p(x | z) = prod_i head(x_i; f(x_{<i}, z) + g_i(z))

f is a small stack of gated causal convolutions (`creo.nn.gated`) whose gates see z, g a decoder that gives features of
every pixel from z alone; a 1 x 1 convolution of their sum answers the head's numbers. The channels of one pixel are
independent given its features. A decoder that sees far explains everything without z, which then carries nothing; few
layers (a small receptive field) leave the large structure to z.

The bound, its importance-weighted version and encoding are those of `creo.latent.hierarchical` with a single layer;
sampling steps through the stack's cache, pixel by pixel.

Reference: Gulrajani et al. (2017), PixelVAE, https://arxiv.org/abs/1611.05013.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.distributions.heads import Head, HeadName, head_for
from creo.errors import SpaceError
from creo.latent.chooser import Chooser, Normal, normal
from creo.latent.hierarchical import HierarchicalVAE
from creo.nn import ConditionEmbedding
from creo.nn.gated import GatedStack
from creo.nn.shaped import NetworkName, reader, writer
from creo.spaces import Ordinal, Space

#: Samples of less variables get smaller networks, where nothing else is said.
SMALL = 64


class PixelVAE(HierarchicalVAE):
    """The model of the module docstring.

    Args:
        space: Ordinal pictures (C, H, W).
        encoder: (scaled x, context or None) to (B, 2 * latent): mean and log deviation of q.
        decoder: ([z, context], context or None) to features (B, 1, H, W, F).
        stack: gated causal convolutions of C inputs, F features, with a context as wide as [z, context].
        head: the distribution of every variable given its parameters.
        latent: dimensions of z.
        options: of `HierarchicalVAE`.
    """

    def __init__(
        self,
        space: Space,
        encoder: nn.Module,
        decoder: nn.Module,
        stack: GatedStack,
        head: Head,
        *,
        latent: int,
        **options: Any,
    ) -> None:
        super().__init__(space, head, **options)
        self.encoder, self.decoder, self.stack, self.latent = encoder, decoder, stack, latent
        self.out = nn.Conv2d(stack.width, space.shape[0] * head.size, 1)

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        latent: int = 16,
        features: int = 0,
        depth: int = 2,
        first: int = 5,
        hidden: int = 0,
        layers: int = 2,
        network: NetworkName = "auto",
        channels: int = 32,
        head: HeadName = "auto",
        components: int = 3,
        beta: float = 1.0,
        warmup: int = 500,
        free_bits: float = 0.0,
        samples: int = 16,
        width: int = 32,
    ) -> Self:
        """A PixelVAE with networks that suit the space.

        Args:
            space: Ordinal pictures.
            condition: what it is conditioned on, or None.
            latent: dimensions of the latent z.
            features: channels of the causal convolutions; 0: 32, or 16 for less than 64 variables.
            depth: their number; each sees one pixel further.
            first: side of the first of them, odd.
            hidden: units of each hidden layer of the perceptrons; 0: 256, or 64 for less than 64 variables.
            layers: hidden layers of each perceptron.
            network: of encoder and decoder, mlp or conv; auto is conv for images of at least 16 x 16.
            channels: of their convolutions at full size.
            head: distribution of a pixel given its features; as of vae.
            components: logistics in the mixture of the logistic head.
            beta: weight of the rate in the loss; 1 is the evidence lower bound.
            warmup: training steps over which it rises from 0.
            free_bits: nats below which the rate does not count in the loss.
            samples: draws per sample in log_prob.
            width: size of the condition's embedding.
        """
        if not isinstance(space, Ordinal) or not space.is_image:
            raise SpaceError(f"PixelVAE models Ordinal pictures (C, H, W); received {space}")
        small = space.dims < SMALL
        features, hidden = features or (16 if small else 32), hidden or (64 if small else 256)
        of_pixel = head_for(space, head, components=components)
        context = 0 if condition is None else width
        shared: dict[str, Any] = dict(network=network, hidden=(hidden,) * layers, channels=channels)
        size = (space.shape[1], space.shape[2])
        return cls(
            space,
            reader(space.shape, 2 * latent, context=context, **shared),
            writer(latent + context, (1, *size), features, **shared),
            GatedStack(
                space.shape[0], size, width=features, layers=depth, first=first, context=latent + context
            ),
            of_pixel,
            latent=latent,
            beta=beta,
            warmup=warmup,
            free_bits=free_bits,
            samples=samples,
            condition=condition,
            embedding=None if condition is None else ConditionEmbedding(condition, width),
        )

    def evidence(self, x: Tensor, e: Tensor | None) -> list[Tensor]:
        return [self.encoder(self.head.scaled(x, self.dtype), e)]

    def descend(self, n: int, e: Tensor | None, evidence: Sequence[Tensor] | None, choose: Chooser) -> Tensor:
        """[z, context], (n, latent + width)."""
        zeros = torch.zeros(n, self.latent, dtype=self.dtype, device=self.device)
        z = choose(Normal(zeros, zeros), None if evidence is None else normal(evidence[0]))
        return z if e is None else torch.cat([z, e], 1)

    def _of_z(self, known: Tensor) -> Tensor:
        """g: features of every pixel from [z, context], (B, F, H, W)."""
        return self.decoder(known)[:, 0].movedim(-1, 1)

    def _head_numbers(self, features: Tensor) -> Tensor:
        """(B, F, h, w) to (B, C, h, w, head.size)."""
        return self.out(F.relu(features)).unflatten(1, (self.space.shape[0], -1)).movedim(2, -1)

    def log_likelihood(self, x: Tensor, features: Tensor, e: Tensor | None) -> Tensor:
        causal = self.stack(self.head.scaled(x, self.dtype), features)
        return self.head.log_prob(self._head_numbers(causal + self._of_z(features)), x).flatten(1).sum(1)

    @torch.no_grad()
    def _generate(self, known: Tensor, choose: Any) -> Tensor:
        """Pixels one after another, each chosen from its head's numbers (n, C, 1, 1, size)."""
        channels, height, width = self.space.shape
        x = torch.zeros(len(known), channels, height * width, dtype=torch.long, device=known.device)
        cache, of_z = self.stack.begin(len(known), known), self._of_z(known).flatten(2)
        for i in range(height * width):
            code = self.head.scaled(x[:, :, i - 1], self.dtype) if i else None
            features = self.stack.advance(cache, i, code) + of_z[:, :, i]
            x[:, :, i] = choose(self._head_numbers(features[:, :, None, None]))[:, :, 0, 0]
        return x.view(len(known), channels, height, width)

    def draw(self, features: Tensor, e: Tensor | None) -> Tensor:
        return self._generate(features, self.head.sample)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """What latents (B, latent) look like: pixels one after another, each the most probable given those before."""
        e = self.context(self.expand_condition(len(z), c))
        known = z if e is None else torch.cat([z, e], 1)
        return self._generate(known, self.head.mode).to(self.space.dtype)

    def parameters_of(self, features: Tensor, e: Tensor | None) -> Tensor:
        raise SpaceError("the numbers of a pixel depend on the pixels before it: ask log_likelihood")
