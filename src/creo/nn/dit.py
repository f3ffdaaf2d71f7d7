r"""Transformers over sites that are told a context, and DiT, which is one for images under noise.

    h <- h + g_1 attention(norm(h) (1 + s_1) + b_1)
    h <- h + g_2 perceptron(norm(h) (1 + s_2) + b_2)         (s, b, g) = W f(context), W = 0 at the start

Norms have no weights of their own and gates start at 0, so that every block starts as the identity ("adaLN-zero").
Attention sees all sites; heads have `HEAD` numbers; up to `PLAIN` sites it is a plain softmax of products, whose
backward pass is faster than the fused kernel's there.

DiT maps images (B, C, H, W) and noise levels (B,) to images; squares of `patch` x `patch` pixels are its sites.

Sources: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; Peebles, Xie 2023, https://arxiv.org/abs/2212.09748.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError
from creo.nn.time import TimeEmbedding
from creo.nn.unet import PLAIN

HEAD = 64


class Attention(nn.Module):
    """softmax(q k' / sqrt(HEAD)) v over all sites.

    Args:
        width: of a site.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, width) to the same."""
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if h.shape[1] <= PLAIN:
            y = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).softmax(-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """The block of the module docstring.

    Args:
        width: of a site.
        context: size of the context vectors.
    """

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width, elementwise_affine=False), Attention(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulate = nn.Linear(context, 6 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        """Sites (B, L, width) and activated context (B, context) to sites."""
        s1, b1, g1, s2, b2, g2 = self.modulate(e)[:, None].chunk(6, -1)
        h = h + g1 * self.attention(self.norm(h) * (1 + s1) + b1)
        return h + g2 * self.narrow(F.gelu(self.wide(self.norm(h) * (1 + s2) + b2)))


class Transformer(nn.Module):
    """Blocks between learned places and a head that starts at 0.

    Args:
        sites: L.
        width: of a site.
        layers: number of blocks.
        outputs: numbers per site of the answer.
        context: size of the context vectors.
    """

    def __init__(self, sites: int, width: int, *, layers: int, outputs: int, context: int) -> None:
        super().__init__()
        if width < 1 or width % max(1, width // HEAD) or layers < 1:
            raise OptionError(
                f"heads of {HEAD} must divide the width, and layers be at least 1; received {width}, {layers}"
            )
        self.places = nn.Parameter(0.02 * torch.randn(sites, width))
        self.blocks = nn.ModuleList(Block(width, context) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        """Sites (B, L, width) and context (B, context) to (B, L, outputs)."""
        h, e = h + self.places, F.silu(e)
        for block in self.blocks:
            h = block(h, e)
        return self.head(self.norm(h))


class DiT(nn.Module):
    """Diffusion transformer.

    Args:
        shape: (C, H, W).
        patch: side of the squares of pixels that are sites; divides the sides of the image.
        width: of a site.
        layers: number of blocks.
        context: size of a condition's embedding; 0 for none.

    Raises:
        OptionError: if the shape is not an image's, or patch does not divide its sides.
    """

    def __init__(
        self, shape: tuple[int, ...], *, patch: int = 2, width: int = 128, layers: int = 4, context: int = 0
    ) -> None:
        super().__init__()
        if len(shape) != 3 or patch < 1 or shape[1] % patch or shape[2] % patch:
            raise OptionError(
                f"a DiT needs images (C, H, W) whose sides {patch} divides; received shape {shape}"
            )
        self.patch, self.grid, numbers = patch, (shape[1] // patch, shape[2] // patch), shape[0] * patch**2
        self.time, self.start = TimeEmbedding(width, context=context), nn.Linear(numbers, width)
        sites = self.grid[0] * self.grid[1]
        self.inner = Transformer(sites, width, layers=layers, outputs=numbers, context=width)

    def forward(self, x: Tensor, u: Tensor, e: Tensor | None = None) -> Tensor:
        """(B, C, H, W) of noisy images x, noise levels u (B,) and a condition's embedding (B, context)."""
        sites = F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)
        y = self.inner(self.start(sites), self.time(u, e))
        return F.pixel_shuffle(y.transpose(1, 2).unflatten(2, self.grid), self.patch)
