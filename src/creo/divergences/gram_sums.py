"""Sums over Gram matrices too large to hold: tile by tile, in float64, with gradients.

    cross_sum         sum over i, j of k(x_i, y_j)
    off_diagonal_sum  sum over i != j of k(x_i, x_j)

At most `block` x `block` kernel values are in memory at a time, in the backward pass too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from creo.divergences.kernels import Kernel


@dataclass(frozen=True)
class WithoutDiagonal(Kernel):
    """A kernel with k(x_i, x_i) left out, for tiles on the diagonal (both arguments the same rows)."""

    kernel: Kernel

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        gram = self.kernel(x, y)
        return gram.masked_fill(torch.eye(len(x), dtype=torch.bool, device=x.device), 0)


class _Tile(NamedTuple):
    rows: slice
    columns: slice
    kernel: Kernel
    weight: float = 1.0

    def sum(self, x: Tensor, y: Tensor) -> Tensor:
        return self.weight * self.kernel(x, y).sum(dtype=torch.float64)


class _TiledSum(torch.autograd.Function):
    """Sum over tiles; the backward pass recomputes one tile at a time, so that none is kept.

    (A checkpoint per tile keeps no tile either, but interleaves small and large allocations: the heap fragments
    and the process grows as if it kept them.)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, tiles: list[_Tile]) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.tiles = tiles
        total = x.new_zeros((), dtype=torch.float64)
        for tile in tiles:
            total += tile.sum(x[tile.rows], y[tile.columns])
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, y = ctx.saved_tensors
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)
        for tile in ctx.tiles:
            a, b = x[tile.rows].detach().requires_grad_(), y[tile.columns].detach().requires_grad_()
            with torch.enable_grad():
                to_a, to_b = torch.autograd.grad(tile.sum(a, b), (a, b))
            grad_x[tile.rows] += to_a
            grad_y[tile.columns] += to_b
        return grads[0] * grad_x, grads[0] * grad_y, None


def _sum(x: Tensor, y: Tensor, tiles: list[_Tile]) -> Tensor:
    if len(tiles) == 1:  # ordinary autograd, with second derivatives too
        return tiles[0].sum(x, y)
    total: Tensor = _TiledSum.apply(x, y, tiles)
    return total


def _slices(n: int, block: int) -> list[slice]:
    return [slice(i, min(i + block, n)) for i in range(0, n, block)]


def cross_sum(kernel: Kernel, x: Tensor, y: Tensor, block: int) -> Tensor:
    """Sum of k(x_i, y_j) over all i, j."""
    return _sum(x, y, [_Tile(i, j, kernel) for i in _slices(len(x), block) for j in _slices(len(y), block)])


def off_diagonal_sum(kernel: Kernel, x: Tensor, block: int) -> Tensor:
    """Sum of k(x_i, x_j) over i != j: the tiles above the diagonal twice, those on it without their diagonal."""
    parts = _slices(len(x), block)
    above = [_Tile(i, j, kernel, 2.0) for at, i in enumerate(parts) for j in parts[at + 1 :]]
    return _sum(x, x, above + [_Tile(i, i, WithoutDiagonal(kernel)) for i in parts])
