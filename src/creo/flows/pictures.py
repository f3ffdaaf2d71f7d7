"""Pictures of flows on the plane: what the layers do to a density and to a grid, and the paths of continuous ones.

`layers` shows the data and the density that the model gives them, before the first layer, after some, and as noise; the
lines are the images of one square grid of noise, so that a cell holds the same probability in every panel.
`trajectories` shows where a continuous flow carries noise, in the units of its own layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from creo.distributions.gaussian import standard_log_prob
from creo.flows.continuous import Continuous
from creo.flows.layer import Compose, Layer
from creo.flows.ode import solve_fixed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Panels, points on a side of a density's raster, lines of the grid, points of a line, half the grid's side.
PANELS, RASTER, LINES, FINE, REACH = 5, 48, 13, 60, 3.0


def stages(count: int) -> list[int]:
    """How many layers have acted in each panel: none, some, all `count`."""
    panels = min(PANELS, count + 1)
    return [round(i * count / (panels - 1)) for i in range(panels)]


def noise_grid() -> Tensor:
    """Lines of a square grid, (2 LINES, FINE, 2)."""
    along, across = torch.linspace(-REACH, REACH, FINE), torch.linspace(-REACH, REACH, LINES)
    vertical = torch.stack([across[:, None].expand(-1, FINE), along.expand(LINES, -1)], -1)
    return torch.cat([vertical, vertical.flip(-1)])


@torch.no_grad()
def layers_picture(flow: Compose, x: Tensor, e: Tensor | None) -> Figure:
    """A panel per stage, data at the left.

    Args:
        flow: layers on the plane.
        x: data, (B, 2).
        e: embedding of their conditions, (B, context); the density and the grid are the first one's. Or None.
    """
    from matplotlib.figure import Figure

    layers, shown = list(flow), stages(len(flow))
    figure = Figure(figsize=(2.6 * len(shown), 2.9), layout="constrained")
    for axes, k in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        points = Compose(layers[:k]).forward(x, e)[0] if k else x
        _panel(axes, points, layers[k:], None if e is None else e[:1])
        axes.set_title(
            "data" if k == 0 else "noise" if k == len(layers) else f"after {k} of {len(layers)} layers"
        )
    return figure


def _panel(axes: Axes, points: Tensor, rest: list[Layer], e: Tensor | None) -> None:
    """Points, density and grid of the stage before the layers `rest`."""
    low, high = points.quantile(0.005, 0), points.quantile(0.995, 0)
    low, high = low - 0.25 * (high - low), high + 0.25 * (high - low)
    sides = [
        torch.linspace(float(a), float(b), RASTER, dtype=points.dtype) for a, b in zip(low, high, strict=True)
    ]
    raster = torch.stack(torch.meshgrid(*sides, indexing="xy"), -1).flatten(0, 1).to(points.device)
    log_density = _log_density(raster, rest, e).reshape(RASTER, RASTER).cpu()
    grid = noise_grid().to(points)
    lines = _pull_back(grid.flatten(0, 1), rest, e).reshape(grid.shape).cpu()
    axes.pcolormesh(
        *(side.numpy() for side in sides),
        log_density.exp().numpy(),
        cmap="Blues",
        shading="nearest",
        rasterized=True,
    )
    for line in lines.numpy():
        axes.plot(*line.T, color="0.45", linewidth=0.4)
    shown = points[:300].cpu().numpy()
    axes.scatter(shown[:, 0], shown[:, 1], s=2, color="tab:orange", linewidths=0)
    axes.set(xlim=(float(low[0]), float(high[0])), ylim=(float(low[1]), float(high[1])), xticks=[], yticks=[])


def _log_density(y: Tensor, rest: list[Layer], e: Tensor | None) -> Tensor:
    if not rest:
        return standard_log_prob(y)
    z, log_det = Compose(rest).forward(y, None if e is None else e.expand(len(y), -1))
    return standard_log_prob(z) + log_det


def _pull_back(z: Tensor, rest: list[Layer], e: Tensor | None) -> Tensor:
    return Compose(rest).generate(z, None if e is None else e.expand(len(z), -1)) if rest else z


@torch.no_grad()
def trajectories_picture(layer: Continuous, e: Tensor | None, *, n: int = 150, steps: int = 24) -> Figure:
    """Paths from noise (grey dots) to data (orange dots) of a continuous layer on the plane.

    Args:
        layer: the layer.
        e: embedding of one condition, (1, context), or None.
        n: paths.
        steps: points of a path.
    """
    from matplotlib.figure import Figure

    parameter = next(layer.parameters())
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(n, 2, generator=generator).to(parameter)
    given = None if e is None else e.expand(n, -1)
    path = [state]
    for i in range(steps, 0, -1):
        (state,) = solve_fixed(
            lambda t, s: (layer.velocity(t, s[0], given),), (state,), i / steps, (i - 1) / steps, steps=1
        )
        path.append(state)
    paths = torch.stack(path).cpu().numpy()
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(paths[..., 0], paths[..., 1], color="0.75", linewidth=0.5)
    axes.scatter(paths[0, :, 0], paths[0, :, 1], s=6, color="0.35", label="noise, t = 1")
    axes.scatter(paths[-1, :, 0], paths[-1, :, 1], s=6, color="tab:orange", label="data, t = 0")
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.legend(frameon=False, fontsize=8)
    return figure
