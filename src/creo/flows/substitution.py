r"""Exact inversion of an autoregressive map by forward substitution, for about the cost of one forward pass.

    y_i = g(x_i; h_i(x_0..x_{i-1}))        =>        x_i = g^{-1}(y_i; h_i(x_0..x_{i-1})),    i = 0..D-1

The parameters h come from a masked network (`creo.nn.masked`) whose units are sorted by degree. When x_{i-1} has
become known, the units that can now be computed are the next few rows of every layer, so that D steps compute every
unit once; evaluating the whole network at each step would cost D passes. As in blocked linear substitution, what is
known before a block of steps enters all rows of the block by one matrix product, and only the block's own triangle is
left to the single steps.

Everything is laid out with the batch last, so that a row of units is contiguous in memory. Without gradients the
activations are written in place into one buffer per layer; where gradients are wanted (training a flow in its slow
direction) the same steps are taken without overwriting anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from creo.flows.coupling import Elementwise
from creo.nn.masked import MaskedMLP

#: Steps whose dependence on all earlier units is computed at once.
BLOCK = 16


def schedule(network: MaskedMLP) -> list[list[int]]:
    """ends[l][i]: how many units of layer l (0: the inputs) are known when i variables are.

    They are read off the masks: a unit is known as soon as all units that it may read are. The last layer's are the
    parameters of variables 0..i.
    """
    reach = [layer.mask.sum(1).sort().values.tolist() for layer in network.layers]
    ends = [[i * network.inputs for i in range(network.variables)]]
    for rows in reach[:-1]:
        known, found = 0, []
        for end in ends[-1]:
            while known < len(rows) and rows[known] <= end:
                known += 1
            found.append(known)
        ends.append(found)
    ends.append([(i + 1) * network.outputs for i in range(network.variables)])
    return ends


def wants_gradient(network: nn.Module, *tensors: Tensor | None) -> bool:
    """Whether autograd would follow a function of these."""
    leaves = (*tensors, *network.parameters())
    return torch.is_grad_enabled() and any(t.requires_grad for t in leaves if t is not None)


class Substitution(ABC):
    """What every way of substituting needs: sorted weights, and what a block takes from before it.

    Args:
        network: one input and `elementwise.parameters` outputs per variable, parameter by parameter.
        ends: its `schedule`.
        elementwise: g.
        y: in generation order, (D, B).
        e: context, (B, context), or None.
    """

    def __init__(
        self,
        network: MaskedMLP,
        ends: list[list[int]],
        elementwise: Elementwise,
        y: Tensor,
        e: Tensor | None,
    ) -> None:
        self.ends, self.elementwise, self.y = ends, elementwise, y
        self.weights = [layer.weight * layer.mask for layer in network.layers]
        self.biases = [layer.bias.unsqueeze(1) for layer in network.layers]
        if e is not None:
            self.biases = [b + c(e).T for b, c in zip(self.biases, network.context, strict=True)]
        by_parameter = (network.outputs, network.variables)
        for rows in (self.weights, self.biases):  # the parameters of one variable side by side
            rows[-1] = rows[-1].unflatten(0, by_parameter).transpose(0, 1).flatten(0, 1)
        #: starts[l][i]: how many units of layer l are known before step i computes its own
        self.starts = [ends[0], *([0, *rows[:-1]] for rows in ends[1:])]

    @abstractmethod
    def solve(self) -> tuple[Tensor, Tensor]:
        """x (D, B) and the log-determinant (B,)."""

    def before_block(self, l: int, first: int, last: int, known: Tensor) -> Tensor:
        """Pre-activations of the rows of layer l that steps first..last-1 compute, from what is known at `first`."""
        rows = slice(self.starts[l + 1][first], self.ends[l + 1][last - 1])
        return torch.addmm(self.biases[l][rows], self.weights[l][rows, : len(known)], known)


class Steps(Substitution):
    """One variable after the other; two subclasses say where activations are kept."""

    def solve(self) -> tuple[Tensor, Tensor]:
        """All variables: x (D, B) and the log-determinant (B,)."""
        log_slopes, rows = [], self.y.split(1)
        for first in range(0, len(self.y), BLOCK):
            last = min(first + BLOCK, len(self.y))
            self.open_block(first, last)
            for i in range(first, last):
                h = self.parameters(i, first)
                x, log_slope = self.elementwise.inverse(rows[i], h.unsqueeze(0))
                self.take_in(i, x)
                log_slopes.append(log_slope)
            self.close_block()
        return self.result(), torch.cat(log_slopes).sum(0)

    @abstractmethod
    def open_block(self, first: int, last: int) -> None:
        """What is known before the block enters all rows of the block."""

    @abstractmethod
    def parameters(self, i: int, first: int) -> Tensor:
        """h_i, (parameters, B), in the block that begins at `first`."""

    @abstractmethod
    def take_in(self, i: int, x: Tensor) -> None:
        """Variable i is known, (1, B)."""

    @abstractmethod
    def close_block(self) -> None:
        """The block is done."""

    @abstractmethod
    def result(self) -> Tensor:
        """x, (D, B)."""


class InPlace(Steps):
    """One buffer per layer: activations of known units, then pre-activations of the block's other units.

    A step's product takes all columns of its block: those of unknown units have weight 0 for it, by the mask. So all
    views are made once per block, and a step is two operations per layer.
    """

    def open_block(self, first: int, last: int) -> None:
        """One product per layer, into the buffer; views of what the block's steps read and write."""
        if not first:
            sizes = [len(self.y), *(rows[-1] for rows in self.ends[1:])]
            self.units = [self.y.new_zeros(size, self.y.shape[1]) for size in sizes]
        self.fresh, self.rows, self.blocks = [], [], []
        for l, weight in enumerate(self.weights):
            start, stop = self.starts[l + 1][first], self.ends[l + 1][last - 1]
            known, new = self.starts[l][first], self.ends[l][last - 1]
            out = self.units[l + 1][start:stop]
            out.copy_(self.before_block(l, first, last, self.units[l][:known]))
            sizes = [self.ends[l + 1][i] - self.starts[l + 1][i] for i in range(first, last)]
            self.fresh.append(self.units[l][known:new])
            self.rows.append(out.split(sizes))
            self.blocks.append(weight[start:stop, known:new].split(sizes))
        self.inputs = self.units[0][first:last].split(1)
        self.first = first

    def parameters(self, i: int, first: int) -> Tensor:
        """Complete the pre-activations of the rows of step i, layer after layer."""
        at, last = i - first, len(self.weights) - 1
        for l in range(last):
            rows = self.rows[l][at]
            if len(rows):
                rows.addmm_(self.blocks[l][at], self.fresh[l]).relu_()
        return self.rows[last][at].addmm_(self.blocks[last][at], self.fresh[last])

    def take_in(self, i: int, x: Tensor) -> None:
        """Into the buffer."""
        self.inputs[i - self.first].copy_(x)

    def close_block(self) -> None:
        """The buffers are full already."""

    def result(self) -> Tensor:
        """The first buffer."""
        return self.units[0]


