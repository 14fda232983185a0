"""review.html: a page on which a person reviews the cases, worst first, and decides.

Images are embedded unless the page would exceed :data:`MAX_EMBEDDED_BYTES`; then they are in the folder ``pictures``
next to the page. Decisions are saved to and loaded from a JSON file ``{"data": ID, "decisions": {"ITEM": "wrong" |
"right" | "unsure"}}``, or the inner object alone.
"""

from __future__ import annotations

import base64
import hashlib
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
MAX_EMBEDDED_BYTES = 50_000_000
_TEMPLATE = Path(__file__).parent / "review_page.html"


@dataclass(frozen=True)
class ReviewItem:
    """One case on the page.

    Attributes:
        item: item id.
        score: higher is more likely wrong.
        diagnosis: what is wrong; a filter of the page.
        structure: structure or class; a filter of the page.
        pictures: encoded PNG or JPEG bytes, or uint8 arrays ``(H, W[, 3])``.
        caption: the evidence.
        suspected: whether the audit suspects it.
    """

    item: str
    score: float
    diagnosis: str
    structure: str
    pictures: Sequence[bytes | NDArray[np.uint8]]
    caption: str
    suspected: bool = False


def identify(lines: Iterable[str]) -> str:
    """An identifier of the reviewed data; items that are positions occur in many data sets."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def write_review(out: Path, items: Iterable[ReviewItem], title: str, note: str, data: str = "") -> Path:
    """Write the page into the folder ``out`` and return its path.

    Args:
        out: the output folder.
        items: in page order.
        title: of the page.
        note: text below the title.
        data: identifier of the reviewed data if items are positions; decisions about other data are refused.
    """
    encoded_items = [(item, [_encode(picture) for picture in item.pictures]) for item in items]
    base64_size = sum(len(picture) * 4 // 3 for _, pictures in encoded_items for picture in pictures)
    embedded = base64_size <= MAX_EMBEDDED_BYTES
    shutil.rmtree(out / PICTURES, ignore_errors=True)
    if not embedded:
        make_directory(out / PICTURES)
    entries: list[dict[str, Any]] = []
    for index, (item, pictures) in enumerate(encoded_items):
        sources = []
        for number, picture in enumerate(pictures):
            kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
            if embedded:
                sources.append(f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}")
            else:
                name = f"{PICTURES}/{index:05d}-{number}.{kind}"
                write_bytes(out / name, picture)
                sources.append(name)
        entry = {name: getattr(item, name) for name in ("item", "diagnosis", "structure", "caption", "suspected")}
        entries.append({**entry, "score": round(float(item.score), 4), "pictures": sources})
    text = json.dumps(entries, ensure_ascii=False).replace("<", "\\u003c")  # an item id cannot close the script element
    page = _TEMPLATE.read_text(encoding="utf-8")
    texts = {"@TITLE@": html.escape(title), "@NOTE@": html.escape(note), "@ID@": html.escape(data), "@DATA@": text}
    for placeholder, value in texts.items():
        page = page.replace(placeholder, value)
    write_text(out / PAGE, page)
    return out / PAGE


def _encode(picture: bytes | NDArray[np.uint8]) -> bytes:
    if isinstance(picture, bytes):
        return picture
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
