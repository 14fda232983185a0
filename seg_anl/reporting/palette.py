"""One color for each loss, everywhere: no two alike, legible as text on white paper and, a lighter twin, on black."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from zlib import crc32

from .names import TRAINING_NAMES, loss_name, loss_titles, method_name, training_name

PAPER, NIGHT = "#fcfcfa", "#15171a"  # the page's backgrounds; page.css has the same
# Of the colors with a contrast of at least 4.5 to these: the first is a blue, each next one as unlike those before it
# as can be (distance in OKLab); the first ten are neither dark nor grayish. A dark page has lighter twins.
_LIGHT = (
    "394eaa936d24ab4b900c69449a2a1e70447a5174afa75b5c5c5c010e5e8a4c37347000484b1f7e1b490f023f6f68524e7d6f80912964"
    "8048106822268663a022308a592656863d4b663e9e2a4246455d613e316d4e508e84307f5d146c9a53aaa05b7da3623b992645807262"
    "3b402e3f3a4b565b485a5467622344746aab45632067260c803e6086422a2938714d2b6435578f955e90614a876b07554025845a43a4"
    "9527559a27331f53aa713995332a884b48a8551a767b358b650e618b2d72a34f9e856e70473b2c2f4238343e4d6355464a5d524e5969"
)
_DARK = (
    "8aa3f3e3c28cfca8e07ab896e98a7abe98c7a9c9fcf7b3b2aaad7178afd5978481be69939577c76f9567638db8b6a29fcfc3d1e087b2"
    "cd9c74b57575d7b9ef6d84d2a578a0d4939cb396e8798d9197acb08881b79da3dad28bcca970b6eaaef8f0b2cff3b999e88696d2c5b7"
    "878c7c8b8696a5aa9aaaa5b5ae7590c6bff897b27db37964cf93afd497827687ba987cae8aa9dae6b5e0af9dd3b96ba0897bcca79aee"
    "e586a5e988887ba8f3bf92e07b80d0999ff29f73bfc98ed7b16dacda89bff4abecd6c1c493877a7d8e84818a98b2a5989bada39fa8b7"
)


class Color(NamedTuple):
    """A color as ``#rrggbb``, for light and for dark pages."""

    light: str
    dark: str


PALETTE = [Color(f"#{_LIGHT[i : i + 6]}", f"#{_DARK[i : i + 6]}") for i in range(0, len(_LIGHT), 6)]


def method_color(config: Mapping[str, Any]) -> Color:
    """The color of a run's method by its loss's place among the declarations, whatever else is in the report.

    Training methods come after the losses, then methods that neither list names, by their name. The colors least like
    each other go to both ends of the losses' order, where those stand that are most often compared: the classic ones
    first, the active negative ones last.
    """
    titles, trainings = [*loss_titles().values()], [*TRAINING_NAMES]
    title, training, count = loss_name(config.get("loss") or {}), training_name(config), len(titles)
    if training == "plain" and title in titles:
        place = titles.index(title)
        place = min(2 * place, 2 * (count - 1 - place) + 1)
    elif training in trainings and title == loss_name({"name": "ce"}):
        place = count + trainings.index(training)
    else:
        place = count + len(trainings) + crc32(method_name(config).encode()) % 20
    return PALETTE[place % len(PALETTE)]
