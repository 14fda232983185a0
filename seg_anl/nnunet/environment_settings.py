"""Trainer settings from environment variables.

``SEG_ANL_LOSS`` is ``NAME KEY=VALUE ...`` or a YAML file, ``SEG_ANL_TRAIN`` sets length and seed, ``SEG_ANL_TEST`` is a
folder to test on, ``SEG_ANL_SOFT`` a folder of probabilities to train on, and ``SEG_ANL_WEIGHTS`` a table of case
weights. This module does not depend on nnU-Net.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seg_anl.losses import build_loss, loss_parameters
from seg_anl.records import UserError, nearest_names
from seg_anl.records.files import check_folder
from seg_anl.records.foreign_files import parse_yaml, read_bytes, read_yaml
from seg_anl.records.ranges import Count, NonNegative, Seed, checked

from . import TEST_VARIABLE, TRAIN_VARIABLE

LOSS_VARIABLE = "SEG_ANL_LOSS"
SOFT_VARIABLE = "SEG_ANL_SOFT"
WEIGHTS_VARIABLE = "SEG_ANL_WEIGHTS"
VARIABLES = (LOSS_VARIABLE, TRAIN_VARIABLE, TEST_VARIABLE, SOFT_VARIABLE, WEIGHTS_VARIABLE)
AUTO = "auto"  # class weights by inverse frequency, computed from the data set

ANY_LOSS_TRAINER = "nnUNetTrainerRobust"


@dataclass(frozen=True)
class LossChoice:
    """A loss with all its parameters, and the weight of nnU-Net's own Dice loss added to it."""

    name: str
    parameters: dict[str, Any]
    dice_weight: NonNegative = 0.0

    def settings(self) -> dict[str, Any]:
        """The settings as one flat dictionary, like the loss configurations."""
        return {"name": self.name, **self.parameters, "dice_weight": self.dice_weight}

    def __str__(self) -> str:
        dice = {"dice_weight": self.dice_weight} if self.dice_weight else {}
        return " ".join([self.name, *(f"{key}={value}" for key, value in {**self.parameters, **dice}.items())])


