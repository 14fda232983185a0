"""The trainers that a comparison can start, and what differs between them: commands, scores, what an audit reads."""

from __future__ import annotations

import os
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seg_anl.records import UserError
from seg_anl.records.foreign_files import read_json
from seg_anl.records.runs import SUMMARY_FILE

# Of seg_anl.nnunet, which imports torch.
LOSS_VARIABLE, TRAIN_VARIABLE, TEST_VARIABLE = "SEG_ANL_LOSS", "SEG_ANL_TRAIN", "SEG_ANL_TEST"
PATH_VARIABLES = (TEST_VARIABLE, "SEG_ANL_SOFT", "SEG_ANL_WEIGHTS")
PREPROCESSED = "nnUNet_preprocessed"
VALIDATION = "validation/summary.json"  # nnU-Net's scores on the validation cases of a fold
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
        config: name of its configuration.
        audit: ``"masks"`` or ``"labels"``.
        fixed: further settings of all runs.
        records: settings with which a run records what the audit needs.
    """

    data: str
    short: tuple[str, ...]
    losses: tuple[str, ...] = ("ce", "anl_ce", "gce", "t_loss")
    program: str = "seg-anl-train"
    module: str = "seg_anl.segmentation.train"
    config: str = "segmentation"
    audit: str = "masks"
    fixed: tuple[str, ...] = ("noise.alpha=0",)
    records: tuple[str, ...] = ("record=[predictions]",)

    def settings(self, data: Path) -> list[str]:
        """The settings of all runs on a data folder."""
        return [f"data={self.data}", f"data.root={data.resolve()}", *self.short, *self.fixed]

    def check(self, settings: Sequence[str]) -> None:
        """Refuse losses and settings that are misspelt, before the first run trains for minutes.

        Raises:
            UserError: with similar names.
        """
        from seg_anl.engine.command import compose  # hydra takes a second to import

        compose(self.config, list(settings))

    def command(self, settings: Sequence[str], run: Path) -> Command:
        """The command that trains a run, or resumes it."""
        return Command(self.program, self.module, [*settings, f"run_dir={run}"])

    def full_command(self, settings: Sequence[str]) -> Command:
        """The command for a training of full length."""
        words = list(settings)
        for word in self.short:
            words.remove(word)  # the first, which is not the user's
        return Command(self.program, self.module, [word for word in words if not word.startswith("epochs=")])

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

    def audit_arguments(self, data: Path, run: Path) -> list[str]:
        """Arguments of ``seg-anl-audit`` that name the predictions of a run."""
        return [str(run)]

    def audited(self, loss: str) -> str:
        """How the audited predictions were made."""
        return f"by {loss}, which was trained on them"

    def _parse_score(self, summary: Any) -> tuple[str, float]:
        """The headline metric's mean over the last epochs."""
        return str(summary["headline"]), float(summary["metrics"][summary["headline"]]["last_k_mean"])


@dataclass(frozen=True)
class NNUNetTrainer(Trainer):
    """nnU-Net's own training of fold 0, with a loss of this package.

    ``loss.X`` becomes ``SEG_ANL_LOSS``, ``device`` an argument of ``nnUNetv2_train``, and any other setting
    ``SEG_ANL_TRAIN``. Every run is a results folder of nnU-Net.

    Attributes:
        dataset: name of the data set.
        configuration: configuration of its plans.
        plans: name of the plans.
        variables: environment variables of all runs, such as ``SEG_ANL_TEST``; ``fixed`` records them.
    """

    dataset: str = ""
    configuration: str = ""
    plans: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def tested(self) -> str:
        """A description of the test images."""
        if (folder := self.variables.get(TEST_VARIABLE)) is None:
            return "the cases of fold 0, whose annotations may be wrong too"
        return str(images) if (images := Path(folder) / "imagesTs").is_dir() else folder

    def settings(self, data: Path) -> list[str]:  # noqa: D102
        return [*self.fixed, *self.short]

    def check(self, settings: Sequence[str]) -> None:
        """Of the losses only: nnU-Net has settings of its own."""
        loss = [word for word in settings if word.startswith(("loss=", "loss."))]
        super().check(["data=nnunet", "data.root=.", *loss])

    def command(self, settings: Sequence[str], run: Path) -> Command:  # noqa: D102
        return self._sweep(settings, ["-f", "0"], {"nnUNet_results": os.path.abspath(run)})

    def full_command(self, settings: Sequence[str]) -> Command:  # noqa: D102
        return self._sweep([word for word in settings if not word.startswith("epochs=")], [], {})

    def score_file(self, run: Path) -> Path | None:  # noqa: D102
        if (fold := self._finished_fold(run)) is None:
            return None
        return fold / (SUMMARY_FILE if TEST_VARIABLE in self.variables else VALIDATION)

    def audit_arguments(self, data: Path, run: Path) -> list[str]:  # noqa: D102
        fold = self._finished_fold(run)
        assert fold is not None
        return [str(fold.parent), "--masks", str(data)]

    def audited(self, loss: str) -> str:  # noqa: D102
        return f"among the cases of fold 0, by {loss}, which has not seen them"

    def _finished_fold(self, run: Path) -> Path | None:
        """The folder of fold 0, which may have a neighbor: an interrupted training with other settings."""
        finished = (run / self.dataset).glob(f"nnUNetTrainerRobust*/fold_0/{VALIDATION}")
        return next((path.parents[1] for path in finished), None)

    def _parse_score(self, summary: Any) -> tuple[str, float]:
        """Of nnU-Net's validation: the mean over the classes that occur; its own mean is NaN if one does not."""
        if TEST_VARIABLE in self.variables:
            return super()._parse_score(summary)
        dice = [float(of["Dice"]) for label, of in summary["mean"].items() if label != "0" and of["n_ref"]]
        if not dice:
            raise UserError("no class occurs in the cases of fold 0, so there is no Dice; compare on other data")
        return "validation Dice", statistics.fmean(dice)

    def _sweep(self, settings: Sequence[str], folds: Sequence[str], variables: dict[str, str]) -> Command:
        given = dict(word.split("=", 1) for word in settings if word not in self.fixed)  # the last one counts
        device = ["-device", given.pop("device")] if "device" in given else []
        loss = [given.pop("loss")]
        loss += [shlex.quote(f"{name[5:]}={given.pop(name)}") for name in list(given) if name.startswith("loss.")]
        training = [shlex.quote(f"{name}={value}") for name, value in given.items()]
        chosen = ["-tr", "nnUNetTrainerRobust", "-p", self.plans]
        words = ["sweep", self.dataset, self.configuration, *folds, *chosen, "--", "--npz"]
        texts = {LOSS_VARIABLE: " ".join(loss), TRAIN_VARIABLE: " ".join(training), **self.variables, **variables}
        return Command(
            self.program, self.module, [*words, *device], {name: text for name, text in texts.items() if text}
        )


