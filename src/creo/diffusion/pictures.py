r"""Pictures of a diffusion: data on its way to noise, noise on its way to data, and in the plane what moves it.

| picture    | shows                                                                                           |
|------------|-------------------------------------------------------------------------------------------------|
| forward    | held-out data at `FRAMES` times, x_t = alpha y + sigma z                                        |
| trajectory | samples at `FRAMES` times of the model's own solver, from noise                                 |
| particles  | in the plane: the paths of a few samples, scaled to unit variance at every time                 |
| field      | in the plane: the score at three times over noised data, arrows in units of 1/sigma             |

Noisy samples are drawn divided by sqrt(alpha^2 + sigma^2), so that paths whose variance grows stay in the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from creo.diffusion.paths import columns
from creo.diffusion.solvers import time_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from creo.diffusion.model import Diffusion

FRAMES, EXAMPLES, POINTS, PARTICLES, STEPS, ARROWS = 8, 6, 1000, 60, 24, 15


def pictures(model: Diffusion, x: Tensor, c: Tensor | None) -> dict[str, Callable[[], Figure]]:
    """The pictures of the module docstring by name.

    Args:
        model: in evaluation mode.
        x: raw held-out data, (B, *space.shape).
        c: their conditions, (B, *condition.shape), or None.
    """
    plane = model.space.shape == (2,)
    n = min(len(x), POINTS if plane else EXAMPLES)
    x, c = x[:n], None if c is None or model.condition is None else c[:n]
    found = {"forward": lambda: forward(model, x), "trajectory": lambda: trajectory(model, n, c)}
    if plane:
        found |= {"particles": lambda: particles(model, c), "field": lambda: field(model, x, c)}
    return found


def _unit(model: Diffusion, y: Tensor, t: Tensor) -> Tensor:
    """Noisy samples in the units of the diffusion, divided by the spread of their time."""
    alpha, sigma = model.choices.path(t.double())
    return y / columns((alpha.square() + sigma.square()).sqrt(), y)


def _times(model: Diffusion, count: int) -> Tensor:
    return time_grid(model.choices.path, count)


@torch.no_grad()
def forward(model: Diffusion, x: Tensor) -> Figure:
    """Data (left) to noise (right)."""
    y, times = model.units(x), _times(model, FRAMES).flip(0)
    z = torch.randn_like(y)
    frames = [_unit(model, model.choices.path.perturb(y, z, t), t) for t in times]
    return _strip(model, frames, [f"t = {float(t):.2f}" for t in times])


@torch.no_grad()
def trajectory(model: Diffusion, n: int, c: Tensor | None) -> Figure:
    """Noise (left) to samples (right)."""
    frames, times = _record(model, n, c)
    chosen = [round(i * (len(frames) - 1) / (FRAMES - 1)) for i in range(FRAMES)]
    return _strip(model, [frames[i] for i in chosen], [f"t = {float(times[i]):.2f}" for i in chosen])


def _record(model: Diffusion, n: int, c: Tensor | None) -> tuple[list[Tensor], Tensor]:
    seen: list[Tensor] = []
    steps = min(STEPS, model.choices.steps)
    model.sample(n, c, steps=steps, record=seen.append)
    times = time_grid(model.choices.path, steps, spacing=model.choices.solver.spacing)
    return [_unit(model, y, t) for y, t in zip(seen, times, strict=True)], times


def _strip(model: Diffusion, frames: Sequence[Tensor], titles: Sequence[str]) -> Figure:
    """Panels side by side: points of the plane, images one below another, or vectors as rows."""
    from matplotlib.figure import Figure

    image = len(model.space.shape) == 3
    rows = min(len(frames[0]), EXAMPLES) * model.space.shape[-2] / model.space.shape[-1] if image else 1.0
    figure = Figure(figsize=(1.5 * len(frames), 1.5 * rows + 0.3), layout="constrained")
    for axes, y, title in zip(figure.subplots(1, len(frames)), frames, titles, strict=True):
        axes.set_title(title, fontsize=8)
        _panel(axes, y.double().cpu(), image)
    return figure


def _panel(axes: Any, y: Tensor, image: bool) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    if image and y.shape[1] == 3:
        axes.imshow((y / 5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).flatten(0, 1).numpy())
    elif y.shape[1:] == (2,):
        axes.scatter(*y.T.numpy(), s=1, color="#17346e", linewidths=0)
        axes.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    else:
        tiles = y[:, 0].flatten(0, 1) if image else y.flatten(1)
        axes.imshow(tiles.numpy(), cmap="gray", vmin=-2.5, vmax=2.5, aspect="equal" if image else "auto")


@torch.no_grad()
def particles(model: Diffusion, c: Tensor | None) -> Figure:
    """Paths of a few samples on top of many samples."""
    from matplotlib.figure import Figure

    few = PARTICLES if c is None else min(PARTICLES, len(c))
    paths = torch.stack(_record(model, few, None if c is None else c[:few])[0]).double().cpu()
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(paths[..., 0].numpy(), paths[..., 1].numpy(), lw=0.7, color="#9aa7c4")
    start, end = paths[0].T.numpy(), paths[-1].T.numpy()
    axes.scatter(start[0], start[1], s=10, facecolors="none", edgecolors="#777777", label="noise")
    axes.scatter(end[0], end[1], s=10, color="#c0392b", label="sample", zorder=3)
    axes.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
    axes.legend(loc="upper right", fontsize=8)
    return figure


@torch.no_grad()
def field(model: Diffusion, x: Tensor, c: Tensor | None) -> Figure:
    """sigma times the score at three times over the data noised as much, under the first condition."""
    from matplotlib.figure import Figure

    path, span = model.choices.path, torch.linspace(-2.8, 2.8, ARROWS)
    grid = torch.cartesian_prod(span, span).to(model.device, model.dtype)
    denoise = model.denoiser(len(grid), None if c is None else c[0])
    y = model.units(x if c is None else x[(c == c[0]).reshape(len(c), -1).all(1)])
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    levels = torch.tensor([2.5, 0.5, -1.5], dtype=torch.float64)  # log-SNR: little noise to much
    for axes, level in zip(figure.subplots(1, 3), levels, strict=True):
        t = path.time(level).clamp(path.t_min, path.t_max)
        alpha, sigma = (float(k) for k in path(t))
        spread = (alpha**2 + sigma**2) ** 0.5
        arrows = (alpha * denoise(spread * grid, t) - spread * grid) / sigma
        noisy = path.perturb(y, torch.randn_like(y), t) / spread
        axes.scatter(*noisy.double().cpu().T.numpy(), s=2, color="#c9b9a0", linewidths=0)
        axes.quiver(
            *grid.cpu().T.numpy(), *arrows.double().cpu().T.numpy(), color="#17346e", scale=60, width=0.004
        )
        axes.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
        axes.set_title(f"sigma/alpha = {sigma / alpha:.2f}", fontsize=9)
    return figure
