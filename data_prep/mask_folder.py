"""Write a noisy copy of a folder of masks, in parallel and resumable.

Masks are written atomically, and a journal keeps the records of finished ones until the manifest replaces it: a run
that was killed continues where it stopped and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from seg_anl import __version__
from seg_anl.records import NoiseRecord, UserError, array_digest, item_id, make_directory, write_manifest, written_aside
from seg_anl.records.atomic import remove_partial
from seg_anl.records.command_line import refuse_overlap
from seg_anl.records.journal import Row, earlier_run, finish_items
from seg_anl.records.lock import LOCK_FILE, locked
from seg_anl.records.manifest import MANIFEST, MANIFEST_TABLE, PREVIEW

from .mask_distances import distances
from .mask_files import load_mask, mask_paths, mask_suffix, save_mask
from .mask_noise import ItemNoise, MaskNoiseSettings, apply_noise, plan_noise

JOURNAL = ".seg-anl-noise.jsonl"


@dataclass(frozen=True)
class MaskFolderSettings(MaskNoiseSettings):
    """Everything that decides what a run writes; kept in the manifest."""

    labels: tuple[int, ...] | None = None  # the values that may change; None: all
    mm: bool = False  # distances, outlines and rotations in mm instead of elements
    distances: bool = True  # measure Dice and surface distances of every noisy mask

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels and min(self.labels) < 1:
            raise UserError(f"--labels takes values of 1 and above, not {min(self.labels)}: 0 is background")


class _Task(NamedTuple):
    source: Path
    target: Path
    plan: ItemNoise
    settings: MaskFolderSettings


def run_mask_noise(
    source: Path,
    target: Path,
    settings: MaskFolderSettings,
    *,
    pattern: str = "*",
    manifest_folder: Path | None = None,
    workers: int = 1,
    overwrite: bool = False,
) -> list[NoiseRecord]:
    """Write the noisy masks of ``source`` to ``target`` under the same names, and the manifest.

    Args:
        source: folder of masks, nested or not.
        target: neither inside ``source`` nor around it.
        settings: what to do.
        pattern: glob for names of masks.
        manifest_folder: for manifest and journal; None: ``target``.
        workers: processes; they do not change the result.
        overwrite: start over, replacing masks of a run with other settings.

    Returns:
        The records of all masks, sorted by item.

    Raises:
        UserError: bad input, or other files in the target. Bad masks are named at the end, when all others are done; a
            second run makes only those that are missing.
    """
    folder = target if manifest_folder is None else manifest_folder
    refuse_overlap(source, folder)
    paths = mask_paths(source, pattern)
    ids = [item_id(path, source) for path in paths]
    plan = plan_noise(ids, alpha=settings.alpha, kinds=settings.kinds, seed=settings.seed, mode=settings.mode)
    tasks = [_Task(p, target / p.relative_to(source), item, settings) for p, item in zip(paths, plan, strict=True)]
    for place in {target, folder}:
        remove_partial(place)
    identity = _identity(settings, ids)
    finished = _finished(folder, target, tasks, identity, overwrite=overwrite)
    if len(finished) == len(ids) and (folder / MANIFEST).is_file() and not (folder / JOURNAL).exists():
        return [finished[item] for item in sorted(ids)]
    with locked(folder):
        # Once more: another process may have worked here until now.
        finished = _finished(folder, target, tasks, identity, overwrite=overwrite)
        if overwrite:
            for name in (JOURNAL, MANIFEST, MANIFEST_TABLE, PREVIEW):
                (folder / name).unlink(missing_ok=True)
        waiting = [task for task in tasks if task.plan.item not in finished]
        for place in {task.target.parent for task in waiting}:
            make_directory(place)
        done = {item: asdict(record) for item, record in finished.items()}
        rows = finish_items(folder / JOURNAL, identity, done, _one_mask, waiting, unit="mask", workers=workers)
        records = [NoiseRecord(**rows[item]) for item in sorted(ids)]
        write_manifest(folder, identity, records)
        (folder / JOURNAL).unlink()
    return records


def _identity(settings: MaskFolderSettings, ids: Sequence[str]) -> dict[str, Any]:
    """What decides the result, for the manifest: settings, items and version."""
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
    plain = json.loads(json.dumps(asdict(settings)))
    return {"command": "masks", "version": __version__, **plain, "items": len(ids), "items_sha256": digest}


def _finished(
    folder: Path, target: Path, tasks: Sequence[_Task], identity: dict[str, Any], *, overwrite: bool
) -> dict[str, NoiseRecord]:
    """The records by item that an equal run has finished; other contents are refused."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"{folder} is a file; expected a folder")
    if not os.path.exists(folder) or not {path.name for path in folder.iterdir()} - {LOCK_FILE}:
        return {}
    if overwrite:
        own = {task.target for task in tasks}
        for path in sorted(target.rglob("*")):
            if mask_suffix(path) and path.is_file() and path.name != PREVIEW and path not in own:
                found = path.relative_to(target)
                raise UserError(f"{target} holds {found}, which this run would not replace; choose another folder")
        return {}
    settings, records = _earlier_records(folder)
    if settings is None:
        raise UserError(f"{folder} is not empty and holds no noise of this command; choose another or --overwrite")
    changed = [
        f"{name} {settings.get(name)} (now {value})" for name, value in identity.items() if settings.get(name) != value
    ]
    if changed:
        was = ", ".join(changed[:3])
        raise UserError(f"{folder} holds masks of other settings: {was}; choose another folder or --overwrite")
    journal, manifest = folder / JOURNAL, folder / MANIFEST
    kept_at = (journal if journal.is_file() else manifest).stat().st_mtime_ns
    finished = {}
    for task in tasks:
        record = records.get(task.plan.item)
        if record is not None and _is_newer(task.target, task.source):
            if task.target.stat().st_ctime_ns > kept_at:  # put there, or touched, since the record was written
                _check_result(task.target, record)
            finished[record.item] = record
    return finished


