r"""Ordinal data as a sparse 0/1 matrix, so that histograms and table look-ups are matrix products.

    A[n, d * levels + x_nd] = 1 wherever x_nd is not 0

Level 0 follows by subtraction, so a picture that is mostly background costs next to nothing. Then, for a table
T (D levels, K) and weights R (N, K),

    A T   sums the table's rows that each sample looks up:  (N, K)              `look_up`
    A' R  counts every level with these weights:            (D levels, K)       `count`

at a cost of K times the number of non-zero entries, whatever the number of levels.
"""

from __future__ import annotations

import warnings
from functools import cached_property

import torch
from torch import Tensor


class Indicators:
    """The matrix A and its transpose.

    Args:
        x: levels, (N, D), integer.
        levels: how many there are.
        dtype: floating dtype of the matrix.
    """

    def __init__(self, x: Tensor, levels: int, dtype: torch.dtype) -> None:
        present = x != 0
        self.dtype, self.shape = dtype, (len(x), x.shape[1] * levels)
        self.row, entry = present.nonzero().unbind(1)
        self.column = entry * levels + x[present].long()

    def __len__(self) -> int:
        return self.shape[0]

    @cached_property
    def matrix(self) -> Tensor:
        """A in compressed rows."""
        return _compressed(self.row, self.column, self.shape, self.dtype)

    @cached_property
    def transposed(self) -> Tensor:
        """A' in compressed rows."""
        order = self.column.argsort(stable=True)
        return _compressed(self.column[order], self.row[order], self.shape[::-1], self.dtype)

    def look_up(self, table: Tensor) -> Tensor:
        """A T, (N, K), at full precision also under autocast (which has no sparse product)."""
        with torch.autocast(table.device.type, enabled=False):
            return self.matrix @ table

    def count(self, weight: Tensor) -> Tensor:
        """A' R, (D levels, K), at full precision."""
        with torch.autocast(weight.device.type, enabled=False):
            return self.transposed @ weight


def _compressed(row: Tensor, column: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A CSR matrix of ones from coordinates sorted by row."""
    ends = torch.bincount(row, minlength=shape[0]).cumsum(0)
    starts = torch.cat([ends.new_zeros(1), ends])
    ones = torch.ones(len(column), dtype=dtype, device=column.device)
    with (
        warnings.catch_warnings()
    ):  # torch calls the format beta; only its constructor and matrix product are used
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, column, ones, shape, check_invariants=False)
