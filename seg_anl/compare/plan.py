"""What is run on a folder of data: which trainer, with which settings, and what its test images are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.layouts import TRAINING, find_dataset
from data_prep.nnunet_raw import is_nnunet_dataset
from seg_anl.records import UserError
from seg_anl.records.files import check_folder

_HELD_OUT = "a fifth of the training images, held out: their annotations may be wrong, too"


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes:
        data: name of the trainer's ``data`` group.
        short: settings that make a run short; those given by a person come after.
        losses: compared by default, the reference first.
        program, module: of the trainer.
        audit: ``"masks"`` or ``"labels"``.
    """

    data: str
    short: tuple[str, ...]
    losses: tuple[str, ...] = ("ce", "anl_ce", "gce", "t_loss")
    program: str = "seg-anl-train"
    module: str = "seg_anl.segmentation.train"
    audit: str = "masks"


NNUNET, FOLDER = Kind("nnunet", ("epochs=20",)), Kind("folder", ("preset=small",))
_OF_CLASSES = ("ce", "anl_ce optim.l1=5e-5 optim.weight_decay=0", "gce", "nce_rce")  # ANL as in docs/choosing.md
_CLASSIFY = ("seg-anl-classify", "classification.train")
CLASSES = Kind("imagefolder", ("model=resnet18", "epochs=15"), _OF_CLASSES, *_CLASSIFY, "labels")


@dataclass(frozen=True)
class Method:
    """A loss by name, and the settings of the trainer that choose it."""

    name: str
    words: tuple[str, ...]

    @classmethod
    def parsed(cls, text: str) -> Method:
        """Of ``"anl_ce optim.l1=5e-5"``.

        Raises:
            UserError: when it does not begin with a loss.
        """
        loss, *settings = text.split() or [""]
        if not loss or "=" in loss or not all("=" in word for word in settings):
            raise UserError(f"--losses: {text!r}: expected a loss, then settings: 'anl_ce optim.l1=5e-5'")
        return cls(loss, (f"loss={loss}", *settings))


@dataclass(frozen=True)
class Plan:
    """A comparison: the first method is the reference, the second the one that the verdict is about.

    ``tested`` says what the test images are; ``settings`` are a person's, of all runs.
    """

    kind: Kind
    data: Path
    tested: str
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    settings: tuple[str, ...]

    @property
    def runs(self) -> dict[str, list[str]]:
        """The settings of each run, all but its place, by name; the first seed keeps what an audit needs."""
        record = {"masks": "record=[predictions]", "labels": "record=[predictions,dynamics]"}[self.kind.audit]
        keeps = [] if self.kind == NNUNET else [record]  # of volumes seg-anl-predict makes it
        return {
            f"{method.name}-seed{seed}": [*self.common, *method.words, f"seed={seed}", *(keeps if seed == 1 else [])]
            for seed in self.seeds
            for method in self.methods
        }

    @property
    def common(self) -> list[str]:
        """The settings of all runs."""
        clean = "noise=none" if self.kind == CLASSES else "noise.alpha=0"
        return [f"data={self.kind.data}", f"data.root={self.data.resolve()}", *self.kind.short, clean, *self.settings]


def planned(data: Path, losses: Sequence[str], seeds: int, settings: Sequence[str]) -> Plan:
    """The comparison for the data in a folder; without ``losses`` those of its kind.

    Raises:
        UserError: for a folder in none of the known layouts, or fewer than two losses.
    """
    kind, tested = _recognized(data)
    methods = tuple(Method.parsed(text) for text in losses or kind.losses)
    if len({method.name for method in methods}) < max(2, len(methods)):
        raise UserError(f"--losses: expected two or more that differ, got {', '.join(m.name for m in methods)}")
    strange = [word for word in settings if "=" not in word or word.startswith(("seed=", "run_dir=", "loss="))]
    if strange:
        raise UserError(f"{strange[0]!r}: expected SETTING=VALUE of the trainer, but not the loss, seed or run_dir")
    return Plan(kind, data, tested, methods, tuple(range(1, seeds + 1)), tuple(settings))


def _recognized(data: Path) -> tuple[Kind, str]:
    check_folder(data, "DATA")
    if is_nnunet_dataset(data):
        return NNUNET, f"{data / 'imagesTs'}" if (data / "labelsTs").is_dir() else _HELD_OUT
    if (data / "train").is_dir() and not (data / "train/images").is_dir():
        return CLASSES, f"the test images in {data}"
    try:
        splits = {pair.split for pair in find_dataset(data).pairs}
    except UserError as error:
        layouts = "an nnU-Net raw data set, images and masks, or train/CLASS and test/CLASS"
        raise UserError(f"{error}; expected {layouts}") from error
    return FOLDER, f"the test images in {data}" if splits - {TRAINING} else _HELD_OUT
