"""The pictures of one model: those every model has, and those of its family (`GenerativeModel.pictures`).

| picture  | models                                   | shows                                                         |
|----------|------------------------------------------|---------------------------------------------------------------|
| samples  | all                                      | held-out data beside as many samples                          |
| density  | of the plane, with a likelihood          | log p over the plane, held-out data on it; one panel per class |
| training | runs                                     | the loss and the validation score against steps               |

A picture is a matplotlib figure or a PIL image; `save` writes either as PNG, complete or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from creo.data.files import replacing
from creo.data.picture import sample_picture
from creo.evaluation.pictures import Extent, extent_of, looked_at
from creo.model import GenerativeModel, Likelihood
from creo.spaces import Categories

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

Picture = Callable[[], "Figure | Image"]
FEW, MANY, SIDE, CLASSES = 36, 2000, 120, 8


def pictures_of(model: GenerativeModel, x: Tensor, c: Tensor | None = None) -> dict[str, Picture]:
    """Every picture a model has, by name, each drawn when called.

    Args:
        model: in evaluation mode.
        x: raw held-out data, (B, *space.shape).
        c: their conditions, (B, *condition.shape), or None.
    """
    pictures: dict[str, Picture] = {"samples": lambda: samples_beside_data(model, x, c)}
    extent = extent_of(x, model.space)
    if extent is not None and model.likelihood is not Likelihood.NONE:
        pictures["density"] = lambda: plane_density(model, extent, x, c)
    return pictures | dict(model.pictures(x, c))


@torch.no_grad()
def samples_beside_data(model: GenerativeModel, x: Tensor, c: Tensor | None = None) -> Image:
    """Held-out data (left) and as many samples under the same conditions (right)."""
    from PIL import Image

    n = min(len(x), FEW if looked_at(model.space) else MANY)
    given = None if model.condition is None or c is None else c[:n]
    drawn = model.sample(n, given).cpu()
    extent = extent_of(x, model.space)
    sides = [sample_picture(side, model.space, extent=extent, given=given) for side in (x[:n].cpu(), drawn)]
    gap = max(8, sides[0].width // 32)
    picture = Image.new("RGB", (sum(s.width for s in sides) + gap, max(s.height for s in sides)), "white")
    picture.paste(sides[0].convert("RGB"), (0, 0))
    picture.paste(sides[1].convert("RGB"), (sides[0].width + gap, 0))
    return picture


@torch.no_grad()
def plane_density(model: GenerativeModel, extent: Extent, x: Tensor, c: Tensor | None = None) -> Figure:
    """log p over a part of the plane, from its top to eight nats below, with a few of the data as dots."""
    from matplotlib.figure import Figure

    groups = _by_class(model, c)
    figure = Figure(figsize=(3.4 * len(groups) + 0.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, (title, condition, rows) in zip(panels, groups, strict=True):
        log_p = _on_grid(model, extent, condition)
        top = log_p[log_p.isfinite()].max().item()
        image = axes.imshow(
            log_p.T.numpy(),
            origin="lower",
            extent=extent,
            vmin=top - 8,
            vmax=top,
            cmap="viridis",
            aspect="auto",
        )
        chosen = (x if rows is None else x[rows])[:200].cpu()
        axes.plot(chosen[:, 0], chosen[:, 1], ".", color="white", markersize=2, alpha=0.5)
        axes.set(title=title, xlim=extent[:2], ylim=extent[2:], xlabel="x1", ylabel="x2")
    figure.colorbar(image, ax=panels, label="log p, nats")
    return figure


def _by_class(model: GenerativeModel, c: Tensor | None) -> list[tuple[str, Tensor | None, Tensor | None]]:
    """(title, condition, rows of the data) of each panel: one a class, or one of everything."""
    if model.condition is None or c is None:
        return [("log p(x)", None, None)]
    if not isinstance(model.condition, Categories):
        return [("log p(x | first condition)", c[0], torch.zeros(1, dtype=torch.long))]
    names = model.condition.names or [str(i) for i in range(model.condition.size)]
    return [
        (f"log p(x | {names[i]})", torch.tensor(i), (c.cpu() == i).nonzero().squeeze(1))
        for i in range(min(model.condition.size, CLASSES))
    ]


def _on_grid(model: GenerativeModel, extent: Sequence[float], condition: Tensor | None) -> Tensor:
    """log p at the centres of SIDE x SIDE cells, (SIDE, SIDE) indexed by (x1, x2)."""
    cells = (torch.arange(SIDE) + 0.5) / SIDE
    first, second = (low + cells * (high - low) for low, high in (extent[:2], extent[2:]))
    points = torch.cartesian_prod(first, second).to(model.device, model.space.dtype)
    c = None if condition is None else condition.to(model.device).expand(len(points), *condition.shape)
    return model.log_prob(points, c).float().cpu().view(SIDE, SIDE)


def training_curve(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses of the players and the validation score against steps.

    Args:
        rows: of a run's log (`RunFolder.rows`).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    keys = dict.fromkeys(k for row in rows for k in row if k.startswith("loss/") or k == "valid")
    for key in keys:
        points = [(row["step"], row[key]) for row in rows if key in row]
        axes.plot(*zip(*points, strict=True), label=key, linewidth=1.8 if key == "valid" else 1)
    axes.set(xlabel="steps", ylabel="loss")
    if keys:
        axes.legend(frameon=False)
    return figure


def save(picture: Figure | Image, path: Path) -> None:
    """Write a picture as a PNG file."""
    with replacing(path) as file:
        if hasattr(picture, "savefig"):
            picture.savefig(file, format="png", dpi=120)
        else:
            picture.save(file, format="png")
