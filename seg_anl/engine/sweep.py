"""Many runs from one command, by Hydra: here, on a Ray cluster, under Slurm. A broken run does not stop the others."""

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

from seg_anl.records import UserError, make_directory, run_command, write_text
from seg_anl.records.errors import refusal

# Hydra's own records of a run; run directories hold ours.
HYDRA_QUIET = ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
SWEEP_FLAGS = {"-m", "--multirun"}
RAY_PRINTS_AFTER_S = 0.5  # how late Ray hands on what its workers print, by its own wait at exit
# What a setting needs: the beginning of its name, the plugin, and the extra that installs it.
PLUGINS = {
    "hydra/launcher=ray": ("hydra_ray_launcher", "cluster"),
    "hydra/launcher=submitit": ("hydra_submitit_launcher", "cluster"),
    "hydra/sweeper=optuna": ("hydra_optuna_sweeper", "tuning"),
}
CLUSTERS = {"ray", "submitit"}  # packages whose exceptions tell of a job that is lost
SEARCH_RESULT = "optimization_results.yaml"  # which Optuna's sweeper leaves in the folder of the sweep

SweepTask = Callable[[DictConfig], float | None]
"""A configuration to the metric that a search goes by, the higher the better."""


def run_with_hydra(program: str, folder: Path, config_name: str, arguments: list[str], task: SweepTask) -> None:
    """Let Hydra run ``task`` on the configuration, or on each configuration of a sweep, as ``arguments`` want it.

    ``task`` must be found by import where a launcher sends it elsewhere. In the end a UserError names the runs that
    failed.
    """
    sweep = bool(SWEEP_FLAGS & set(arguments))
    _check_plugins(arguments)
    # Outcomes are files below run_root: the one place that all machines of a cluster share.
    place = make_directory(_run_root(folder, config_name, arguments)) if sweep else None
    with tempfile.TemporaryDirectory(prefix=".sweep-", dir=place) as scratch:
        job = _job(program, task, Path(scratch) if sweep else None, place)
        decorated = hydra.main(version_base="1.3", config_path=str(folder), config_name=config_name)(job)
        folders = [f"hydra.run.dir={scratch}", f"hydra.sweep.dir={scratch}", "hydra.sweep.subdir=."]
        # Hydra's parser wants its options on one side of the settings; people put -m anywhere.
        options = [argument for argument in arguments if not _is_setting(argument)]
        settings = [argument for argument in arguments if _is_setting(argument)]
        if sweep:
            settings = with_their_groups(seeds_together(settings))
        sys.argv = [sys.argv[0], *options, *settings, *HYDRA_QUIET, *folders]
        os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints complaints of many lines and ends the process with 1
        _launch(decorated, Path(scratch))
        if sweep:
            _leave_ray()
            _tell(Path(scratch))


def _launch(decorated: Callable[[], None], outcomes: Path) -> None:
    """Let Hydra do its work, and say what its plugins raise in a line."""
    try:
        decorated()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(str(error).splitlines()[0]) from error
    except ValueError:  # Optuna's, which has no best where no run ended well; what broke each is told later
        if not list(outcomes.glob("*.failed")) or list(outcomes.glob("*.done")):
            raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in CLUSTERS:
            raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"a job ended without an answer: {reason}; the same command takes up the others") from error


def _leave_ray() -> None:
    """Let what Ray's workers printed come first: a thread of Ray prints it here, late, and would print after us."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        time.sleep(RAY_PRINTS_AFTER_S)
        ray.shutdown()


def _job(program: str, task: SweepTask, outcomes: Path | None, run_root: Path | None) -> SweepTask:
    """What runs once for every configuration, perhaps in another process on another machine."""
    here, process = os.getcwd(), os.getpid()

    def job(config: DictConfig) -> float | None:
        if outcomes is None:
            run_command(program, lambda: task(config))  # Hydra would print a traceback of what leaves here
            return None
        if os.getpid() != process:
            with contextlib.suppress(FileNotFoundError):  # paths that are not relative work without it
                os.chdir(here)
            config.progress = False  # bars of many processes would overwrite each other
        config.run_root = str(run_root)
        number = HydraConfig.get().job.num
        metric, fault = _tried(program, task, config)
        overrides = " ".join(HydraConfig.get().overrides.task)
        if outcomes.is_dir():  # else whoever began the sweep has left, and the run counts all the same
            write_text(outcomes / f"{number:05d}.{'failed' if fault else 'done'}", f"{overrides}: {fault}")
        return metric

    return job


def _tried(program: str, task: SweepTask, config: DictConfig) -> tuple[float | None, str]:
    """The metric of a run, or what broke it, which is said at once."""
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
    """The settings of a sweep with its seeds in lists of ``runs_per_device``, each list one job of the launcher.

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
    """The settings of a sweep with those of a group that is swept over in the form of a sweep over one value.

    Hydra tries all others on the group's default first: ``data=cifar10,cifar100 data.root=DATA`` would be refused where
    the default data set has no root. ``data.root=choice(DATA)`` is tried on each data set.
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
    """The settings by name; none where one cannot be read, of which Hydra itself will say what is wrong."""
    try:
        return {override.key_or_group: override for override in OverridesParser.create().parse_overrides(settings)}
    except HydraException:
        return {}


def _is_setting(argument: str) -> bool:
    return "=" in argument and not argument.startswith("-")


def _tell(outcomes: Path) -> None:
    done, failed = sorted(outcomes.glob("*.done")), sorted(outcomes.glob("*.failed"))
    print(f"\nsweep: {len(done)} run(s) finished, {len(failed)} failed")
    result = outcomes / SEARCH_RESULT
    if result.exists():
        found = OmegaConf.load(result)
        print(f"best {found.best_value:.4f}:", *(f"{name}={value}" for name, value in found.best_params.items()))
    if failed:
        listed = "; ".join(path.read_text(encoding="utf-8") for path in failed)
        raise UserError(f"{len(failed)} run(s) of the sweep failed: {listed}")


def _run_root(folder: Path, config_name: str, arguments: list[str]) -> Path:
    given = [argument.partition("=")[2] for argument in arguments if argument.startswith("run_root=")]
    default = OmegaConf.load(folder / f"{config_name}.yaml").run_root
    return Path(os.path.realpath(os.path.expanduser(given[-1] if given else str(default))))


def _check_plugins(arguments: list[str]) -> None:
    for argument in arguments:
        for setting, (package, extra) in PLUGINS.items():
            if argument.startswith(setting) and importlib.util.find_spec(f"hydra_plugins.{package}") is None:
                raise UserError(f"{argument} needs another package: pip install 'seg-anl[{extra}]'")
