"""What the published numbers were made with, as far as the papers say, and in what a run departs from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .published import PublishedTable
from .run_directories import Run
from .run_settings import value_text

# How many runs a mean was taken over, as the papers say; the reproducibility report does not.
PUBLISHED_RUNS = {"ye2024": 3, "ma2020": 3, "zhou2021": 3, "cui2022": 4}
# Our presets that follow a paper; a run with one of them has the paper's optimizer and loss parameters.
PRESETS = {
    "ye2024": ("anl2024", "anl2023", "isic2017"),
    "ma2020": ("apl2020",),
    "zhou2021": ("sr2021", "sr2021_imbalance"),
    "cui2022": ("el2021",),
    "kasimoglu2024": ("re2024",),
}

_MNIST = {"epochs": 50, "counts.train": 60000, "counts.test": 10000}
_CIFAR10 = {"epochs": 120, "batch_size": 128, "counts.train": 50000, "counts.test": 10000}
_CIFAR100 = {"epochs": 200, "batch_size": 128, "counts.train": 50000, "counts.test": 10000}
_WEBVISION = {"epochs": 250, "batch_size": 512}
# ye2024: Section VI-B. ma2020: Section 5.2; batch as in its code. zhou2021 leaves it to its supplement and cui2022 says
# nothing of epochs and batch: only what the data sets themselves fix stands here. kasimoglu2024: Section 3.
PROTOCOLS: dict[tuple[str, str], dict[str, Any]] = {
    ("ye2024", "cifar10"): _CIFAR10,
    ("ye2024", "cifar100"): _CIFAR100,
    ("ye2024", "webvision"): _WEBVISION,
    ("ye2024", "animal10n"): {"epochs": 100, "batch_size": 128},
    ("ye2024", "clothing1m"): {"epochs": 10, "batch_size": 32},
    ("ye2024", "isic2017"): {
        "epochs": 100,
        "batch_size": 16,
        "data.size": 256,
        "model.patch_size": [256, 256],
        "counts.train": 2000,
        "counts.test": 600,
        "k": 10,
        "noise.mode": "official",
    },
    ("ma2020", "mnist"): _MNIST,
    ("ma2020", "cifar10"): _CIFAR10,
    ("ma2020", "cifar100"): _CIFAR100,
    ("ma2020", "webvision"): _WEBVISION,
    ("zhou2021", "mnist"): {"counts.train": 60000, "counts.test": 10000},
    ("zhou2021", "cifar10"): {"counts.train": 50000, "counts.test": 10000},
    ("zhou2021", "cifar100"): {"counts.train": 50000, "counts.test": 10000},
    ("cui2022", "cifar10"): {"counts.train": 50000, "counts.test": 10000},
    ("cui2022", "cifar100"): {"counts.train": 50000, "counts.test": 10000},
    ("kasimoglu2024", "mnist"): {"counts.train": 60000, "counts.test": 10000},
    ("kasimoglu2024", "cifar10"): {"counts.train": 50000, "counts.test": 10000},
    ("kasimoglu2024", "cifar100"): {"epochs": 200, "counts.train": 50000, "counts.test": 10000},
}
# How the papers' code draws symmetric noise; asymmetric noise on CIFAR-10 differs too.
_SYMMETRIC_COUNTS = {"ye2024": "cell", "ma2020": "class", "zhou2021": "class"}
_REFLIP = {"ye2024": False, "ma2020": True, "zhou2021": True}

_WORDS = {
    "epochs": "epochs",
    "batch_size": "batch size",
    "data.size": "image size",
    "model.patch_size": "patch size",
    "counts.train": "training images",
    "counts.test": "test images",
    "k": "mean over the last epochs",
    "noise.mode": "noise mode",
    "noise.counts": "counts of flips",
    "noise.reflip": "flipped labels flipped again",
}


class Departure(NamedTuple):
    """A setting in which a run is not what was published."""

    what: str
    ours: str
    published: str

    def __str__(self) -> str:
        return f"{self.what} {self.ours} (published: {self.published})"


def departures(run: Run, table: PublishedTable, model: str) -> tuple[Departure, ...]:
    """In what a finished run departs from the protocol of a table; ``model`` is empty where the paper names none.

    What a paper does not say is not compared, nor is what a preset of ours fills in for it.
    """
    config = run.config
    found: list[Departure] = []

    def compare(what: str, ours: Any, published: Any) -> None:
        if ours is not None and ours != published:
            found.append(Departure(what, value_text(ours), value_text(published)))

    compare("data", run.data_name, table.dataset)
    for name, published in {
        **PROTOCOLS.get((table.paper, table.dataset), {}),
        **_noise_protocol(config, table),
    }.items():
        if name == "counts.train" and (config.get("data") or {}).get("imbalance"):
            continue  # an imbalanced set has what is left; the cell is of the same imbalance
        compare(_WORDS[name], _value(run, name), published)
    if model:
        compare("network", (config.get("model") or {}).get("name"), model)
    presets = PRESETS.get(table.paper, ())
    if presets and config.get("preset") not in presets:
        compare("preset", config.get("preset"), presets[0] if table.task == "classification" else presets[-1])
    return tuple(found)


def _noise_protocol(config: Mapping[str, Any], table: PublishedTable) -> dict[str, Any]:
    kind = (config.get("noise") or {}).get("kind")
    if kind == "symmetric" and table.paper in _SYMMETRIC_COUNTS:
        return {"noise.counts": _SYMMETRIC_COUNTS[table.paper]}
    if kind == "asymmetric" and table.dataset == "cifar10" and table.paper in _REFLIP:
        return {"noise.reflip": _REFLIP[table.paper]}
    return {}


def _value(run: Run, name: str) -> Any:
    """A setting or, under ``counts``, a count of the summary; None where it is not recorded."""
    if name == "noise.reflip":
        return bool((run.config.get("noise") or {}).get("reflip"))
    value: Any = run.summary if name == "k" or name.startswith("counts.") else run.config
    if name == "batch_size" and "batch_size" not in run.config:
        value = run.config.get("model")  # nnU-Net's plans decide it
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
