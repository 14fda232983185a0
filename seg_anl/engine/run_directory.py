"""Run directories: their paths, whether they may be reused, and their files except checkpoints."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seg_anl.records import (
    UserError,
    make_directory,
    read_metrics,
    write_json,
    write_text,
)
from seg_anl.records.atomic import remove_partial
from seg_anl.records.foreign_files import read_json, read_yaml
from seg_anl.records.lock import locked
from seg_anl.records.provenance import provenance, write_environment
from seg_anl.records.recipes import flat
from seg_anl.records.runs import CONFIG_FILE, ENVIRONMENT_FILE, INPUTS_FILE, METRICS_FILE, SUMMARY_FILE

from .settings import plain

# Settings of where and how fast a run trains. They do not identify it, and may change when it is resumed.
PLACE_SETTINGS = (
    *("run_root", "run_dir", "device", "workers", "runs_per_device", "graph", "progress", "logger"),
    *("data.memory", "data.cache"),
)
# Settings added after the first recorded runs, with the behavior of those: at this value they do not identify a run.
LATER_SETTINGS = {
    "drop_last": True,
    "method.unit": "sample",
    "evaluation.test_every": 1,
    **dict.fromkeys(
        ("folds", "data.groups_file", "data.exclude_file", "data.weights_file", "data.soft", "data.raters")
    ),
}
LOCK_FILE = ".lock"
PACKAGES = ("seg-anl", "torch", "torchvision", "monai", "numpy", "scipy", "scikit-image", "opencv-python-headless")


class RunDirectory:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint of the epoch with the best headline metric."""
        return self.path / "checkpoints" / "best.pt"

    @property
    def summary(self) -> dict[str, Any] | None:
        """The content of summary.json, or None if it does not exist yet."""
        remedy = "delete it to resume the run"
        content = _named_values(self.path / SUMMARY_FILE, remedy)
        if content is not None and content.get("status") == "finished" and not _is_summary(content):
            raise UserError(f"{self.path / SUMMARY_FILE}: damaged: not the summary of a finished run; {remedy}")
        return content

    @property
    def begun(self) -> bool:
        """Whether the settings have been written, which comes after the noise: before, the noise in the folder may be
        that of other settings, made by a process that was killed."""
        return (self.path / CONFIG_FILE).exists()

    def config(self) -> DictConfig:
        """The resolved configuration of the run; interpolations are refused."""
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
        """Whether the run is finished. One whose metrics were lost is not, and finishes again from its checkpoint.

        Raises:
            UserError: if summary.json is damaged, or the metrics are lost and there is no checkpoint.
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
        """Check that a run in the folder, if any, has the same settings."""
        if not self.begun:
            return
        before, now = identifying_settings(self.config()), identifying_settings(config)
        different = [
            f"{name}={before.get(name)} there, {now.get(name)} now"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if different:
            raise UserError(
                f"{self.path} holds a run with other settings ({'; '.join(different[:4])}); "
                "choose another run_dir, or delete that folder"
            )

    @property
    def inputs(self) -> dict[str, Any] | None:
        """Digests of the run's inputs, by name; None if they are not recorded."""
        return _named_values(self.path / INPUTS_FILE, "delete the run's folder to start over")

    def check_inputs(self, fingerprints: dict[str, str]) -> None:
        """Check that the inputs of a resumed run, by their ``fingerprints``, have not changed."""
        before = self.inputs or {}
        # Runs of older versions may lack some digests.
        changed = [name for name, digest in fingerprints.items() if before.get(name, digest) != digest]
        if changed:
            raise UserError(
                f"{self.path}: changed since this run began: {', '.join(changed)}; "
                "restore them, or delete the run's folder to start over"
            )

    def create(self, config: DictConfig, fingerprints: dict[str, str] | None = None) -> None:
        """Write the configuration without :data:`PLACE_SETTINGS` and, unless present, the ``fingerprints``.

        An existing configuration is replaced, because it may lack settings of later versions.
        """
        make_directory(self.path / "checkpoints")
        if not (self.path / INPUTS_FILE).exists():
            write_json(self.path / INPUTS_FILE, fingerprints or {})
        kept = OmegaConf.masked_copy(config, [str(key) for key in config if key not in PLACE_SETTINGS])
        write_text(self.path / CONFIG_FILE, OmegaConf.to_yaml(kept, resolve=True))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against a second training process, and delete what a killed one left half-written."""
        with locked(self.path, "another process is training in this folder", name=LOCK_FILE):
            remove_partial(self.path)
            yield

    def write_environment(self, machine: Mapping[str, Any], *, resumed_at: int = 0) -> None:
        """Write environment.json, or add to it if the run is ``resumed_at`` an epoch > 0.

        ``machine`` is :attr:`Process.machine`.
        """
        now = {**provenance(PACKAGES, Path(__file__).parent), **machine}
        write_environment(self.path / ENVIRONMENT_FILE, now, resumed_at=resumed_at)


def _is_summary(content: Mapping[str, Any]) -> bool:
    """Whether the values for the table at the end of a run are numbers."""
    try:
        numbers = [content["k"], content["epochs"]]
        for values in content["metrics"].values():
            numbers += [values[name] for name in ("last", "last_k_mean", "best", "best_epoch")]
            numbers.append(values["last_k_std"] or 0)  # None for one epoch
    except (KeyError, TypeError, AttributeError):
        return False
    return all(isinstance(number, (int, float)) for number in numbers)


def _named_values(path: Path, remedy: str) -> dict[str, Any] | None:
    """The content of a JSON file of the run, or None if it does not exist; errors end with the ``remedy``."""
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
    """The folder of a configuration's run: named after the settings that people compare, with a digest of the rest.

    Args:
        config: with task, data.name, loss.name, preset, seed, run_root and run_dir; method.name is optional.
        noise: the noise in a word, ``symmetric0.4``.
        noise_follows_seed: whether the default of ``noise.seed`` is the run's seed.
    """
    if config.run_root is None:
        raise UserError("run_root must name a folder, got null")
    for setting in ("run_root", "run_dir"):
        if not str(config[setting]).strip():  # from an unset shell variable; the path would be the current folder
            raise UserError(f"{setting} is empty: name a folder")
        if OmegaConf.is_config(config[setting]):
            raise UserError(f"{setting} must name a folder, got {config[setting]!r}")
    if config.run_dir is not None:
        return Path(os.path.expanduser(str(config.run_dir)))  # unlike Path.expanduser, it ignores an unknown ~user
    method = str(OmegaConf.select(config, "method.name", default="plain"))
    loss = str(config.loss.name) if method == "plain" else f"{config.loss.name}-{method}"
    parts = [str(config.task), str(config.data.name), noise, loss, str(config.preset)]
    folder = "/".join(re.sub(r"[^\w.\-]", "_", part) for part in parts)
    fold = "" if config.get("fold") is None else f"-fold{config.fold}of{config.folds}"
    name = f"seed{config.seed}{fold}-{settings_digest(config, noise_follows_seed)}"
    return Path(os.path.expanduser(str(config.run_root))) / folder / name


def settings_digest(config: DictConfig, noise_follows_seed: bool = False) -> str:
    """Eight hexadecimal digits that distinguish runs with different settings, apart from seed and fold.

    A noise seed that follows the seed does not count either; ``1`` and ``1.0`` are equal.
    """
    settings = {
        name: _as_integers(value)
        for name, value in identifying_settings(config).items()
        if name not in ("seed", "fold")
    }
    if noise_follows_seed and settings.get("noise.seed") == config.seed:
        del settings["noise.seed"]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def _as_integers(value: Any) -> Any:
    """``value`` with whole floats as integers, also in lists."""
    if isinstance(value, list):
        return [_as_integers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def identifying_settings(config: DictConfig) -> dict[str, Any]:
    """The resolved settings that identify a run, by dotted name; lists are values."""
    settings = flat(plain(config))
    later = dict(LATER_SETTINGS)
    if config.get("task") == "segmentation":  # had no methods, and ignored elements only in volumes
        later["method.name"] = "plain"
        if config.data.get("name") == "folder":
            later["data.ignore"] = None
    return {
        name: value
        for name, value in settings.items()
        if name not in PLACE_SETTINGS and (name not in later or value != later[name])
    }