def _is_newer(target: Path, source: Path) -> bool:
    """Whether ``target`` was written after the last change of ``source``.

    A file moved or copied over another keeps its time of modification (``cp -p``, ``mv``, ``rsync``), but the times of
    its inode and of a link are new.
    """
    if not target.is_file() or not source.is_file():
        return False
    state, link = source.stat(), source.lstat()
    return target.stat().st_mtime_ns >= max(state.st_mtime_ns, state.st_ctime_ns, link.st_ctime_ns)


def _check_result(target: Path, record: NoiseRecord) -> None:
    """Refuse a ``target`` that is not the mask of its ``record``."""
    try:
        same = array_digest(load_mask(target).array) == record.result_sha256
    except UserError:
        same = False
    if not same:
        raise UserError(
            f"{target} is not the mask that this command wrote (SHA-256 in {MANIFEST}); delete it to make it again"
        )


def _earlier_records(folder: Path) -> tuple[dict[str, Any] | None, dict[str, NoiseRecord]]:
    """Settings and records by item of an earlier run; None and none if they cannot be read."""
    try:
        settings, rows = earlier_run(folder / JOURNAL, folder / MANIFEST) or (None, {})
        return settings, {item: NoiseRecord(**row) for item, row in rows.items()}
    except (TypeError, UserError):
        return None, {}


def _one_mask(task: _Task) -> Row | str:
    """Read, change, write and measure one mask; returns its row, or what is wrong with the mask."""
    settings = task.settings
    try:
        mask = load_mask(task.source)
        if settings.mm and mask.spacing is None:
            raise UserError(f"{task.source}: --mm needs a file with a voxel size")
        spacing = mask.spacing if settings.mm else None
        noisy, record = apply_noise(mask.array, settings.beta, task.plan, settings.labels, spacing)
    except UserError as error:
        return str(error)
    except ValueError as error:
        return f"{task.source}: {error}"
    if record.source_sha256 == record.result_sha256:
        with written_aside(task.target) as aside:
            shutil.copyfile(task.source, aside)
    else:
        save_mask(mask, noisy, task.target)
    if settings.distances and record.kind != "none":
        record.measures.update(distances(mask.array, noisy, mask.spacing, settings.labels))
    return asdict(record)
