"""Every command, setting, option and path that the documentation names is one that the program knows.

Nothing is run: configurations are composed, command lines are parsed and stopped there. A command that no rule covers
fails, so that none goes unchecked.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep

from seg_anl.engine.command import compose
from seg_anl.losses.declarations import declarations
from seg_anl.nnunet.environment_settings import ANY_LOSS_TRAINER, chosen_loss, chosen_training, loss_choice
from seg_anl.nnunet.lookup import trainers
from seg_anl.records.recipes import recipe_names
from seg_anl.reporting.figures.catalog import FIGURES
from seg_anl.reporting.published import list_tables

from .conftest import ROOT, blocks, documents, without_blocks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
CONFIGURED = {"seg-anl-train": "segmentation", "seg-anl-classify": "classification"}
CONFIGURED |= {"seg_anl.segmentation.train": "segmentation", "classification.train": "classification"}
# Of other projects, whose options are theirs to check, and of the shell.
FOREIGN = {"pip", "export", "cd", "tensorboard", "diff", "eval", "python3", "source", "curl", "mkdir", "srun", "awk"}
FOREIGN_OPTIONS = {
    *("--c", "--val", "--npz", "--verify_dataset_integrity", "--save_probabilities", "--help", "--config-dir", "--cfg"),
    "--node-rank",
}
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
SETTING = re.compile(r"(data|noise|loss|model|optim|evaluation|augmentation)\.(\w+)(=\S+)?")
CHOICE = re.compile(r"(data|noise|loss|model|optim|method|preset)=(\w+)")
OF_THE_PAGE_ITSELF = re.compile(r"=jsd\b|\bjsd\b|divergence|blood_cells|boxes")  # what add_a_loss.md makes
REPOSITORY_PATH = re.compile(r"(?:seg_anl|configs|docs|tests|benchmarks|data_prep|classification)/[\w/.*-]*")


class Parsed(BaseException):
    """A command line was understood; what would follow is not wanted."""


def command_lines(page: Path) -> Iterator[str]:
    """The commands of a page's blocks, one a line, without comments."""
    fenced = [code for _, code in blocks(page, "sh", "bash", "shell", "console")]
    # An indented block may as well show a folder's content.
    indented = re.findall(r"^ {4}((?:python|make|seg-anl-|nnUNetv2_).*)$", without_blocks(page), flags=re.MULTILINE)
    for code in fenced + indented:
        joined = re.sub(r"\\\n\s*|\n\s+(?=\[)", " ", code)
        # A variable that the block sets for itself, over several lines perhaps, stands for its value.
        own = dict(re.findall(r'^(\w+)="([^"]*)"$', joined, flags=re.MULTILINE))
        joined = re.sub(r'^\w+="[^"]*"$', "", joined, flags=re.MULTILINE)
        for name, value in own.items():
            joined = re.sub(rf"\${name}\b", lambda _, value=value: " ".join(value.split()), joined)  # type: ignore[misc]
        for line in joined.splitlines():
            yield from re.findall(r"\$\((seg-anl-[^)]*)\)", line)
            line = re.sub(r"(^|\s+)#\s.*$", "", re.sub(r"\$\([^)]*\)", "VALUE", line)).strip()
            if line and not OF_THE_PAGE_ITSELF.search(line):
                yield line


def inline_commands(page: Path) -> Iterator[str]:
    """Commands inside sentences and tables."""
    for code in INLINE.findall(without_blocks(page)):
        if code.startswith("seg-anl-"):
            yield code


