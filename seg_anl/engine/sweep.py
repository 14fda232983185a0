"""Sweeps: many runs from one command, on this machine, a Ray cluster or Slurm. Failed runs do not stop the others."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seg_anl.records import UserError, config_folder, make_directory, run_command, write_text
from seg_anl.records.errors import refusal
from seg_anl.records.paths import configured_path

# Hydra's own records of a run, which run directories replace.
HYDRA_QUIET = ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
SWEEP_FLAGS = {"-m", "--multirun"}
RAY_PRINT_DELAY_S = 0.5  # Ray's own wait at exit for the output of its workers
# Beginning of a setting -> the plugin that it needs, and the extra that installs it.
PLUGINS = {
    "hydra/launcher=ray": ("hydra_ray_launcher", "cluster"),
    "hydra/launcher=submitit": ("hydra_submitit_launcher", "cluster"),
    "hydra/sweeper=optuna": ("hydra_optuna_sweeper", "tuning"),
}
CLUSTERS = {"ray", "submitit"}  # packages whose exceptions report a lost job
SEARCH_RESULT = "optimization_results.yaml"  # of Optuna's sweeper, in the folder of the sweep

SweepTask = Callable[[DictConfig], float | None]
"""Runs a configuration and returns the objective of a search; higher is better."""


def run_with_hydra(program: str, config_name: str, arguments: list[str], task: SweepTask) -> None:
    """Let Hydra run ``task`` on the configuration, or on each configuration of a sweep.

    Launchers for other machines need a ``task`` that can be imported.

    Raises:
        UserError: at the end, naming the runs that failed.
    """
    sweep = bool(SWEEP_FLAGS & set(arguments))
    _check_plugins(arguments)
    # Hydra's parser wants its options before or after the settings, not between.
    options = [argument for argument in arguments if not _is_setting(argument)]
    settings = [argument for argument in arguments if _is_setting(argument)]
    # Runs report in files below run_root, the only folder that all machines of a cluster share.
    run_root = make_directory(sweep_root(config_name, settings)) if sweep else None
    with tempfile.TemporaryDirectory(prefix=".sweep-", dir=run_root) as scratch:
        job = _job(program, task, Path(scratch) if sweep else None, run_root)
        decorated = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config_name)(job)
        folders = [f"hydra.run.dir={scratch}", f"hydra.sweep.dir={scratch}", "hydra.sweep.subdir=."]
        if sweep:
            settings = with_their_groups(seeds_together(settings))
        sys.argv = [sys.argv[0], *options, *settings, *HYDRA_QUIET, *folders]
        os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints long errors and exits with 1
        _launch(decorated, Path(scratch))
        if sweep:
            _shut_down_ray()
            _report(Path(scratch))


def _launch(decorated: Callable[[], None], outcomes: Path) -> None:
    """Run Hydra and turn the errors of its plugins into one line."""
    try:
        decorated()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(str(error).splitlines()[0]) from error
    except ValueError:  # Optuna has no best trial if all failed; _report names them
        if not list(outcomes.glob("*.failed")) or list(outcomes.glob("*.done")):
            raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in CLUSTERS:
            raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"a job was lost: {reason}; the same command continues with the others") from error


def _shut_down_ray() -> None:
    """Wait until a thread of Ray has printed the output of its workers, which should come before the report."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        time.sleep(RAY_PRINT_DELAY_S)
        ray.shutdown()


def _job(program: str, task: SweepTask, outcomes: Path | None, run_root: Path | None) -> SweepTask:
    """The function that runs each configuration, perhaps in another process on another machine."""
    here, process = os.getcwd(), os.getpid()

    def job(config: DictConfig) -> float | None:
        if outcomes is None:
            run_command(program, lambda: task(config))  # Hydra would print a traceback
            return None
        if os.getpid() != process:
            with contextlib.suppress(FileNotFoundError):  # absolute paths work without it
                os.chdir(here)
            config.progress = False  # progress bars of several processes would overwrite each other
        config.run_root = str(run_root)
        number = HydraConfig.get().job.num
        metric, fault = _outcome(program, task, config)
        overrides = " ".join(HydraConfig.get().overrides.task)
        if outcomes.is_dir():  # else the sweep was interrupted
            write_text(outcomes / f"{number:05d}.{'failed' if fault else 'done'}", f"{overrides}: {fault}")
        return metric

    return job


