"""What ``seg-anl-audit labels`` writes: tables, the transition matrix, pictures of each pair of classes, the review."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from seg_anl.records import make_directory, write_csv, write_json, write_text, written_aside

from .diagnosis import PLAUSIBLE
from .label_scores import SCORES, LabelAudit
from .label_sources import LabelSource
from .review import ReviewItem, write_review

SCHEMA = 1
PAIRS = "pairs"
MOST_PAIRS, MOST_OF_A_PAIR, MOST_REVIEWED = 30, 48, 2000
_REVIEWED_SIDE = 224
_COLUMNS, _SIDE, _TITLE = 8, 96, 18  # of a grid: pictures in a row, their pixels, and those of the line above


def write_report(out: Path, source: LabelSource, found: LabelAudit, origin: Path) -> None:
    """Write everything into the folder ``out``; audit.json comes last.

    Args:
        out: holds nothing, or an earlier audit of labels.
        source: what was audited.
        found: what is known of it.
        origin: where the source lies.
    """
    make_directory(out)
    (out / "audit.json").unlink(missing_ok=True)
    shutil.rmtree(out / PAIRS, ignore_errors=True)  # of an earlier audit
    write_csv(
        out / "audit.csv",
        ["item", "score", "given", "suggested", "suspected", *found.scores],
        _rows(source, found),
    )
    suspected = [source.items[place] for place in found.ranking if found.suspected[place]]
    write_text(out / "exclude.txt", "".join(f"{item}\n" for item in suspected))
    write_text(
        out / "transition.csv",
        "".join(",".join(f"{cell:.6f}" for cell in _rounded(row)) + "\n" for row in found.transition),
    )
    pairs = write_pairs(out / PAIRS, source, found)
    note = f"Estimated wrong: {found.noise_rate:.1%}. Ranked by {found.score}: {SCORES[found.score]}."
    write_review(out, _reviewed(source, found), f"Audit of {len(source.items)} labels", note)
    write_json(
        out / "audit.json",
        {
            "schema": SCHEMA,
            "kind": "labels",
            "source": str(origin.resolve()),
            "layout": source.kind,
            "in_sample": source.in_sample,
            "items": len(source.items),
            "classes": source.classes,
            "score": found.score,
            "scores": {name: SCORES[name] for name in found.scores},
            "noise_rate": round(found.noise_rate, 6),
            "suspected": len(suspected),
            "class_noise_rates": [round(1 - float(rate), 6) for rate in np.diag(found.transition)],
            "pairs": pairs,
            "remarks": source.remarks,
        },
    )


def _rows(source: LabelSource, found: LabelAudit) -> list[dict[str, Any]]:
    names = source.classes
    return [
        {
            "item": source.items[place],
            "given": names[source.labels[place]],
            "suggested": names[found.suggested[place]],
            "suspected": int(found.suspected[place]),
            "score": f"{found.scores[found.score][place]:.6f}",
            **{name: f"{values[place]:.6f}" for name, values in found.scores.items()},
        }
        for place in found.ranking
    ]


def _reviewed(source: LabelSource, found: LabelAudit) -> Iterator[ReviewItem]:
    for place in found.ranking[:MOST_REVIEWED]:
        given, other, picture = source.labels[place], found.suggested[place], source.picture(place)
        told = (f"{source.classes[label]} ({source.probabilities[place, label]:.2f})" for label in (given, other))
        yield ReviewItem(
            source.items[place],
            found.scores[found.score][place],
            f"rather {source.classes[other]}" if found.suspected[place] else PLAUSIBLE,
            f"given {source.classes[given]}",
            [] if picture is None else [np.asarray(thumbnail(picture, _REVIEWED_SIDE))],
            "given {}, suggested {}".format(*told),
            bool(found.suspected[place]),
        )


def _rounded(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Six digits that still sum to 1: what rounding leaves goes to the largest."""
    digits = row.round(6)
    digits[digits.argmax()] += 1 - digits.sum()
    return digits


def write_pairs(folder: Path, source: LabelSource, found: LabelAudit) -> list[dict[str, Any]]:
    """A picture for each of the most frequent pairs of given and suggested class, the most suspicious samples first."""
    suspects = [int(place) for place in found.ranking if found.suspected[place]]
    pair_of = {place: (int(source.labels[place]), int(found.suggested[place])) for place in suspects}
    listed = []
    for (given, other), count in Counter(pair_of.values()).most_common(MOST_PAIRS):
        chosen = [place for place in suspects if pair_of[place] == (given, other)][:MOST_OF_A_PAIR]
        pictures = [picture for place in chosen if (picture := source.picture(place)) is not None]
        names = source.classes[given], source.classes[other]
        entry = {"given": names[0], "suggested": names[1], "count": count}
        if pictures:
            make_directory(folder)
            name = f"{given:03d}-{other:03d}.png"
            with written_aside(folder / name) as aside:
                grid(pictures, f"given {names[0]}, suggested {names[1]}: {count}").save(aside)
            entry["picture"] = f"{PAIRS}/{name}"
        listed.append(entry)
    return listed


def grid(pictures: list[NDArray[np.uint8]], title: str) -> Image.Image:
    """RGB pictures in rows of eight under a line of text."""
    rows = -(-len(pictures) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * (_SIDE + 2), _TITLE + rows * (_SIDE + 2)), "white")
    ImageDraw.Draw(sheet).text((3, 3), title.encode("latin-1", "replace").decode("latin-1"), fill="black")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, _COLUMNS)
        sheet.paste(thumbnail(picture), (column * (_SIDE + 2), _TITLE + row * (_SIDE + 2)))
    return sheet


def thumbnail(picture: NDArray[np.uint8], side: int = _SIDE) -> Image.Image:
    """A picture within so many pixels; small ones are enlarged, each pixel a square."""
    image = Image.fromarray(picture)
    scale = side / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
