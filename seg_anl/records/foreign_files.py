"""Files that others made, read as data: regular files of bounded size and depth, without aliases, nothing constructed.

Run directories, manifests, tables and plans travel from machine to machine. Whatever reads YAML, JSON, CSV or lines of
one reads it here.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import yaml

from .errors import UserError

MOST_BYTES = 256 << 20  # a manifest of half a million masks
MOST_YAML_BYTES = 1 << 20  # a configuration has some kilobytes
MOST_DEPTH = 32

# Without waiting: a FIFO that nobody writes to would hold an ordinary open for ever.
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def check_regular(path: Path) -> None:
    """Refuse what is no regular file, before a library opens it: a FIFO would wait for ever, a device never end."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {_reason(error)}") from error
    if not regular:
        raise UserError(f"{path}: cannot be read: not a regular file")


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file of at most ``most`` bytes."""
    try:
        descriptor = os.open(path, _OPEN)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {_reason(error)}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UserError(f"{path}: cannot be read: not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(most + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {_reason(error)}") from error
    finally:
        os.close(descriptor)
    if len(content) > most:
        raise UserError(f"{path}: cannot be read: larger than {most >> 20} MiB")
    return content


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """The content of a UTF-8 text file."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read: no UTF-8 text: {error.reason} at byte {error.start}") from error


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a CSV file, by the names in its first line, among which must be ``columns``; a missing cell is empty.

    It is UTF-8 text, with the mark that Windows puts first or without.
    """
    text = read_text(path).removeprefix("\ufeff")
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval="")
        rows = list(reader)
    except csv.Error as error:
        raise UserError(f"{path}: damaged: {error}") from error
    names = reader.fieldnames or []
    if not {*columns} <= {*names}:
        wanted = f"column{'s' if len(columns) > 1 else ''} {' and '.join(columns)}"
        raise UserError(f"{path}: expected the {wanted}; it has {', '.join(names) or 'none'}")
    return rows


def read_json(path: Path) -> Any:
    """The value that a JSON file holds."""
    return parse_json(read_text(path), path)


def parse_json(text: str, place: object) -> Any:
    """The value of JSON ``text`` that came from ``place``."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise UserError(f"{place}: damaged: nested too deep") from error
    except ValueError as error:
        raise UserError(f"{place}: damaged: {_one_line(error)}") from error
    return _bounded(value, place)


def read_yaml(path: Path) -> Any:
    """The value that a YAML file holds: plain numbers, texts, lists and groups."""
    return parse_yaml(read_text(path, MOST_YAML_BYTES), path)


def parse_yaml(text: str, place: object) -> Any:
    """The value of YAML ``text`` that came from ``place``."""
    if len(text) > MOST_YAML_BYTES:
        raise UserError(f"{place}: larger than {MOST_YAML_BYTES >> 20} MiB")
    try:
        _refuse_aliases(text, place)  # before anything is built: nine lines of aliases stand for a billion values
        return _bounded(yaml.load(text, PlainLoader), place)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{place}: damaged: {_one_line(error)}") from error


def _refuse_aliases(text: str, place: object) -> None:
    depth = 0
    for event in yaml.parse(text, PlainLoader):
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{place}: damaged: an alias (*{event.anchor}) in line {event.start_mark.line + 1}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise UserError(f"{place}: damaged: nested too deep")


def _bounded(value: Any, place: object) -> Any:
    """``value``, unless it is nested too deep or holds a whole number that is beyond any float."""
    level, depth = [value], 0
    while level:
        depth += 1
        inside: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inside += each.values()
            elif isinstance(each, list):
                inside += each
            elif isinstance(each, int) and abs(each) > sys.float_info.max:
                raise UserError(f"{place}: damaged: a number of {each.bit_length()} bits")
        if inside and depth > MOST_DEPTH:
            raise UserError(f"{place}: damaged: nested too deep")
        level = inside
    return value


class PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads values as Hydra does (1e-4 is a number, 2017-01-01 a text); refuses a name that stands twice in a group."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """PyYAML's hook; names are texts."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        seen: set[Any] = set()
        for key in keys:
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, "a name that is no text", node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands there twice", node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)  # type: ignore[no-any-return]


PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in PlainLoader.yaml_implicit_resolvers.items()
}
PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


def _reason(error: Exception) -> str:
    """What the system says, in its own words; of a name with a NUL, what Python says."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
