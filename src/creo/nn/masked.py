"""Masked linear layers, and a network whose i-th output block sees only the input blocks before i.

The D variables are taken in generation order, each coded in `inputs` numbers and answered in `outputs` numbers.
A hidden unit of degree d sees variables 0..d-1; a unit of degree d may read units of degree <= d in the layer
before; output block i reads units of degree <= i. So output i is a function of variables 0..i-1 alone. With direct
connections it also reads those variables themselves, which alone is a logistic regression for each.

Units are sorted by degree, which makes the network incremental: once variable i-1 is known, the units that become
computable are the slice of degree i, and the weights they need are one rectangular block without any zero. D
steps touch every allowed weight once: together they cost about one forward pass (`begin`, `advance`). As in blocked
substitution, what earlier units add to the next `BLOCK` steps is computed by one matrix product, and only what these
steps add to each other is left to do one by one.

Masks multiply a copy of the weights, never the weights themselves, so that optimiser state, weight decay and moving
averages stay plain; a masked weight gets gradient exactly 0.

Reference: Germain, Gregor, Murray, Larochelle (2015), https://arxiv.org/abs/1502.03509.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.nn.linear import Weights, linear, perceptron


class MaskedLinear(nn.Linear):
    """y = (W * mask) x + b.

    Args:
        mask: (out, in) booleans, True where a weight may act. Initial weights are uniform with variance
            1 / (3 number of allowed inputs) of their own row, as `nn.Linear` has for dense rows.
        bias: whether there is an additive bias.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, *, bias: bool = True) -> None:
        super().__init__(mask.shape[1], mask.shape[0], bias=bias)
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)
        with torch.no_grad():
            fan_in = mask.sum(1, keepdim=True).clamp(min=1)
            self.weight.mul_((self.in_features / fan_in).sqrt()).mul_(mask)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias, mask=self.mask)


def spread_degrees(units: int, low: int, high: int) -> Tensor:
    """`units` degrees in low..high, sorted, as evenly spread as possible, (units,)."""
    return low + torch.arange(units) * (high - low + 1) // units


#: Steps whose dependence on all earlier units is computed at once.
BLOCK = 32


class Cache(NamedTuple):
    """What an incremental pass has computed so far; its tensors are written in place by `advance`."""

    values: tuple[Tensor, ...]  # activations of the coded inputs and of each hidden layer, (B, units)
    pending: tuple[
        Tensor, ...
    ]  # what units known before the current block of steps add to each layer's units
    context: tuple[Tensor, ...]  # what the condition adds to each layer, (B, units); empty if unconditional


