"""Charts as inline SVG text: dots in aligned panels, and lines. No script, no font file, colours from the page's CSS.

Marks take their colour from CSS classes `s0` to `s9`, one per series, so that the same chart is readable in light,
dark and print; every series also has its name beside it, so that no meaning hangs on colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from creo.evaluation.value import number

SERIES = 10  # colours in report.css
_ROW, _LEFT, _GAP, _TOP = 26, 170, 26, 46


@dataclass(frozen=True)
class Axis:
    """A map from values to pixels, linear or logarithmic, with round ticks."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Pixels of a value, clipped to the axis."""
        f: Callable[[float], float] = math.log10 if self.log else float
        share = (f(value) - f(self.low)) / ((f(self.high) - f(self.low)) or 1.0)
        return self.start + (self.end - self.start) * min(1.0, max(0.0, share))

    def ticks(self, count: int = 4) -> list[float]:
        """Round values within the axis, about `count` of them."""
        if self.log:
            powers = range(
                math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1
            )
            every = max(1, math.ceil(len(powers) / (count + 1)))
            if len(powers) >= 2:
                return [10.0**p for p in powers][::every]
        rough = (self.high - self.low) / max(1, count)
        base = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
        step = min(
            (base * m for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / rough)) if rough > 0 else s
        )
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1) if not self.log or i > 0]