class Functional(Steps):
    """The same steps, each giving new tensors, so that autograd can go back through them."""

    def open_block(self, first: int, last: int) -> None:
        """One product per layer."""
        if not first:
            self.known = [self.y.new_empty(0, self.y.shape[1]) for _ in self.weights]
        self.found: list[list[Tensor]] = [[] for _ in self.known]
        self.pending = [self.before_block(l, first, last, known) for l, known in enumerate(self.known)]

    def parameters(self, i: int, first: int) -> Tensor:
        """Add what the units found in this block contribute to the rows of step i, layer after layer."""
        for l, weight in enumerate(self.weights):
            start, stop = self.starts[l + 1][i], self.ends[l + 1][i]
            if stop > start:
                before = self.starts[l + 1][first]
                out = self.pending[l][start - before : stop - before]
                fresh = slice(self.starts[l][first], self.ends[l][i])
                if fresh.stop > fresh.start:
                    out = torch.addmm(out, weight[start:stop, fresh], torch.cat(self.found[l]))
                if l + 1 < len(self.weights):
                    self.found[l + 1].append(out.relu())
        return out

    def take_in(self, i: int, x: Tensor) -> None:
        """To the block's list."""
        self.found[0].append(x)

    def close_block(self) -> None:
        """What was found becomes known."""
        self.known = [torch.cat([a, *b]) for a, b in zip(self.known, self.found, strict=True)]

    def result(self) -> Tensor:
        """All that is known of the inputs."""
        return self.known[0]
