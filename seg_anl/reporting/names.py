"""Names of methods, noises and data sets in tables and figures, derived from a run's settings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import PurePath
from typing import Any

from seg_anl.records import is_number

PENALTY_NAMES = {"l1": "L1", "weight_decay": "L2", "jacobian": "Jacobian"}  # by setting below ``optim``
TRAINING_NAMES = {
    **{"co_teaching": "Co-teaching", "d2l": "D2L", "forward": "Forward", "elr": "ELR"},
    **{"adele": "ADELE", "clslsr": "CLSLSR", "dast": "DAST", "trinet": "TriNet"},
}
NOISE_NAMES = {
    **{"symmetric": "symmetric", "asymmetric": "asymmetric", "pair_flip": "pair flip"},
    **{"part_dependent": "part-dependent", "prediction_error": "prediction error"},
}
MASK_KINDS = {"erode", "dilate", "affine"}
CLEAN = "clean"
OWN_DATA = ("folder", "imagefolder", "arrays", "nnunet", "volumes", "decathlon")  # told apart by their place
REAL_NOISE = ("webvision", "animal10n", "clothing1m")  # with unknown wrong labels


@cache
def loss_titles() -> dict[str, str]:
    """The papers' name of each loss, in the order of reports."""
    from seg_anl.losses.declarations import declarations

    return {name: declaration.title for name, declaration in declarations().items()}


def loss_name(loss: Mapping[str, Any]) -> str:
    """The papers' name of a loss; pairs are named by their parts."""
    name = str(loss.get("name", "?"))
    if name in ("active_passive", "active_negative"):
        parts = (loss.get("active"), loss.get("passive", loss.get("negative")))
        return "+".join(loss_titles().get(str(part), str(part).upper()) for part in parts)
    return loss_titles().get(name, name.upper().replace("_", "+"))


def training_name(config: Mapping[str, Any]) -> str:
    """The training method in the settings; ``plain`` by default."""
    return str((config.get("method") or {}).get("name", "plain"))


def method_name(config: Mapping[str, Any]) -> str:
    """Loss and training method, with the papers' names.

    >>> method_name({"loss": {"name": "nce_rce"}})
    'NCE+RCE'
    >>> method_name({"loss": {"name": "ce"}, "method": {"name": "co_teaching"}})
    'Co-teaching'
    """
    loss, training = config.get("loss") or {}, training_name(config)
    text = loss_name(loss) + (" with Dice" if loss.get("dice_weight") else "")
    if training == "plain":
        return text
    name = TRAINING_NAMES.get(training, training)
    return name if loss.get("name") == ("slsr" if training == "clslsr" else "ce") else f"{name}, {text}"


def noise_name(config: Mapping[str, Any]) -> str:
    """The noise as text, including artificial class imbalance.

    >>> noise_name({"noise": {"kind": "symmetric", "rate": 0.4}})
    'symmetric 0.4'
    >>> noise_name({"noise": {"alpha": 0.3, "beta": 0.5, "kinds": ["erode", "dilate", "affine"]}})
    'α 0.3, β 0.5'
    >>> noise_name({"noise": {"kind": "none"}, "data": {"imbalance": "step", "imbalance_ratio": 0.1}})
    'clean, step imbalance 0.1'
    """
    data, noise = config.get("data") or {}, config.get("noise")
    if not noise:
        return "noise not recorded"
    text = _mask_noise(noise) if "alpha" in noise else _label_noise(noise)
    if text == CLEAN and data.get("name") in REAL_NOISE:
        text = "labels as collected"
    if data.get("imbalance"):
        text += f", {str(data['imbalance']).replace('_', '-')} imbalance {number(data.get('imbalance_ratio'))}"
    return text


def _mask_noise(noise: Mapping[str, Any]) -> str:
    kinds = noise.get("kinds") or MASK_KINDS
    text = f"α {number(noise['alpha'])}, β {number(noise.get('beta'))}" if noise["alpha"] else CLEAN
    return text if text == CLEAN or {*kinds} == MASK_KINDS else f"{text}, {' and '.join(map(str, kinds))} only"


def _label_noise(noise: Mapping[str, Any]) -> str:
    kind, rate = str(noise.get("kind", "?")), noise.get("rate")
    if kind == "none" or rate == 0:
        return CLEAN
    if kind == "human":
        return f"human, {noise.get('labels', '?')}"
    if kind == "matrix":
        return f"matrix {PurePath(str(noise.get('matrix', '?'))).name}"
    return NOISE_NAMES.get(kind, kind) + ("" if rate is None else f" {number(rate)}")


def noise_order(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sort key of noises: clean first, then by kind in the papers' order, then by rate."""
    noise, name = config.get("noise") or {}, noise_name(config)
    kinds = ["none", "mask", *NOISE_NAMES, "human", "matrix"]
    kind = "mask" if "alpha" in noise else str(noise.get("kind", "?"))
    position = 0 if name.startswith(CLEAN) else [*kinds, kind].index(kind)
    strengths = tuple(float(noise[key]) if is_number(noise.get(key)) else 0.0 for key in ("alpha", "beta", "rate"))
    return position, strengths if position else (), name


def data_place(config: Mapping[str, Any]) -> str:
    """The path of the user's own data, which identifies it; empty for named data sets."""
    data = config.get("data") or {}
    place = str(data.get("root") or data.get("file") or "") if data.get("name") in OWN_DATA else ""
    return place.removesuffix("/dataset.json")  # data=decathlon takes the file or its folder


def data_name(config: Mapping[str, Any], *, short: bool = False) -> str:
    """The data set, with the fold if any; for the user's own data, its kind (unless ``short``) and folder name.

    >>> data_name({"data": {"name": "folder", "root": "/data/isic"}})
    'folder isic'
    >>> data_name({"data": {"name": "digits"}, "fold": 0, "folds": 5})
    'digits, fold 0 of 5'
    """
    data = config.get("data") or {}
    name, place = str(data.get("name", "?")), data_place(config)
    if place:
        name = PurePath(place).name if short else f"{name} {PurePath(place).name or place}"
    elif data.get("fold") is not None:  # nnU-Net
        name = f"{name}, fold {data['fold']}"
    return name if config.get("fold") is None else f"{name}, fold {config['fold']} of {config.get('folds')}"


def number(value: Any) -> str:
    """A number without trailing zeros; anything else is converted with ``str``.

    >>> number(0.70), number(5.0), number(5e-06), number("worst")
    ('0.7', '5', '5e-6', 'worst')
    """
    if not is_number(value):
        return str(value)
    if abs(value) < 1e15 and float(value).is_integer():
        return str(int(value))
    mantissa, exponential, exponent = f"{value:.6g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponential else mantissa