def robust_range(values: Sequence[float], *, log: bool = False) -> tuple[float, float]:
    """Lowest and highest value to show, with a margin; a few far too large ones are left outside."""
    ordered = sorted(v for v in values if math.isfinite(v) and (v > 0 or not log))
    if not ordered:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = ordered[0], ordered[-1]
    if log:
        return low / 1.5, high * 1.5
    usual = ordered[len(ordered) // 2] - low
    if usual > 0 and high > low + 8 * usual:
        high = max(v for v in ordered if v <= low + 8 * usual)
    margin = 0.07 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


@dataclass(frozen=True)
class Dots:
    """One row of a panel: a number per seed and their mean, an upper bound or not, or why there is none."""

    values: Sequence[float] = ()
    mean: float = math.nan
    bound: bool = False
    note: str = ""


@dataclass(frozen=True)
class Panel:
    """One quantity for all rows: `title`, `hint` below it, rows in order, and a dashed line with its name."""

    title: str
    hint: str
    rows: Sequence[Dots]
    log: bool = False
    line: float | None = None
    line_name: str = ""


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else name[: most - 1] + "\u2026"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _svg(width: float, height: float, parts: Sequence[str], label: str, *, small: bool = False) -> str:
    size = f' style="max-width:{width:.0f}px;min-width:0"' if small else ""
    return (
        f'<div class="chart"><svg{size} viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(label, quote=True)}">{"".join(parts)}</svg></div>'
    )


def _dot_marks(dots: Dots, axis: Axis, y: float, series: int) -> list[str]:
    if not math.isfinite(dots.mean):
        return [_text(axis.start, y + 4, dots.note or "none", "muted small")]
    kind = f"s{series % SERIES}"
    parts = [
        f'<circle cx="{axis(v):.1f}" cy="{y:.1f}" r="3" class="{kind} faint"/>'
        for v in dots.values
        if math.isfinite(v)
    ]
    x = axis(dots.mean)
    if dots.mean > axis.high:
        return [_text(axis.end, y + 4, f"{number(dots.mean, 3)} \u203a", f"{kind} small", "end")]
    if dots.bound:
        parts.append(f'<path d="M{x:.1f} {y - 5:.1f} l-9 5 l9 5 z" class="{kind} hollow"/>')
    else:
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="{kind}"/>')
    return parts


def _panel(panel: Panel, start: float, width: float, height: float) -> list[str]:
    shown = [v for row in panel.rows for v in (*row.values, row.mean)]
    shown += [panel.line] if panel.line is not None else []
    axis = Axis(*robust_range(shown, log=panel.log), start, start + width, panel.log)
    bottom = height - 22
    parts = [_text(start, 14, panel.title, "strong"), _text(start, 29, panel.hint, "muted small")]
    for tick in axis.ticks(3):
        parts.append(_line(axis(tick), _TOP - 8, axis(tick), bottom, "tick"))
        parts.append(_text(axis(tick), height - 7, number(tick), "muted small", "middle"))
    if panel.line is not None:
        parts.append(_line(axis(panel.line), _TOP - 8, axis(panel.line), bottom, "floor"))
    for i, dots in enumerate(panel.rows):
        parts += _dot_marks(dots, axis, _TOP + _ROW * (i + 0.5), i)
    return parts


def dot_panels(labels: Sequence[str], panels: Sequence[Panel], *, width: float = 900) -> str:
    """Aligned panels of dots: one row per label, one panel per quantity. Hollow arrows are upper bounds."""
    each = (width - _LEFT - _GAP * (len(panels) - 1) - 8) / max(1, len(panels))
    height = _TOP + _ROW * len(labels) + 30
    parts = []
    for i, label in enumerate(labels):
        y = _TOP + _ROW * (i + 0.5)
        parts.append(_text(_LEFT - 14, y + 4, _short(label), "", "end"))
        parts.append(_line(_LEFT, y, width - 8, y, "row"))
    for j, panel in enumerate(panels):
        parts += _panel(panel, _LEFT + j * (each + _GAP), each, height)
    return _svg(width, height, parts, ", ".join(p.title for p in panels) + " of " + ", ".join(labels))


@dataclass(frozen=True)
class Curve:
    """One line: points (x, y), its name, and the number of its colour."""

    name: str
    points: Sequence[tuple[float, float]]
    series: int = 0
    finite: list[tuple[float, float]] = field(init=False)

    def __post_init__(self) -> None:
        kept = [(x, y) for x, y in self.points if math.isfinite(x) and math.isfinite(y)]
        object.__setattr__(self, "finite", kept)


def _spread(
    places: list[tuple[float, str, int]], gap: float, low: float, high: float
) -> list[tuple[float, str, int]]:
    """Labels moved apart so that none is nearer than `gap` to another, within [low, high] where there is room."""
    moved: list[tuple[float, str, int]] = []
    for y, name, series in sorted(places):
        moved.append((max(y, moved[-1][0] + gap) if moved else max(y, low), name, series))
    over = moved[-1][0] - high if moved else 0.0
    return [(y - max(0.0, over), name, series) for y, name, series in moved]


def plane(
    points: Sequence[tuple[str, float, float, int]], *, x_title: str, y_title: str, width: float = 560
) -> str:
    """Named points (name, x, y, series) in the unit square; series -1 is a reference. Names stand at the right."""
    left, right, top, bottom = 52.0, width - 200, 28.0, width - 252
    across, up = Axis(0.0, 1.0, left, right), Axis(0.0, 1.0, bottom, top)
    parts = [_text(left, 14, y_title, "strong"), _text(right, bottom + 34, x_title, "strong", "end")]
    for tick in across.ticks(5):
        parts += [
            _line(across(tick), top, across(tick), bottom, "tick"),
            _line(left, up(tick), right, up(tick), "tick"),
        ]
        parts.append(_text(across(tick), bottom + 16, number(tick), "muted small", "middle"))
        parts.append(_text(left - 8, up(tick) + 4, number(tick), "muted small", "end"))
    shown = {(name, series): (across(x), up(y)) for name, x, y, series in points if math.isfinite(x + y)}
    places = [(y, name, series) for (name, series), (_, y) in shown.items()]
    for label_y, name, series in _spread(places, 16, top, bottom):
        x, y = shown[name, series]
        kind = f"s{series % SERIES}" if series >= 0 else "reference"
        parts.append(f'<path d="M{x:.1f} {y:.1f} L{right + 6:.1f} {label_y:.1f} h6" class="leader"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="{kind}"/>')
        parts.append(_text(right + 16, label_y + 4, _short(name), f"{kind} name"))
    return _svg(width, width - 210, parts, f"{y_title} against {x_title}", small=True)


def curve_top(curves: Sequence[Curve], reference: float | None) -> float:
    """The largest y worth showing: what all curves have once they have covered a tenth of their way down."""
    lowest = min(y for c in curves for _, y in c.finite)
    ends = [c.finite[-1][1] for c in curves] + ([reference] if reference is not None else [])
    starts = [y for c in curves for _, y in c.finite]
    usual = max(e for e in ends if e <= 3 * sorted(ends)[len(ends) // 2] or e <= 0)
    return min(max(starts), usual + 0.6 * (usual - lowest) + 0.05 * abs(usual))


def line_chart(
    curves: Sequence[Curve],
    *,
    x_title: str,
    y_title: str,
    reference: tuple[str, float] | None = None,
    log_x: bool = True,
    top_value: float | None = None,
    width: float = 900,
    height: float = 340,
) -> str:
    """Lines with their names at the right end, an optional named horizontal line.

    y is cut at `top_value`, by default at what `curve_top` finds worth showing.
    """
    curves = [c for c in curves if c.finite]
    if not curves:
        return ""
    left, right, top, bottom = 62.0, width - 170, 26.0, height - 40
    xs = [x for c in curves for x, _ in c.finite if x > 0 or not log_x]
    ys = [y for c in curves for _, y in c.finite] + ([reference[1]] if reference else [])
    low, high = min(ys), curve_top(curves, reference[1] if reference else None)
    high = high if top_value is None else top_value
    margin = 0.04 * (high - low) or 1.0
    across = Axis(min(xs, default=1.0), max(xs, default=1.0), left, right, log_x)
    up = Axis(low - margin, high + margin, bottom, top)
    parts = [_text(left, 14, y_title, "strong"), _text(right, height - 6, x_title, "muted small", "end")]
    for tick in up.ticks(5):
        parts.append(_line(left, up(tick), right, up(tick), "tick"))
        parts.append(_text(left - 8, up(tick) + 4, number(tick), "muted small", "end"))
    for tick in across.ticks(6):
        parts.append(_line(across(tick), bottom, across(tick), bottom + 4, "tick"))
        parts.append(_text(across(tick), bottom + 17, number(tick), "muted small", "middle"))
    ends: dict[str, tuple[float, str, int]] = {}
    for c in curves:
        parts.append(_path(c, across, up, log_x))
        ends.setdefault(c.name, (up(c.finite[-1][1]), c.name, c.series))
    if reference:
        parts.append(_line(left, up(reference[1]), right, up(reference[1]), "floor"))
        ends.setdefault(reference[0], (up(reference[1]), reference[0], -1))
    for y, name, series in _spread(list(ends.values()), 15, top, bottom):
        parts.append(
            _text(right + 8, y + 4, _short(name), f"s{series % SERIES} name" if series >= 0 else "muted")
        )
    return _svg(width, height, parts, f"{y_title} against {x_title}")


def _below(points: Sequence[tuple[float, float]], top: float) -> list[tuple[float, float]]:
    """The part of a polyline from where it first comes below `top`, its entry point interpolated."""
    inside = next((i for i, (_, y) in enumerate(points) if y <= top), len(points))
    if inside in (0, len(points)):
        return list(points[inside:])
    (x0, y0), (x1, y1) = points[inside - 1], points[inside]
    entry = (x0 + (x1 - x0) * (y0 - top) / (y0 - y1), top)
    return [entry, *points[inside:]]


def _path(curve: Curve, across: Axis, up: Axis, log_x: bool) -> str:
    points = _below([(x, y) for x, y in curve.finite if x > 0 or not log_x] or curve.finite, up.high)
    kind = f"s{curve.series % SERIES}"
    if len(points) == 1:
        x, y = max(points[0][0], across.low), points[0][1]
        return f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="4" class="{kind}"/>'
    d = "M" + " L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in points)
    return f'<path d="{d}" class="{kind} curve"/>' if points else ""
