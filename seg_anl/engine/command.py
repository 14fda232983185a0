"""A Hydra command whose mistakes read like a person's: one line, exit status 2, no traceback."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seg_anl.records import UserError, config_folder, nearest_names, run_command

from .sweep import run_with_hydra


def hydra_command(program: str, config_name: str, help_text: str, task: Callable[[DictConfig], None]) -> None:
    """Run ``task`` on the configuration composed from the command line.

    Plain overrides are composed and run at once. With Hydra's own options (``-m`` for sweeps, ``--config-dir``, ...)
    Hydra runs the task; in a sweep a run that fails is reported at the end and does not stop the others.
    """
    arguments = sys.argv[1:]
    logging.captureWarnings(True)  # libraries' warnings do not concern the person who trains
    warnings.filterwarnings("ignore")
    if "--help" in arguments or "-h" in arguments:
        print(help_text.strip())
        return
    flags = [argument for argument in arguments if argument.startswith("-")]
    if not flags:
        run_command(program, lambda: task(compose(config_name, arguments)))
        return

    def checked(config: DictConfig) -> None:
        _refuse_incomplete(config, config_name)
        task(config)

    run_command(program, lambda: run_with_hydra(program, config_folder(), config_name, arguments, checked))


def compose(config_name: str, overrides: list[str]) -> DictConfig:
    """The configuration of ``config_name`` with ``overrides`` (``loss=gce``, ``optim.lr=0.01``).

    Raises:
        UserError: for an unknown setting, option or a value that cannot be read, with the nearest known names.
    """
    folder = config_folder()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(folder), version_base="1.3"):
        try:
            config = hydra.compose(config_name, overrides)
            OmegaConf.resolve(config.copy())  # what refers to the seed must follow each of several
        # The last two: a group that is no name.
        except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
            raise UserError(_explained(error, folder, config_name, overrides)) from error
    _refuse_incomplete(config, config_name)
    return config


def _refuse_incomplete(config: DictConfig, config_name: str) -> None:
    """Refuse settings without a value, and groups that the command line took out or put one value in the place of."""
    written = OmegaConf.load(config_folder() / f"{config_name}.yaml")
    assert isinstance(written, DictConfig)
    for name in (str(key) for key in written if key != "defaults"):
        if name not in config:
            raise UserError(f"the setting {name} is needed")
        if name == "task" and config[name] != written[name]:
            raise UserError(f"task={config[name]}: this command's task is {written[name]}, and no setting")
        if OmegaConf.is_dict(written[name]) and not OmegaConf.is_dict(config[name]):
            example = f"{name}.{next(iter(written[name]))}"
            raise UserError(f"{name} is a group of settings, such as {example}; got {config[name]!r}")
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UserError(f"the setting {missing[0]} is needed: add {missing[0]}=VALUE to the command")


def _explained(error: Exception, folder: Path, config_name: str, overrides: list[str]) -> str:
    """Hydra's complaint, put in terms of the override that caused it."""
    groups, settings = [], []
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException:
            return f"cannot read {text!r}; expected SETTING=VALUE, for instance loss=gce or optim.lr=0.01"
        if not (folder / override.key_or_group).is_dir():
            settings.append((text, override))
            continue
        groups.append(text)
        value = text.partition("=")[2]
        if override.is_sweep_override():
            return f"{text}: several values at once need -m, which makes a run of each"
        options = sorted(path.stem for path in (folder / override.key_or_group).glob("*.yaml"))
        if value not in options:
            return f"{text}: unknown {override.key_or_group} {value!r}; {nearest_names(value, options)}"
    known = set(_dotted_names("", hydra.compose(config_name, groups)))
    for text, override in settings:
        key = override.key_or_group
        if override.is_sweep_override():
            return f"{text}: several values at once need -m, which makes a run of each"
        if not override.is_add() and key not in known:
            return f"{text}: unknown setting {key!r}; {_nearest_setting(key, known)}"
    return str(error).splitlines()[0]


def _nearest_setting(key: str, known: set[str]) -> str:
    """Suggest among the settings of the same group where there is one; naming all would fill the screen."""
    group, _, last = key.rpartition(".")
    siblings = {name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == group}
    if group and siblings:
        return f"in {group}, {nearest_names(last, siblings)}"
    return nearest_names(key, {name for name in known if "." not in name})


def _dotted_names(prefix: str, config: DictConfig) -> Iterator[str]:
    for key in config:
        name = prefix + str(key)
        yield name
        if not OmegaConf.is_missing(config, key) and OmegaConf.is_dict(config[key]):
            yield from _dotted_names(f"{name}.", config[key])
