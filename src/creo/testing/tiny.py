"""Tiny spaces, tiny data, and a short training that takes a model away from its special starting point.

Many rules hold trivially for a freshly built model: a flow whose last layer starts at zero is the identity, so a
wrong sign of its log-determinant does not show. `settle` runs `initialise` and a few steps of the game on tiny data
and then moves every trainable parameter a little at random.
"""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor

from creo.errors import SpaceError, suggestion
from creo.model import GenerativeModel, seeded
from creo.spaces import Categories, Continuous, Ordinal, Space, Table, Tokens
from creo.testing.failure import require

_TINY: dict[str, tuple[Space, ...]] = {
    "Continuous": (Continuous((2,)), Continuous((1, 4, 4))),
    "Ordinal": (Ordinal((4,), 3), Ordinal((1, 2, 2), 3), Ordinal((3, 4, 4), 6)),
    "Tokens": (Tokens(4, 3), Tokens(7, 5)),
    "Categories": (Categories(5),),
    "Table": (Table({"height": Continuous(), "colour": Categories(3), "count": Ordinal((), 4)}),),
}


def tiny_spaces(kind: str) -> tuple[Space, ...]:
    """Small spaces of one kind, the first of them small enough to enumerate or to integrate over a 2-D grid.

    Args:
        kind: `Continuous`, `Ordinal`, `Tokens`, `Categories` or `Table`.
    """
    if kind not in _TINY:
        raise SpaceError(f"no tiny spaces of kind {kind!r}{suggestion(kind, _TINY)}")
    return _TINY[kind]


def tiny_conditions(space: Space) -> tuple[Space, ...]:
    """Spaces to condition a tiny model of `space` on: a label and a vector."""
    return (Categories(3), Continuous((2,)))


@singledispatch
def sizes(space: Space) -> tuple[int | None, ...]:
    """Number of values of every scalar coordinate of a flattened sample, None where it is a real number."""
    raise SpaceError(
        f"{type(space).__name__} is not one of creo's spaces: give the data to the check yourself"
    )


@sizes.register
def _(space: Continuous) -> tuple[int | None, ...]:
    return (None,) * space.dims


@sizes.register
def _(space: Ordinal) -> tuple[int | None, ...]:
    return (space.levels,) * space.dims


@sizes.register(Tokens)
@sizes.register(Categories)
def _(space: Tokens | Categories) -> tuple[int | None, ...]:
    return (space.size,) * space.dims


@sizes.register
def _(space: Table) -> tuple[int | None, ...]:
    return tuple(size for _, column in space.columns for size in sizes(column))


def from_coordinates(space: Space, values: Tensor) -> Tensor:
    """Raw data of `space` from one column per scalar coordinate, (N, dims) -> (N, *space.shape)."""
    dtype = values.dtype if space.dtype.is_floating_point else space.dtype
    return values.reshape(len(values), *space.shape).to(dtype)


def tiny_data(
    space: Space, condition: Space | None = None, n: int = 256, seed: int = 0
) -> tuple[Tensor, Tensor | None]:
    """Random raw data with correlated, shifted, unequal coordinates that depend on the condition.

    Args:
        space: what one sample is.
        condition: what it is conditioned on, or None.
        n: number of examples.
        seed: the same seed gives the same data.

    Returns:
        x of shape (n, *space.shape), and c of shape (n, *condition.shape) or None.
    """
    with seeded(seed):
        common = torch.randn(n, 1)
        c = None if condition is None else _draw(condition, common)
        return _draw(space, common), c


def _draw(space: Space, common: Tensor) -> Tensor:
    counts = sizes(space)
    noise = 0.8 * common + 0.6 * torch.randn(len(common), len(counts))
    columns = [
        (2.0 + j % 3) + (1.5 + j % 2) * noise[:, j]
        if size is None
        else (size * torch.sigmoid(1.5 * noise[:, j] - 0.3)).floor().clamp(0, size - 1)
        for j, size in enumerate(counts)
    ]
    return from_coordinates(
        space, torch.stack(columns, 1).to(torch.promote_types(space.dtype, torch.float32))
    )


def settle(
    model: GenerativeModel,
    x: Tensor,
    c: Tensor | None = None,
    *,
    steps: int = 10,
    lr: float = 1e-3,
    noise: float = 0.02,
    seed: int = 0,
) -> GenerativeModel:
    """Initialise a model on data, play a few rounds of its game, move its parameters at random; then `eval()`.

    Args:
        model: changed in place and returned.
        x: raw training data, (N, *space.shape).
        c: conditions, (N, *condition.shape), or None.
        steps: rounds of the game, on batches of 64 drawn with replacement.
        lr: learning rate of Adam.
        noise: standard deviation of the Gaussian noise added to every trainable parameter.
        seed: of everything random in here.

    Raises:
        CheckFailed: if a player's loss is not finite.
    """
    with seeded(seed):
        model.train()
        model.initialise(x, c)
        _play(model, x, c, steps, lr)
    return shake(model, noise, seed).eval()


@torch.no_grad()
def shake(model: GenerativeModel, noise: float, seed: int = 0) -> GenerativeModel:
    """Add Gaussian noise of standard deviation `noise` to every trainable parameter, in place."""
    with seeded(seed):
        for p in {id(p): p for player in model.players() for p in player.parameters}.values():
            p.add_(noise * torch.randn_like(p))
    return model


def _play(model: GenerativeModel, x: Tensor, c: Tensor | None, steps: int, lr: float) -> None:
    players = [(p, torch.optim.Adam(p.parameters, lr)) for p in model.players()]
    for step in range(steps):
        for player, optimiser in players:
            for _ in range(player.steps):
                pick = torch.randint(len(x), (64,))
                loss = player.loss(x[pick], None if c is None else c[pick]).loss
                require(loss.isfinite(), f"loss of player {player.name!r} is {loss.item()} at step {step}")
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(player.parameters, 5.0)
                optimiser.step()