FOLDER = Trainer("folder", ("preset=small",))
VOLUMES = Trainer("nnunet", ("epochs=20",))
CLASSES = Trainer(
    data="imagefolder",
    short=("model=resnet18", "epochs=15"),
    losses=("ce", "anl_ce optim.l1=5e-5 optim.weight_decay=0", "gce", "nce_rce"),  # ANL as in docs/choosing.md
    program="seg-anl-classify",
    module="classification.train",
    config="classification",
    audit="labels",
    fixed=("noise=none",),
    records=("record=[predictions,dynamics]",),
)
_WITH_DICE = tuple(f"{loss} loss.dice_weight=1" for loss in ("ce", "anl_ce", "gce"))  # the first is nnU-Net's own loss


def nnunet_trainer(data: Path, configuration: str, plans: str) -> NNUNetTrainer:
    """nnU-Net's training of a data set in a configuration of the named plans.

    Raises:
        UserError: if the data set has no plans with that configuration, or a variable contradicts the comparison.
    """
    folder, root = Path(os.path.abspath(data)), os.environ.get(PREPROCESSED, "")
    if not re.fullmatch(r"Dataset\d{3}_.+", folder.name):
        raise UserError(f"--nnunet: {folder} is not named like nnU-Net's raw data sets: Dataset501_NAME")
    if not root:
        raise UserError(f"--nnunet: {PREPROCESSED} is not set; expected nnU-Net's folder of preprocessed data")
    for name, instead in ((LOSS_VARIABLE, "--losses"), (TRAIN_VARIABLE, "SETTING=VALUE after DATA")):
        if os.environ.get(name):
            raise UserError(f"--nnunet: {name} is set, but would have no effect; unset it, and use {instead}")
    path = Path(root) / folder.name / f"{plans}.json"
    if not path.is_file():
        residual = re.fullmatch("nnUNetResEncUNet(M|L|XL)Plans", plans)
        planner = f" -pl nnUNetPlannerResEnc{residual[1]}" if residual else ""
        prepare = f"nnUNetv2_plan_and_preprocess -d {folder.name[7:10]} -c {configuration}{planner}"
        raise UserError(f"--nnunet: {path} does not exist; run {prepare}")
    content = read_json(path)
    known = content.get("configurations", {}) if isinstance(content, dict) else {}
    if configuration not in known:
        raise UserError(f"--nnunet {configuration}: {path} has {', '.join(known) or 'no configurations'}")
    variables = {name: os.path.abspath(value) for name in PATH_VARIABLES if (value := os.environ.get(name))}
    if (folder / "labelsTs").is_dir():
        variables.setdefault(TEST_VARIABLE, str(folder))
    return NNUNetTrainer(
        data="",
        short=("epochs=50",),
        losses=(*_WITH_DICE, "t_loss loss.per_pixel=true"),  # per pixel, as nnUNetTrainerTLoss has it
        program="seg-anl-nnunet",
        module="seg_anl.nnunet.nnunet_command",
        fixed=(
            f"data={folder}",
            f"configuration={configuration}",
            f"plans={plans}",
            *(f"{name}={value}" for name, value in variables.items()),
        ),
        records=(),
        dataset=folder.name,
        configuration=configuration,
        plans=plans,
        variables=variables,
    )
