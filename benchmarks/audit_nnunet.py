"""nnU-Net's five folds, audited, mended with the ignore label, planned and trained again: the real commands, tiny.

    python benchmarks/audit_nnunet.py HIPPOCAMPUS OUT --cases 10 --epochs 2 --iterations 4

HIPPOCAMPUS is a raw data set of volumes with two labels (Task04 of the Medical Segmentation Decathlon). Of some cases
every second slice is kept, under an oblique header of 1 x 1 x 2 mm, and a third of the masks is made wrong. A second
call does only what is missing. Networks trained so shortly know little: this shows that the path holds, and what it
costs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat

from data_prep.nnunet_raw import DESCRIPTION, read_description

TRAINER = "nnUNetTrainerANLCE"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=4)
    options = parser.parse_args()
    raw, trained = options.out / "nnUNet_raw", f"epochs={options.epochs} iterations={options.iterations}"
    clean, noisy, mended = (raw / name for name in ("Dataset501_Oblique", "Dataset502_Noisy", "Dataset503_Mended"))
    if not (clean / DESCRIPTION).exists():
        make_oblique(options.data, clean, options.cases)
    folders = {f"nnUNet_{name}": str(options.out / f"nnUNet_{name}") for name in ("raw", "preprocessed", "results")}
    few = {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0", "nnUNet_compile": "f", "OMP_WAIT_POLICY": "PASSIVE"}
    environment = {**os.environ, **folders, **few, "SEG_ANL_TRAIN": f"{trained} validation_iterations=1 seed=1"}
    environment["nnUNet_extTrainer"] = run("seg-anl-nnunet", "path", environment=environment)
    if not (noisy / DESCRIPTION).exists():
        run("seg-anl-noise", "masks", clean, noisy, "--alpha", 0.3, "--beta", 0.7, environment=environment)
    for fold in range(5):
        train(noisy, fold, environment)
    result = next((options.out / f"nnUNet_results/{noisy.name}").glob("*__3d_small"))
    audit = options.out / "audit"
    run("seg-anl-audit", "masks", result, audit, environment=environment)
    if not mended.exists():
        run("seg-anl-audit", "apply", audit, mended, "--ignore", environment=environment)
    print(f"labels of {mended.name}: {read_description(mended)['labels']}")
    train(mended, 0, environment)


def make_oblique(data: Path, target: Path, count: int) -> None:
    """Every second slice of some cases, under an oblique header."""
    description = read_description(data)
    affine = from_matvec(euler2mat(0.2, -0.1, 0.3) @ np.diag([1.0, 1.0, 2.0]), [-40.0, 25.0, 7.0])
    names = sorted(path.name.removesuffix(".nii.gz") for path in (data / "labelsTr").glob("*.nii.gz"))[:count]
    for folder, suffix in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        (target / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            array = np.asarray(nibabel.load(data / folder / f"{name}{suffix}").dataobj)[..., ::2]  # type: ignore[attr-defined]
            nibabel.save(nibabel.Nifti1Image(array, affine), target / folder / f"{name}{suffix}")  # type: ignore[no-untyped-call]
    (target / DESCRIPTION).write_text(json.dumps({**description, "numTraining": count}))


def train(dataset: Path, fold: int, environment: dict[str, str]) -> None:
    """Plan with a small batch unless it is done, and train a fold with the probabilities of its validation cases."""
    number = dataset.name[7:10]
    plans = Path(environment["nnUNet_preprocessed"]) / dataset.name / "nnUNetPlans.json"
    if not plans.exists() or "3d_small" not in json.loads(plans.read_text())["configurations"]:
        words = ["-d", number, "-c", "3d_fullres", "--verify_dataset_integrity", "-npfp", 1, "-np", 1]
        run("nnUNetv2_plan_and_preprocess", *words, environment={**environment, "nnUNet_n_proc_DA": "1"})
        patch = json.loads(plans.read_text())["configurations"]["3d_fullres"]["patch_size"]
        words = [
            "plan",
            number,
            "--base",
            "3d_fullres",
            "--name",
            "3d_small",
            "--batch-size",
            2,
            "--patch-size",
            *patch,
        ]
        run("seg-anl-nnunet", *words, environment=environment)
    found = Path(environment["nnUNet_results"], dataset.name).glob(f"*__3d_small/fold_{fold}/validation/summary.json")
    if not any(found):
        words = [number, "3d_small", fold, "-tr", TRAINER, "-device", "cpu", "--npz"]
        run("nnUNetv2_train", *words, environment=environment)


def run(program: str, *words: object, environment: dict[str, str]) -> str:
    """Run a command, say how long it took and, of ours, what it said last; returns its output."""
    start = time.monotonic()
    command = [str(Path(sys.executable).with_name(program)), *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{program}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    print(f"{time.monotonic() - start:5.0f} s  {program} {' '.join(map(str, words))}", flush=True)
    if program.startswith("seg-anl"):
        print(*(f"         {line}" for line in done.stdout.strip().splitlines()[-4:]), sep="\n", flush=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