def parsed(main: Callable[[], None], words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a program read its command line and go no further."""

    def only(read: Callable[..., object]) -> Callable[..., None]:
        def read_only(*given: object, **options: object) -> None:
            read(*given, **options)
            raise Parsed

        return read_only

    with monkeypatch.context() as patch:
        for name in ("parse_args", "parse_intermixed_args"):
            patch.setattr(argparse.ArgumentParser, name, only(getattr(argparse.ArgumentParser, name)))
        patch.setattr(sys, "argv", words)
        with pytest.raises(Parsed):
            main()


@cache
def compose_once(config_name: str, *overrides: str) -> None:
    """Pages repeat each other's commands."""
    compose(config_name, list(overrides))


def composed(config_name: str, words: list[str]) -> None:
    """Compose a configuration with the first values of a sweep; each further choice must be known."""
    overrides = [word for word in words if not word.startswith("-")]
    assert all(word in ("-m", "--multirun", "--help", "--version") for word in words if word.startswith("-"))
    first = []
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.get_key_element()
        value = override.value()
        if isinstance(value, IntervalSweep):  # which only a search draws from
            choices = [f"{key}={value.start}"]
        elif override.is_sweep_override():
            choices = [f"{key}={each}" for each in override.sweep_string_iterator()]
        else:
            choices = [override.input_line]
        first.append(choices[0])
        for choice in choices[1:]:
            group, _, name = choice.partition("=")
            assert name in known_settings()[1].get(group, [name]), choice
    compose_once(config_name, *first)


def without_placeholders(words: list[str]) -> list[str]:
    """A synopsis as a command: brackets gone, the first of alternatives, 1 for N, no choice that is a mere NAME."""
    plain = []
    for word in words:
        if word.startswith("[") or ("[" not in word and word.endswith("]")):
            word = word.strip("[]")
        plain.append("1" if word == "N" else word.split("|")[0])
    choices = [path.name for path in (ROOT / "configs").iterdir() if path.is_dir()]
    return [word for word in plain if word != "..." and word not in [f"{choice}=NAME" for choice in choices]]


def check_environment(words: list[str]) -> list[str]:
    """Check the project's variables in front of a command; returns the command."""
    while words and re.fullmatch(r"\w+=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        if name == "SEG_ANL_LOSS" and not value.endswith(".yaml"):
            chosen_loss(value, "a trainer", None if ANY_LOSS_TRAINER in words else loss_choice("anl_ce"))
        if name == "SEG_ANL_TRAIN":
            chosen_training(value)
    return words


def check_trainer(words: list[str]) -> None:
    if "-tr" in words:
        assert words[words.index("-tr") + 1].split("-")[0] in trainers()


def check_report(words: list[str]) -> None:
    for option, value in pairwise(words):
        if option == "--table":
            assert value in ["NAME", *(table.id for table in list_tables())]
        if option == "--figure":
            assert value in ["NAME", *FIGURES]


def main_of(entry: str) -> Callable[[], None]:
    module, _, name = entry.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def check(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = check_environment(without_placeholders(shlex.split(line, comments=True)))
    if not words:
        return
    program = Path(words[0]).name
    if program == "torchrun" or (program == "python" and words[1] == "-m" and words[2] in CONFIGURED):
        module = words.index("-m") + 1
        composed(CONFIGURED[words[module]], words[module + 1 :])
    elif words[1:] == ["--shell-completion", "install=bash"]:
        assert program in CONFIGURED
    elif program in CONFIGURED:
        composed(CONFIGURED[program], words[1:])
    elif program == "seg-anl-nnunet" and words[1:2] in (["train"], ["predict"]):
        check_trainer(words)
    elif program.startswith("seg-anl-"):
        check_report(words)
        parsed(main_of(SCRIPTS[program]), words, monkeypatch)
    elif program.startswith("nnUNetv2_"):
        check_trainer(words)
    elif program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    elif words[:3] == ["python", "-m", "monai.bundle"]:
        pass  # of another project as well
    elif program == "python" and words[1] == "-m":
        parsed(main_of(f"{words[2]}:main"), words[2:], monkeypatch)
        composed("segmentation", [word for word in words[3:] if "=" in word])
    elif program == "python":
        spec = importlib.util.spec_from_file_location(Path(words[1]).stem, ROOT / words[1])
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # where dataclasses look their module up
        spec.loader.exec_module(module)
        parsed(module.main, words[1:], monkeypatch)
    else:
        assert program in FOREIGN, f"no rule for the command {program}"


def lines_of_all_pages(lines: Callable[[Path], Iterator[str]]) -> list[str]:
    """Each once: pages repeat each other's."""
    return list(dict.fromkeys(line for page in documents() for line in lines(page)))


def test_commands_in_blocks_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of_all_pages(command_lines)
    assert len(lines) >= 100
    for line in lines:
        try:
            check(line, monkeypatch)
        except (Exception, SystemExit) as error:
            raise AssertionError(line) from error


def test_commands_in_sentences_are_understood(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in lines_of_all_pages(inline_commands):
        words = shlex.split(line)
        if len(words) == 1:
            assert words[0] in SCRIPTS
            continue
        try:
            check(line, monkeypatch)
        except SystemExit:  # the name of a command, or a command without all it needs: nothing else may be wrong
            assert "arguments are required" in capsys.readouterr().err, line


@cache
def known_settings() -> tuple[set[str], dict[str, set[str]]]:
    """Every setting of a configuration file or a loss, and the options of every group."""
    names = {f"loss.{name}" for loss in declarations().values() for name in ["dice_weight", *loss.parameters]}
    options = {"loss": set(declarations()), "preset": set(recipe_names())}
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        group = path.relative_to(ROOT / "configs").parts[0]
        options.setdefault(group, set()).add(path.stem)
        if isinstance(content, dict):
            names |= {f"{group}.{key}" for key in content}
            names |= {f"{key}.{inner}" for key, value in content.items() if isinstance(value, dict) for inner in value}
    return names, options


@cache
def known_options() -> set[str]:
    """Every --option that the sources of the commands spell out."""
    sources = [*(ROOT / "data_prep").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    sources += [*(ROOT / "seg_anl").rglob("*.py"), *(ROOT / "classification").rglob("*.py")]
    return set(re.findall(r"\"(--[a-z][\w-]+)\"", "".join(path.read_text(encoding="utf-8") for path in sources)))


def test_settings_options_and_paths_in_sentences_exist() -> None:
    (names, options), known = known_settings(), known_options()
    wrong = []
    for page in documents():
        for code in INLINE.findall(without_blocks(page)):
            if OF_THE_PAGE_ITSELF.search(code):
                continue
            for word in code.split():
                if (setting := SETTING.fullmatch(word)) and f"{setting.group(1)}.{setting.group(2)}" not in names:
                    wrong.append((page.name, word))
                choice = CHOICE.fullmatch(word)
                if choice and choice.group(2).islower() and choice.group(2) not in options[choice.group(1)]:
                    wrong.append((page.name, word))
                if re.fullmatch(r"--[a-z][\w-]+", word) and word not in known | FOREIGN_OPTIONS:
                    wrong.append((page.name, word))
            pattern = re.sub(r"\b[A-Z]{2,}\b", "*", code.rstrip("/"))  # PRESET, DATA stand for any
            if REPOSITORY_PATH.fullmatch(code) and not list(ROOT.glob(pattern)):
                wrong.append((page.name, code))
    assert wrong == []
