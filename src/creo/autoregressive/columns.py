"""Scalar variables of mixed kinds as one matrix: how a network sees each, and the distribution it answers.

Variables of the same kind form a `Group`, so that a table of many columns or an image is handled in a few vectorised
calls. Raw values travel as float64 (B, D), exact for every level and every raw measurement.

    Reals    z = (x - mean) / std; the network sees z; log p(x) = log p(z) - log std, a mixture of K components
    Levels   a coding of the level; log P(x) from a table of levels
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from creo.autoregressive.coding import Coding, coding_name
from creo.autoregressive.made import table_head
from creo.distributions.heads import DiscreteHead
from creo.distributions.real_mixture import RealMixture, Shape
from creo.errors import SpaceError
from creo.spaces import Categories, Continuous, Ordinal, Space, Table, Tokens


class Group(nn.Module, ABC):
    """Variables of one kind.

    Args:
        index: their positions in the flattened sample, (n,).
        inputs: numbers that code one variable.
        outputs: numbers that answer one variable.
    """

    index: Tensor

    def __init__(self, index: Sequence[int], inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor(list(index)), persistent=False)
        self.inputs, self.outputs = inputs, outputs

    @property
    def everyone(self) -> Tensor:
        """All variables of the group, as `which`."""
        return torch.arange(len(self.index), device=self.index.device)

    @abstractmethod
    def code(self, x: Tensor, which: Tensor, dtype: torch.dtype) -> Tensor:
        """Raw values (B, m) of the variables `which` (m,) of the group as codes (B, m, inputs)."""

    @abstractmethod
    def log_prob(self, params: Tensor, x: Tensor, which: Tensor) -> Tensor:
        """Nats of the variables `which`: params (B, m, outputs) and raw x (B, m) to (B, m)."""

    @abstractmethod
    def sample(self, params: Tensor, which: Tensor) -> Tensor:
        """Raw values (B, m) for params (B, m, outputs) of the variables `which`."""

    def initialise(self, x: Tensor) -> None:
        """Take location and scale from raw data (N, n), where the group has such."""


class Reals(Group):
    """Real variables, standardised by the data; see the module docstring."""

    mean: Tensor
    std: Tensor

    def __init__(self, index: Sequence[int], mixture: RealMixture) -> None:
        super().__init__(index, 1, mixture.size)
        self.mixture = mixture
        self.register_buffer("mean", torch.zeros(len(self.index)))
        self.register_buffer("std", torch.ones(len(self.index)))

    def _z(self, x: Tensor, which: Tensor) -> Tensor:
        return (x - self.mean[which].double()) / self.std[which].double()

    def code(self, x: Tensor, which: Tensor, dtype: torch.dtype) -> Tensor:
        return self._z(x, which).to(dtype).unsqueeze(-1)

    def log_prob(self, params: Tensor, x: Tensor, which: Tensor) -> Tensor:
        return self.mixture.log_prob(params, self._z(x, which)) - self.std[which].log()

    def sample(self, params: Tensor, which: Tensor) -> Tensor:
        return self.mean[which].double() + self.std[which].double() * self.mixture.sample(params).double()

    def initialise(self, x: Tensor) -> None:
        std = x.std(0, correction=0)
        self.mean.copy_(x.mean(0))
        self.std.copy_(torch.where(std > 0, std, 1.0))


class Levels(Group):
    """Variables over the same levels, ordered or not; see the module docstring."""

    def __init__(self, index: Sequence[int], coding: Coding, head: DiscreteHead) -> None:
        super().__init__(index, coding.size, head.size)
        self.coding, self.head = coding, head

    def code(self, x: Tensor, which: Tensor, dtype: torch.dtype) -> Tensor:
        return self.coding(x.long(), dtype)

    def log_prob(self, params: Tensor, x: Tensor, which: Tensor) -> Tensor:
        return self.head.log_prob(params, x.long())

    def sample(self, params: Tensor, which: Tensor) -> Tensor:
        return self.head.sample(params).double()


def scalar_spaces(space: Space) -> list[Space]:
    """The space of every scalar variable of a flattened sample."""
    if isinstance(space, Table):
        return list(space.column_spaces)
    if isinstance(space, Continuous):
        return [Continuous()] * space.dims
    if isinstance(space, Ordinal):
        return [Ordinal((), space.levels)] * space.dims
    if isinstance(space, Tokens):
        return [Categories(space.size)] * space.dims
    return [space]


def groups_of(space: Space, *, components: int, shape: Shape) -> list[Group]:
    """The variables of a space, those of one kind together.

    Args:
        space: any.
        components: of the mixtures of real variables, and of logistic heads.
        shape: of the components of real variables.
    """
    members: dict[Space, list[int]] = {}
    for i, scalar in enumerate(scalar_spaces(space)):
        # names of categories do not matter here, their number does
        kind = Categories(scalar.size) if isinstance(scalar, Categories) else scalar
        members.setdefault(kind, []).append(i)
    return [_group(kind, index, components, shape) for kind, index in members.items()]


def _group(kind: Space, index: Sequence[int], components: int, shape: Shape) -> Group:
    if isinstance(kind, Continuous):
        return Reals(index, RealMixture(components, shape))
    if isinstance(kind, Categories) and kind.size < 2:
        raise SpaceError(f"variable {index[0]} has a single category: leave it out, it is always the same")
    symbols = Tokens(1, kind.size) if isinstance(kind, Categories) else kind
    if not isinstance(symbols, Ordinal | Tokens):
        raise SpaceError(f"there is no distribution for variables of {kind}")
    head = table_head(symbols, "auto", components)
    return Levels(index, Coding(coding_name(symbols, "auto"), head.levels), head)
