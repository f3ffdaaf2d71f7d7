r"""Autoregressive layers: every entry is mapped by a monotone function that the entries before it choose.

    y_i = g(x_i; h_i(x_0..x_{i-1}, e)),        log |det dy/dx| = sum_i log |dg/dx_i|

One masked network gives all h_i in one pass, so `forward` is one pass; `inverse` finds the entries one after the other,
by forward substitution at about the cost of one pass (`creo.flows.substitution`). `Inverted` swaps the two: what was
fast to evaluate becomes fast to sample.

Orders: entries may be taken in any order; a flow reverses it from layer to layer, so that the last become the first.

Sources: masked autoregressive flow, Papamakarios, Pavlakou, Murray 2017, https://arxiv.org/abs/1705.07057; inverse
autoregressive flow, Kingma et al. 2016, https://arxiv.org/abs/1606.04934.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError
from creo.flows.coupling import Affine, Elementwise
from creo.flows.layer import Layer
from creo.flows.substitution import schedule, substitute
from creo.nn.masked import MaskedMLP


class Conditioner(MaskedMLP):
    """A masked network on real variables that answers parameter by parameter, (B, parameters, D), starting at 0."""

    def __init__(
        self, variables: int, outputs: int, *, hidden: tuple[int, ...], context: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__(variables, 1, outputs, hidden=hidden, context=context, dropout=dropout)
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """x (B, D) and context (B, context) to (B, parameters, D), D contiguous."""
        for i, layer in enumerate(self.layers[:-1]):
            x = layer(x) if h is None else layer(x) + self.context[i](h)
            x = F.dropout(F.relu(x), self.dropout, self.training)
        last, split = self.layers[-1], (self.variables, self.outputs)
        weight = (last.weight * last.mask).unflatten(0, split).transpose(0, 1).flatten(0, 1)
        bias = last.bias if h is None else last.bias + self.context[-1](h)
        bias = bias.unflatten(-1, split).transpose(-1, -2).flatten(-2)
        y = F.linear(x, weight, bias) if h is None else F.linear(x, weight) + bias
        return y.unflatten(1, split[::-1])


class Autoregressive(Layer):
    """An autoregressive layer on events of any shape; `forward` is the fast direction.

    Args:
        shape: of one sample.
        elementwise: g.
        hidden: widths of the masked network's hidden layers.
        context: size of a condition's embedding; 0 for none.
        order: (D,) the position in the flattened event of the i-th entry; as they lie if not given.
        dropout: probability of dropping a hidden unit in training (`forward` only).

    Raises:
        OptionError: if order is no permutation, or there is no hidden layer.
    """

    order: Tensor
    back: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        elementwise: Elementwise | None = None,
        *,
        hidden: tuple[int, ...] = (128, 128),
        context: int = 0,
        order: Tensor | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        dims = torch.Size(shape).numel()
        order = torch.arange(dims) if order is None else order
        if not torch.equal(order.sort().values, torch.arange(dims)):
            raise OptionError(
                f"order must be a permutation of 0..{dims - 1}; received shape {tuple(order.shape)}"
            )
        if not hidden or min(hidden) < 1:
            raise OptionError(
                f"a masked network needs hidden layers of at least 1 unit; received hidden={hidden}"
            )
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())
        self.elementwise = Affine() if elementwise is None else elementwise
        self.network = Conditioner(
            dims, self.elementwise.parameters, hidden=hidden, context=context, dropout=dropout
        )
        self.ends = schedule(self.network)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One pass of the network."""
        ordered = x.flatten(1).index_select(1, self.order)
        h = self.network(ordered, e).to(x.dtype)
        y, log_slope = self.elementwise.forward(ordered, h)
        return y.index_select(1, self.back).reshape_as(x), log_slope.sum(1)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """D short steps that together cost about one pass."""
        ordered = y.flatten(1).index_select(1, self.order)
        with torch.autocast(y.device.type, enabled=False):
            x, log_det = substitute(self.network, self.ends, self.elementwise, ordered, e)
        return x.index_select(1, self.back).reshape_as(y), log_det
