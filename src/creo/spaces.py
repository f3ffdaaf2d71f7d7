"""Spaces: what one sample is.

A data set carries its space, a model is built for a space, and both speak **raw data of that space**:

| space                    | one sample                              | tensor of a batch            | measure       |
|--------------------------|-----------------------------------------|------------------------------|---------------|
| `Continuous(shape)`      | real numbers                            | floating (B, *shape)         | Lebesgue      |
| `Ordinal(shape, levels)` | ordered levels 0..levels-1 (pixels)     | integer (B, *shape)          | counting      |
| `Tokens(length, size)`   | a sequence of symbols 0..size-1         | integer (B, length)          | counting      |
| `Categories(size, names)`| one unordered label 0..size-1           | integer (B,)                 | counting      |
| `Table(columns)`         | named columns, each one of the above    | float64 (B, number of columns) | their product |

The measure is what makes two models' `log_prob` comparable: on a counting space it is the logarithm of a
probability (at most 0), on a Lebesgue space that of a density; always in nats per raw sample, never of a
rescaled, dequantised or one-hot copy. Images are `(C, H, W)`, videos of grey frames `(T, H, W)`.

This module imports no torch at the top, so that listing data sets and models stays instant.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from creo.errors import SpaceError, UnknownName, suggestion

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def bits_per_dim(nats: Any, space: Space) -> Any:
    """Bits per dimension of a negative log-likelihood: `nats / (ln 2 * dims)`. Smaller is better.

    Args:
        nats: negative log-likelihood of raw samples in nats (number, array or tensor).
        space: the space they live in; `space.dims` is the number of dimensions counted.
    """
    return nats / (math.log(2.0) * space.dims)


class Space:
    """Base of all spaces. A space is an immutable value: compare it, hash it, write it to a config."""

    shape: tuple[int, ...]
    discrete: ClassVar[bool]

    @property
    def kind(self) -> str:
        """The name of the space's class, as the registry and configs write it."""
        return type(self).__name__

    @property
    def dims(self) -> int:
        """Number of scalar dimensions of one sample (what bits/dim divides by)."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        """Whether samples are pictures: numeric, (C, H, W) with 1 or 3 channels."""
        return self.is_grid and self.shape[0] in (1, 3)

    @property
    def is_video(self) -> bool:
        """Whether samples are grey pictures in the order of time: numeric, (T, H, W) with T neither 1 nor 3."""
        return self.is_grid and self.shape[0] not in (1, 3)

    @property
    def is_grid(self) -> bool:
        """Whether samples are numbers over the plane: numeric with three axes, a picture or a video."""
        return len(self.shape) == 3 and self.kind in ("Continuous", "Ordinal")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that samples and stored data of this space have."""
        raise NotImplementedError

    def _check_values(self, x: Tensor, what: str) -> None:
        raise NotImplementedError

    def check_shape(self, x: Tensor, what: str = "x") -> Tensor:
        """Return `x` if it is a batch (B, *shape) of the right dtype kind, without looking at its values.

        Raises:
            SpaceError: naming what was expected and what was received.
        """
        if not hasattr(x, "is_floating_point"):
            raise SpaceError(
                f"{what} must be a tensor; received {type(x).__name__}: torch.as_tensor makes one"
            )
        if tuple(x.shape[1:]) != self.shape or x.ndim != len(self.shape) + 1:
            want = ", ".join(["B", *map(str, self.shape)])
            raise SpaceError(f"{what} must have shape ({want}) for {self}; received {tuple(x.shape)}")
        if x.is_complex() or (x.is_floating_point() != self.dtype.is_floating_point):
            kind = "floating-point" if self.dtype.is_floating_point else "integer"
            raise SpaceError(f"{what} must be a {kind} tensor for {self}; received {x.dtype}")
        return x

    def check(self, x: Tensor, what: str = "x") -> Tensor:
        """Return `x` if it is a batch of this space: shape, dtype, range, and no NaN or infinity.

        Raises:
            SpaceError: one line saying what is wrong, and where the first offending value is.
        """
        self.check_shape(x, what)
        if x.numel():
            self._check_values(x, what)
        return x

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a config file; `space_from_dict` reads it back."""
        raise NotImplementedError


def _first(mask: Tensor) -> tuple[int, ...]:
    return tuple(int(i) for i in mask.nonzero()[0])


def _check_finite(x: Tensor, what: str) -> None:
    bad = ~x.isfinite()
    if bad.any():
        raise SpaceError(
            f"{what} has {int(bad.sum())} NaN or infinite values, the first at index {_first(bad)}"
        )


def _check_range(x: Tensor, size: int, what: str, space: object) -> None:
    low, high = int(x.min()), int(x.max())
    if low < 0 or high >= size:
        bad = (x < 0) | (x >= size)
        at = _first(bad)
        raise SpaceError(f"{what} has value {x[at].item()} at index {at}; {space} holds 0..{size - 1}")


def _positive_shape(shape: Any) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, Sequence) and not isinstance(shape, str) else (shape,)
    return tuple(_at_least(s, 1, "a size in a shape") for s in sizes)


def _at_least(value: Any, low: int, what: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < low:
        raise SpaceError(f"{what} must be an integer of at least {low}; received {value!r}")
    return number


def _names(names: Any, count: int, what: str) -> tuple[str, ...]:
    if not isinstance(names, Sequence) or isinstance(names, str) or len(names) != count:
        raise SpaceError(f"{what} must be {count} names, one each; received {names!r}")
    return tuple(str(n) for n in names)


@dataclass(frozen=True)
class Continuous(Space):
    """Real-valued samples of `shape`; densities with respect to Lebesgue measure."""

    shape: tuple[int, ...] = ()
    discrete: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _positive_shape(self.shape))

    @property
    def dtype(self) -> torch.dtype:
        import torch

        return torch.float32

    def _check_values(self, x: Tensor, what: str) -> None:
        _check_finite(x, what)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "Continuous", "shape": list(self.shape)}


@dataclass(frozen=True)
class Ordinal(Space):
    """Ordered levels 0..levels-1 on a grid of `shape`: grey values, colours (C, H, W), counts."""

    shape: tuple[int, ...] = ()
    levels: int = 256
    discrete: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _positive_shape(self.shape))
        object.__setattr__(self, "levels", _at_least(self.levels, 2, "levels"))

    @property
    def dtype(self) -> torch.dtype:
        import torch

        return torch.uint8 if self.levels <= 256 else torch.int64

    def _check_values(self, x: Tensor, what: str) -> None:
        _check_range(x, self.levels, what, self)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "Ordinal", "shape": list(self.shape), "levels": self.levels}


@dataclass(frozen=True)
class Tokens(Space):
    """Sequences of `length` symbols 0..size-1; `symbols` are their spellings, when known."""

    length: int
    size: int
    symbols: tuple[str, ...] | None = None
    discrete: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", _at_least(self.length, 1, "length"))
        object.__setattr__(self, "size", _at_least(self.size, 2, "size"))
        if self.symbols is not None:
            object.__setattr__(self, "symbols", _names(self.symbols, self.size, "symbols"))

    def __repr__(self) -> str:
        return f"Tokens(length={self.length}, size={self.size})"

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self.length,)

    @property
    def dtype(self) -> torch.dtype:
        import torch

        return torch.int64

    def _check_values(self, x: Tensor, what: str) -> None:
        _check_range(x, self.size, what, self)

    def to_dict(self) -> dict[str, Any]:
        symbols = None if self.symbols is None else list(self.symbols)
        return {"kind": "Tokens", "length": self.length, "size": self.size, "symbols": symbols}


@dataclass(frozen=True)
class Categories(Space):
    """One unordered label 0..size-1 with optional names."""

    size: int
    names: tuple[str, ...] | None = None
    discrete: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _at_least(self.size, 1, "size"))
        if self.names is not None:
            object.__setattr__(self, "names", _names(self.names, self.size, "names"))

    def __repr__(self) -> str:
        return f"Categories({self.size})"

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return ()

    @property
    def dtype(self) -> torch.dtype:
        import torch

        return torch.int64

    def _check_values(self, x: Tensor, what: str) -> None:
        _check_range(x, self.size, what, self)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "Categories",
            "size": self.size,
            "names": None if self.names is None else list(self.names),
        }


@dataclass(frozen=True)
class Table(Space):
    """Rows of named columns, each a scalar `Continuous`, `Ordinal` or `Categories` space.

    A row is a float64 vector with one entry per column, levels and categories as their index (float64 keeps
    every integer below 2^53 and every raw measurement exact); models rescale inside.
    """

    columns: tuple[tuple[str, Space], ...]
    discrete: ClassVar[bool] = False  # mixed in general; see `column_spaces`

    def __init__(self, columns: Mapping[str, Space] | tuple[tuple[str, Space], ...]) -> None:
        given = columns.items() if isinstance(columns, Mapping) else columns
        try:
            pairs = tuple((str(name), space) for name, space in given)
        except (TypeError, ValueError):
            raise SpaceError(f"a Table has (name, space) columns; received {columns!r}") from None
        if not pairs:
            raise SpaceError("a Table needs at least one column")
        names = [name for name, _ in pairs]
        repeated = {n for n in names if names.count(n) > 1}
        if repeated:
            raise SpaceError(f"column names of a Table must differ; repeated: {sorted(repeated)}")
        for name, space in pairs:
            if not isinstance(space, Continuous | Ordinal | Categories) or space.shape != ():
                raise SpaceError(
                    f"column {name!r} must be a scalar Continuous, Ordinal or Categories; received {space}"
                )
        object.__setattr__(self, "columns", pairs)

    def __repr__(self) -> str:
        kinds = [space.kind for _, space in self.columns]
        counts = ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))
        return f"Table({len(self.columns)} columns: {counts})"

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (len(self.columns),)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(name for name, _ in self.columns)

    @property
    def column_spaces(self) -> tuple[Space, ...]:
        """The columns' spaces, in order."""
        return tuple(space for _, space in self.columns)

    @property
    def dtype(self) -> torch.dtype:
        import torch

        return torch.float64

    def _check_values(self, x: Tensor, what: str) -> None:
        _check_finite(x, what)
        for i, (name, space) in enumerate(self.columns):
            if space.discrete:
                column, where = x[:, i], f"column {name!r} of {what}"
                fractional = column != column.round()
                if fractional.any():
                    at = _first(fractional)
                    raise SpaceError(f"{where} must hold whole numbers; row {at[0]} has {column[at].item()}")
                space._check_values(column, where)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "Table", "columns": [[name, space.to_dict()] for name, space in self.columns]}


_KINDS: dict[str, type[Space]] = {c.__name__: c for c in (Continuous, Ordinal, Tokens, Categories, Table)}


def space_from_dict(fields: Mapping[str, Any]) -> Space:
    """The space that `Space.to_dict` wrote.

    Raises:
        UnknownName: no such kind of space. SpaceError: fields missing, unknown or of the wrong type.
    """
    fields = dict(fields)
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UnknownName(f"unknown kind of space {kind!r}{suggestion(str(kind), _KINDS)}")
    try:
        if kind == "Table":
            return Table(tuple((name, space_from_dict(space)) for name, space in fields["columns"]))
        return _KINDS[kind](**fields)
    except (TypeError, KeyError) as error:
        raise SpaceError(f"not the fields of a {kind}: {fields} ({error})") from None