def _outcome(program: str, task: SweepTask, config: DictConfig) -> tuple[float | None, str]:
    """The metric of a run, or its error, which is printed at once."""
    try:
        return task(config), ""
    except UserError as error:
        fault = str(error)
    except OSError as error:
        fault = refusal(error)
    except Exception as error:
        traceback.print_exc()
        fault = f"{type(error).__name__}: {error}"
    print(f"{program}: error: {fault}", file=sys.stderr)
    return None, fault


def seeds_together(settings: list[str]) -> list[str]:
    """The settings of a sweep with its seeds grouped into lists of ``runs_per_device``; each list is one job.

    ``runs_per_device=2 seed=1,2,3`` becomes ``runs_per_device=2 seed=[1,2],[3]``.
    """
    given = _parsed(settings)
    if not {"seed", "runs_per_device"} <= given.keys() or not given["seed"].is_sweep_override():
        return settings
    size, values = given["runs_per_device"].value(), [str(value) for value in given["seed"].sweep_iterator()]
    if not isinstance(size, int) or size < 1 or any(value.startswith("[") for value in values):
        return settings
    lists = [",".join(values[start : start + size]) for start in range(0, len(values), size)]
    grouped = f"seed={','.join(f'[{each}]' for each in lists)}"
    return [grouped if setting.partition("=")[0] == "seed" else setting for setting in settings]


def with_their_groups(settings: list[str]) -> list[str]:
    """The settings of a sweep, where those in a group that is swept over become sweeps over one value.

    Otherwise Hydra applies them to the group's default first: ``data=cifar10,cifar100 data.root=DATA`` fails if the
    default data set has no root. ``data.root=choice(DATA)`` is applied to each data set.
    """
    given = _parsed(settings)
    swept = {name for name, override in given.items() if override.is_sweep_override()}

    def tried_later(setting: str) -> bool:
        name, _, value = setting.partition("=")
        return bool(value) and name in given and name not in swept and name.partition(".")[0] in swept

    return [
        f"{setting.partition('=')[0]}=choice({setting.partition('=')[2]})" if tried_later(setting) else setting
        for setting in settings
    ]


def _parsed(settings: list[str]) -> dict[str, Override]:
    """The settings by name; none if one cannot be parsed, which Hydra reports later."""
    try:
        return {override.key_or_group: override for override in OverridesParser.create().parse_overrides(settings)}
    except HydraException:
        return {}


def _is_setting(argument: str) -> bool:
    return "=" in argument and not argument.startswith("-")


def _report(outcomes: Path) -> None:
    done, failed = sorted(outcomes.glob("*.done")), sorted(outcomes.glob("*.failed"))
    print(f"\nsweep: {len(done)} run(s) finished, {len(failed)} failed")
    result = outcomes / SEARCH_RESULT
    if result.exists():
        found = OmegaConf.load(result)
        print(f"best {found.best_value:.4f}:", *(f"{name}={value}" for name, value in found.best_params.items()))
    if failed:
        listed = "; ".join(path.read_text(encoding="utf-8") for path in failed)
        raise UserError(f"{len(failed)} run(s) of the sweep failed: {listed}")


def sweep_root(config_name: str, settings: list[str]) -> Path:
    """The ``run_root`` of all runs of a sweep, as an absolute path."""
    given = _parsed(settings).get("run_root")
    if given is not None and given.is_sweep_override():
        raise UserError(f"{given.input_line}: a sweep has one run_root")
    root = OmegaConf.load(config_folder() / f"{config_name}.yaml").run_root if given is None else given.value()
    return Path(os.path.realpath(configured_path(root, "run_root")))


def _check_plugins(arguments: list[str]) -> None:
    for argument in arguments:
        for setting, (package, extra) in PLUGINS.items():
            if argument.startswith(setting) and importlib.util.find_spec(f"hydra_plugins.{package}") is None:
                raise UserError(f"{argument} needs another package: pip install 'seg-anl[{extra}]'")
