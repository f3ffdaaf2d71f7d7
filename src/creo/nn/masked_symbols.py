"""Networks that guess hidden symbols: symbols (B, L) of 0..size, where `size` is the mask, to logits (B, L, size).

| network             | for                            | sees                                                  |
|---------------------|--------------------------------|-------------------------------------------------------|
| `MaskedMLP`         | few symbols                    | all of them one-hot, the mask included                |
| `MaskedTransformer` | sequences                      | an embedding per symbol and place, full attention     |
| `MaskedUNet`        | images of levels               | levels, and where they are hidden, as channels        |

All start at equal probabilities. The embedding of a condition, (B, context), is an optional second argument.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.nn.dit import Transformer
from creo.nn.mlp import MLP
from creo.nn.unet import UNet


class MaskedMLP(nn.Module):
    """A perceptron on one-hot symbols, mask included.

    Args:
        sites: L.
        size: number of symbols; the symbol `size` is the mask.
        hidden: widths of the hidden layers.
        context: size of a condition's embedding; 0 for none.
    """

    def __init__(
        self, sites: int, size: int, *, hidden: tuple[int, ...] = (128, 128), context: int = 0
    ) -> None:
        super().__init__()
        self.size = size
        self.inner = MLP(sites * (size + 1), sites * size, hidden=hidden, context=context, zero=True)

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Logits (B, L, size) of symbols x (B, L) and a condition's embedding (B, context)."""
        codes = F.one_hot(x, self.size + 1).flatten(1).to(self.inner.out.weight.dtype)
        return self.inner(codes, e).unflatten(1, (-1, self.size))


class MaskedUNet(nn.Module):
    """A U-Net on levels between -1 and 1, 0 where masked, beside the mask; told the share that is masked.

    Args:
        shape: (C, H, W).
        size: number of levels.
        channels: of the U-Net at full size.
        context: size of a condition's embedding; 0 for none.
    """

    def __init__(self, shape: tuple[int, ...], size: int, *, channels: int = 32, context: int = 0) -> None:
        super().__init__()
        self.shape, self.size = shape, size
        both = (2 * shape[0], *shape[1:])
        self.inner = UNet(both, channels=channels, context=context, outputs=shape[0] * size)

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Logits (B, L, size) of symbols x (B, L) and a condition's embedding (B, context)."""
        masked = (x == self.size).to(self.inner.start.weight.dtype)
        levels = (2 * x / (self.size - 1) - 1) * (1 - masked)
        u = torch.logit(masked.mean(1), eps=1e-3)
        images = torch.cat([v.view(-1, *self.shape) for v in (levels, masked)], 1)
        return self.inner(images, u, e).unflatten(1, (self.shape[0], self.size)).movedim(2, -1).flatten(1, -2)


class MaskedTransformer(nn.Module):
    """Symbols, some of them masked, to logits of all of them.

    Args:
        sites: L.
        size: number of symbols; the symbol `size` is the mask.
        width: of a site.
        layers: number of blocks.
        context: size of a condition's embedding; 0 for none.
    """

    def __init__(self, sites: int, size: int, *, width: int = 128, layers: int = 4, context: int = 0) -> None:
        super().__init__()
        self.symbols, self.context = nn.Embedding(size + 1, width), context
        self.inner = Transformer(sites, width, layers=layers, outputs=size, context=max(1, context))

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Logits (B, L, size) of symbols x (B, L) and a condition's embedding (B, context)."""
        h = self.symbols(x)
        return self.inner(h, h.new_ones(len(x), 1) if e is None else e)
