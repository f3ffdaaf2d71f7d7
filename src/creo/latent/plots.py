"""Pictures of latent models: reconstructions, the map of a plane of codes, traversals, interpolations.

| picture           | models             | shows                                                                |
|-------------------|--------------------|----------------------------------------------------------------------|
| reconstructions   | of pictures        | held-out data above, what comes back from their codes below          |
| traversals        | of pictures        | the most used entries of a code, each moved from -2 to 2 deviations  |
| interpolation     | of pictures        | straight paths between the codes of pairs of held-out examples       |
| classes           | with classes       | a row of samples of every class                                      |
| latent-map        | codes of 2 numbers | codes of held-out data by class; what the decoder makes of the plane |

They need `encode` and `decode` alone, so that any model of the family can show them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from creo.data.picture import sample_picture
from creo.latent.interpolation import linear
from creo.spaces import Categories, Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

#: Examples in a row, rows of a traversal or interpolation, and steps along them.
COLUMNS, ROWS, STEPS, SIDE, CLASSES = 10, 6, 9, 12, 20


class Coded(Protocol):
    """A model with codes (B, latent) that are vectors."""

    space: Space
    condition: Space | None
    latent: int

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor: ...

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor: ...


def latent_pictures(model: Coded, x: Tensor, c: Tensor | None = None) -> dict[str, Callable[[], Any]]:
    """The pictures of the module docstring, each drawn when called.

    Args:
        model: in evaluation mode.
        x: raw held-out data, (B, *space.shape).
        c: their conditions, (B, *condition.shape), or None.
    """
    made: dict[str, Callable[[], Any]] = {}
    if model.space.is_image:
        made["reconstructions"] = lambda: reconstructions(model, x, c)
        made["traversals"] = lambda: traversals(model, x, c)
        made["interpolation"] = lambda: interpolations(model, x, c)
    if model.latent == 2:
        made["latent-map"] = lambda: latent_map(model, x, c)
    return made


def _grid(x: Tensor, model: Coded, columns: int) -> Image:
    return sample_picture(x.cpu(), model.space, columns=columns)


def _head(c: Tensor | None, n: int) -> Tensor | None:
    return None if c is None else c[:n]


@torch.no_grad()
def reconstructions(model: Coded, x: Tensor, c: Tensor | None = None) -> Image:
    """Rows of data, each above the row of what comes back from its codes."""
    x, c = x[: 3 * COLUMNS], _head(c, 3 * COLUMNS)
    back = model.decode(model.encode(x, c), c)
    n = min(COLUMNS, len(x))
    rows = [torch.cat([x[i : i + n], back[i : i + n]]) for i in range(0, len(x) - n + 1, n)]
    return _grid(torch.cat(rows), model, n)


@torch.no_grad()
def traversals(model: Coded, x: Tensor, c: Tensor | None = None) -> Image:
    """The first example's code, one entry at a time moved from -2 to 2 deviations of the data's codes."""
    z = model.encode(x, c)
    mean, spread = z.mean(0), z.std(0, correction=0).clamp_min(1e-3)
    used = spread.argsort(descending=True)[:ROWS]
    codes = z[0].repeat(len(used), STEPS, 1)
    moves = torch.linspace(-2, 2, STEPS, dtype=z.dtype, device=z.device)
    for row, entry in enumerate(used.tolist()):
        codes[row, :, entry] = mean[entry] + moves * spread[entry]
    flat = codes.flatten(0, 1)
    return _grid(
        model.decode(flat, None if c is None else c[:1].expand(len(flat), *c.shape[1:])), model, STEPS
    )


@torch.no_grad()
def interpolations(model: Coded, x: Tensor, c: Tensor | None = None) -> Image:
    """Straight paths between the codes of pairs of examples, under the first one's condition."""
    pairs = max(1, min(ROWS, len(x) // 2))
    z = model.encode(x[: 2 * pairs], _head(c, 2 * pairs))
    start, end = z[0::2], z[1::2] if len(z) > 1 else z[:1]
    path = linear(start, end, STEPS).flatten(0, 1)
    given = None if c is None else c[: 2 * pairs : 2].repeat_interleave(STEPS, 0)
    return _grid(model.decode(path, given), model, STEPS)


@torch.no_grad()
def class_rows(draw: Callable[[Tensor], Tensor], classes: int, space: Space) -> Image:
    """A row of draws of every class.

    Args:
        draw: classes (n,) to raw samples (n, *space.shape).
        classes: how many; at most CLASSES are shown.
        space: of the samples.
    """
    y = torch.arange(min(classes, CLASSES)).repeat_interleave(COLUMNS)
    return sample_picture(draw(y).cpu(), space, columns=COLUMNS)


@torch.no_grad()
def latent_map(model: Coded, x: Tensor, c: Tensor | None = None) -> Figure:
    """Codes of held-out data in the plane (left), and the decoder's means over it (right, pictures only)."""
    from matplotlib.figure import Figure

    z = model.encode(x, c).cpu()
    figure = Figure(figsize=(8 if model.space.is_image else 4.4, 4), layout="constrained")
    panels = figure.subplots(1, 2 if model.space.is_image else 1, squeeze=False)[0]
    labels = c.cpu() if c is not None and isinstance(model.condition, Categories) else None
    if labels is None:
        panels[0].plot(z[:, 0], z[:, 1], ".", markersize=3)
    else:
        points = panels[0].scatter(z[:, 0], z[:, 1], c=labels, s=6, cmap="tab10", linewidths=0)
        figure.colorbar(points, ax=panels[0], label="class")
    panels[0].set(xlabel="z1", ylabel="z2", title="codes of held-out data")
    if len(panels) > 1:
        extent = [float(v) for i in (0, 1) for v in (z[:, i].quantile(0.02), z[:, i].quantile(0.98))]
        panels[1].imshow(_over_plane(model, extent, c), extent=extent, aspect="auto")
        panels[1].set(xlabel="z1", ylabel="z2", title="what they stand for")
    return figure


def _over_plane(model: Coded, extent: list[float], c: Tensor | None) -> Image:
    """The decoder's means at SIDE x SIDE points, z2 upwards."""
    first = torch.linspace(extent[0], extent[1], SIDE)
    second = torch.linspace(extent[3], extent[2], SIDE)
    z = torch.stack([first.repeat(SIDE), second.repeat_interleave(SIDE)], 1)
    given = None if c is None else c[:1].expand(len(z), *c.shape[1:])
    return sample_picture(model.decode(z, given).cpu(), model.space, columns=SIDE).convert("RGB")


@torch.no_grad()
def rate_distortion_plot(model: Coded, x: Tensor, c: Tensor | None = None) -> Figure:
    """The square error of codes rounded to multiples of a step, against the bits that they then take."""
    from matplotlib.figure import Figure

    from creo.latent.diagnostics import rate_distortion

    curve = rate_distortion(model, x, c)
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([p.bits for p in curve], [p.error for p in curve], "o-")
    axes.set(xlabel="rate: bits of a code", ylabel="distortion: square error", yscale="log")
    return figure
