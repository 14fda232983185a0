"""A run directory: where it lies, whether it may be (re)used, and the files in it that are not checkpoints."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seg_anl.records import (
    MetricRow,
    UserError,
    is_whole_number,
    make_directory,
    read_metrics,
    write_json,
    write_metrics,
    write_text,
)
from seg_anl.records.atomic import remove_partial
from seg_anl.records.foreign_files import read_json, read_yaml
from seg_anl.records.lock import locked
from seg_anl.records.provenance import provenance, write_environment
from seg_anl.records.recipes import flat
from seg_anl.records.runs import CONFIG_FILE, ENVIRONMENT_FILE, METRICS_FILE, SUMMARY_FILE, finished_summary

from .settings import plain

# Settings that say where and how fast, not what: they neither name a run nor keep it from being resumed.
PLACE_SETTINGS = (
    "run_root",
    "run_dir",
    "device",
    "workers",
    "runs_per_device",
    "graph",
    "progress",
    "logger",
    "data.memory",
    "data.cache",
)
# Settings younger than the first recorded runs, with what those did: at this value they do not name a run either.
LATER_SETTINGS = {
    "drop_last": True,
    "method.unit": "sample",
    **dict.fromkeys(("folds", "data.exclude_file", "data.weights_file", "data.soft", "data.raters")),
}
INPUTS_FILE, LOCK_FILE = "inputs.json", ".lock"
PACKAGES = ("seg-anl", "torch", "torchvision", "monai", "numpy", "scipy", "scikit-image", "opencv-python-headless")


class RunDirectory:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def last(self) -> Path:
        """The checkpoint that a run resumes from."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint of the epoch with the best headline metric."""
        return self.path / "checkpoints" / "best.pt"

    @property
    def summary(self) -> dict[str, Any] | None:
        """summary.json, or None when there is none yet."""
        remedy = "delete it to resume the run"
        content = _named_values(self.path / SUMMARY_FILE, remedy)
        if content is not None and content.get("status") == "finished" and not _is_summary(content):
            raise UserError(f"{self.path / SUMMARY_FILE}: damaged: not the numbers of a finished run; {remedy}")
        return content

    def config(self) -> DictConfig:
        """The resolved configuration the run was started with: data, in which nothing refers to anything else."""
        path = self.path / CONFIG_FILE
        if not os.path.lexists(path):
            raise UserError(f"{self.path}: not a run directory (no {CONFIG_FILE} in it)")
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise UserError(f"{path}: damaged: expected named settings")
        for group in ("data", "loss", "model", "optim"):
            if not isinstance(content.get(group, {}), dict):
                raise UserError(f"{path}: damaged: {group} is {content[group]!r}, expected a group of settings")
        if "${" in str(content):
            raise UserError(f"{path}: damaged: ${{...}} where a value belongs")
        return OmegaConf.create(content)

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end; one whose metrics were lost comes to it again from its checkpoint.

        Raises:
            UserError: when summary.json is damaged, or the metrics are lost and there is no checkpoint.
        """
        summary = self.summary
        if summary is None or summary.get("status") != "finished":
            return False
        try:
            last = max((row.epoch for row in read_metrics(self.path / METRICS_FILE)), default=-1)
            if last + 1 != summary["epochs"]:
                raise UserError(f"{self.path / METRICS_FILE}: ends after {last + 1} of {summary['epochs']} epochs")
        except UserError as error:
            if not self.last.is_file():
                raise UserError(f"{error}; delete {SUMMARY_FILE} to train anew, or bring the file back") from error
            return False
        return True

    def check(self, config: DictConfig) -> None:
        """Check that what the folder holds, if anything, was made with the same settings."""
        if not (self.path / CONFIG_FILE).exists():
            return
        before, now = flat_settings(self.config()), flat_settings(config)
        different = [
            f"{key}={before.get(key)} there, {now.get(key)} now"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and key.split(".")[0] not in PLACE_SETTINGS
        ]
        if different:
            raise UserError(
                f"{self.path} holds a run with other settings ({'; '.join(different[:4])}); "
                "choose another run_dir, or delete that folder"
            )

    @property
    def inputs(self) -> dict[str, Any] | None:
        """Digests of what the run was made from, by name; None where nothing is recorded."""
        return _named_values(self.path / INPUTS_FILE, "delete the run's folder to begin anew")

    def check_inputs(self, fingerprints: dict[str, str]) -> None:
        """Check by ``fingerprints``, digests by name, that a run that resumes is made from what it began with."""
        before = self.inputs
        if before is None:
            return
        # A run of an older version may not have all digests.
        changed = [name for name, digest in fingerprints.items() if before.get(name, digest) != digest]
        if changed:
            raise UserError(
                f"{self.path}: changed since this run began: {', '.join(changed)}; "
                "restore them, or delete the run's folder to start over"
            )

    def create(self, config: DictConfig, fingerprints: dict[str, str] | None = None) -> None:
        """Write what the run is made from: the configuration (without where and how fast), and the ``fingerprints`` of
        its inputs, unless they are there. A configuration that is there may lack settings younger than the run."""
        make_directory(self.path / "checkpoints")
        if not (self.path / INPUTS_FILE).exists():
            write_json(self.path / INPUTS_FILE, fingerprints or {})
        what = OmegaConf.masked_copy(config, [str(key) for key in config if key not in PLACE_SETTINGS])
        write_text(self.path / CONFIG_FILE, OmegaConf.to_yaml(what, resolve=True))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run against a second process that would train in the same folder, which is made where missing.

        What a killed process left half-written is deleted.
        """
        with locked(self.path, "another process is training in this folder", name=LOCK_FILE):
            remove_partial(self.path)
            yield

    def write_environment(self, machine: Mapping[str, Any], *, resumed_at: int = 0) -> None:
        """Write environment.json: versions, command and the ``machine``, see :attr:`Process.machine`.

        A run resumed at an epoch > 0 adds its environment to the list ``resumed``.
        """
        now = {**provenance(PACKAGES, Path(__file__).parent), **machine}
        write_environment(self.path / ENVIRONMENT_FILE, now, resumed_at=resumed_at)

    def write_metrics(self, rows: list[MetricRow]) -> None:
        """Write metrics.csv anew from all rows."""
        write_metrics(self.path / METRICS_FILE, rows)

    def write_summary(
        self,
        config: DictConfig,
        rows: list[MetricRow],
        *,
        headline: str,
        counts: Mapping[str, int | None],
        loss_state: Mapping[str, float],
    ) -> None:
        """Write summary.json, last of all: it says that the run is finished."""
        content = finished_summary(
            plain(config), rows, headline=headline, k=config.evaluation.last_k, counts=counts, loss_state=loss_state
        )
        write_json(self.path / SUMMARY_FILE, content)


