"""Settings of a trainer that come from environment variables: read, checked once and written in one form.

``SEG_ANL_LOSS`` holds ``NAME KEY=VALUE ...`` or names a YAML file; ``SEG_ANL_TRAIN`` length and seed; ``SEG_ANL_TEST``
a folder to test on; ``SEG_ANL_SOFT`` one of probabilities to train on; ``SEG_ANL_WEIGHTS`` a table of what cases count.
Nothing here knows nnU-Net.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seg_anl.losses import build_loss, loss_parameters
from seg_anl.records import UserError
from seg_anl.records.files import check_folder
from seg_anl.records.foreign_files import parse_yaml, read_bytes, read_yaml
from seg_anl.records.ranges import Count, NonNegative, Seed, checked

from . import TRAIN_VARIABLE

LOSS_VARIABLE = "SEG_ANL_LOSS"
TEST_VARIABLE = "SEG_ANL_TEST"
SOFT_VARIABLE = "SEG_ANL_SOFT"
WEIGHTS_VARIABLE = "SEG_ANL_WEIGHTS"
AUTO = "auto"  # class weights by inverse frequency, which only the data set tells

ANY_LOSS_TRAINER = "nnUNetTrainerRobust"


@dataclass(frozen=True)
class LossChoice:
    """A loss by name with all its parameters, and the weight of nnU-Net's own Dice loss added to it."""

    name: str
    parameters: dict[str, Any]
    dice_weight: NonNegative = 0.0

    def settings(self) -> dict[str, Any]:
        """One flat dictionary, the form of the project's loss configurations."""
        return {"name": self.name, **self.parameters, "dice_weight": self.dice_weight}

    def __str__(self) -> str:
        dice = {"dice_weight": self.dice_weight} if self.dice_weight else {}
        return " ".join([self.name, *(f"{key}={value}" for key, value in {**self.parameters, **dice}.items())])


