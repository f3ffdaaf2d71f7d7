r"""Masked (absorbing) discrete diffusion: symbols disappear one by one, a network says what they were.

Forward, each of the L symbols is masked by time t with probability t, independently. The reverse process unmasks; its
network gives p(x_i | the symbols that are left) for all masked i at once. The variational bound of the limit of many
steps is a weighted cross-entropy, which depends on t only through which symbols are masked; with the time integrated
out, the number N of masked symbols is uniform on 1..L and

    -log p(x) <= E_N E_{M: |M| = N}  L/N  sum_{i in M} -log p(x_i | x_{not M})
               = E_order sum_i -log p(x_{o_i} | x_{o_1}, ..., x_{o_{i-1}}),

the same as of an autoregressive model of random order. Sampling one symbol at a time in random order draws from the
mixture over orders, whose log-probability the bound is below (Jensen); `steps` below L unmasks several at once, which
is faster and takes them as independent given the rest. Symbols that are known may be given: completing them is
sampling that starts with fewer masks.

Sources: Austin et al. 2021, https://arxiv.org/abs/2107.03006; Hoogeboom et al. 2022, https://arxiv.org/abs/2110.02037;
Sahoo et al. 2024, https://arxiv.org/abs/2406.07524; Shi et al. 2024, https://arxiv.org/abs/2406.04329.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.diffusion.objective import stratified
from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel, Likelihood, Report, Terms, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.nn.masked_symbols import MaskedMLP, MaskedTransformer, MaskedUNet
from creo.spaces import Ordinal, Space, Tokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONTEXT_WIDTH = 32

#: Number of symbols times their kinds up to which `auto` takes a perceptron.
FLAT = 512

MaskedNetwork = Literal["auto", "mlp", "transformer", "unet"]


class MaskedDiffusion(GenerativeModel):
    """The model of the module docstring.

    Args:
        space: Tokens or Ordinal.
        network: symbols (B, L) of 0..size, size the mask, and context (B, width) or None, to logits (B, L, size).
        condition: what it is conditioned on, or None.
        embedding: raw conditions to context; needed if there is a condition.
        dropout: probability of dropping the condition in training.
        masks: random masks that `log_prob` averages over, where nothing else is said.
    """

    likelihood = Likelihood.BOUND

    def __init__(
        self,
        space: Space,
        network: nn.Module,
        *,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
        dropout: float = 0.1,
        masks: int = 16,
    ) -> None:
        super().__init__(space, condition)
        if not isinstance(space, Tokens | Ordinal):
            raise SpaceError(f"masked diffusion models Tokens and Ordinal spaces; received {space}")
        if not 0 < dropout < 1 or masks < 1:
            raise OptionError(f"dropout is in (0, 1) and masks at least 1; received {dropout} and {masks}")
        self.size = space.size if isinstance(space, Tokens) else space.levels
        self.network, self.embedding, self.dropout, self.masks = network, embedding, dropout, masks
        self.nothing = None if embedding is None else nn.Parameter(torch.zeros(embedding.width))
        self.likelihood_note = f"variational bound, {masks} random masks"

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        network: MaskedNetwork = "auto",
        hidden: tuple[int, ...] = (128, 128),
        width: int = 128,
        layers: int = 4,
        channels: int = 32,
        label_dropout: float = 0.1,
        masks: int = 16,
    ) -> Self:
        """A model with a network that suits the space.

        Args:
            space: Tokens or Ordinal.
            condition: what it is conditioned on, or None.
            network: mlp, transformer or unet (images); auto is a U-Net for images of at least 16 x 16, else
                a perceptron where symbols times kinds are at most 512, else a transformer.
            hidden: units of the perceptron's hidden layers.
            width: of the transformer, per symbol.
            layers: of the transformer.
            channels: of the U-Net at full size.
            label_dropout: probability of dropping the condition in training.
            masks: random masks that log_prob averages over.
        """
        if not isinstance(space, Tokens | Ordinal):
            raise SpaceError(f"masked diffusion models Tokens and Ordinal spaces; received {space}")
        context = 0 if condition is None else CONTEXT_WIDTH
        size, large = (
            space.size if isinstance(space, Tokens) else space.levels,
            space.is_image and min(space.shape[1:]) >= 16,
        )
        chosen = (
            network
            if network != "auto"
            else "unet"
            if large
            else "mlp"
            if space.dims * size <= FLAT
            else "transformer"
        )
        net: nn.Module
        if chosen == "unet":
            net = MaskedUNet(space.shape, size, channels=channels, context=context)
        elif chosen == "mlp":
            net = MaskedMLP(space.dims, size, hidden=hidden, context=context)
        else:
            net = MaskedTransformer(space.dims, size, width=width, layers=layers, context=context)
        embedding = None if condition is None else ConditionEmbedding(condition, context)
        return cls(space, net, condition=condition, embedding=embedding, dropout=label_dropout, masks=masks)

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=128, lr=1e-3, ema=0.999)

    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Take the scale of continuous conditions from data."""
        if self.embedding is not None and c is not None:
            self.embedding.initialise(c)

    def _context(self, c: Tensor | None) -> Tensor | None:
        """Embedded conditions, some of them dropped in training."""
        if c is None or self.embedding is None or self.nothing is None:
            return None
        e = self.embedding(c)
        if not self.training:
            return e
        return torch.where(torch.rand(len(e), 1, device=e.device) < self.dropout, self.nothing.to(e.dtype), e)

    def _bound(self, x: Tensor, e: Tensor | None, u: Tensor) -> Tensor:
        """One draw of the bound on -log p of symbols x (B, L), (B,), with floor(u L) + 1 masked symbols."""
        n = (u * x.shape[1]).floor().clamp(max=x.shape[1] - 1) + 1
        mask = torch.rand(x.shape, device=x.device).argsort(1).argsort(1) < n[:, None]
        return self.masked_nll(x, mask, e) * (x.shape[1] / n).to(self.dtype)

    def masked_nll(self, x: Tensor, mask: Tensor, e: Tensor | None = None) -> Tensor:
        """Sum over masked sites of -log p(x_i | what is not masked), (B,) nats.

        Args:
            x: symbols, (B, L) int64.
            mask: which are hidden, (B, L) bool.
            e: embedded conditions, (B, width), or None.
        """
        logits = self.network(x.masked_fill(mask, self.size), e).to(self.dtype)
        return (F.cross_entropy(logits.transpose(1, 2), x, reduction="none") * mask).sum(1)

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """The bound on -log p, per symbol; `nll` is in nats per sample."""
        self.check_batch(x, c)
        nll = self._bound(x.flatten(1).long(), self._context(c), stratified(len(x), x)).mean()
        return Terms(nll / self.space.dims, {"nll": nll.detach()})

    def log_prob(self, x: Tensor, c: Tensor | None = None, *, masks: int | None = None) -> Tensor:
        """A lower bound on log p (in expectation over the masks), (B,) nats.

        Args:
            x: raw data, (B, *space.shape).
            c: conditions, (B, *condition.shape), or None.
            masks: how many to average over, their numbers of masked symbols spread evenly; None: the model's own.
        """
        self.check_batch(x, c)
        k, flat = self.masks if masks is None else masks, x.flatten(1).long()
        e = None if c is None or self.embedding is None else self.embedding(c)
        draws = [self._bound(flat, e, (i + torch.rand(len(x), device=x.device)) / k) for i in range(k)]
        return -torch.stack(draws).mean(0)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        c: Tensor | None = None,
        *,
        steps: int | None = None,
        guidance: float = 1.0,
        order: Tensor | None = None,
        record: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Draw samples.

        Args:
            n: how many.
            c: conditions, (n, *condition.shape) or one for all.
            steps: network calls, each of which unmasks about as many symbols; None: one symbol a call.
            guidance: scale of classifier-free guidance of the logits; 1 is none.
            order: in which symbols are unmasked, a permutation of the L sites; None: random, another for each sample.
            record: called with the symbols (n, L) before each call, `size` where masked.
        """
        c = self.expand_condition(n, c)
        hidden = torch.full((n, self.space.dims), self.size, device=self.device)
        x = self._unmask(hidden, c, steps, guidance, order, record)
        return x.view(n, *self.space.shape).to(self.space.dtype)

    @torch.no_grad()
    def complete(
        self,
        x: Tensor,
        known: Tensor,
        c: Tensor | None = None,
        *,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """Draw the unknown part of data given the known part, in random order.

        Args:
            x: raw data, (B, *space.shape); what it holds where it is not known does not matter.
            known: what is known, bool (*space.shape) or (B, *space.shape).
            c: conditions, (B, *condition.shape), or None.
            steps, guidance: as of `sample`.
        """
        self.check_batch(x, c)
        hidden = x.long().masked_fill(~known, self.size).flatten(1)
        return self._unmask(hidden, c, steps, guidance, None, None).view(x.shape).to(self.space.dtype)

    def _unmask(
        self,
        x: Tensor,
        c: Tensor | None,
        steps: int | None,
        guidance: float,
        order: Tensor | None,
        record: Callable[[Tensor], None] | None,
    ) -> Tensor:
        """Fill in the masks of x (B, L), in `steps` calls."""
        if steps is not None and steps < 1:
            raise OptionError(f"at least 1 step; received {steps}")
        sites = int((x == self.size).sum(1).max())
        calls = sites if steps is None else min(steps, sites)
        keys = torch.rand(x.shape, device=x.device) if order is None else self._places(order).expand(x.shape)
        rank = keys.masked_fill(x != self.size, torch.inf).argsort(1).argsort(1)
        for i in range(calls):
            if record is not None:
                record(x)
            now = (rank < sites * (i + 1) // calls) & (x == self.size)
            x = torch.where(
                now, torch.distributions.Categorical(logits=self._logits(x, c, guidance)).sample(), x
            )
        return x

    def _places(self, order: Tensor) -> Tensor:
        """When each site is unmasked, (L,)."""
        if sorted(order.tolist()) != list(range(self.space.dims)):
            raise OptionError(
                f"order is a permutation of 0..{self.space.dims - 1}; received {order.tolist()}"
            )
        return order.argsort().to(self.dtype)

    def _logits(self, x: Tensor, c: Tensor | None, guidance: float) -> Tensor:
        if c is None or self.embedding is None or self.nothing is None:
            if guidance != 1:
                raise OptionError(f"guidance needs a conditional model; received guidance={guidance}")
            return self.network(x)
        strong = self.network(x, self.embedding(c))
        if guidance == 1:
            return strong
        weak = self.network(x, self.nothing.expand(len(x), -1))
        return weak + guidance * (strong - weak)

    def pictures(self, x: Tensor, c: Tensor | None = None) -> dict[str, Callable[[], Figure]]:
        """`unmasking`: eight samples on their way from all masked to none."""
        return {
            "unmasking": lambda: self._draw_unmasking(None if c is None or self.condition is None else c[:1])
        }

    def _draw_unmasking(self, c: Tensor | None) -> Figure:
        import numpy as np
        from matplotlib import colormaps
        from matplotlib.figure import Figure

        seen: list[Tensor] = []
        last = self.sample(8, None if c is None else c[0], steps=8, record=seen.append)
        frames = torch.stack([*seen, last.flatten(1).long()]).double()
        frames[frames == self.size] = torch.nan
        figure = Figure(figsize=(1.3 * len(frames), 4), layout="constrained")
        side = self.space.shape[-2:] if len(self.space.shape) > 1 else (1, self.space.dims)
        for axes, frame, i in zip(figure.subplots(1, len(frames)), frames, range(len(frames)), strict=True):
            rows = frame.view(8, -1, *side)[:, 0].cpu().numpy()
            tiles = np.pad(rows, ((0, 0), (0, 1), (0, 0)), constant_values=np.nan).reshape(-1, side[1])
            colours = colormaps["viridis"].with_extremes(bad="0.85")
            shape = "auto" if side[0] == 1 else "equal"
            axes.imshow(tiles, cmap=colours, vmin=0, vmax=self.size - 1, aspect=shape)
            axes.set_axis_off()
            axes.set_title(f"{i} calls", fontsize=8)
        return figure