def _is_summary(content: Mapping[str, Any]) -> bool:
    """Whether it holds what the table at the end of a run is printed from."""
    metrics = content.get("metrics")
    return (
        all(is_whole_number(content.get(name)) for name in ("k", "epochs"))
        and isinstance(metrics, dict)
        and all(
            isinstance(values, dict)
            and is_whole_number(values.get("best_epoch"))
            and isinstance(values.get("last_k_std"), (float, int, NoneType))
            and all(isinstance(values.get(name), (float, int)) for name in ("last", "last_k_mean", "best"))
            for values in metrics.values()
        )
    )


def _named_values(path: Path, remedy: str) -> dict[str, Any] | None:
    """What a JSON file of the run holds; None where there is none. A damaged one is refused with the ``remedy``."""
    if not os.path.lexists(path):
        return None
    try:
        content = read_json(path)
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: damaged: expected named values; {remedy}")
    return content


def run_path(config: DictConfig, noise: str, *, noise_follows_seed: bool = False) -> Path:
    """The folder of a configuration's run: named by what people compare, made unique by a digest of the rest.

    Args:
        config: with task, data.name, loss.name, preset, seed, run_root and run_dir; perhaps method.name.
        noise: the noise in a word, ``symmetric0.4``.
        noise_follows_seed: whether the noise has the run's seed unless it is given one.
    """
    if config.run_root is None:
        raise UserError("run_root must name a folder, got null")
    for setting in ("run_root", "run_dir"):
        if not str(config[setting]).strip():  # a shell variable that is not set; the path would be the current folder
            raise UserError(f"{setting} is empty: name a folder")
        if OmegaConf.is_config(config[setting]):
            raise UserError(f"{setting} must name a folder, got {config[setting]!r}")
    if config.run_dir is not None:
        return Path(os.path.expanduser(str(config.run_dir)))  # unlike a Path's own, it leaves a ~nobody alone
    method = str(OmegaConf.select(config, "method.name", default="plain"))
    loss = str(config.loss.name) if method == "plain" else f"{config.loss.name}-{method}"
    parts = [str(config.task), str(config.data.name), noise, loss, str(config.preset)]
    folder = "/".join(re.sub(r"[^\w.\-]", "_", part) for part in parts)
    fold = "" if config.get("fold") is None else f"-fold{config.fold}of{config.folds}"
    name = f"seed{config.seed}{fold}-{settings_digest(config, noise_follows_seed)}"
    return Path(os.path.expanduser(str(config.run_root))) / folder / name


def settings_digest(config: DictConfig, noise_follows_seed: bool = False) -> str:
    """Eight hexadecimal digits that distinguish runs of different settings.

    The seed, the fold and the place do not enter, nor does a noise seed that follows the seed; ``1`` and ``1.0`` are
    the same.
    """
    left_out = {*PLACE_SETTINGS, "seed", "fold"}
    settings = {
        name: _whole(value) for name, value in flat_settings(config).items() if name.split(".")[0] not in left_out
    }
    if noise_follows_seed and settings.get("noise.seed") == config.seed:
        del settings["noise.seed"]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def _whole(value: Any) -> Any:
    """Whole numbers without a point, also in lists."""
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def flat_settings(config: DictConfig) -> dict[str, Any]:
    """Dotted names of the settings that say what a run is, with their resolved values; lists stay whole."""
    settings = flat(plain(config))
    later = dict(LATER_SETTINGS)
    if config.get("task") == "segmentation":  # which had no methods, and unlabeled elements in volumes alone
        later["method.name"] = "plain"
        if config.data.get("name") == "folder":
            later["data.ignore"] = None
    return {
        name: value
        for name, value in settings.items()
        if name not in PLACE_SETTINGS and (name not in later or value != later[name])
    }