class MaskedMLP(nn.Module):
    """D input blocks to D output blocks, block i of the output seeing blocks 0..i-1 of the input.

    Args:
        variables: D.
        inputs: numbers that code one variable.
        outputs: numbers that answer one variable.
        hidden: units of each hidden layer.
        context: size of a condition vector added linearly to every layer; 0 for none.
        direct: whether output blocks also read the input blocks.
        dropout: probability of dropping a hidden unit in training.
    """

    def __init__(
        self,
        variables: int,
        inputs: int,
        outputs: int,
        *,
        hidden: tuple[int, ...],
        context: int = 0,
        direct: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.variables, self.inputs, self.outputs, self.dropout = variables, inputs, outputs, dropout
        # Without a condition a unit of degree 0 would be a constant.
        low, high = (0 if context else min(1, variables - 1)), variables - 1
        degrees = [torch.arange(1, variables + 1).repeat_interleave(inputs)]
        degrees += [spread_degrees(units, low, high) for units in hidden]
        degrees += [torch.arange(variables).repeat_interleave(outputs)]
        self.layers: Sequence[MaskedLinear] = nn.ModuleList(  # type: ignore[assignment]
            MaskedLinear(b[:, None] >= a[None, :]) for a, b in pairwise(degrees)
        )
        #: how many weights the layers have, masked ones counted
        self.size = sum(layer.weight.numel() for layer in self.layers)
        self.direct = (
            MaskedLinear(degrees[-1][:, None] >= degrees[0][None, :], bias=False) if direct else None
        )
        self.context = nn.ModuleList(nn.Linear(context, len(d), bias=False) for d in degrees[1:] if context)
        #: _ends[l][i]: how many units of layer l have degree <= i
        self._ends = [torch.searchsorted(d, torch.arange(variables), right=True).tolist() for d in degrees]

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """All answers at once.

        Args:
            x: coded variables in generation order, (B, D * inputs).
            h: condition vectors (B, context), or None.

        Returns:
            (B, D, outputs).
        """
        return self.flat(x, h).unflatten(-1, (self.variables, self.outputs))

    def weights(self) -> list[Weights]:
        """Of all layers, as `creo.nn.linear.perceptron` takes them."""
        return [(layer.weight, layer.bias, layer.mask) for layer in self.layers]

    def flat(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """What `forward` gives, as the last layer's rows lie, (B, D * outputs)."""
        if h is None and not (self.training and self.dropout):
            y = perceptron(x, self.weights())
        else:
            y, last = x, len(self.layers) - 1
            for i, layer in enumerate(self.layers):
                y = layer(y) if h is None else layer(y) + self.context[i](h)
                y = F.dropout(F.relu(y), self.dropout, self.training) if i < last else y
        return y if self.direct is None else y + self.direct(x)

    def begin(self, batch: int, h: Tensor | None = None) -> Cache:
        """The cache before any variable is known.

        Args:
            batch: B.
            h: condition vectors (B, context), or None.
        """
        weight = self.layers[0].weight
        values = tuple(weight.new_zeros(batch, layer.in_features) for layer in self.layers)
        pending = tuple(weight.new_empty(batch, layer.out_features) for layer in self.layers)
        return Cache(values, pending, () if h is None else tuple(map(lambda layer: layer(h), self.context)))

    def advance(self, cache: Cache, i: int, coded: Tensor | None) -> Tensor:
        """Take in variable i-1 and answer variable i, writing into the cache.

        Args:
            cache: from `begin`, after steps 0..i-1.
            i: index of the variable to answer, in generation order.
            coded: code of variable i-1, (B, inputs); None at i = 0.

        Returns:
            (B, outputs): what `forward` gives at [:, i] (without dropout).
        """
        if coded is not None:
            cache.values[0][:, (i - 1) * self.inputs : i * self.inputs] = coded
        if i % BLOCK == 0:
            self._begin_block(cache, i)
        for l in range(len(self.layers) - 1):
            new = self._rows(l, i, i + 1)
            if new.stop > new.start:
                cache.values[l + 1][:, new] = self._block(l, new, cache, i).relu_()
        return self._block(len(self.layers) - 1, self._rows(len(self.layers) - 1, i, i + 1), cache, i)

    def _rows(self, l: int, start: int, stop: int) -> slice:
        """The units that layer l computes at steps start..stop-1."""
        ends = self._ends[l + 1]
        return slice(ends[start - 1] if start else 0, ends[min(stop, self.variables) - 1])

    def _begin_block(self, cache: Cache, i: int) -> None:
        """Pre-activations of all units of steps i..i+BLOCK-1, as far as units of degree < i determine them."""
        for l, layer in enumerate(self.layers):
            rows, known = self._rows(l, i, i + BLOCK), self._ends[l][i - 1] if i else 0
            y = F.linear(cache.values[l][:, :known], layer.weight[rows, :known], layer.bias[rows])
            if self.direct is not None and l == len(self.layers) - 1:
                y = y + F.linear(
                    cache.values[0][:, : i * self.inputs], self.direct.weight[rows, : i * self.inputs]
                )
            cache.pending[l][:, rows] = y + cache.context[l][:, rows] if cache.context else y

    def _block(self, l: int, rows: slice, cache: Cache, i: int) -> Tensor:
        """Pre-activations of units `rows` of layer l, all of degree <= i and reading units of degree <= i."""
        first = i - i % BLOCK
        fresh = slice(self._ends[l][first - 1] if first else 0, self._ends[l][i])
        y = cache.pending[l][:, rows] + F.linear(
            cache.values[l][:, fresh], self.layers[l].weight[rows, fresh]
        )
        if self.direct is None or l < len(self.layers) - 1:
            return y
        fresh = slice(first * self.inputs, i * self.inputs)
        return y + F.linear(cache.values[0][:, fresh], self.direct.weight[rows, fresh])
