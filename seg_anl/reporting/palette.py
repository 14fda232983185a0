"""One color per loss in all tables and figures, legible as text, with a lighter version for dark pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from zlib import crc32

from .names import TRAINING_NAMES, loss_name, loss_titles, method_name, training_name

PAPER, NIGHT = "#fcfcfa", "#15171a"  # background colors of the page, as in page.css
# Colors with a contrast of at least 4.5 to the background. The first is a blue; each next one maximizes the distance in
# OKLab to those before it, and the first ten are neither dark nor grayish. _DARK has lighter versions for dark pages.
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
    """The color of a run's method, which depends only on the position of its loss among the declarations.

    Training methods come after the losses, and unlisted methods last, by a hash of their name. The most distinct colors
    go to both ends of the list of losses, which has the losses that are compared most often: the classic ones first and
    the active negative ones last.
    """
    titles, trainings = [*loss_titles().values()], [*TRAINING_NAMES]
    title, training, count = loss_name(config.get("loss") or {}), training_name(config), len(titles)
    if training == "plain" and title in titles:
        position = titles.index(title)
        position = min(2 * position, 2 * (count - 1 - position) + 1)
    elif training in trainings and title == loss_name({"name": "ce"}):
        position = count + trainings.index(training)
    else:
        position = count + len(trainings) + crc32(method_name(config).encode()) % 20
    return PALETTE[position % len(PALETTE)]
