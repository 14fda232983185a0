"""The plan of a comparison: the trainer with its settings, the losses, the seeds and the test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.layouts import TRAINING, find_dataset
from data_prep.nnunet_raw import is_nnunet_dataset
from seg_anl.records import UserError
from seg_anl.records.files import check_folder

from .trainers import CLASSES, FOLDER, HELD_OUT, VOLUMES, Trainer, nnunet_trainer


def _is_setting(word: str) -> bool:
    """Whether ``word`` is a setting that the plan does not make itself."""
    return "=" in word and not word.startswith(("seed=", "run_dir=", "loss="))


@dataclass(frozen=True)
class Method:
    """A loss and the trainer settings that select it."""

    name: str
    settings: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Method:
        """Parse text such as ``"anl_ce optim.l1=5e-5"``.

        Raises:
            UserError: if the text does not start with a loss, or anything after it is not a setting.
        """
        loss, *settings = text.split() or [""]
        if not loss or "=" in loss or not all(map(_is_setting, settings)):
            raise UserError(f"--losses: {text!r}: expected a loss, then settings: 'anl_ce optim.l1=5e-5'")
        return cls(loss, (f"loss={loss}", *settings))


@dataclass(frozen=True)
class Plan:
    """A comparison.

    Attributes:
        trainer: of all runs.
        data: the data folder.
        tested: a description of the test images.
        methods: the reference, the method the verdict is about, then any others.
        seeds: one run of each method per seed.
        settings: the user's settings for all runs.
    """

    trainer: Trainer
    data: Path
    tested: str
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    settings: tuple[str, ...]

    @property
    def runs(self) -> dict[str, list[str]]:
        """The settings of each run by name, except ``run_dir``. Runs of seed 1 also record what an audit needs."""
        return {
            f"{method.name}-seed{seed}": [
                *self.common, *method.settings, f"seed={seed}", *(self.trainer.records if seed == 1 else [])
            ]
            for seed in self.seeds
            for method in self.methods
        }  # fmt: skip

    @property
    def common(self) -> list[str]:
        """Settings shared by all runs."""
        return [*self.trainer.settings(self.data), *self.settings]


def make_plan(
    data: Path, losses: Sequence[str], seeds: int, settings: Sequence[str], nnunet: tuple[str, str] | None = None
) -> Plan:
    """Plan the comparison on a data folder; trainer and default losses depend on the kind of data.

    With ``nnunet``, a configuration and the name of nnU-Net's plans, nnU-Net's own training is compared.

    Raises:
        UserError: for an unknown folder layout, fewer than two different losses, or an invalid setting.
    """
    trainer, tested = _choose_trainer(data, nnunet)
    methods = tuple(Method.parse(text) for text in losses or trainer.losses)
    if len({method.name for method in methods}) < max(2, len(methods)):
        raise UserError(f"--losses: expected two or more different losses, got {', '.join(m.name for m in methods)}")
    if invalid := [word for word in settings if not _is_setting(word)]:
        raise UserError(f"{invalid[0]!r}: expected SETTING=VALUE of the trainer, but not the loss, seed or run_dir")
    return Plan(trainer, data, tested, methods, tuple(range(1, seeds + 1)), tuple(settings))


def _choose_trainer(data: Path, nnunet: tuple[str, str] | None) -> tuple[Trainer, str]:
    """The trainer for a folder, and a description of its test images."""
    check_folder(data, "DATA")
    if nnunet is not None:
        if not is_nnunet_dataset(data):
            raise UserError(f"--nnunet: {data} is not an nnU-Net raw data set (dataset.json, imagesTr, labelsTr)")
        trainer = nnunet_trainer(data, *nnunet)
        return trainer, trainer.tested
    if is_nnunet_dataset(data):
        return VOLUMES, f"{data / 'imagesTs'}" if (data / "labelsTs").is_dir() else HELD_OUT
    if (data / "train").is_dir() and not (data / "train/images").is_dir():
        return CLASSES, f"the test images in {data}"
    try:
        splits = {pair.split for pair in find_dataset(data).pairs}
    except UserError as error:
        layouts = "an nnU-Net raw data set, images and masks, or train/CLASS and test/CLASS"
        raise UserError(f"{error}; expected {layouts}") from error
    return FOLDER, f"the test images in {data}" if splits - {TRAINING} else HELD_OUT
