"""Check that nnU-Net is installed and finds the trainers, with a clear message for each way this can fail."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import traceback
import warnings
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING, Any

from seg_anl.records import UserError, nearest_names

from . import trainer_folder

if TYPE_CHECKING:
    from .robust_trainer import RobustLossTrainer

EXTERNAL_VARIABLE = "nnUNet_extTrainer"
MIN_VERSION = (2, 8)
INSTALL = "pip install 'seg-anl[nnunet]', or pip install 'nnunetv2>=2.8'"


def require_nnunet() -> str:
    """The installed version of nnU-Net.

    Raises:
        UserError: if it is missing or too old.
    """
    if importlib.util.find_spec("nnunetv2") is None:
        raise UserError(f"nnU-Net v2 is not installed; {INSTALL}")
    try:
        version = metadata.version("nnunetv2")
    except metadata.PackageNotFoundError:
        return "unknown"  # a checkout on the path
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < MIN_VERSION:
        raise UserError(f"nnU-Net {version} is too old: external trainers need version 2.8 or later; {INSTALL}")
    return version


def trainers() -> dict[str, type[RobustLossTrainer]]:
    """The trainer classes by name. Imports nnU-Net."""
    require_nnunet()
    try:
        with quiet():
            from .trainers import TRAINERS
    except Exception as error:  # broken packages raise errors of any type (torchvision built for another torch, ...)
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        raise UserError(
            f"nnU-Net cannot be imported: {type(error).__name__} in {frame.f_globals.get('__name__')}: {error}; "
            "is that package broken, or built for another version of torch?"
        ) from error
    return TRAINERS


def with_our_folder(current: str | None) -> str:
    """The value of ``nnUNet_extTrainer`` with our folder put first, because the first folder wins."""
    ours = str(trainer_folder())
    others = [folder for folder in (current or "").split(os.pathsep) if folder.strip() and folder != ours]
    return os.pathsep.join([ours, *others])


def look_up(name: str) -> Any:
    """The class that nnU-Net finds under ``name``.

    Raises:
        UserError: if there is none, or a module in another folder cannot be imported.
    """
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    trainers()  # fails here if a package is broken, rather than a folder
    value = os.environ.get(EXTERNAL_VARIABLE)
    try:
        with quiet():
            return recursive_find_trainer_class_by_name(name)
    except Exception as error:  # nnU-Net imports every module of every folder, and each may raise anything
        # nnU-Net raises a RuntimeError if it finds nothing, but so may an imported module.
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if isinstance(error, RuntimeError) and str(frame.f_globals.get("__name__")).startswith("nnunetv2."):
            setting = f"{EXTERNAL_VARIABLE}={value}" if value else f"{EXTERNAL_VARIABLE} is not set"
            hint = nearest_names(name, trainers())
            raise UserError(f"nnU-Net finds no trainer {name!r} ({setting}); {hint}") from error
        raise UserError(
            f"nnU-Net's search for {name!r} failed with {type(error).__name__}: {error}; is there a broken module "
            f"in {EXTERNAL_VARIABLE}={value}?"
        ) from error


def check(names: list[str]) -> list[str]:
    """Look up each trainer the way ``nnUNetv2_train`` does, and return the names.

    Raises:
        UserError: for the first problem.
    """
    value = os.environ.get(EXTERNAL_VARIABLE)
    if not value:
        raise UserError(f"{EXTERNAL_VARIABLE} is not set; export {EXTERNAL_VARIABLE}=$(seg-anl-nnunet path)")
    missing = [folder for folder in value.split(os.pathsep) if folder.strip() and not os.path.isdir(folder)]
    if missing:
        raise UserError(f"{EXTERNAL_VARIABLE} names {missing[0]}, which is not a folder")
    ours = trainers()
    for name in names or list(ours):
        if name not in ours:
            raise UserError(f"unknown trainer {name!r}; {nearest_names(name, ours)}")
        trainer = look_up(name)
        if trainer is not ours[name]:
            raise UserError(
                f"nnU-Net finds another class named {name}, in {trainer.__module__}; put $(seg-anl-nnunet path) "
                f"first in {EXTERNAL_VARIABLE}"
            )
    return names or list(ours)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress nnU-Net's output and warnings."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
