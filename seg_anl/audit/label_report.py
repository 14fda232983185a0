"""Write the files of ``seg-anl-audit labels``: tables, transition matrix, sample images per pair of classes, review."""

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
from .review import ReviewItem, identify, write_review

SCHEMA = 1
PAIRS = "pairs"
MAX_PAIRS, MAX_PER_PAIR, MAX_REVIEWED = 30, 48, 2000
_REVIEW_SIDE = 224
_COLUMNS, _SIDE, _TITLE_HEIGHT = 8, 96, 18  # of a grid: images per row, their size and the title's height in pixels


def write_report(out: Path, source: LabelSource, audit: LabelAudit, origin: Path) -> None:
    """Write all files of the audit into ``out``, audit.json last.

    Args:
        out: the output folder, empty or with an earlier audit of labels.
        source: the audited labels.
        audit: the results.
        origin: path of the source.
    """
    (out / "audit.json").unlink(missing_ok=True)
    shutil.rmtree(out / PAIRS, ignore_errors=True)  # from an earlier audit
    write_csv(
        out / "audit.csv",
        ["item", "score", "given", "suggested", "suspected", *audit.scores],
        _table_rows(source, audit),
    )
    suspected = [source.items[position] for position in audit.ranking if audit.suspected[position]]
    write_text(out / "exclude.txt", "".join(f"{item}\n" for item in suspected))
    write_text(
        out / "transition.csv",
        "".join(",".join(f"{cell:.6f}" for cell in _round_row(row)) + "\n" for row in audit.transition),
    )
    pairs = write_pairs(out / PAIRS, source, audit)
    note = f"Estimated wrong: {audit.noise_rate:.1%}. Ranked by {audit.score}: {SCORES[audit.score]}."
    data = identify(f"{item} {label}" for item, label in zip(source.items, source.labels, strict=True))
    write_review(out, _review_items(source, audit), f"Audit of {len(source.items)} labels", note, data)
    write_json(
        out / "audit.json",
        {
            "schema": SCHEMA,
            "kind": "labels",
            "source": str(origin.resolve()),
            "layout": source.kind,
            "in_sample": source.in_sample,
            "items": len(source.items),
            "data": data,
            "classes": source.classes,
            "score": audit.score,
            "scores": {name: SCORES[name] for name in audit.scores},
            "noise_rate": round(audit.noise_rate, 6),
            "suspected": len(suspected),
            "class_noise_rates": [round(1 - float(rate), 6) for rate in np.diag(audit.transition)],
            "pairs": pairs,
            "remarks": source.remarks,
        },
    )


def _table_rows(source: LabelSource, audit: LabelAudit) -> list[dict[str, Any]]:
    names = source.classes
    return [
        {
            "item": source.items[position],
            "given": names[source.labels[position]],
            "suggested": names[audit.suggested[position]],
            "suspected": int(audit.suspected[position]),
            "score": f"{audit.scores[audit.score][position]:.6f}",
            **{name: f"{values[position]:.6f}" for name, values in audit.scores.items()},
        }
        for position in audit.ranking
    ]


def _review_items(source: LabelSource, audit: LabelAudit) -> Iterator[ReviewItem]:
    for position in audit.ranking[:MAX_REVIEWED]:
        given, other, picture = source.labels[position], audit.suggested[position], source.picture(position)
        texts = (f"{source.classes[label]} ({source.probabilities[position, label]:.2f})" for label in (given, other))
        yield ReviewItem(
            source.items[position],
            audit.scores[audit.score][position],
            f"probably {source.classes[other]}" if audit.suspected[position] else PLAUSIBLE,
            f"given {source.classes[given]}",
            [] if picture is None else [np.asarray(thumbnail(picture, _REVIEW_SIDE))],
            "given {}, suggested {}".format(*texts),
            bool(audit.suspected[position]),
        )


def _round_row(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to six digits; the largest entry absorbs the rounding error so that the row sums to 1."""
    digits = row.round(6)
    digits[digits.argmax()] += 1 - digits.sum()
    return digits


def write_pairs(folder: Path, source: LabelSource, audit: LabelAudit) -> list[dict[str, Any]]:
    """Write an image grid for each of the most frequent pairs of given and suggested class, most suspicious first."""
    suspects = [int(position) for position in audit.ranking if audit.suspected[position]]
    pair_of = {position: (int(source.labels[position]), int(audit.suggested[position])) for position in suspects}
    entries = []
    for (given, other), count in Counter(pair_of.values()).most_common(MAX_PAIRS):
        chosen = [position for position in suspects if pair_of[position] == (given, other)][:MAX_PER_PAIR]
        pictures = [picture for position in chosen if (picture := source.picture(position)) is not None]
        names = source.classes[given], source.classes[other]
        entry = {"given": names[0], "suggested": names[1], "count": count}
        if pictures:
            make_directory(folder)
            name = f"{given:03d}-{other:03d}.png"
            with written_aside(folder / name) as aside:
                grid(pictures, f"given {names[0]}, suggested {names[1]}: {count}").save(aside)
            entry["picture"] = f"{PAIRS}/{name}"
        entries.append(entry)
    return entries


def grid(pictures: list[NDArray[np.uint8]], title: str) -> Image.Image:
    """RGB images in rows of eight below a title."""
    rows = -(-len(pictures) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * (_SIDE + 2), _TITLE_HEIGHT + rows * (_SIDE + 2)), "white")
    ImageDraw.Draw(sheet).text((3, 3), title.encode("latin-1", "replace").decode("latin-1"), fill="black")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, _COLUMNS)
        sheet.paste(thumbnail(picture), (column * (_SIDE + 2), _TITLE_HEIGHT + row * (_SIDE + 2)))
    return sheet


def thumbnail(picture: NDArray[np.uint8], side: int = _SIDE) -> Image.Image:
    """Resize an image to the given longer side; small images are enlarged with nearest-neighbor interpolation."""
    image = Image.fromarray(picture)
    scale = side / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