@dataclass(frozen=True)
class TrainChoice:
    """Length, seed and penalties of a training; None leaves a value to the trainer.

    Attributes:
        epochs: number of epochs.
        iterations, validation_iterations: batches per epoch.
        seed: of the weights (nnU-Net's batches stay random); it also distinguishes repeated runs.
        l1: delta, the weight of the L1 norm of all network parameters, ANL's penalty.
        weight_decay: of the network's parameters.
    """

    epochs: Count | None = None
    iterations: Count | None = None
    validation_iterations: Count | None = None
    seed: Seed | None = None
    l1: NonNegative | None = None
    weight_decay: NonNegative | None = None

    def given(self) -> dict[str, float]:
        """The values that were chosen."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class LabelChoice:
    """What a training learns from besides nnU-Net's labels.

    Attributes:
        soft: folder of probabilities in their place.
        weights: table of what cases count; the others count 1.
        weights_digest: eight digits of the table's hash.
    """

    soft: Path | None = None
    weights: Path | None = None
    weights_digest: str = ""

    def given(self) -> dict[str, str]:
        """The choice in a form that tells runs apart."""
        soft = {} if self.soft is None else {"soft": self.soft.name}
        return soft if self.weights is None else {**soft, "weights": self.weights_digest}


def chosen_labels(environ: Mapping[str, str]) -> LabelChoice:
    """The values of ``SEG_ANL_SOFT`` and ``SEG_ANL_WEIGHTS``.

    Raises:
        UserError: for what is no folder, or a table that cannot be read.
    """
    soft, weights = environ.get(SOFT_VARIABLE), environ.get(WEIGHTS_VARIABLE)
    if soft:
        check_folder(Path(soft), SOFT_VARIABLE)
    folder = Path(soft).resolve() if soft else None
    return LabelChoice(folder, Path(weights), _digest(read_bytes(Path(weights)))) if weights else LabelChoice(folder)


def loss_choice(name: str, *, dice_weight: float = 0.0, **parameters: Any) -> LossChoice:
    """A checked choice, with the defaults of parameters that are not given.

    Raises:
        UserError: for an unknown loss or parameter, or a value out of range.
    """
    for common in ("reduction", "ignore_index", "activation"):
        if common in parameters:
            raise UserError(f"{common} follows from nnU-Net's dataset and is no parameter to choose")
    numbers = {key: value for key, value in parameters.items() if (key, value) != ("class_weights", AUTO)}
    try:
        build_loss(name, **numbers)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(str(error)) from error
    defaults = loss_parameters(name)
    # 10 and 10.0 are one choice and must not name two folders.
    given = {k: float(v) if isinstance(defaults.get(k), float) else v for k, v in parameters.items()}
    choice = checked(LossChoice, {"name": name, "parameters": {**defaults, **given}, "dice_weight": dice_weight})
    return LossChoice(choice.name, choice.parameters, float(choice.dice_weight))


def chosen_loss(text: str | None, trainer: str, default: LossChoice | None) -> LossChoice:
    """The loss that ``trainer`` is to train.

    Args:
        text: value of ``SEG_ANL_LOSS``, or None. The name may be left out where the trainer has a loss of its own.
        trainer: name of the trainer class, for messages.
        default: the trainer's own choice; None for a trainer that takes any loss.

    Raises:
        UserError: for a loss that is unknown, not the trainer's own, or has a bad parameter.
    """
    if text is None or not text.strip():
        if default is None:
            raise UserError(f"{trainer} needs the environment variable {LOSS_VARIABLE}, for instance 'gce q=0.5'")
        return default
    try:
        given = _from_yaml(Path(text)) if text.endswith((".yaml", ".yml")) else _from_words(text)
        settings = {**(default.settings() if default else {}), **given}
        if "name" not in settings:
            raise UserError("the loss is not named; expected NAME KEY=VALUE ..., for instance 'gce q=0.5'")
        if default is not None and settings["name"] != default.name:
            raise UserError(
                f"names {settings['name']!r}, but {trainer} trains {default.name!r}; use the trainer of that loss "
                f"(seg-anl-nnunet list) or {ANY_LOSS_TRAINER}, which takes any"
            )
        return loss_choice(str(settings.pop("name")), **settings)
    except UserError as error:
        raise UserError(f"{LOSS_VARIABLE}={text!r}: {error}") from error


def chosen_training(text: str | None) -> TrainChoice:
    """The value of ``SEG_ANL_TRAIN``: ``epochs=100 iterations=125 validation_iterations=10 seed=1 l1=5e-5
    weight_decay=0``, any of them.

    Raises:
        UserError: for an unknown name or a value out of range.
    """
    try:
        return checked(TrainChoice, _from_words(text or ""))
    except UserError as error:
        raise UserError(f"{TRAIN_VARIABLE}={text!r}: {error}") from error


def variant_suffix(
    default: LossChoice | None, loss: LossChoice, training: TrainChoice, labels: LabelChoice | None = None
) -> str:
    """What a run's folder adds to the trainer's name: every setting that differs from the trainer's own.

    >>> own = loss_choice("gce")
    >>> variant_suffix(own, loss_choice("gce", q=0.5), TrainChoice(epochs=5))
    '-q=0.5-epochs=5'
    >>> variant_suffix(own, own, TrainChoice())
    ''
    """
    before = default.settings() if default else {**loss_parameters(loss.name), "dice_weight": 0.0}
    changed = {k: v for k, v in loss.settings().items() if k != "name" and v != before.get(k)}
    name = [] if default else [loss.name]
    settings = {**changed, **training.given(), **(labels.given() if labels else {})}
    return "".join(f"-{part}" for part in [*name, *(f"{k}={_short(v)}" for k, v in settings.items())])


def _short(value: Any) -> str:
    """A value as part of a folder's name; anything but a number or word as eight digits of its hash."""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if isinstance(value, (bool, int, float)) or value is None or text.isidentifier() or text.isalnum():
        return text
    return _digest(json.dumps(value).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def _from_words(text: str) -> dict[str, Any]:
    """The settings in ``NAME KEY=VALUE ...``, the values read as YAML."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"cannot be read: {error}") from error
    name = {"name": words.pop(0)} if words and "=" not in words[0] else {}
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (equals and key and value):
            raise UserError(f"cannot read {word!r}; expected KEY=VALUE")
        if key in settings:
            raise UserError(f"{key} is given twice")
        settings[key] = parse_yaml(value, key)
    return {**name, **settings}


def _from_yaml(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError("expected a YAML file of settings: name: gce, q: 0.5, ...")
    return content
