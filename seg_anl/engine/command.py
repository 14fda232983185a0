"""Hydra commands with helpful errors: one line and exit status 2, no traceback."""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from functools import cache

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seg_anl import __version__
from seg_anl.records import UserError, config_folder, nearest_names, run_command

from .nodes import register_nodes
from .sweep import SweepTask, run_with_hydra

_PLAIN = re.compile(r"[\w.+/~-]*", re.ASCII)  # values that Hydra reads without quotes
# Hydra's own options, which may be abbreviated.
_OPTIONS = (
    *("--hydra-help", "--cfg", "--resolve", "--package", "--run", "--multirun", "--shell-completion"),
    *("--config-path", "--config-name", "--config-dir", "--experimental-rerun", "--info"),
)
_EXAMPLE = "expected SETTING=VALUE, for instance loss=gce or optim.lr=0.01"


def hydra_command(program: str, config_name: str, help_text: str, task: SweepTask) -> None:
    """Run ``task`` on the configuration composed from the command line.

    With Hydra's own options (``-m`` for sweeps, ``--config-dir``, ...), Hydra runs the task; failed runs of a sweep are
    reported at the end and do not stop the others.
    """
    arguments = sys.argv[1:]
    logging.captureWarnings(True)  # warnings of libraries do not help users
    warnings.filterwarnings("ignore")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # else torch logs a stack trace if processes do not connect
    if "--help" in arguments or "-h" in arguments:
        print(help_text.strip())
        return
    if "--version" in arguments:
        print(f"seg_anl {__version__}")
        return

    if not any(argument.startswith("-") for argument in arguments):
        run_command(program, lambda: task(compose(config_name, arguments)))
        return

    def checked(config: DictConfig) -> float | None:
        _refuse_incomplete(config, config_name)
        return task(config)

    def swept() -> None:
        _refuse_settings_with_dashes(arguments)
        register_nodes()
        run_with_hydra(program, config_name, list(map(_with_path_quoted, arguments)), checked)

    run_command(program, swept)


def compose(config_name: str, overrides: list[str]) -> DictConfig:
    """The configuration of ``config_name`` with ``overrides`` (``loss=gce``, ``optim.lr=0.01``).

    The path of an existing file or folder needs no quotes.

    Raises:
        UserError: for an unknown setting or option, with similar names, and for a value that cannot be parsed.
    """
    register_nodes()
    overrides = list(map(_with_path_quoted, overrides))
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        chosen, settings = _checked_overrides(config_name, overrides)
        try:
            config = hydra.compose(config_name, overrides)
            OmegaConf.resolve(config.copy())  # of a copy: references to the seed must follow each seed
        # Hydra raises the last two if the value of a group is not a name.
        except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
            raise UserError(_wrong_setting(settings, chosen, config_name) or str(error).splitlines()[0]) from error
    _refuse_incomplete(config, config_name)
    return config


