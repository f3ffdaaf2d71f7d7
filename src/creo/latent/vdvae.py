r"""A compact very deep VAE: many layers of latent maps, from one vector up to the full picture.

A layout such as "8x2,4x4,1x2" says how many layers there are at which height of the maps: 2 at 8 x 8, 4 at 4 x 4, 2 at
1 x 1. A bottom-up network of residual blocks gives evidence a_r at every height r. The top-down state h starts from
learned numbers at the smallest height, is enlarged (nearest) from height to height, and passes every layer's block:

    p(z | h):     mean, log std, r = block(h)          q(z | h, x): mean, log std = block([h, a_r])
    h <- h + r + W z,      h <- h + block(h)

A block is 1 x 1, 3 x 3, 3 x 3, 1 x 1 convolutions, GELU before each, the 3 x 3 ones 1 x 1 at heights below 3. What
enters the residual stream starts small (weights over sqrt of the number of layers), without which such depth does not
train. The rest is `creo.latent.hierarchical`.

Reference: Child (2021), Very Deep VAEs Generalize Autoregressive Models, https://arxiv.org/abs/2011.10650.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.distributions.heads import Head, HeadName, head_for
from creo.errors import OptionError, SpaceError
from creo.latent.chooser import Chooser, normal
from creo.latent.hierarchical import HierarchicalVAE
from creo.model import TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.spaces import Continuous, Ordinal, Space

#: Height of pictures from which the layers at full size are left out by `auto`.
LARGE = 16


class Block(nn.Module):
    """The block of the module docstring, (B, inputs, h, w) and context to (B, outputs, h, w).

    Args:
        inputs, middle, outputs: channels.
        height: of the maps it is for.
        context: size of a condition's embedding; 0 for none.
        scale: the last convolution's initial weights are multiplied by it.
    """

    def __init__(
        self, inputs: int, middle: int, outputs: int, *, height: int, context: int = 0, scale: float = 1.0
    ) -> None:
        super().__init__()
        side = 3 if height > 2 else 1
        sizes = ((inputs, middle, 1), (middle, middle, side), (middle, middle, side), (middle, outputs, 1))
        self.convs = nn.ModuleList(nn.Conv2d(a, b, k, padding=k // 2) for a, b, k in sizes)
        self.context = nn.Linear(context, middle, bias=False) if context else None
        last = self.convs[-1]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        last.weight.data.mul_(scale)  # type: ignore[operator]

    def forward(self, h: Tensor, e: Tensor | None = None) -> Tensor:
        for i, conv in enumerate(self.convs):
            h = conv(F.gelu(h))
            if i == 0 and self.context is not None:
                h = h + self.context(e)[:, :, None, None]
        return h


class Layer(nn.Module):
    """One layer of latents at one height: prior, posterior, and what z does to the state.

    Args:
        channels: of the state.
        latent: channels of z.
        height: of the maps.
        depth: number of layers in all.
        context: size of a condition's embedding; 0 for none.
    """

    def __init__(self, channels: int, latent: int, *, height: int, depth: int, context: int = 0) -> None:
        super().__init__()
        middle, small = max(channels // 2, 4), 1 / math.sqrt(depth)
        shared: dict[str, Any] = {"height": height, "context": context}
        self.prior = Block(channels, middle, 2 * latent + channels, scale=small, **shared)
        self.posterior = Block(2 * channels, middle, 2 * latent, scale=small, **shared)
        self.project = nn.Conv2d(latent, channels, 1)
        self.block = Block(channels, middle, channels, scale=small, **shared)
        self.split = (2 * latent, channels)
        with torch.no_grad():
            self.project.weight *= small

    def forward(self, h: Tensor, e: Tensor | None, a: Tensor | None, choose: Chooser) -> Tensor:
        """The state after this layer, from the state h, the context e and the evidence a (or None)."""
        p, r = self.prior(h, e).split(self.split, 1)
        q = None if a is None else normal(self.posterior(torch.cat([h, a], 1), e))
        h = h + r + self.project(choose(normal(p), q))
        return h + self.block(h, e)


class VDVAE(HierarchicalVAE):
    """The model of the module docstring.

    Args:
        space: pictures.
        layout: (height, layers) from the largest to the smallest.
        head: the distribution of every variable given its parameters.
        channels: of state and evidence.
        latent: channels of every z.
        context: size of the condition's embedding; 0 for none.
        options: of `HierarchicalVAE`.
    """

    def __init__(
        self,
        space: Space,
        layout: Sequence[tuple[int, int]],
        head: Head,
        *,
        channels: int = 64,
        latent: int = 8,
        context: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(space, head, **options)
        colours, height, width = space.shape
        self.layout, self.channels = tuple(layout), channels
        self.sizes = [(r, max(1, round(width * r / height))) for r, _ in layout]
        depth, shared = sum(count for _, count in layout), {"context": context}
        middle = max(channels // 2, 4)
        self.start = nn.Conv2d(colours, channels, 3, padding=1)
        self.up = nn.ModuleList(
            Block(channels, middle, channels, height=r, scale=1 / math.sqrt(len(layout)), **shared)
            for r, _ in layout
        )
        self.down = nn.ModuleList(
            nn.ModuleList(Layer(channels, latent, height=r, depth=depth, **shared) for _ in range(count))
            for r, count in layout
        )
        self.offset = nn.ParameterList(nn.Parameter(torch.zeros(channels, *size)) for size in self.sizes)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)
        self.out = nn.Conv2d(channels, colours * head.size, 1)

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        layout: str = "",
        channels: int = 0,
        latent: int = 8,
        head: HeadName = "auto",
        components: int = 3,
        std: float = 0.0,
        beta: float = 1.0,
        warmup: int = 1000,
        free_bits: float = 0.0,
        samples: int = 8,
        width: int = 32,
    ) -> Self:
        """A very deep VAE that suits the space.

        Args:
            space: pictures, Continuous or Ordinal.
            condition: what it is conditioned on, or None.
            layout: HEIGHTxLAYERS from the largest maps to the smallest, such as 8x2,4x4,1x2; empty: two layers at
                every halving, one at 1 x 1.
            channels: of the maps; 0: 8 times the shorter side, from 16 to 64.
            latent: channels of every layer's latents.
            head: distribution of a pixel given z; as of vae.
            components: logistics in the mixture of the logistic head.
            std: fixed standard deviation of the gaussian head, in raw units; 0 learns it.
            beta: weight of the rate in the loss; 1 is the evidence lower bound.
            warmup: training steps over which it rises from 0.
            free_bits: nats below which a layer's rate does not count in the loss.
            samples: draws per sample in log_prob.
            width: size of the condition's embedding.
        """
        if not isinstance(space, Continuous | Ordinal) or not space.is_image:
            raise SpaceError(f"vdvae models pictures, Continuous or Ordinal (C, H, W); received {space}")
        height = space.shape[1]
        return cls(
            space,
            parse_layout(layout, height) if layout else default_layout(height),
            head_for(space, head, components=components, std=std or None),
            channels=channels or max(16, min(64, 8 * min(space.shape[1:]))),
            latent=latent,
            context=0 if condition is None else width,
            beta=beta,
            warmup=warmup,
            free_bits=free_bits,
            samples=samples,
            condition=condition,
            embedding=None if condition is None else ConditionEmbedding(condition, width),
        )

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=32, lr=1e-3, weight_decay=0.01, clip=100.0, ema=0.995)

    def evidence(self, x: Tensor, e: Tensor | None) -> list[Tensor]:
        """Maps (B, channels, r, r') from the largest to the smallest."""
        a, found = self.start(self.head.scaled(x, self.dtype)), []
        for size, block in zip(self.sizes, self.up, strict=True):
            a = F.adaptive_avg_pool2d(a, size)
            a = a + block(a, e)
            found.append(a)
        return found

    def descend(self, n: int, e: Tensor | None, evidence: Sequence[Tensor] | None, choose: Chooser) -> Tensor:
        h = torch.zeros(n, self.channels, *self.sizes[-1], dtype=self.dtype, device=self.device)
        for i in reversed(range(len(self.sizes))):
            h = F.interpolate(h, size=self.sizes[i], mode="nearest") + self.offset[i]
            for layer in self.down[i]:  # type: ignore[attr-defined]
                h = layer(h, e, None if evidence is None else evidence[i], choose)
        return h

    def parameters_of(self, features: Tensor, e: Tensor | None) -> Tensor:
        h = F.interpolate(features, size=self.space.shape[1:], mode="nearest")
        colours = self.space.shape[0]
        return self.out(F.gelu(h + self.last(F.gelu(h)))).unflatten(1, (colours, -1)).movedim(2, -1)


def default_layout(height: int) -> list[tuple[int, int]]:
    """Two layers at every halving (not at full size for pictures from `LARGE` on) down to 3 or 4, one at 1."""
    r = height if height < LARGE else (height + 1) // 2
    found = [(r, 2)]
    while (r := (r + 1) // 2) >= 3:
        found.append((r, 2))
    return found if found[-1][0] == 1 else [*found, (1, 1)]


def parse_layout(layout: str, height: int) -> list[tuple[int, int]]:
    """ "8x2,4x4" as [(8, 2), (4, 4)].

    Raises:
        OptionError: it is not HEIGHTxLAYERS, heights falling from at most `height`.
    """
    try:
        found = [(int(r), int(n)) for r, n in (part.split("x") for part in layout.split(","))]
    except ValueError:
        found = []
    heights = [r for r, _ in found]
    falling = heights == sorted(set(heights), reverse=True)
    if not found or not falling or heights[0] > height or min(min(pair) for pair in found) < 1:
        raise OptionError(
            f"a layout is HEIGHTxLAYERS, heights falling from at most {height}, such as 8x2,4x4,1x2; "
            f"received {layout!r}"
        )
    return found
