"""The drawings of the losses against closed forms of their gradients, and what the pages say of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from loss_curves import curve_figure, loss_curve, ticks_between

from seg_anl.losses import list_losses

# pull = -dL/dz_y by hand, at the default parameters and ten classes
PULLS: dict[str, Callable[[float], float]] = {
    "ce": lambda p: 1 - p,
    "mae": lambda p: p * (1 - p),
    "gce": lambda p: p**0.7 * (1 - p),
    "el": lambda p: 1.1 * p / (p + 0.1) * (1 - p),
    "phuber_ce": lambda p: min(1, 2 * p) * (1 - p),
    "taylor_ce": lambda p: p * (2 - p) * (1 - p),
    "lsr": lambda p: 0.9 + 0.01 - p,
    "focal": lambda p: (1 - p) ** 1.5,
    "aul": lambda p: (1.5 - p) ** -0.1 * p * (1 - p),
    "agce": lambda p: (1 + p) * p * (1 - p),
}


@pytest.mark.parametrize("name", sorted(PULLS))
def test_pulls_are_those_worked_out_by_hand(name: str) -> None:
    curve = loss_curve(name)
    assert curve.pull == pytest.approx([PULLS[name](p) for p in curve.probability], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("regularized", "plain"), [("anl_fl_er", "anl_fl"), ("active_passive", "nce_mae")])
def test_curves_that_coincide(regularized: str, plain: str) -> None:
    assert loss_curve(regularized).value == pytest.approx(loss_curve(plain).value)
    assert loss_curve(regularized).pull == pytest.approx(loss_curve(plain).pull)


def test_drawings_are_well_formed_and_stay_in_their_boxes() -> None:
    drawings = [
        drawing for name in list_losses() for drawing in ElementTree.fromstring(curve_figure(name)).findall("svg")
    ]
    assert len(drawings) == 2 * len(list_losses())
    for drawing in drawings:
        _, _, width, height = map(float, drawing.attrib["viewBox"].split())
        for line in drawing.findall("polyline"):
            points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
            assert len(points) == 101
            assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


def test_a_drawing_is_the_same_every_time() -> None:
    assert curve_figure("nlnl") == curve_figure("nlnl")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3572.0, -3530.5), (0.0, 0.00731), (-0.085, 0.905), (4.14, 5.66)])
def test_ticks_span_the_range_in_round_steps(low: float, high: float) -> None:
    ticks = ticks_between(low, high)
    steps = {round((b - a) / (high - low), 9) for a, b in pairwise(ticks)}
    assert ticks[0] <= low < high <= ticks[-1]
    assert 3 <= len(ticks) <= 7
    assert len(steps) == 1
    assert re.fullmatch(r"(1|2|25|5)0*", f"{round((ticks[1] - ticks[0]) * 1e9)}")
