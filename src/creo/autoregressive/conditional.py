r"""The conditional density of one or two variables given all others, on a grid, of any model with an exact likelihood.

    p(x_v | x_rest) = p(x_v, x_rest) / sum_u p(u, x_rest) delta

u runs over the grid (all levels of a variable that has levels; equally spaced values of a real one) and delta is the
grid's cell, so that the values times delta sum to 1. A grid over a real variable must cover where its density lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from creo.errors import OptionError
from creo.model import GenerativeModel, Likelihood

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@torch.no_grad()
def conditional_density(
    model: GenerativeModel,
    x: Tensor,
    variables: Sequence[int],
    values: Sequence[Tensor],
    c: Tensor | None = None,
) -> Tensor:
    """p(x_v | x_rest, c) on a grid.

    Args:
        model: with an exact likelihood.
        x: one raw sample (*space.shape), whose entries at `variables` are ignored.
        variables: one or two positions in the flattened sample.
        values: for each of them, equally spaced raw values, (n,).
        c: one condition (*condition.shape), or None.

    Returns:
        (n,) or (n, m): densities for real variables, probabilities for those with levels (whose grid is integer).

    Raises:
        OptionError: not one or two variables with a grid each, or the likelihood is not exact.
    """
    if model.likelihood is not Likelihood.EXACT:
        raise OptionError(f"{type(model).__name__} has no exact likelihood to condition")
    if len(variables) not in (1, 2) or len(values) != len(variables):
        raise OptionError(
            f"give one or two variables and a grid for each; received {len(variables)} and {len(values)}"
        )
    grid = torch.cartesian_prod(*values).reshape(-1, len(values))
    rows = x.flatten().expand(len(grid), -1).clone()
    rows[:, list(variables)] = grid.to(rows.dtype)
    rows = rows.view(-1, *model.space.shape)
    log_p = model.log_prob(rows, None if c is None else c.expand(len(rows), *c.shape))
    cell = torch.tensor([_spacing(v) for v in values], dtype=log_p.dtype, device=log_p.device).prod()
    return (log_p.softmax(0) / cell).view([len(v) for v in values])


def _spacing(v: Tensor) -> float:
    """1 for integers; the step of a grid of reals."""
    return float(v[1] - v[0]) if v.is_floating_point() and len(v) > 1 else 1.0


def density_plot(density: Tensor, values: Sequence[Tensor], names: Sequence[str]) -> Figure:
    """A curve (one variable) or a picture (two) of what `conditional_density` answers.

    Args:
        density: (n,) or (n, m).
        values: the grids.
        names: of the variables, for the axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(names[0])
    if density.ndim == 1:
        axes.plot(values[0].cpu().numpy(), density.cpu().numpy())
        axes.set_ylabel(f"p({names[0]} | rest)")
    else:
        first, second = (v.cpu().numpy() for v in values)
        axes.pcolormesh(first, second, density.cpu().numpy().T, shading="nearest")
        axes.set_ylabel(names[1])
    return figure
