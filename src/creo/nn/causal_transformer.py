r"""A decoder-only transformer over the pixels of an image in raster order.

The input at place i is the code of pixel i-1 (a learned vector at i = 0), so that features of pixel i depend on the
pixels before it alone. With e the embedding of a condition and n layer normalisation,

    u_i = W k_{i-1} + row(i) + column(i) + A e
    u   = u + O softmax(Q n(u) K n(u)^T / sqrt(d), causal) V n(u),      u = u + M_2 gelu(M_1 n(u))    per block

Incremental (`begin`, `advance`): keys and values of earlier places are kept, so that a pixel costs its own products
and one pass over what is kept.

References:
    Vaswani et al. (2017), https://arxiv.org/abs/1706.03762;
    Parmar et al. (2018), Image Transformer, https://arxiv.org/abs/1802.05751;
    Chen et al. (2020), Generative Pretraining from Pixels, https://proceedings.mlr.press/v119/chen20s.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError
from creo.nn.attention import causal_attention
from creo.nn.dropout import dropout


class Kept(NamedTuple):
    """Keys and values of the places so far, (B, heads, places, d) each; written in place."""

    keys: Tensor
    values: Tensor


class CausalBlock(nn.Module):
    """Causal self-attention and a perceptron, each after a layer normalisation and with a residual.

    Args:
        width: of the features; a multiple of `heads`.
        heads: attention heads.
        dropout: probability of dropping what a residual branch adds, in training.
    """

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise OptionError(f"width must be a multiple of heads; received width={width}, heads={heads}")
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = dropout

    def _split(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of features (B, N, width), (B, heads, N, d) each."""
        qkv = self.qkv(self.before(u)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return qkv[0], qkv[1], qkv[2]

    def _finish(self, u: Tensor, attended: Tensor) -> Tensor:
        u = u + dropout(self.out(attended.transpose(1, 2).flatten(2)), self.dropout, self.training)
        return u + dropout(self.mlp(self.between(u)), self.dropout, self.training)

    def empty(self, batch: int, places: int) -> Kept:
        """Room for the keys and values of so many places."""
        like = self.out.weight
        shape = (batch, self.heads, places, like.shape[0] // self.heads)
        return Kept(like.new_empty(shape), like.new_empty(shape))

    def forward(self, u: Tensor) -> Tensor:
        """All places at once, (B, N, width) to the same."""
        q, k, v = self._split(u)
        return self._finish(u, causal_attention(q, k, v))

    def advance(self, u: Tensor, kept: Kept, i: int) -> Tensor:
        """Place i alone, (B, 1, width) to the same, given the kept places before it; keeps this one."""
        q, k, v = self._split(u)
        kept.keys[:, :, i : i + 1], kept.values[:, :, i : i + 1] = k, v
        keys, values = kept.keys[:, :, : i + 1], kept.values[:, :, : i + 1]
        return self._finish(u, F.scaled_dot_product_attention(q, keys, values))


class TransformerCache(NamedTuple):
    """What an incremental pass has computed so far."""

    kept: tuple[Kept, ...]
    context: Tensor  # what the condition adds to every place, (B, 1, width)


class CausalTransformer(nn.Module):
    """The network of the module docstring: coded images (B, inputs, H, W) to features (B, width, H, W).

    Args:
        inputs: numbers that code one pixel.
        shape: (H, W).
        width: of the features.
        layers: number of blocks.
        heads: attention heads of each.
        context: size of the condition's embedding; 0 for none.
        dropout: probability of dropping what a residual branch adds, in training.
    """

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, int],
        *,
        width: int,
        layers: int,
        heads: int = 4,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape, self.width = shape, width
        self.code = nn.Linear(inputs, width)
        self.start = nn.Parameter(0.02 * torch.randn(width))
        self.rows = nn.Parameter(0.02 * torch.randn(shape[0], 1, width))
        self.columns = nn.Parameter(0.02 * torch.randn(1, shape[1], width))
        self.context = nn.Linear(context, width, bias=False) if context else None
        self.blocks: Sequence[CausalBlock] = nn.ModuleList(  # type: ignore[assignment]
            CausalBlock(width, heads, dropout=dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def _context(self, batch: int, e: Tensor | None) -> Tensor:
        if self.context is None:
            return self.start.new_zeros(batch, 1, self.width)
        return self.context(e).unsqueeze(1)

    def forward(self, codes: Tensor, e: Tensor | None = None) -> Tensor:
        """Features of every pixel, from the pixels before it."""
        seen = self.code(codes.flatten(2).transpose(1, 2)[:, :-1])
        start = self.start.to(seen.dtype).expand(len(codes), 1, -1)
        u = torch.cat([start, seen], 1) + (self.rows + self.columns).flatten(0, 1)
        u = u + self._context(len(codes), e)
        for block in self.blocks:
            u = block(u)
        return self.norm(u).transpose(1, 2).unflatten(2, self.shape)

    def begin(self, batch: int, e: Tensor | None = None) -> TransformerCache:
        """The cache before any pixel is known; e is the condition's embedding (B, context), or None."""
        places = self.shape[0] * self.shape[1]
        kept = tuple(block.empty(batch, places) for block in self.blocks)
        return TransformerCache(kept, self._context(batch, e))

    def advance(self, cache: TransformerCache, i: int, code: Tensor | None) -> Tensor:
        """Take in the code (B, inputs) of pixel i-1 (None at i = 0), give the features (B, width) of pixel i."""
        row, column = divmod(i, self.shape[1])
        u = self.start.expand(len(cache.context), -1) if code is None else self.code(code)
        u = (u + self.rows[row, 0] + self.columns[0, column]).unsqueeze(1) + cache.context
        for block, kept in zip(self.blocks, cache.kept, strict=True):
            u = block.advance(u, kept, i)
        return self.norm(u).squeeze(1)
