"""`sample_picture`: what samples look like, whatever their space.

Pictures become a grid with white gaps, enlarged by a whole factor without smoothing; videos strips of frames, one below
the other (`film.py` makes them move); points in the plane a picture of their density; tables and vectors one histogram
for each column; sequences of symbols lines of text; labels a bar for each. Continuous pictures are shown on [0, 1] or
[-1, 1] where they lie in it, else between their extremes.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from creo.data.words import has_words
from creo.errors import DataError
from creo.spaces import Space, Table, Tokens

if TYPE_CHECKING:
    from PIL.Image import Image

CELL, WIDEST = 56, 1600
POINTS, MARGIN = 420, 34
MOST_HISTOGRAMS, MOST_LINES, LINE, MOST_STRIPS = 24, 24, 100, 12
INK = np.array([23, 52, 110])


def sample_picture(
    x: Tensor,
    space: Space,
    *,
    columns: int | None = None,
    extent: tuple[float, float, float, float] | None = None,
    given: Tensor | None = None,
) -> Image:
    """A picture of samples.

    Args:
        x: raw samples, (N, *space.shape).
        space: what one sample is.
        columns: pictures in a row of the grid; by default the grid is square.
        extent: (left, right, bottom, top) of the plane shown, for points; by default what holds nearly all of them.
        given: conditions of the samples; of videos, frames that come before them are shown too, in amber.
    """
    if len(x) == 0:
        raise DataError("a picture needs at least one sample; received none")
    x = x.detach().cpu()
    space.check(x, "samples")
    if space.is_video:
        from creo.data.film import frames

        shown = frames(x[:MOST_STRIPS], space, None if given is None else given[:MOST_STRIPS])
        return grid(shown.reshape(-1, *shown.shape[2:]), shown.shape[1])
    if space.is_image or (len(space.shape) == 2 and space.kind == "Ordinal"):
        return grid(grey_levels(x, space), columns)
    if space.kind == "Continuous" and space.shape == (2,):
        return _points(x.double().numpy(), extent)
    if isinstance(space, Tokens):
        return _lines(texts(x, space))
    return _histograms(x, space)


def png_bytes(image: Image) -> bytes:
    """A picture as the content of a .png file."""
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def texts(x: Tensor, space: Tokens) -> list[str]:
    """Samples (N, length) in the space's symbols, or as numbers if it has none."""
    if space.symbols is None:
        return [" ".join(map(str, row)) for row in x.tolist()]
    if has_words(space):
        return [" ".join(space.symbols[i] for i in row if space.symbols[i]) for row in x.tolist()]
    return ["".join(space.symbols[i] for i in row) for row in x.tolist()]


