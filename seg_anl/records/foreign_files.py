"""Read files from other people and machines as plain data: bounded in size and depth, nothing constructed.

Every reader of YAML, JSON, CSV or text files goes through this module.
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

from .errors import UserError, one_line

MOST_BYTES = 256 << 20  # a manifest of half a million masks
MOST_YAML_BYTES = 1 << 20  # configurations have a few kilobytes
MOST_DEPTH = 32


def check_regular(path: Path) -> None:
    """Refuse anything but a regular file before it is opened: a FIFO would block, a device would never end."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unreadable(path, error) from error
    if not regular:
        raise UserError(f"{path}: cannot be read: not a regular file")


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file of at most ``most`` bytes."""
    check_regular(path)
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > most:
        raise UserError(f"{path}: cannot be read: larger than {most >> 20} MiB")
    return content


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """The content of a UTF-8 text file."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read: not UTF-8 text: {error.reason} at byte {error.start}") from error


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a CSV file as dictionaries, with the names of its header; a missing cell is empty.

    The header must have ``columns``. The file is UTF-8, with or without a byte order mark.
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
    """The value in a JSON file."""
    return parse_json(read_text(path), path)


def parse_json(text: str, place: object) -> Any:
    """The value of JSON ``text``; error messages name ``place``."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise UserError(f"{place}: damaged: nested too deep") from error
    except ValueError as error:
        raise UserError(f"{place}: damaged: {one_line(error)}") from error
    return _bounded(value, place)


def read_yaml(path: Path) -> Any:
    """The value in a YAML file: numbers, strings, lists and mappings."""
    return parse_yaml(read_text(path, MOST_YAML_BYTES), path)


def parse_yaml(text: str, place: object) -> Any:
    """The value of YAML ``text``; error messages name ``place``."""
    if len(text) > MOST_YAML_BYTES:
        raise UserError(f"{place}: larger than {MOST_YAML_BYTES >> 20} MiB")
    try:
        _refuse_aliases(text, place)  # before loading: nine lines of aliases can expand to a billion values
        return _bounded(yaml.load(text, PlainLoader), place)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{place}: damaged: {one_line(error)}") from error


def _refuse_aliases(text: str, place: object) -> None:
    depth = 0
    for event in yaml.parse(text, PlainLoader):
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{place}: damaged: an alias (*{event.anchor}) in line {event.start_mark.line + 1}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise UserError(f"{place}: damaged: nested too deep")


def _bounded(value: Any, place: object) -> Any:
    """``value``; refuses deep nesting and integers beyond the range of floats."""
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
    """Reads values as Hydra does (1e-4 is a number, 2017-01-01 a string); refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """PyYAML's hook."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        seen: set[Any] = set()
        for key in keys:
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, "a key that is not a string", node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} appears twice", node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)  # type: ignore[no-any-return]


PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in PlainLoader.yaml_implicit_resolvers.items()
}
PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


def _unreadable(path: Path, error: OSError | ValueError) -> UserError:
    return UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")
