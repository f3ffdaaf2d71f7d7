r"""A small text encoder: symbols (B, L) to one vector (B, width), order and neighbours included.

    h_i = symbol(c_i) + place(i)
    h  <- h + softmax(q(n h) k(n h)' / sqrt(d)) v(n h),      h <- h + M_2 gelu(M_1 n h)         (once; n: layer norm)
    e   = W n(mean of h_i over the symbols that are not blank)

Nothing looks at a blank, so that what fills a text up to its length does not matter. It is trained together with the
network that is told e, as in Nichol et al. 2021, https://arxiv.org/abs/2112.10741; Vaswani et al. 2017,
https://arxiv.org/abs/1706.03762.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TextEncoder(nn.Module):
    """The network of the module docstring.

    Args:
        length: L.
        size: number of symbols.
        width: of the answer.
        inner: width of a symbol's vector.
        blank: the symbol to look away from, or None.
    """

    def __init__(
        self, length: int, size: int, width: int, *, inner: int = 64, blank: int | None = None
    ) -> None:
        super().__init__()
        self.blank = blank
        self.symbols = nn.Embedding(size, inner)
        self.places = nn.Parameter(0.3 * torch.randn(length, inner))
        self.before, self.between, self.after = (nn.LayerNorm(inner) for _ in range(3))
        self.qkv, self.mixed = nn.Linear(inner, 3 * inner), nn.Linear(inner, inner)
        self.wide, self.narrow = nn.Linear(inner, 2 * inner), nn.Linear(2 * inner, inner)
        self.out = nn.Linear(inner, width)

    def forward(self, c: Tensor) -> Tensor:
        """(B, L) integers to (B, width)."""
        c = c.long()
        h = self.symbols(c) + self.places
        seen = torch.ones_like(c, dtype=h.dtype) if self.blank is None else (c != self.blank).to(h.dtype)
        q, k, v = self.qkv(self.before(h)).chunk(3, -1)
        share = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5 + (seen - 1)[:, None] * 1e4
        h = h + self.mixed(share.softmax(-1) @ v)
        h = h + self.narrow(F.gelu(self.wide(self.between(h))))
        pooled = (h * seen[..., None]).sum(1) / seen.sum(1, keepdim=True).clamp_min(1)
        return self.out(self.after(pooled))
