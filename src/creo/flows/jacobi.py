r"""Inversion of an autoregressive map by fixed-point rounds, stopped when they change nothing any more.

    x^(k+1) = g^{-1}(y; h(x^(k)))       all entries of a block at once, h from the masked network

Entry i of a block is final after i + 1 rounds whatever the start, since h_i reads only entries before it: the block's
system is triangular, and as many rounds as entries are the exact answer. Most flows need far fewer, because far
entries matter little: rounds end when no entry changes by more than `tolerance` (1 + |x|).

| method         | blocks                         | a round computes                          |
|----------------|--------------------------------|-------------------------------------------|
| `jacobi`       | one, of all D entries          | the whole network                         |
| `gauss-seidel` | of 32, one after the other     | the units that its block alone determines |
| `incremental`  | no rounds: one entry after the other, every unit once (`creo.flows.substitution`)          |

Rounds do more arithmetic in fewer, larger operations: a few samples of many entries take a fifth of the time, large
batches a multiple. `auto` takes blocks for at most `FEW` samples of at least `MANY` entries, else entries one by one;
either way the answer is exact up to rounding.

The error: the x before the last round solves its equations, in units of x, to within `change`, the largest relative
change of that round, so the x returned is at least as good up to the slopes of the map; with `tolerance=0` rounds go
on until nothing changes. What is not finite on the way counts as 0 or as a large number in the network's inputs, never
in the answer.

Sources: Song, Meng, Liao, Ermon 2021 (Jacobi and Gauss-Seidel for feedforward computation),
https://arxiv.org/abs/2002.03629; for flows: Wiggers, Hoogeboom 2020, https://arxiv.org/abs/2002.09928.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from creo.errors import OptionError
from creo.flows.substitution import Substitution

InversionName = Literal["auto", "incremental", "jacobi", "gauss-seidel"]
NAMES = ("auto", "incremental", "jacobi", "gauss-seidel")

#: Variables of a block; samples and entries up to and from which `auto` takes blocks.
BLOCK, FEW, MANY = 32, 64, 16
#: Relative change at which rounds end, if no other is given: a few units in the last place of a network's output.
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}
LARGE = 1e20


def check_inversion(inversion: str, tolerance: float | None) -> None:
    """Raise `OptionError` unless it is the name of a method and a tolerance."""
    if inversion not in NAMES or not (tolerance is None or tolerance >= 0):
        raise OptionError(
            f"inversion is one of {', '.join(NAMES)}, tolerance at least 0; received {inversion!r} and {tolerance}"
        )


def block_size(inversion: InversionName, batch: int, entries: int) -> int:
    """Variables of a block for so many samples of so many entries; 0 for the incremental method."""
    if inversion == "auto":
        inversion = "gauss-seidel" if batch <= FEW and entries >= MANY else "incremental"
    return {"incremental": 0, "gauss-seidel": BLOCK, "jacobi": entries}[inversion]


def relative_change(new: Tensor, old: Tensor) -> float:
    """max |new - old| / (1 + |new|)."""
    return float(((new - old).abs() / (1 + new.abs())).max())


class Rounds(Substitution):
    """Rounds over blocks of variables; see the module docstring. Without gradients.

    Args:
        block: variables in a block.
        tolerance: relative change at which a block is done; that of the dtype if None.
        others: as of `Substitution`.
    """

    def __init__(self, *others: Any, block: int, tolerance: float | None) -> None:
        super().__init__(*others)
        self.block = block
        self.tolerance = TOLERANCE.get(self.y.dtype, 1e-6) if tolerance is None else tolerance
        #: rounds of all blocks, and the largest relative change of a block's last one
        self.rounds, self.change = 0, 0.0

    def solve(self) -> tuple[Tensor, Tensor]:
        """All blocks, one after the other: x (D, B) and the log-determinant (B,)."""
        sizes = [len(self.y), *(rows[-1] for rows in self.ends[1:-1])]
        self.units = [self.y.new_empty(size, self.y.shape[1]) for size in sizes]
        log_slopes = []
        for first in range(0, len(self.y), self.block):
            log_slopes.append(self._solve_block(first, min(first + self.block, len(self.y))))
        return self.units[0], torch.cat(log_slopes).sum(0)

    def _solve_block(self, first: int, last: int) -> Tensor:
        """Write variables first..last-1 and the units that they determine; the log-slopes (last - first, B)."""
        columns = [slice(self.starts[l][first], self.ends[l][last - 1]) for l in range(len(self.ends))]
        pending = [
            self.before_block(l, first, last, units[: columns[l].start]) for l, units in enumerate(self.units)
        ]
        inner = [w[after, at] for w, at, after in zip(self.weights, columns, columns[1:], strict=False)]
        y = x = self.y[first:last]
        for _ in range(first, last):
            found = [x[:-1].nan_to_num(0.0, LARGE, -LARGE)]
            for constant, weight in zip(pending, inner, strict=True):
                found.append(
                    torch.addmm(constant, weight, found[-1].relu_() if len(found) > 1 else found[-1])
                )
            new, log_slopes = self.elementwise.inverse(y, found.pop().unflatten(0, (last - first, -1)))
            change = relative_change(new, x)
            x, self.rounds = new, self.rounds + 1
            if change <= self.tolerance:
                break
        self.change = max(self.change, change)
        self.units[0][first:last] = x
        for units, at, values in zip(self.units[1:], columns[1:-1], found[1:], strict=True):
            units[at] = values
        return log_slopes
