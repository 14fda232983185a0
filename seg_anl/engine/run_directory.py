"""A run directory: where it lies, whether it may be (re)used, and the files in it that are not checkpoints."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seg_anl.records import MetricRow, UserError, make_directory, write_json, write_metrics, write_text
from seg_anl.records.lock import locked
from seg_anl.records.provenance import provenance, write_environment
from seg_anl.records.runs import CONFIG_FILE, ENVIRONMENT_FILE, METRICS_FILE, SUMMARY_FILE, finished_summary

from .settings import plain

# Settings that say where and how fast, not what: they neither name a run nor keep it from being resumed.
PLACE_SETTINGS = ("run_root", "run_dir", "device", "workers", "runs_per_device", "progress", "logger")
# Settings younger than the first recorded runs, with what those did: at this value they do not name a run either.
LATER_SETTINGS = {"drop_last": True, **dict.fromkeys(("folds", "data.exclude_file", "data.weights_file"))}
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
        path = self.path / SUMMARY_FILE
        if not path.exists():
            return None
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: damaged: {error}; delete it to resume the run") from error
        return content

    def config(self) -> DictConfig:
        """The resolved configuration the run was started with.

        Raises:
            UserError: when the folder holds no run.
        """
        path = self.path / CONFIG_FILE
        if not path.is_file():
            raise UserError(f"{self.path}: not a run directory (no {CONFIG_FILE} in it)")
        try:
            config = OmegaConf.load(path)
        except Exception as error:  # YAML's errors have no common base that OmegaConf documents
            raise UserError(f"{path}: damaged: {error}") from error
        if not isinstance(config, DictConfig):
            raise UserError(f"{path}: damaged: expected named settings")
        return config

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        summary = self.summary
        return summary is not None and summary.get("status") == "finished"

    def check(self, config: DictConfig) -> None:
        """Check that what the folder holds, if anything, was made with the same settings.

        Raises:
            UserError: when it was not; the message names the settings that differ.
        """
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
        """Digests of what the run was made from, by name; None where nothing is recorded.

        Raises:
            UserError: when the record is damaged.
        """
        path = self.path / INPUTS_FILE
        if not path.exists():
            return None
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path}: damaged: {error}; delete the run's folder to begin anew") from error

    def check_inputs(self, fingerprints: dict[str, str]) -> None:
        """Check that a run that resumes is made from what it began with.

        Args:
            fingerprints: digests by name, such as "training images".

        Raises:
            UserError: naming what has changed.
        """
        before = self.inputs
        if before is None:
            return
        changed = [name for name, digest in fingerprints.items() if before.get(name) != digest]
        if changed:
            raise UserError(
                f"{self.path}: the {' and the '.join(changed)} are not those that this run began with; "
                "bring them back, or delete the run's folder to begin anew"
            )

    def create(self, config: DictConfig, fingerprints: dict[str, str] | None = None) -> None:
        """Write what the run is made from, unless it is there: the configuration (without where and how fast), and
        the ``fingerprints`` of its inputs."""
        make_directory(self.path / "checkpoints")
        if not (self.path / INPUTS_FILE).exists():
            write_json(self.path / INPUTS_FILE, fingerprints or {})
        if not (self.path / CONFIG_FILE).exists():
            what = OmegaConf.masked_copy(config, [str(key) for key in config if key not in PLACE_SETTINGS])
            write_text(self.path / CONFIG_FILE, OmegaConf.to_yaml(what, resolve=True))

    def locked(self) -> AbstractContextManager[None]:
        """Hold the run against a second process that would train in the same folder, which is made where missing."""
        return locked(self.path, "another process is training in this folder", name=LOCK_FILE)

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


def run_path(config: DictConfig, noise: str, *, noise_follows_seed: bool = False) -> Path:
    """The folder of a configuration's run: named by what people compare, made unique by a digest of the rest.

    Args:
        config: with task, data.name, loss.name, preset, seed, run_root and run_dir; perhaps method.name.
        noise: the noise in a word, ``symmetric0.4``.
        noise_follows_seed: whether the noise has the run's seed unless it is given one.
    """
    for setting in ("run_root", "run_dir"):
        if not str(config[setting]).strip():  # a shell variable that is not set; the path would be the current folder
            raise UserError(f"{setting} is empty: name a folder")
    if config.run_root is None:
        raise UserError("run_root must name a folder, got null")
    for setting in ("run_root", "run_dir"):
        if OmegaConf.is_config(config[setting]):
            raise UserError(f"{setting} must name a folder, got {config[setting]!r}")
    if config.run_dir is not None:
        return Path(str(config.run_dir)).expanduser()
    method = str(OmegaConf.select(config, "method.name", default="plain"))
    loss = str(config.loss.name) if method == "plain" else f"{config.loss.name}-{method}"
    parts = [str(config.task), str(config.data.name), noise, loss, str(config.preset)]
    folder = "/".join(re.sub(r"[^\w.\-]", "_", part) for part in parts)
    fold = "" if config.get("fold") is None else f"-fold{config.fold}of{config.folds}"
    name = f"seed{config.seed}{fold}-{settings_digest(config, noise_follows_seed)}"
    return Path(str(config.run_root)).expanduser() / folder / name


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

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(f"{prefix}.{key}" if prefix else str(key), inner)
        else:
            yield prefix, value

    settings = walk("", plain(config))
    return {name: value for name, value in settings if name not in LATER_SETTINGS or value != LATER_SETTINGS[name]}