def grey_levels(x: Tensor, space: Space) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Samples as uint8 (N, H, W, 3)."""
    values = x.double().reshape(len(x), -1, *space.shape[-2:]).numpy()
    low, high = (0.0, getattr(space, "levels", 2) - 1.0) if space.discrete else _range(values)
    values = ((values - low) / (high - low) * 255).clip(0, 255).round().astype(np.uint8)
    return np.broadcast_to(values.transpose(0, 2, 3, 1), (len(x), *space.shape[-2:], 3))


def _range(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if low >= -1 and high <= 1:
        return (0.0 if low >= 0 else -1.0), 1.0
    return low, max(high, low + 1e-12)


def grid(pictures: np.ndarray[Any, Any], columns: int | None) -> Image:
    """Pictures uint8 (N, H, W, 3) side by side, enlarged, with white gaps."""
    from PIL import Image as pil

    n, height, width, _ = pictures.shape
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    rows = math.ceil(n / columns)
    factor = max(1, min(round(CELL / max(height, width)), WIDEST // (columns * (width + 1))))
    pictures = pictures.repeat(factor, 1).repeat(factor, 2)
    gap = max(2, factor // 2)
    step_y, step_x = height * factor + gap, width * factor + gap
    canvas = np.full((rows * step_y + gap, columns * step_x + gap, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = gap + i // columns * step_y, gap + i % columns * step_x
        canvas[top : top + height * factor, left : left + width * factor] = picture
    return pil.fromarray(canvas)


def _frame(points: np.ndarray[Any, Any]) -> tuple[float, float, float, float]:
    """A square that holds all but a few outliers, with some room."""
    low, high = np.quantile(points, [0.002, 0.998], axis=0)
    half = max(float((high - low).max()) / 2 * 1.15, 1e-9)
    x, y = (low + high) / 2
    return x - half, x + half, y - half, y + half


def _points(points: np.ndarray[Any, Any], extent: tuple[float, float, float, float] | None) -> Image:
    """Points in the plane: each a small blot, denser places darker."""
    from PIL import Image as pil
    from PIL import ImageDraw, ImageFont
    from scipy.ndimage import gaussian_filter

    left, right, bottom, top = extent or _frame(points)
    box = [[bottom, top], [left, right]]
    count, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=POINTS, range=box)
    blots = gaussian_filter(count, 1.2 if len(points) >= 2000 else 2.0)
    reach = np.quantile(blots[blots > 1e-9], 0.95) if (blots > 1e-9).any() else 1.0
    shade = (1 - np.exp(-2.5 * blots[::-1] / reach))[..., None]
    plane = pil.fromarray((255 + shade * (INK - 255)).round().astype(np.uint8))
    size = POINTS + 2 * MARGIN
    canvas = pil.new("RGB", (size, size), "white")
    canvas.paste(plane, (MARGIN, MARGIN))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    end = size - MARGIN
    draw.rectangle((MARGIN - 1, MARGIN - 1, end, end), outline="#999999")
    marks = ((MARGIN, end + 4, left, "la"), (end, end + 4, right, "ra"),
             (MARGIN - 4, end, bottom, "rs"), (MARGIN - 4, MARGIN + 9, top, "rs"))  # fmt: skip
    for x, y, value, anchor in marks:
        draw.text((x, y), f"{value:.2g}", fill="#555555", font=font, anchor=anchor)
    return canvas


def _lines(lines: list[str]) -> Image:
    """Samples of text, one below the other; line ends and other unprintable symbols are shown by a sign."""
    from matplotlib import get_data_path
    from PIL import Image as pil
    from PIL import ImageDraw, ImageFont

    # matplotlib brings a font of fixed width with most of the world's letters
    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSansMono.ttf", 13)
    shown = [
        "".join(_visible(s) for s in line[:LINE]) + ("..." if len(line) > LINE else "") for line in lines
    ]
    shown = shown[:MOST_LINES] + ([f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else [])
    width = max(math.ceil(font.getlength(line)) for line in shown) + 24
    canvas = pil.new("RGB", (width, 24 * len(shown) + 16), "white")
    draw = ImageDraw.Draw(canvas)
    for i, line in enumerate(shown):
        if i % 2:
            draw.rectangle((0, 24 * i + 8, width, 24 * i + 31), fill="#f2f4f8")
        draw.text((12, 24 * i + 12), line, fill="#222222", font=font)
    return canvas


def _visible(symbol: str) -> str:
    return "↵" if symbol == "\n" else symbol if symbol.isprintable() else "?"


def _histograms(x: Tensor, space: Space) -> Image:
    """One histogram for each column of a table or entry of a vector, or one for labels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image as pil

    values = x.double().reshape(len(x), -1).numpy()
    panels = _panels(space)
    shown = panels[:MOST_HISTOGRAMS]
    across = min(len(shown), 4)
    down = math.ceil(len(shown) / across)
    figure = Figure(figsize=(2.4 * across, 1.8 * down), dpi=100, layout="constrained")
    for i, (name, column) in enumerate(shown):
        _histogram(figure.add_subplot(down, across, i + 1), values[:, i], name, column)
    if len(panels) > len(shown):
        figure.suptitle(f"the first {len(shown)} of {len(panels)} columns", fontsize=8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return pil.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _panels(space: Space) -> list[tuple[str, Space]]:
    if isinstance(space, Table):
        return list(space.columns)
    return [(f"x{i + 1}" if space.dims > 1 else "x", space) for i in range(space.dims)]


def _histogram(axes: Any, values: np.ndarray[Any, Any], name: str, column: Space) -> None:
    colour = f"#{INK[0]:02x}{INK[1]:02x}{INK[2]:02x}"
    if column.discrete:
        size = int(getattr(column, "levels", 0) or getattr(column, "size", 2))
        names = getattr(column, "names", None)
        axes.bar(range(size), np.bincount(values.astype(int), minlength=size), color=colour, width=0.85)
        if names and size <= 12:
            axes.set_xticks(range(size), [n[:10] for n in names], rotation=40, ha="right")
    else:
        axes.hist(values, bins=40, color=colour)
        axes.locator_params(axis="x", nbins=4)
        axes.xaxis.get_offset_text().set_fontsize(6)
    axes.set_title(name[:28], fontsize=8)
    axes.tick_params(labelsize=6, length=2)
    axes.set_yticks([])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
