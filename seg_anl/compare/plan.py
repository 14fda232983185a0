"""The plan of a comparison: the kind of data, the trainer with its settings, and the test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.layouts import TRAINING, find_dataset
from data_prep.nnunet_raw import is_nnunet_dataset
from seg_anl.records import UserError
from seg_anl.records.files import check_folder

_HELD_OUT = "a held-out fifth of the training images, whose annotations may be wrong too"


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes:
        data: the trainer's ``data`` setting.
        short: settings that make a run short; the user's settings override them.
        losses: default losses, the reference first.
        program, module: the trainer's console command and module.
        audit: ``"masks"`` or ``"labels"``.
    """

    data: str
    short: tuple[str, ...]
    losses: tuple[str, ...] = ("ce", "anl_ce", "gce", "t_loss")
    program: str = "seg-anl-train"
    module: str = "seg_anl.segmentation.train"
    audit: str = "masks"


NNUNET, FOLDER = Kind("nnunet", ("epochs=20",)), Kind("folder", ("preset=small",))
CLASSES = Kind(
    data="imagefolder",
    short=("model=resnet18", "epochs=15"),
    losses=("ce", "anl_ce optim.l1=5e-5 optim.weight_decay=0", "gce", "nce_rce"),  # ANL as in docs/choosing.md
    program="seg-anl-classify",
    module="classification.train",
    audit="labels",
)


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
        if not loss or "=" in loss or not all("=" in word for word in settings):
            raise UserError(f"--losses: {text!r}: expected a loss, then settings: 'anl_ce optim.l1=5e-5'")
        return cls(loss, (f"loss={loss}", *settings))


@dataclass(frozen=True)
class Plan:
    """A comparison.

    Attributes:
        kind: of the data.
        data: the data folder.
        tested: a description of the test images.
        methods: the reference, the method the verdict is about, then any others.
        seeds: one run of each method per seed.
        settings: the user's settings for all runs.
    """

    kind: Kind
    data: Path
    tested: str
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    settings: tuple[str, ...]

    @property
    def runs(self) -> dict[str, list[str]]:
        """The settings of each run by name, except ``run_dir``. Runs of seed 1 also record what an audit needs."""
        records = {"masks": ["record=[predictions]"], "labels": ["record=[predictions,dynamics]"]}[self.kind.audit]
        if self.kind == NNUNET:
            records = []  # for volumes, seg-anl-predict writes the predictions
        return {
            f"{method.name}-seed{seed}": [
                *self.common, *method.settings, f"seed={seed}", *(records if seed == 1 else [])
            ]
            for seed in self.seeds
            for method in self.methods
        }  # fmt: skip

    @property
    def common(self) -> list[str]:
        """Settings shared by all runs."""
        clean = "noise=none" if self.kind == CLASSES else "noise.alpha=0"
        return [f"data={self.kind.data}", f"data.root={self.data.resolve()}", *self.kind.short, clean, *self.settings]


def make_plan(data: Path, losses: Sequence[str], seeds: int, settings: Sequence[str]) -> Plan:
    """Plan the comparison on a data folder; the default losses depend on the kind of data.

    Raises:
        UserError: for an unknown folder layout, fewer than two different losses, or an invalid setting.
    """
    kind, tested = _detect_kind(data)
    methods = tuple(Method.parse(text) for text in losses or kind.losses)
    if len({method.name for method in methods}) < max(2, len(methods)):
        raise UserError(f"--losses: expected two or more different losses, got {', '.join(m.name for m in methods)}")
    invalid = [word for word in settings if "=" not in word or word.startswith(("seed=", "run_dir=", "loss="))]
    if invalid:
        raise UserError(f"{invalid[0]!r}: expected SETTING=VALUE of the trainer, but not the loss, seed or run_dir")
    return Plan(kind, data, tested, methods, tuple(range(1, seeds + 1)), tuple(settings))


def _detect_kind(data: Path) -> tuple[Kind, str]:
    """The kind of data in a folder, and a description of its test images."""
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