@dataclass(frozen=True)
class TrainChoice:
    """Length, seed and penalties of a training; None keeps the trainer's default.

    Attributes:
        epochs: number of epochs.
        iterations, validation_iterations: batches per epoch.
        seed: seed of the initial weights (nnU-Net's batches stay random); it also distinguishes repeated runs.
        l1: weight (delta) of the L1 norm of all network parameters, ANL's penalty.
        weight_decay: weight decay of the network's parameters.
    """

    epochs: Count | None = None
    iterations: Count | None = None
    validation_iterations: Count | None = None
    seed: Seed | None = None
    l1: NonNegative | None = None
    weight_decay: NonNegative | None = None

    def given(self) -> dict[str, float]:
        """The values that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class LabelChoice:
    """Soft labels and case weights.

    Attributes:
        soft: folder of probabilities that replace the labels.
        weights: table of case weights; other cases have weight 1.
        weights_digest: first eight digits of the table's hash.
    """

    soft: Path | None = None
    weights: Path | None = None
    weights_digest: str = ""

    def given(self) -> dict[str, str]:
        """The settings in a form that distinguishes runs."""
        soft = {} if self.soft is None else {"soft": f"{self.soft.name}_{path_digest(self.soft)}"}
        return soft if self.weights is None else {**soft, "weights": self.weights_digest}


def refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    """Refuse a misspelled variable, which would have no effect.

    Raises:
        UserError: naming it.
    """
    for name in sorted(environ):
        if name.startswith("SEG_ANL_") and name not in VARIABLES:
            raise UserError(f"unknown environment variable {name}; {nearest_names(name, VARIABLES)}")


def chosen_labels(environ: Mapping[str, str]) -> LabelChoice:
    """The values of ``SEG_ANL_SOFT`` and ``SEG_ANL_WEIGHTS``.

    Raises:
        UserError: for a missing folder or an unreadable table.
    """
    soft, weights = environ.get(SOFT_VARIABLE), environ.get(WEIGHTS_VARIABLE)
    if soft:
        check_folder(Path(soft), SOFT_VARIABLE)
    folder = Path(soft).resolve() if soft else None
    return LabelChoice(folder, Path(weights), _digest(read_bytes(Path(weights)))) if weights else LabelChoice(folder)


def loss_choice(name: str, *, dice_weight: float = 0.0, **parameters: Any) -> LossChoice:
    """Validate a loss and fill in its default parameters.

    Raises:
        UserError: for an unknown loss or parameter, or a value out of range.
    """
    for common in ("reduction", "ignore_index", "activation"):
        if common in parameters:
            raise UserError(f"{common} is determined by nnU-Net's dataset and cannot be set")
    to_validate = {key: value for key, value in parameters.items() if (key, value) != ("class_weights", AUTO)}
    try:
        build_loss(name, **to_validate)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(str(error)) from error
    defaults = loss_parameters(name)
    # 10 and 10.0 are the same choice and must give the same folder name.
    given = {k: float(v) if isinstance(defaults.get(k), float) else v for k, v in parameters.items()}
    choice = checked(LossChoice, {"name": name, "parameters": {**defaults, **given}, "dice_weight": dice_weight})
    return LossChoice(choice.name, choice.parameters, float(choice.dice_weight))


def chosen_loss(text: str | None, trainer: str, default: LossChoice | None) -> LossChoice:
    """The loss for ``trainer``.

    Args:
        text: value of ``SEG_ANL_LOSS``, or None. The name is optional if the trainer has a loss of its own.
        trainer: name of the trainer class, for messages.
        default: the trainer's own loss; None for a trainer that takes any loss.

    Raises:
        UserError: for an unknown loss, a loss other than the trainer's own, or a bad parameter.
    """
    if text is None or not text.strip():
        if default is None:
            raise UserError(f"{trainer} needs the environment variable {LOSS_VARIABLE}, for example 'gce q=0.5'")
        return default
    try:
        given = _parse_yaml(Path(text)) if text.endswith((".yaml", ".yml")) else _parse_words(text)
        settings = {**(default.settings() if default else {}), **given}
        if "name" not in settings:
            raise UserError("the name of the loss is missing; expected NAME KEY=VALUE ..., for example 'gce q=0.5'")
        if default is not None and settings["name"] != default.name:
            raise UserError(
                f"names {settings['name']!r}, but {trainer} trains {default.name!r}; use the trainer of that loss "
                f"(see seg-anl-nnunet list) or {ANY_LOSS_TRAINER}, which takes any loss"
            )
        return loss_choice(str(settings.pop("name")), **settings)
    except UserError as error:
        raise UserError(f"{LOSS_VARIABLE}={text!r}: {error}") from error


def chosen_training(text: str | None) -> TrainChoice:
    """The value of ``SEG_ANL_TRAIN``: any of ``epochs=100 iterations=125 validation_iterations=10 seed=1 l1=5e-5
    weight_decay=0``.

    Raises:
        UserError: for an unknown name or a value out of range.
    """
    try:
        return checked(TrainChoice, _parse_words(text or ""))
    except UserError as error:
        raise UserError(f"{TRAIN_VARIABLE}={text!r}: {error}") from error


def variant_suffix(
    default: LossChoice | None, loss: LossChoice, training: TrainChoice, labels: LabelChoice | None = None
) -> str:
    """The suffix of a run's folder name: every setting that differs from the trainer's defaults.

    >>> own = loss_choice("gce")
    >>> variant_suffix(own, loss_choice("gce", q=0.5), TrainChoice(epochs=5))
    '-q=0.5-epochs=5'
    >>> variant_suffix(own, own, TrainChoice())
    ''
    """
    defaults = default.settings() if default else {**loss_parameters(loss.name), "dice_weight": 0.0}
    changed = {k: v for k, v in loss.settings().items() if k != "name" and v != defaults.get(k)}
    name = [] if default else [loss.name]
    settings = {**changed, **training.given(), **(labels.given() if labels else {})}
    return "".join(f"-{part}" for part in [*name, *(f"{k}={_format_value(v)}" for k, v in settings.items())])


def _format_value(value: Any) -> str:
    """A value for a folder name: numbers and words unchanged, anything else as eight digits of its hash."""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if isinstance(value, (bool, int, float)) or value is None or text.isidentifier() or text.isalnum():
        return text
    return _digest(json.dumps(value).encode())


def path_digest(path: Path) -> str:
    """Eight digits that distinguish folders of the same name, such as those that ``seg-anl-prep raters`` writes."""
    return _digest(os.fsencode(path.resolve()))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def _parse_words(text: str) -> dict[str, Any]:
    """Parse ``NAME KEY=VALUE ...`` with YAML values."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"cannot be parsed: {error}") from error
    name = {"name": words.pop(0)} if words and "=" not in words[0] else {}
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (equals and key and value):
            raise UserError(f"cannot parse {word!r}; expected KEY=VALUE")
        if key in settings:
            raise UserError(f"{key} is given twice")
        settings[key] = parse_yaml(value, key)
    return {**name, **settings}


def _parse_yaml(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError("expected a YAML mapping of settings: name: gce, q: 0.5, ...")
    return content
