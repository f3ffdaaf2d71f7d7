"""Pictures of coded models: what the codes look like, and how evenly they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from creo.latent.coded import CodedModel, all_codes
from creo.latent.quantise import perplexity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_MAPS = 3


@torch.no_grad()
def code_maps(model: CodedModel, x: Tensor, c: Tensor | None = None) -> Figure:
    """Examples, their codes (one row of maps for each digit, three at most) and their reconstructions, a column each.

    Args:
        model: of pictures.
        x: a few examples, (B, C, H, W).
        c: their conditions, (B, *condition.shape), or None.
    """
    from matplotlib.figure import Figure

    c = None if model.condition is None else c
    codes = model.codes(x, c)
    back = model.decode_codes(codes, c)
    maps = codes.cpu().view(len(x), -1, *codes.shape[-2:])[:, :MOST_MAPS]
    rows = 2 + maps.shape[1]
    figure = Figure(figsize=(1.1 * len(x) + 0.8, 1.1 * rows), layout="constrained")
    panels = figure.subplots(rows, len(x), squeeze=False)
    for column in range(len(x)):
        _show(panels[0, column], x[column], model)
        _show(panels[-1, column], back[column], model)
        for l in range(maps.shape[1]):
            top = model.code_space.levels - 1
            panels[1 + l, column].imshow(maps[column, l].numpy(), cmap="viridis", vmin=0, vmax=top)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
    for axes, name in zip(panels[:, 0], ["data", *["codes"] * maps.shape[1], "decoded"], strict=True):
        axes.set_ylabel(name, fontsize=8)
    return figure


def _show(axes: Axes, picture: Tensor, model: CodedModel) -> None:
    """One picture, in grey or in colours."""
    values = picture.detach().cpu().double()
    low, high = 0.0, getattr(model.space, "levels", 2) - 1.0
    if not model.space.discrete:
        low, high = float(values.min()), float(values.max())
    scaled = ((values - low) / max(high - low, 1e-12)).clamp(0, 1).movedim(0, -1).numpy()
    if scaled.shape[-1] == 1:
        axes.imshow(scaled[..., 0], cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(scaled)


@torch.no_grad()
def code_usage(model: CodedModel, x: Tensor, c: Tensor | None = None) -> Figure:
    """How often every value of the codes is chosen for examples, from the most frequent to the least.

    Args:
        model: the model.
        x: examples, (B, *space.shape).
        c: their conditions, (B, *condition.shape), or None.
    """
    from matplotlib.figure import Figure

    values, levels = all_codes(model, x, c).flatten(), model.code_space.levels
    share = torch.bincount(values, minlength=levels).double() / len(values)
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    ranks = range(1, levels + 1)
    axes.fill_between(
        ranks, share.sort(descending=True).values.numpy(), step="mid", color="tab:blue", alpha=0.8
    )
    axes.axhline(1 / levels, color="black", linewidth=0.8, linestyle=":")
    used = int((share > 0).sum())
    axes.set(xlabel="code, by rank", ylabel="share of the places", xlim=(0.5, levels + 0.5), ylim=(0, None))
    axes.set_title(
        f"{used} of {levels} values used, perplexity {float(perplexity(values)):.1f} (dotted: all equally often)",
        fontsize=8,
    )
    return figure
