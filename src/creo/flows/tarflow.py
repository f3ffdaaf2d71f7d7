r"""TarFlow: autoregressive flow over the patches of an image, with a causal transformer.

    x -> preprocess -> (PatchAutoregressive, order of the patches reversed every time) x layers -> z ~ N(0, I)

An image (C, H, W) is a sequence of T = (H / p) (W / p) patches of C p^2 entries. A layer scales and shifts every patch
by functions of the patches before it,

    y_i = x_i exp(s_i(x_<i)) + t_i(x_<i),      log |det| = sum_i s_i,

with |s| bounded as in every affine layer of the family; s and t come from one causal transformer, 0 at the start. The
density is one pass of all transformers; a sample takes T steps a layer, with keys and values kept, so that a step costs
one patch. Where gradients through the inverse are wanted it is solved by T passes instead, which is exact too: the
i-th pass makes the i-th patch final (Jacobi's iteration on a triangular system).

Source: Zhai et al. 2024, Normalizing flows are capable generative models, https://arxiv.org/abs/2412.06329.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn

from creo.errors import OptionError, SpaceError
from creo.flows.coupling import Affine
from creo.flows.flow import DequantiseName, Flow, PreprocessName
from creo.flows.layer import Layer
from creo.model import TrainingDefaults
from creo.nn.causal_transformer import CausalTransformer
from creo.spaces import Space

#: Patches along a side that the default patch leaves, if the image has so many pixels.
LEAST = 4


class PatchAutoregressive(Layer):
    """One layer of the module docstring; `forward` is the fast direction.

    Args:
        shape: (C, H, W).
        patch: p, a divisor of H and W.
        width: of the transformer's features.
        depth: its blocks.
        heads: attention heads of each.
        context: size of a condition's embedding; 0 for none.
        reverse: whether the last patch comes first.
        dropout: in the transformer.
        bound: limit of the log-scale.

    Raises:
        OptionError: if the patch does not divide the sides.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int = 4,
        context: int = 0,
        reverse: bool = False,
        dropout: float = 0.0,
        bound: float = 2.0,
    ) -> None:
        super().__init__()
        channels, *sides = shape
        if patch < 1 or sides[0] % patch or sides[1] % patch:
            raise OptionError(f"patch must divide the sides {tuple(sides)} of an image; received {patch}")
        self.patch, self.reverse, self.elementwise = patch, reverse, Affine(bound)
        self.grid = (sides[0] // patch, sides[1] // patch)
        self.entries = channels * patch**2
        self.network = CausalTransformer(
            self.entries, self.grid, width=width, layers=depth, heads=heads, context=context, dropout=dropout
        )
        self.head = nn.Conv2d(width, 2 * self.entries, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def _patches(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, entries, H/p, W/p), in the layer's order."""
        tokens = nn.functional.pixel_unshuffle(x, self.patch)
        return tokens.flip(2, 3) if self.reverse else tokens

    def _image(self, tokens: Tensor) -> Tensor:
        tokens = tokens.flip(2, 3) if self.reverse else tokens
        return nn.functional.pixel_shuffle(tokens, self.patch)

    def _parameters_of(self, tokens: Tensor, e: Tensor | None) -> Tensor:
        """Raw s and t, (B, 2, entries T)."""
        return self.head(self.network(tokens, e)).to(tokens.dtype).flatten(1).unflatten(1, (2, -1))

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One pass of the transformer."""
        tokens = self._patches(x)
        y, s = self.elementwise.forward(tokens.flatten(1), self._parameters_of(tokens, e))
        return self._image(y.reshape_as(tokens)), s.sum(1)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Patch after patch."""
        wanted = [t for t in (y, e, *self.parameters()) if t is not None and t.requires_grad]
        with torch.autocast(y.device.type, enabled=False):
            solve = self._passes if torch.is_grad_enabled() and wanted else self._steps
            x, log_det = solve(self._patches(y), e)
        return self._image(x), log_det

    def _passes(self, y: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        """T passes over all patches, differentiable."""
        x = torch.zeros_like(y)
        for _ in range(self.grid[0] * self.grid[1]):
            flat, s = self.elementwise.inverse(y.flatten(1), self._parameters_of(x, e))
            x = flat.reshape_as(y)
        return x, s.sum(1)

    @torch.no_grad()
    def _steps(self, y: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        """T steps of one patch each, keys and values kept."""
        network, head = self.network.eval(), self.head
        was = self.training
        cache, code, found, log_det = network.begin(len(y), e), None, [], y.new_zeros(len(y))
        for i, goal in enumerate(y.flatten(2).unbind(2)):
            features = network.advance(cache, i, code)
            h = nn.functional.linear(features, head.weight.flatten(1), head.bias).to(y.dtype)
            code, s = self.elementwise.inverse(goal, h.unflatten(1, (2, -1)))
            found.append(code)
            log_det += s.sum(1)
        network.train(was)
        return torch.stack(found, 2).reshape_as(y), log_det


def default_patch(shape: tuple[int, ...]) -> int:
    """The largest of 4, 2 and 1 that leaves `LEAST` patches along both sides."""
    return next(p for p in (4, 2, 1) if p == 1 or all(s % p == 0 and s >= LEAST * p for s in shape[1:]))


class TarFlow(Flow):
    """Normal noise through transformer autoregressive layers over patches; see the module docstring."""

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        layers: int | None = None,
        width: int | None = None,
        depth: int | None = None,
        heads: int = 4,
        patch: int | None = None,
        dropout: float | None = None,
        preprocess: PreprocessName = "histogram",
        dequantise: DequantiseName = "uniform",
    ) -> Self:
        """Transformer layers of alternating order.

        Args:
            space: images, Continuous or Ordinal, (C, H, W).
            condition: any space, or None.
            layers: number of autoregressive layers; if not given, 2 below 64 dimensions, else 4.
            width: of the transformers' features, a multiple of heads; if not given, 16 or 96.
            depth: blocks of every transformer; if not given, 1 or 2.
            heads: attention heads of a block.
            patch: side of a patch; if not given, the largest of 4, 2 and 1 that leaves 4 patches along both sides.
            dropout: in the transformers; if not given, 0.1 for ordinal spaces and 0 for continuous ones.
            preprocess: of ordinal data: Gaussianise every entry by its histogram, or only scale it.
            dequantise: of ordinal data: uniform or learned noise.
        """
        if len(space.shape) != 3:
            raise SpaceError(f"tarflow models images (C, H, W); received {space}")
        usual = (2, 16, 1) if space.dims < 64 else (4, 96, 2)
        count, features, blocks = (
            u if given is None else given for u, given in zip(usual, (layers, width, depth), strict=True)
        )
        if count < 1 or blocks < 1:
            raise OptionError(f"layers and depth must be at least 1; received {layers} and {depth}")
        rate = 0.1 * space.discrete if dropout is None else dropout
        side = default_patch(space.shape) if patch is None else patch

        def stack(context: int) -> Iterator[Layer]:
            for i in range(count):
                yield PatchAutoregressive(
                    space.shape, patch=side, width=features, depth=blocks, heads=heads, context=context,
                    reverse=bool(i % 2), dropout=rate,
                )  # fmt: skip

        return cls.compose(space, condition, stack, preprocess=preprocess, dequantise=dequantise)

    def training_defaults(self) -> TrainingDefaults:
        """Transformers like a smaller step at the start."""
        return TrainingDefaults(batch_size=128, lr=1e-3, ema=0.998, warmup=200)
