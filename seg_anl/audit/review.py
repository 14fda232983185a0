"""review.html: one page on which a person looks at the suspects, worst first, and decides.

The page needs nothing else: pictures are in it, unless it would grow beyond :data:`LARGEST`; then they lie in
``pictures`` beside it. Decisions are saved to and loaded from a JSON file ``{"ITEM": "wrong" | "right" | "unsure"}``.
"""

from __future__ import annotations

import base64
import html
import io
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seg_anl.records import make_directory, write_bytes, write_text

PAGE, PICTURES = "review.html", "pictures"
LARGEST = 50_000_000  # bytes of a page with its pictures in it
_TEMPLATE = Path(__file__).parent / "review_page.html"


@dataclass(frozen=True)
class ReviewItem:
    """One case on the page.

    Attributes:
        item: its id.
        score: higher is more likely wrong.
        diagnosis: what is wrong; the page filters by it.
        structure: which structure or class; the page filters by it.
        pictures: PNG or JPEG files in memory, or arrays ``(H, W[, 3])`` uint8.
        caption: the evidence.
        suspected: whether the audit takes it for wrong.
    """

    item: str
    score: float
    diagnosis: str
    structure: str
    pictures: Sequence[bytes | NDArray[np.uint8]]
    caption: str
    suspected: bool = False


def write_review(out: Path, items: Iterable[ReviewItem], title: str, note: str) -> Path:
    """Write the page into the folder ``out`` and return its path.

    Args:
        out: the folder.
        items: in the order of the page.
        title: of the page.
        note: what stands under the title.
    """
    listed = [(item, [_encoded(picture) for picture in item.pictures]) for item in items]
    beside = sum(len(picture) * 4 // 3 for _, pictures in listed for picture in pictures) > LARGEST
    shutil.rmtree(out / PICTURES, ignore_errors=True)
    if beside:
        make_directory(out / PICTURES)
    data: list[dict[str, Any]] = []
    for place, (item, pictures) in enumerate(listed):
        sources = []
        for number, picture in enumerate(pictures):
            kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
            name = f"{PICTURES}/{place:05d}-{number}.{kind}"
            if beside:
                write_bytes(out / name, picture)
            sources.append(name if beside else f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}")
        entry = {name: getattr(item, name) for name in ("item", "diagnosis", "structure", "caption", "suspected")}
        data.append({**entry, "score": round(float(item.score), 4), "pictures": sources})
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")  # no item's name ends the script
    page = _TEMPLATE.read_text(encoding="utf-8")
    for mark, value in (("@TITLE@", html.escape(title)), ("@NOTE@", html.escape(note)), ("@DATA@", text)):
        page = page.replace(mark, value)
    write_text(out / PAGE, page)
    return out / PAGE


def _encoded(picture: bytes | NDArray[np.uint8]) -> bytes:
    if isinstance(picture, bytes):
        return picture
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
