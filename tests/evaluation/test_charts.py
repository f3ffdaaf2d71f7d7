"""Axes, ticks and what is left outside a chart; every chart is well-formed."""

import math
from xml.etree import ElementTree

import pytest

from creo.evaluation.charts import Axis, Curve, Dots, Panel, dot_panels, line_chart, robust_range


def test_axes_map_and_clip():
    axis = Axis(0.0, 10.0, 100.0, 200.0)
    assert [axis(v) for v in (0, 5, 10, 99)] == [100, 150, 200, 200]
    log = Axis(0.1, 1000.0, 0.0, 4.0, log=True)
    assert [log(v) for v in (0.1, 1, 10, 1000)] == pytest.approx([0, 1, 2, 4])


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0.0, 10.0, 0, 1), [0, 5, 10]),
        (Axis(92.7, 108.2, 0, 1), [95, 100, 105]),
        (Axis(0.02, 30.0, 0, 1, log=True), [0.1, 1, 10]),
        (Axis(1.0, 1.0, 0, 1), [1]),
    ],
)
def test_ticks_are_round_and_inside(axis, ticks):
    assert axis.ticks(3) == pytest.approx(ticks)


def test_outliers_stay_outside():
    low, high = robust_range([95.0, 97.0, 98.0, 99.0, 1e6])
    assert low < 95
    assert 99 < high < 110
    assert robust_range([1.0, 2.0, 3.0]) == pytest.approx((0.86, 3.14))
    assert robust_range([math.nan]) == (0.0, 1.0)
    assert robust_range([0.0, 1.0, 100.0], log=True) == pytest.approx((1 / 1.5, 150))


def svg(text):
    return ElementTree.fromstring(text.replace("&middot;", ""))


def test_dots_show_means_bounds_reasons_and_outliers():
    rows = [Dots([1.0, 1.2], 1.1), Dots([2.0], 2.0, bound=True), Dots(note="none <here>"), Dots([1.5], 1.5)]
    far = [Dots([1e6], 1e6)]
    text = dot_panels(["a", "b", "c & d", "e", "f"], [Panel("NLL", "lower", rows + far, line=0.9)])
    root = svg(text)
    assert len(root.findall(".//circle")) == 3 + 1 + 2  # seeds and mean of a, the seed of b, both of e
    assert len(root.findall(".//path")) == 1
    assert "none &lt;here&gt;" in text
    assert "\u203a" in text


def test_lines_start_where_they_enter_and_names_do_not_collide():
    curves = [
        Curve("one", [(1.0, 1000.0), (2.0, 100.0), (3.0, 90.0)], 0),
        Curve("two", [(1.0, 110.0), (3.0, 90.1)], 1),
        Curve("lost", [(1.0, math.nan)], 2),
    ]
    root = svg(line_chart(curves, x_title="s", y_title="NLL", reference=("base", 105.0)))
    names = {
        t.text: float(t.get("y")) for t in root.findall(".//text") if t.text in ("one", "two", "base", "lost")
    }
    assert set(names) == {"one", "two", "base"}
    assert abs(names["one"] - names["two"]) >= 15
    heights = [float(p.split()[1]) for d in root.findall(".//path") for p in d.get("d")[1:].split("L")]
    assert min(heights) >= 25.9  # nothing is drawn above the frame
    assert line_chart([Curve("x", [])], x_title="", y_title="") == ""
