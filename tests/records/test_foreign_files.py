"""Files of others: what is damaged, endless, exploding or no file at all is one line, at once."""

from __future__ import annotations

import ast
import os
import socket
import time
import zipfile
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seg_anl.records import UserError
from seg_anl.records.foreign_files import parse_json, parse_yaml, read_bytes, read_json, read_table, read_yaml
from seg_anl.records.item_files import read_groups, read_items, read_weights

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]" for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD_YAML = {
    "laughs": (LAUGHS, "an alias"),
    "recursion": ("a: &a\n  b: *a", "an alias"),
    "depth": ("[" * 40 + "]" * 40, "too deep"),
    "more depth": ("[" * 5000, "depth"),
    "python": ("!!python/object/apply:os.system [id]", "constructor"),
    "twice": ("a: 1\na: 2", "twice"),
    "odd names": ("? [1, 2]\n: 3", "not a string"),
    "digits": ("a: 1" + "0" * 5000, "digits"),
    "bits": ("a: 0x" + "f" * 400, "1600 bits"),
    "cut": ("a: [1", "damaged"),
    "large": ("a: " + "x" * (1 << 20), "larger"),
    "bell": ("a: \x07", "damaged"),
}
BAD_JSON = {
    "depth": ("[" * 100_000, "too deep"),
    "bounded depth": ("[" * 50 + "]" * 50, "too deep"),
    "bits": ("1" + "0" * 400, "bits"),
    "digits": ("1" + "0" * 5000, "digits"),
    "cut": ("{", "line 1"),
    "empty": ("", "line 1"),
}


def test_yaml_that_is_more_than_data_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for text, words in BAD_YAML.values():
        start = time.process_time()
        path.write_text(text)
        with pytest.raises(UserError, match=words) as caught:
            read_yaml(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert time.process_time() - start < 1


def test_json_without_bounds_is_refused() -> None:
    for text, words in BAD_JSON.values():
        with pytest.raises(UserError, match=rf"^HERE: damaged: .*{words}"):
            parse_json(text, "HERE")


def test_values_may_lie_32_levels_deep() -> None:
    for parse in (parse_json, parse_yaml):
        assert str(parse("[" * 32 + "1" + "]" * 32, "HERE")) == "[" * 32 + "1" + "]" * 32
        with pytest.raises(UserError, match="HERE: damaged: nested too deep"):
            parse("[" * 33 + "1" + "]" * 33, "HERE")


def test_what_is_no_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "fifo", tmp_path / "socket", Path("/dev/zero"), tmp_path, tmp_path / "absent"):
            with pytest.raises(UserError, match="cannot be read"):
                read_json(path)
    with pytest.raises(UserError, match="null"):
        read_bytes(tmp_path / "a\0b")
    (tmp_path / "long").write_bytes(bytes(100))
    with pytest.raises(UserError, match="larger than"):
        read_bytes(tmp_path / "long", most=99)


def test_recorded_configurations_read_as_hydra_reads_them() -> None:
    texts = [
        archive.read(name).decode()
        for archive in map(zipfile.ZipFile, sorted(RESULTS.glob("*.zip")))
        for name in archive.namelist()
        if name.endswith("/config.yaml")
    ]
    assert len(texts) > 100
    for text in texts[::10]:
        assert repr(parse_yaml(text, "")) == repr(OmegaConf.to_container(OmegaConf.create(text)))


def test_tables_have_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "weights.csv"
    path.write_bytes(b"\xef\xbb\xbfitem,weight\na,1\nb\n")
    assert read_table(path, "item", "weight") == [{"item": "a", "weight": "1"}, {"item": "b", "weight": ""}]
    with pytest.raises(UserError, match=r"weights\.csv: expected the column share; it has item, weight"):
        read_table(path, "share")
    path.write_text("item\n" + "x" * 200_000)
    with pytest.raises(UserError, match="damaged"):
        read_table(path, "item")


def test_lists_of_items_name_what_is_unknown_or_twice(tmp_path: Path) -> None:
    path = tmp_path / "items.txt"
    path.write_text("\ufeff\n# a reason\na\n b \n")
    assert read_items(path, "abc") == {"a", "b"}
    for text, words in (("a\nx\n", "'x'; "), ("x\ny\nz\n", r"'x' \(and 2 more\); ")):
        path.write_text(text)
        with pytest.raises(UserError, match=rf"items\.txt: no training item {words}"):
            read_items(path, "abc")
    path.write_text("item,weight\na,1\nb,1\na,2\n")
    with pytest.raises(UserError, match=r"items\.txt: a is listed 2 times"):
        read_weights(path, "abc")
    path.write_text("item,group\na,p\nb,p\nd,q\n")
    assert read_groups(path, "ab") == {"a": "p", "b": "p"}
    with pytest.raises(UserError, match=r"items\.txt: no group for the training item 'c'; "):
        read_groups(path, "abc")


# Of the project's own files and values.
OWN = {"data_prep/mask_folder.py", "seg_anl/records/recipes.py", "seg_anl/reporting/protocols.py"}
READERS = {("json", "load"), ("json", "loads"), ("yaml", "load"), ("yaml", "safe_load"), ("csv", "DictReader")}


def test_foreign_files_are_read_in_one_place() -> None:
    """A reader of one's own forgets FIFOs, aliases, depth or size: each of them was a hang or a traceback once."""
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("seg_anl", "data_prep", "classification")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in READERS
    }
    assert found == {*OWN, "seg_anl/records/foreign_files.py", "seg_anl/records/runs.py"}
