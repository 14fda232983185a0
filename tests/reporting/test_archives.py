"""Archives are read like folders; untrusted archives are harmless."""

from __future__ import annotations

import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from seg_anl.reporting import archives
from seg_anl.reporting.command import main
from seg_anl.reporting.render import picture_uri, write_report
from seg_anl.reporting.run_directories import read_runs

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture
def pack(monkeypatch):
    """Run the command with --pack."""

    def run(place, target):
        monkeypatch.setattr(sys, "argv", ["seg-anl-report", str(place), "--pack", str(target)])
        main()

    return run


@pytest.fixture
def study(write_run, tmp_path, pack) -> Path:
    """A folder of four runs, and an archive of it."""
    for seed in (1, 2):
        for loss in ("ce", "gce"):
            folder = write_run(f"study/{loss}/{seed}", [0.5, 0.6 + seed / 97], seed=seed, loss={"name": loss})
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / "last.pt").write_bytes(b"large")
            (folder / ".partial-x").write_text("half")
    pack(tmp_path / "study", tmp_path / "study.zip")
    return tmp_path / "study"


def test_archive_gives_the_same_report_as_its_folder(study, tmp_path, report_of):
    as_folder, as_archive = (
        {path.name: path.read_text(encoding="utf-8") for path in write_report(report_of(places=[place]), out)}
        for out, place in ((tmp_path / "a", study), (tmp_path / "b", study.with_suffix(".zip")))
    )
    assert {name: text.replace(f"{study}.zip", str(study)) for name, text in as_archive.items()} == as_folder


def test_runs_are_found_in_archives_and_by_paths_inside(study, write_run, tmp_path):
    write_run("alone")
    archive = study.with_suffix(".zip")
    found = [run.path for run in read_runs([tmp_path])]
    assert {f"{archive}/ce/1", f"{study}/ce/1"} <= set(found)
    assert len(found) == 9
    assert [run.path for run in read_runs([archive / "ce"])] == [f"{archive}/ce/1", f"{archive}/ce/2"]
    assert [run.path for run in read_runs([archive / "gce" / "2"])] == [f"{archive}/gce/2"]


def test_packing_is_reproducible_and_lossless(study, tmp_path, pack):
    for path in study.rglob("*"):
        os.utime(path, (1e9, 1e9))
    pack(study, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == study.with_suffix(".zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "again.zip") as archive:
        assert not [name for name in archive.namelist() if "checkpoints" in name or ".partial" in name]
        archive.extractall(tmp_path / "out")
    assert (tmp_path / "out/ce/1/metrics.csv").read_bytes() == (study / "ce/1/metrics.csv").read_bytes()


def _with_link(archive: zipfile.ZipFile) -> None:
    entry = zipfile.ZipInfo("a/config.yaml")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(entry, "/etc/passwd")


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (lambda archive: archive.writestr("../config.yaml", "task: x"), "leads out"),
        (lambda archive: archive.writestr("/a/config.yaml", "task: x"), "leads out"),
        (lambda archive: archive.writestr("a\\..\\config.yaml", "task: x"), "leads out"),
        (_with_link, "a link"),
        (lambda archive: archive.writestr("a/metrics.csv", b"0" * 2000), "larger than"),
        (lambda archive: [archive.writestr(f"{i}/metrics.csv", b"0" * 900) for i in range(6)], "holds more than"),
        (lambda archive: [archive.writestr(f"{i}", b"") for i in range(9)], "holds more than"),
    ],
)
def test_hostile_archive_is_reported_and_left_out(study, tmp_path, report_of, monkeypatch, fill, words):
    monkeypatch.setattr(archives, "MAX_ENTRY_SIZE", 1000)
    monkeypatch.setattr(archives, "MAX_ARCHIVE_SIZE", 5000)
    monkeypatch.setattr(archives, "MAX_ENTRIES", 8)
    study.with_suffix(".zip").unlink()
    with zipfile.ZipFile(tmp_path / "hostile.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        fill(archive)
    report = report_of()
    (notice,) = [*report.not_averaged, *report.warnings]
    assert (notice.kind, notice.paths) == ("damaged", (str(tmp_path / "hostile.zip"),))
    assert words in notice.text
    assert len(report.groups) == 2


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_archive_is_reported_and_left_out(study, report_of, share, pack, capsys):
    archive = study.with_suffix(".zip")
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    assert [notice.paths for notice in report_of().not_averaged] == [(str(archive),)]
    with pytest.raises(SystemExit):
        pack(study.parent, study.parent / "all.zip")
    assert f"{archive}: damaged" in capsys.readouterr().err


def test_damaged_file_in_an_archive_affects_only_its_run(study, pack):
    archive = study.with_suffix(".zip")
    (study / "ce" / "2" / "report.png").write_bytes(os.urandom(100))
    pack(study, archive)
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        for name in ("ce/1/metrics.csv", "ce/2/report.png"):
            place = opened.getinfo(name).header_offset + 60
            data[place : place + 8] = b"\0" * 8
    archive.write_bytes(data)
    runs = read_runs([archive])
    assert picture_uri(runs[1].folder / "report.png") is None
    assert [run.status for run in runs] == ["damaged", "finished", "finished", "finished"]
    assert runs[0].reason.startswith("metrics.csv: damaged")


def test_committed_archives_are_intact():
    for path in sorted(RESULTS.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == sorted(archive.namelist())
            assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
    assert {run.status for run in read_runs([RESULTS])} == {"finished"}
