r"""Coupling layers: one part of x sets the parameters of an elementwise map of the other part.

    y_a = x_a,        y_b = g(x_b; h),   h = network(x_a, e)

The Jacobian is triangular, so log |det| is the sum of log |dg/dx_b|; the inverse needs no inverse of the network, and
both directions cost one evaluation of it. A mask says which entries of an event are kept (a); the rest (b) change.

| elementwise map | y_b                  | log |dy/dx| | parameters |
|-----------------|----------------------|-------------|------------|
| `Affine`        | x exp(s) + t         | s           | s, t       |
| `Additive`      | x + t                | 0           | t          |

with a bounded s (`creo.flows.affine`). Networks start at 0, so a fresh coupling is the identity.

The kept entries may be mapped too, each by parameters of its own that depend on no other entry (`unconditional`):
y_a = g(x_a; h_a). In this direction both parts are one evaluation of g; the inverse takes two, a before b.

Sources: NICE (additive), Dinh, Krueger, Bengio 2015, https://arxiv.org/abs/1410.8516; RealNVP (affine, masks), Dinh,
Sohl-Dickstein, Bengio 2017, https://arxiv.org/abs/1605.08803; unconditional maps: Durkan et al. 2019 (section 3.1),
https://arxiv.org/abs/1906.04032.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from creo.errors import OptionError
from creo.flows.affine import Affine
from creo.flows.layer import Layer
from creo.flows.parameters import Parameters
from creo.flows.written import Written


class Elementwise(Protocol):
    """A family of monotone maps of the real line with `parameters` real parameters each."""

    parameters: int

    @property
    def written(self) -> Written | None:
        """The same map with its gradient written out, if it has that."""

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, n), h (B, parameters, n): y and log dy/dx, both (B, n)."""

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """x and log dx/dy."""


def by_columns(elementwise: Elementwise) -> bool:
    """Whether a layer works with samples last: what is done to each of many parameters is then done to one block of
    memory; with few it is not worth turning the batch."""
    return elementwise.parameters > 4


class Additive:
    """y = x + t; keeps volume."""

    parameters = 1
    written = None

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Shift."""
        return x + h[:, 0], torch.zeros_like(x)

    def inverse(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Shift back."""
        return y - h[:, 0], torch.zeros_like(y)


class Coupling(Layer):
    """A coupling layer on events of any shape. Both directions are equally fast.

    Args:
        mask: boolean, of the event's shape; True where entries are kept.
        network: `(kept, changed * parameters)` -> a module that maps (B, kept) and an embedding to that many outputs.
        elementwise: the map of the entries that change.
        unconditional: map the kept entries too, by parameters that start at 0 and depend on the condition alone.
        context: size of a condition's embedding, for these; 0 for none.

    Raises:
        OptionError: if the mask keeps all entries or none.
    """

    keep: Tensor
    change: Tensor
    order: Tensor
    parted: Tensor

    def __init__(
        self,
        mask: Tensor,
        network: Callable[[int, int], nn.Module],
        elementwise: Elementwise | None = None,
        *,
        unconditional: bool = False,
        context: int = 0,
    ) -> None:
        super().__init__()
        flat = mask.flatten().bool()
        keep, change = flat.nonzero().squeeze(1), (~flat).nonzero().squeeze(1)
        if not len(keep) or not len(change):
            raise OptionError(
                f"a coupling mask keeps some of the entries; this one keeps {len(keep)} of {len(flat)}"
            )
        self.register_buffer("keep", keep)
        self.register_buffer("change", change)
        self.register_buffer("parted", torch.cat([keep, change]), persistent=False)
        self.register_buffer("order", torch.cat([keep, change]).argsort())
        self.elementwise = Affine() if elementwise is None else elementwise
        self.network = network(len(keep), len(change) * self.elementwise.parameters)
        self.columns = by_columns(self.elementwise)
        self.axis = 0 if self.columns else 1  # of entries
        kept = (len(keep) * self.elementwise.parameters,)
        self.unconditional = Parameters(kept, context=context, std=0.0) if unconditional else None

    def _conditional_h(self, a: Tensor, e: Tensor | None) -> Tensor:
        """Of the entries that change; like `a`, samples first or last with parameters between."""
        if not self.columns:
            return self.network(a, e).to(a.dtype).unflatten(1, (self.elementwise.parameters, -1))
        h = self.network(a.T, e).to(a.dtype).T.contiguous()
        return h.view(self.elementwise.parameters, len(self.change), h.shape[1]).transpose(0, 1)

    def _unconditional_h(self, parameters: Parameters, e: Tensor | None, batch: int) -> Tensor:
        """Of the kept entries, in the same way."""
        h = parameters(e)[0].unflatten(1, (self.elementwise.parameters, -1)).expand(batch, -1, -1)
        return h.movedim(0, 2).transpose(0, 1) if self.columns else h

    def _parted(self, x: Tensor) -> Tensor:
        """Kept entries first, (B, D), or by columns (D, B)."""
        flat = x.flatten(1)
        return flat.T.index_select(0, self.parted) if self.columns else flat.index_select(1, self.parted)

    def _joined(self, parted: Tensor, like: Tensor) -> Tensor:
        """The entries where they were, in the event's shape."""
        joined = parted.index_select(self.axis, self.order)
        return (joined.T if self.columns else joined).view(like.shape)

    def _split(self, parted: Tensor) -> tuple[Tensor, Tensor]:
        a, b = parted.split([len(self.keep), len(self.change)], self.axis)
        return a, b

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Change the entries that the mask does not keep."""
        parted = self._parted(x)
        a, b = self._split(parted)
        h = self._conditional_h(a, e)
        if self.unconditional is None:
            b, log_slope = self.elementwise.forward(b, h)
            return self._joined(torch.cat([a, b], self.axis), x), log_slope.sum(self.axis)
        h = torch.cat([self._unconditional_h(self.unconditional, e, len(x)), h], 2 * self.axis)
        y, log_slope = self.elementwise.forward(parted, h)
        return self._joined(y, x), log_slope.sum(self.axis)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Change them back."""
        a, b = self._split(self._parted(y))
        log_det = y.new_zeros(len(y))
        if self.unconditional is not None:
            a, log_slope = self.elementwise.inverse(a, self._unconditional_h(self.unconditional, e, len(y)))
            log_det = log_slope.sum(self.axis)
        b, log_slope = self.elementwise.inverse(b, self._conditional_h(a, e))
        return self._joined(torch.cat([a, b], self.axis), y), log_det + log_slope.sum(self.axis)


def alternating_mask(shape: tuple[int, ...], index: int) -> Tensor:
    """The mask of layer `index`: every other entry of a vector, the checkerboard of an image; parity by the index.

    Every third pair of layers halves the event by rows instead (first half against second half of the flattened
    event), so that neighbours also meet.
    """
    coordinates = torch.meshgrid(*(torch.arange(s) for s in shape[-2:]), indexing="ij")
    plane = torch.stack(coordinates).sum(0)
    position = torch.arange(math.prod(shape)).reshape(shape)
    halves = position >= math.prod(shape) / 2
    checker = (plane % 2 == 1).expand(shape) if math.prod(shape[-2:]) > 1 else halves
    mask = halves if (index // 2) % 3 == 2 else checker
    return mask ^ bool(index % 2)


def halves_mask(shape: tuple[int, ...], index: int) -> Tensor:
    """The mask of layer `index`: the first half of the flattened event is kept, by odd layers the second."""
    size = math.prod(shape)
    return (torch.arange(size) < (size + 1) // 2).reshape(shape) ^ bool(index % 2)
