"""The small finished runs, photos, masks and labels that the cases mutate, and the commands that use them."""

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
"""What has to succeed on inputs that nobody has touched; else its cases would be refused for another reason."""
SUMMARY = "cls/summary.json"  # without it CLASSIFY resumes


def make_base(folder: Path) -> None:
    """Inputs, and finished runs and an audit for the commands that read them."""
    make_inputs(folder)
    for words in (TRAIN, CLASSIFY, AUDIT):
        ended = run(Case("base", words[0], words), folder)
        if ended.status != 0:
            raise SystemExit(ended.output)


def make_inputs(folder: Path) -> None:
    """Photos, a set of six images and masks, predictions for it, and 500 labels."""
    generator = np.random.default_rng(0)
    for place in ("photos", "set/images", "set/masks", "predictions"):
        (folder / place).mkdir(parents=True)
    noise = generator.integers(0, 255, (30, 40, 3), dtype=np.uint8)
    for name in ("a.png", "b.jpg", "c.tif"):
        Image.fromarray(noise).save(folder / "photos" / name)
    for number in range(6):
        disc = np.hypot(*(np.mgrid[:30, :40] - [[[15]], [[12 + number]]])) < 8
        Image.fromarray(noise).save(folder / f"set/images/m{number}.png")
        for place in ("set/masks", "predictions"):
            Image.fromarray(disc.astype(np.uint8) * 255).save(folder / f"{place}/m{number}.png")
    (folder / "decisions.json").write_text('{"m1": "wrong"}')
    np.save(folder / "labels.npy", generator.integers(0, 5, 500))
