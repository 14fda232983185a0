"""The trainers that a comparison can start, and what differs between them: commands, scores, what an audit reads."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seg_anl.records import UserError
from seg_anl.records.foreign_files import read_json
from seg_anl.records.runs import SUMMARY_FILE

TEST_VARIABLE = "SEG_ANL_TEST"  # of seg_anl.nnunet
PREPROCESSED = "nnUNet_preprocessed"
HELD_OUT = "a held-out fifth of the training images, whose annotations may be wrong too"


@dataclass(frozen=True)
class Command:
    """One of this package's commands, with environment variables; printed as a shell command."""

    program: str
    module: str
    arguments: Sequence[str]
    variables: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Run it in a subprocess and discard its standard output.

        Raises:
            UserError: if it fails (details are on stderr).
        """
        words = [sys.executable, "-m", self.module, *self.arguments]
        environment = {**os.environ, **self.variables}
        if subprocess.run(words, stdout=subprocess.DEVNULL, check=False, env=environment).returncode:
            raise UserError(f"failed (see above): {self}")

    def __str__(self) -> str:
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.variables.items()]
        return " ".join([*variables, shlex.join([self.program, *self.arguments])])


@dataclass(frozen=True)
class Trainer:
    """``seg-anl-train`` or ``seg-anl-classify`` on one kind of data.

    Attributes:
        data: the ``data`` setting.
        short: settings that make a run short; the user's settings override them.
        losses: default losses, the reference first.
        program, module: console command and module.
        audit: ``"masks"`` or ``"labels"``.
        fixed: further settings of all runs.
        records: settings with which a run records what the audit needs.
    """

    data: str
    short: tuple[str, ...]
    losses: tuple[str, ...] = ("ce", "anl_ce", "gce", "t_loss")
    program: str = "seg-anl-train"
    module: str = "seg_anl.segmentation.train"
    audit: str = "masks"
    fixed: tuple[str, ...] = ("noise.alpha=0",)
    records: tuple[str, ...] = ("record=[predictions]",)

    def settings(self, data: Path) -> list[str]:
        """The settings of all runs on a data folder."""
        return [f"data={self.data}", f"data.root={data.resolve()}", *self.short, *self.fixed]

    def command(self, data: Path, settings: Sequence[str], run: Path) -> Command:
        """The command that trains a run, or resumes it."""
        return Command(self.program, self.module, [*settings, f"run_dir={run}"])

    def full_command(self, data: Path, settings: Sequence[str]) -> Command:
        """The command for a training of full length."""
        words = [word for word in settings if word not in self.short and not word.startswith("epochs=")]
        return Command(self.program, self.module, words)

    def score_file(self, run: Path) -> Path | None:
        """The file with the score of a finished run; None while it is unfinished."""
        return path if (path := run / SUMMARY_FILE).is_file() else None

    def read_score(self, run: Path) -> tuple[str, float]:
        """Name and value of the score of a finished run.

        Raises:
            UserError: if its file is missing or damaged.
        """
        path = self.score_file(run)
        if path is None:
            raise UserError(f"{run}: expected a finished run; give the same command again")
        try:
            return self._parse_score(read_json(path))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: damaged ({error}); delete {run}") from error

    def audit_arguments(self, data: Path, run: Path, out: Path) -> list[str]:
        """Arguments of ``seg-anl-audit`` that name the predictions of a run."""
        return [str(run)]

    def audited(self, loss: str) -> str:
        """How the audited predictions were made."""
        return f"by {loss}, which was trained on them"

    def _parse_score(self, summary: Any) -> tuple[str, float]:
        """The headline metric's mean over the last epochs."""
        return str(summary["headline"]), float(summary["metrics"][summary["headline"]]["last_k_mean"])


class VolumeTrainer(Trainer):
    """``seg-anl-train`` on volumes, whose predictions ``seg-anl-predict`` writes."""

    def audit_arguments(self, data: Path, run: Path, out: Path) -> list[str]:  # noqa: D102
        predictions = str(out / "predictions")
        arguments = [str(run), str(data / "imagesTr"), predictions, "--overwrite"]
        Command("seg-anl-predict", "seg_anl.segmentation.predict", arguments).run()
        return [predictions, "--masks", str(data)]


