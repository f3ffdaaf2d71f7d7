r"""Autoregressive models of images: pixels in raster order, the channels of a pixel one after another.

    log p(x | c) = sum_{i=1}^{HW} log p(x_i | f_i),      f_i = network(x_1, ..., x_{i-1}, c)

A causal network gives features f_i of every pixel in one pass, a `Colours` turns them into the distribution of the
pixel's channels; both are arguments. In nats of the raw image, exactly. Generating steps through the network's own
cache, so that an image costs about as much as one pass. The generation order of `x.flatten(1)` is row, column, channel.

With `null` (a vector in place of a condition's embedding, learned by dropping the condition of a share of the training
images) the same network is also a model without condition, which classifier-free guidance needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from creo.autoregressive.coding import Coding, Learned
from creo.autoregressive.colours import Colours
from creo.autoregressive.decoding import ancestral, complete
from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel, Sequential, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.spaces import Ordinal, Space

if TYPE_CHECKING:
    from PIL.Image import Image


class CausalNetwork(Protocol):
    """What the network of a pixel model answers; features of pixel i depend on the pixels before it alone."""

    def __call__(self, codes: Tensor, e: Tensor | None = None) -> Tensor:
        """Coded images (B, K, H, W) and embeddings (B, context) to features (B, F, H, W)."""

    def begin(self, batch: int, e: Tensor | None = None) -> Any:
        """The cache before any pixel is known."""

    def advance(self, cache: Any, i: int, code: Tensor | None) -> Tensor:
        """Take in the code (B, K) of pixel i-1, give the features (B, F) of pixel i; writes into the cache."""


class State(NamedTuple):
    """How far a generation is. Steps write into the cache: to branch from a state, `repeat` or `reorder` it first."""

    cache: Any
    features: Tensor  # of the present pixel, (B, F)
    earlier: Tensor  # its channels so far, (B, c)
    position: int  # symbols answered


class PixelModel(GenerativeModel, Sequential):
    """The model of the module docstring.

    Args:
        space: Ordinal images (C, H, W), or (H, W).
        network: a `CausalNetwork`, and a module.
        coding: how the network sees a value.
        colours: the distribution of a pixel's channels given its features.
        condition: what it is conditioned on, or None.
        width: size of the condition's embedding.
        drop: share of training images whose condition is replaced by the null embedding.
    """

    order: Tensor
    network: Any  # a CausalNetwork that is also a module

    def __init__(
        self,
        space: Ordinal,
        network: nn.Module,
        coding: Coding | Learned,
        colours: Colours,
        *,
        condition: Space | None = None,
        width: int = 32,
        drop: float = 0.0,
    ) -> None:
        super().__init__(space, condition)
        self.network, self.coding, self.colours, self.drop = network, coding, colours, drop
        self.channels, height, columns = grid(space)
        self.embedding = None if condition is None else ConditionEmbedding(condition, width)
        self.null = nn.Parameter(torch.zeros(width)) if drop and condition is not None else None
        order = torch.arange(space.dims).view(self.channels, height * columns).T.flatten()
        self.register_buffer("order", order, persistent=False)

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=64, lr=2e-3, weight_decay=0.01, clip=1.0, ema=0.995)

    def initialise(self, x: Tensor, c: Tensor | None = None, report: Any = None) -> None:
        """Take the scale of continuous conditions from data."""
        if self.embedding is not None and c is not None:
            self.embedding.initialise(c)

    def embed(self, c: Tensor | None) -> Tensor | None:
        """Embeddings (B, width) of conditions, or None."""
        return None if self.embedding is None or c is None else self.embedding(c)

    def _hidden_now_and_then(self, e: Tensor | None) -> Tensor | None:
        """In training, the null embedding in place of a share `drop` of the embeddings."""
        if e is None or self.null is None or not self.training:
            return e
        return torch.where(torch.rand(len(e), 1, device=e.device) < self.drop, self.null, e)

    def _pixels(self, x: Tensor) -> Tensor:
        """Raw images as (B, H, W, C) int64."""
        return x.reshape(len(x), *grid(self.space)).permute(0, 2, 3, 1).long()

    def codes(self, x: Tensor) -> Tensor:
        """Raw images as the network sees them, (B, K, H, W), channels-last in memory, as convolutions like it."""
        return self.coding(self._pixels(x), self.dtype).flatten(3).permute(0, 3, 1, 2)

    def _features(self, x: Tensor, c: Tensor | None) -> Tensor:
        """(B, H, W, F) of raw images."""
        e = self._hidden_now_and_then(self.embed(c))
        return self.network(self.codes(x), e).permute(0, 2, 3, 1)

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        self.check_batch(x, c)
        return self.colours.log_prob(self._features(x, c), self._pixels(x)).flatten(1).sum(1)

    def logits(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Log-probabilities of every symbol's levels given those before it, in generation order: (B, D, levels)."""
        self.check_batch(x, c)
        return self.colours.tables(self._features(x, c), self._pixels(x)).flatten(1, 3)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Draw samples by ancestral sampling.

        Args:
            n: how many.
            c: conditions, (n, *condition.shape) or one for all.
            temperature: 1 samples exactly, 0 takes the most probable level at each step.
        """
        return ancestral(self, n, c, temperature=temperature)

    def complete(
        self,
        x: Tensor,
        known: Tensor,
        c: Tensor | None = None,
        *,
        temperature: float = 1.0,
        particles: int = 16,
    ) -> Tensor:
        """Fill in what a boolean mask calls unknown; see `creo.autoregressive.complete`."""
        return complete(self, x, known, c, temperature=temperature, particles=particles)

    def init_state(self, batch: int, c: Tensor | None = None) -> State:
        return self._begin(batch, self.embed(c))

    def null_state(self, batch: int) -> State:
        """The state before the first symbol without any condition.

        Raises:
            OptionError: the model has not been trained with conditions dropped.
        """
        if self.null is None:
            raise OptionError(
                "guidance needs a conditional model built with drop above 0 (say drop=0.1): it has no null condition"
            )
        return self._begin(batch, self.null.expand(batch, -1))

    def pictures(self, x: Tensor, c: Tensor | None = None) -> dict[str, Callable[[], Image]]:
        """`receptive-field`: what the distribution of the middle pixel depends on."""
        from creo.autoregressive.receptive_field import receptive_field, receptive_field_picture

        pixel = (self.space.shape[-2] // 2, self.space.shape[-1] // 2)

        def draw() -> Image:
            field = receptive_field(self, pixel, x[:32], None if c is None else c[:32])
            return receptive_field_picture(field, pixel)

        return {"receptive-field": draw}

    def _begin(self, batch: int, e: Tensor | None) -> State:
        nothing = torch.empty(batch, 0, dtype=torch.long, device=self.device)
        return State(self.network.begin(batch, e), torch.empty(batch, 0, device=self.device), nothing, 0)

    def step(self, state: State, token: Tensor | None) -> tuple[Tensor, State]:
        cache, features, earlier, position = state
        if token is not None:
            earlier = torch.cat([earlier, token.long()[:, None]], 1)
        if position % self.channels == 0:
            code = None if token is None else self.coding(earlier, self.dtype).flatten(1)
            features, earlier = self.network.advance(cache, position // self.channels, code), earlier[:, :0]
        return self.colours.table(features, earlier), State(cache, features, earlier, position + 1)


def images(space: Space) -> Ordinal:
    """The space itself, if it is one of images over ordered levels.

    Raises:
        SpaceError: it is not.
    """
    if not isinstance(space, Ordinal) or len(space.shape) not in (2, 3):
        raise SpaceError(f"a pixel model needs Ordinal images (C, H, W) or (H, W); received {space}")
    return space


def grid(space: Space) -> tuple[int, int, int]:
    """(C, H, W) of a space of images; (H, W) has one channel."""
    channels, height, width = (1, *images(space).shape)[-3:]
    return channels, height, width
