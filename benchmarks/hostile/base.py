"""Small finished runs, photos, masks and labels that the cases mutate, and the commands that read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from .case import Case
from .process import run

QUIET = ["device=cpu", "progress=false"]
SMALL = ["data.size=32", "data.limit=8", "epochs=1", "batch_size=4", "model.base_filters=4", "model.max_filters=8"]
TINY = ["epochs=1", "data.limit=100", "batch_size=50", "noise.rate=0.4", "noise.counts=iid"]

TRAIN = ["seg-anl-train", *SMALL, *QUIET, "run_dir=seg"]
TRAIN_NEW = [*TRAIN, "run_dir=new"]
TRAIN_ON_FOLDER = [*TRAIN, "data=folder", "data.root=set", "data.limit=null", "run_dir=new"]
CLASSIFY = ["seg-anl-classify", *TINY, *QUIET, "run_dir=cls"]
CLASSIFY_NEW = [*CLASSIFY, "run_dir=new"]
PREDICT = ["seg-anl-predict", "seg", "photos", "out", "--device", "cpu", "--overwrite"]
NOISE_MASKS = ["seg-anl-noise", "masks", "set/masks", "out", "--alpha", "1", "--beta", "0.5"]
NOISE_LABELS = ["seg-anl-noise", "labels", "labels.npy", "out", "--kind", "symmetric", "--rate", "0.4"]
PREP = ["seg-anl-prep", "nnunet", "set", "out", "--id", "1", "--name", "X"]
REPORT = ["seg-anl-report", "cls", "seg", "--out", "report"]
PLAN = ["seg-anl-nnunet", "plan", "501", "--patch-size", "64", "64"]
AUDIT = ["seg-anl-audit", "masks", "predictions", "audit", "--masks", "set/masks"]
APPLY = ["seg-anl-audit", "apply", "audit", "mended", "--drop", "--decisions", "decisions.json"]
EXPORT = ["seg-anl-export", "seg", "exported.pt", "--format", "torchscript"]

SOUND = [TRAIN_ON_FOLDER, PREDICT, NOISE_MASKS, NOISE_LABELS, PREP, REPORT, AUDIT, APPLY, EXPORT]
"""Commands that must succeed on unmodified inputs, so that cases are refused only for their mutation."""
SUMMARY = "cls/summary.json"  # if it is missing, CLASSIFY resumes


def make_base(folder: Path) -> None:
    """Write inputs, finished runs and an audit."""
    make_inputs(folder)
    for words in (TRAIN, CLASSIFY, AUDIT):
        result = run(Case("base", words[0], words), folder)
        if result.status != 0:
            raise SystemExit(result.output)


def make_inputs(folder: Path) -> None:
    """Write photos, a data set of six images and masks, predictions for it, and 500 labels."""
    generator = np.random.default_rng(0)
    for name in ("photos", "set/images", "set/masks", "predictions"):
        (folder / name).mkdir(parents=True)
    noise = generator.integers(0, 255, (30, 40, 3), dtype=np.uint8)
    for name in ("a.png", "b.jpg", "c.tif"):
        Image.fromarray(noise).save(folder / "photos" / name)
    for number in range(6):
        disc = np.hypot(*(np.mgrid[:30, :40] - [[[15]], [[12 + number]]])) < 8
        Image.fromarray(noise).save(folder / f"set/images/m{number}.png")
        for name in ("set/masks", "predictions"):
            Image.fromarray(disc.astype(np.uint8) * 255).save(folder / f"{name}/m{number}.png")
    (folder / "decisions.json").write_text('{"m1": "wrong"}')
    np.save(folder / "labels.npy", generator.integers(0, 5, 500))