@dataclass(frozen=True)
class NNUNetTrainer(Trainer):
    """nnU-Net's own training of fold 0, with a loss of this package.

    ``loss.X`` becomes ``SEG_ANL_LOSS``, ``device`` an argument of ``nnUNetv2_train``, and any other setting
    ``SEG_ANL_TRAIN``. Every run is a results folder of nnU-Net.
    """

    configuration: str = ""

    def settings(self, data: Path) -> list[str]:  # noqa: D102
        return [f"configuration={self.configuration}", *self.short]

    def command(self, data: Path, settings: Sequence[str], run: Path) -> Command:  # noqa: D102
        tests = {TEST_VARIABLE: str(data.resolve())} if (data / "labelsTs").is_dir() else {}
        return self._sweep(data, settings, ["-f", "0"], {"nnUNet_results": str(run.resolve()), **tests})

    def full_command(self, data: Path, settings: Sequence[str]) -> Command:  # noqa: D102
        return self._sweep(data, [word for word in settings if not word.startswith("epochs=")])

    def score_file(self, run: Path) -> Path | None:  # noqa: D102
        if not (folds := list(run.glob("Dataset*/nnUNetTrainerRobust*/fold_0/validation/summary.json"))):
            return None
        tested = folds[0].parents[1] / SUMMARY_FILE
        return tested if tested.is_file() else folds[0]

    def audit_arguments(self, data: Path, run: Path, out: Path) -> list[str]:  # noqa: D102
        (model,) = run.glob("Dataset*/nnUNetTrainerRobust*")
        return [str(model), "--masks", str(data)]

    def audited(self, loss: str) -> str:  # noqa: D102
        return f"among the cases of fold 0, by {loss}, which has not seen them"

    def _parse_score(self, summary: Any) -> tuple[str, float]:
        if "foreground_mean" in summary:  # of nnU-Net's validation
            return "validation Dice", float(summary["foreground_mean"]["Dice"])
        return super()._parse_score(summary)

    def _sweep(
        self, data: Path, settings: Sequence[str], folds: Sequence[str] = (), variables: dict[str, str] | None = None
    ) -> Command:
        given = dict(word.split("=", 1) for word in settings)  # the last one counts
        loss = {name[5:]: given.pop(name) for name in list(given) if name.startswith("loss.")}
        given.pop("configuration")
        device = ["-device", given.pop("device")] if "device" in given else []
        variables = {
            "SEG_ANL_LOSS": " ".join([given.pop("loss"), *(f"{name}={value}" for name, value in loss.items())]),
            "SEG_ANL_TRAIN": " ".join(f"{name}={value}" for name, value in given.items()),
            **(variables or {}),
        }
        words = ["sweep", data.name, self.configuration, *folds, "-tr", "nnUNetTrainerRobust", "--", "--npz", *device]
        return Command(self.program, self.module, words, {name: text for name, text in variables.items() if text})


FOLDER = Trainer("folder", ("preset=small",))
VOLUMES = VolumeTrainer("nnunet", ("epochs=20",), records=())
CLASSES = Trainer(
    data="imagefolder",
    short=("model=resnet18", "epochs=15"),
    losses=("ce", "anl_ce optim.l1=5e-5 optim.weight_decay=0", "gce", "nce_rce"),  # ANL as in docs/choosing.md
    program="seg-anl-classify",
    module="classification.train",
    audit="labels",
    fixed=("noise=none",),
    records=("record=[predictions,dynamics]",),
)
_WITH_DICE = tuple(f"{loss} loss.dice_weight=1" for loss in ("ce", "anl_ce", "gce"))  # the first is nnU-Net's own loss


def nnunet_trainer(configuration: str, data: Path) -> NNUNetTrainer:
    """nnU-Net's training in a configuration of the plans of a data set.

    Raises:
        UserError: if the data set has no plans with that configuration.
    """
    root = os.environ.get(PREPROCESSED, "")
    if not root:
        raise UserError(f"--nnunet: {PREPROCESSED} is not set; expected nnU-Net's folder of preprocessed data")
    plans = Path(root) / data.name / "nnUNetPlans.json"
    if not plans.is_file():
        prepare = f"nnUNetv2_plan_and_preprocess -d {data.name[7:10]} -c {configuration}"
        raise UserError(f"--nnunet: {plans} does not exist; run {prepare}")
    content = read_json(plans)
    known = content.get("configurations", {}) if isinstance(content, dict) else {}
    if configuration not in known:
        raise UserError(f"--nnunet {configuration}: {plans} has {', '.join(known) or 'no configurations'}")
    return NNUNetTrainer(
        data="",
        short=("epochs=50",),
        losses=(*_WITH_DICE, "t_loss loss.per_pixel=true"),  # per pixel, as nnUNetTrainerTLoss has it
        program="seg-anl-nnunet",
        module="seg_anl.nnunet.nnunet_command",
        fixed=(),
        records=(),
        configuration=configuration,
    )