def _refuse_settings_with_dashes(arguments: list[str]) -> None:
    """Explain how to write ``--epochs 5``."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        option, _, value = argument.partition("=")
        if option.startswith("--") and not any(known.startswith(option) for known in _OPTIONS):
            name = option.removeprefix("--").replace("-", "_")
            value = value or ("VALUE" if not following or following[0] == "-" or "=" in following else following)
            raise UserError(f"{option}: settings are written without dashes; write {name}={value}")


def _with_path_quoted(argument: str) -> str:
    """``SETTING=VALUE``, with quotes if the value is an existing path that Hydra would parse as something else."""
    name, _, value = argument.partition("=")
    if argument.startswith("-") or _PLAIN.fullmatch(value) or not os.path.exists(os.path.expanduser(value)):
        return argument
    return f"{name}={_quoted(value)}"


def _quoted(value: str) -> str:
    """``value`` in quotes, without which Hydra refuses accents and parses commas and brackets as lists."""
    return '"' + re.sub(r'(\\*)"', r"\1\1\\" + '"', value) + '"'


def _refuse_incomplete(config: DictConfig, config_name: str) -> None:
    """Refuse settings without a value, and groups that the command line removed or replaced by a value."""
    written = _primary(config_name)
    for name in (*(str(key) for key in written if key != "defaults"), *_choices(config_name)):
        if config.get(name, ...) is ... and not OmegaConf.is_missing(config, name):
            raise UserError(f"the setting {name} is needed")
        if name == "task" and config[name] != written[name]:
            raise UserError(f"task={config[name]}: this command's task is {written[name]}")
        if OmegaConf.is_dict(written.get(name)) and not OmegaConf.is_dict(config[name]):
            raise UserError(_no_group(name, written, config[name]))
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UserError(f"the setting {missing[0]} is needed: add {missing[0]}=VALUE to the command")


def _no_group(name: str, written: DictConfig, given: object) -> str:
    return f"{name} is a group of settings, such as {name}.{next(iter(written[name]))}; got {given!r}"


@cache
def _primary(config_name: str) -> DictConfig:
    written = OmegaConf.load(config_folder() / f"{config_name}.yaml")
    assert isinstance(written, DictConfig)
    return written


def _choices(config_name: str) -> list[str]:
    """The groups with options to choose from: ``data``, ``loss``, ``preset``, ..."""
    entries = (next(iter(entry)) for entry in _primary(config_name).defaults if OmegaConf.is_dict(entry))
    return [str(group) for group in entries if not str(group).startswith("optional ")]


def _checked_overrides(config_name: str, overrides: list[str]) -> tuple[list[str], list[tuple[str, Override]]]:
    """The overrides that choose an option of a group, and all others; Hydra must be initialized.

    Refuses what cannot be parsed, several values, and choices that Hydra accepts by mistake: none, or in another place.
    """
    chosen, settings = [], []
    for number, text in enumerate(overrides):
        try:
            override = OverridesParser.create().parse_override(text)
            if not override.key_or_group:
                raise HydraException("no name")
        except HydraException as error:
            hint = _quoting_hint(text, overrides[:number]) or _EXAMPLE
            raise UserError(f"cannot read {text!r}; {hint}") from error
        if override.is_sweep_override():
            raise UserError(f"{text}: several values need -m, which starts a run for each")
        if override.key_or_group in _choices(config_name):
            _check_choice(text, override)
            chosen.append(text)
        else:
            settings.append((text, override))
    return chosen, settings


def _check_choice(text: str, override: Override) -> None:
    group, value = override.key_or_group, text.partition("=")[2]
    options = GlobalHydra.instance().config_loader().get_group_options(group)
    if override.is_delete():
        raise UserError(f"{text}: {group} cannot be removed; {group}=NAME chooses another")
    if value not in options:
        raise UserError(f"{text}: unknown {group} {value!r}; {nearest_names(value, options)}")
    if text != f"{group}={value}":
        raise UserError(f"{text}: expected {group}={value}")


def _wrong_setting(settings: list[tuple[str, Override]], chosen: list[str], config_name: str) -> str | None:
    """An error message for the first of ``settings`` that the ``chosen`` groups do not have, or None."""
    known, written = set(_dotted_names("", hydra.compose(config_name, chosen))), _primary(config_name)
    for text, override in settings:
        key = override.key_or_group
        if OmegaConf.is_dict(written.get(key)) and override.value() is None:  # Hydra sees the choice of an option
            return _no_group(key, written, None)
        if key not in known and not override.is_add() and not override.is_force_add():
            return f"{text}: unknown setting {key!r}; {_nearest_setting(key, known)}"
    return None


def _quoting_hint(text: str, before: list[str]) -> str:
    """How to quote the value of ``text``, or nothing if quotes would not help."""
    if "=" not in text and before and "=" in before[-1]:
        return f"{_EXAMPLE}. A value with a space needs quotes: {shlex.quote(f'{before[-1]} {text}')}"
    name, _, value = text.partition("=")
    if value and re.fullmatch(r"[+~]{0,2}\w+([./]\w+)*", name):
        return f"a value with special characters needs quotes inside quotes: {shlex.quote(f'{name}={_quoted(value)}')}"
    return ""


def _nearest_setting(key: str, known: set[str]) -> str:
    """Similar names from the same group, if there is one; the list of all settings is long."""
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
