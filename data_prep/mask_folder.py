"""A folder of masks to a noisy folder: what is to be done, doing it in parallel, and carrying on after an interruption.

Every mask is written whole or not at all; a journal in the target remembers the records of what is finished until the
manifest replaces it. So a run that was killed goes on where it stood and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from seg_anl import __version__
from seg_anl.records import NoiseRecord, UserError, item_id, make_directory, write_manifest, written_aside
from seg_anl.records.atomic import PARTIAL_PREFIX
from seg_anl.records.lock import LOCK_FILE, locked

from .command_line import refuse_overlap
from .mask_distances import distances
from .mask_files import load_mask, mask_paths, mask_suffix, save_mask
from .mask_noise import ItemNoise, MaskNoiseSettings, apply_noise, plan_noise

JOURNAL = ".seg-anl-noise.jsonl"
MANIFEST = "manifest.json"
PREVIEW = "preview.png"
_ERRORS_SHOWN = 5


@dataclass(frozen=True)
class MaskFolderSettings(MaskNoiseSettings):
    """Everything that decides what a run writes; the manifest keeps it.

    Attributes:
        labels: the values that may change; None: all.
        mm: erode, dilate and turn in millimeters instead of elements.
        distances: measure Dice and surface distances of every noisy mask.
    """

    labels: tuple[int, ...] | None = None
    mm: bool = False
    distances: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels and min(self.labels) < 1:
            raise UserError(f"--labels takes values of 1 and above, not {min(self.labels)}: 0 is background")


@dataclass(frozen=True)
class _Task:
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
        target: where they go; neither inside ``source`` nor around it.
        settings: what to do.
        pattern: glob that a mask's name has to fit.
        manifest_folder: where manifest and journal go; None: ``target``.
        workers: processes; the result does not depend on it.
        overwrite: do everything anew, and replace what a run of other settings left in ``target``.

    Returns:
        The records of all masks, sorted by item.

    Raises:
        UserError: bad input, or a target that holds something else. Masks that cannot be used are named together at the
            end; the others are done by then and a second run does only what is missing.
    """
    manifest_folder = target if manifest_folder is None else manifest_folder
    refuse_overlap(source, manifest_folder)
    paths = mask_paths(source, pattern)
    ids = [item_id(path, source) for path in paths]
    try:
        plan = plan_noise(ids, alpha=settings.alpha, kinds=settings.kinds, seed=settings.seed, mode=settings.mode)
    except ValueError as error:
        raise UserError(str(error)) from error
    identity = _identity(settings, ids)
    all_tasks = [
        _Task(path, target / path.relative_to(source), item, settings) for path, item in zip(paths, plan, strict=True)
    ]
    own = {path.relative_to(source) for path in paths}
    finished = _finished(manifest_folder, target, identity, overwrite, own)
    whole = (manifest_folder / MANIFEST).is_file() and not (manifest_folder / JOURNAL).exists()
    if whole and not _still_to_do(all_tasks, finished):
        return [finished[item] for item in sorted(ids)]
    with locked(manifest_folder):
        # Looked at again: until now another process may have been at work here.
        finished = _finished(manifest_folder, target, identity, overwrite, own)
        if overwrite:
            for name in (JOURNAL, MANIFEST, "manifest.csv", PREVIEW):
                (manifest_folder / name).unlink(missing_ok=True)
        tasks = _still_to_do(all_tasks, finished)
        for folder in sorted({task.target.parent for task in tasks}):
            make_directory(folder)
            for leftover in folder.glob(f"{PARTIAL_PREFIX}*"):
                leftover.unlink()
        again = {task.plan.item for task in tasks}
        finished = {item: record for item, record in finished.items() if item not in again}
        errors = _do(tasks, manifest_folder / JOURNAL, identity, finished, workers)
        if errors:
            more = f"; and {len(errors) - _ERRORS_SHOWN} more" if len(errors) > _ERRORS_SHOWN else ""
            raise UserError(f"{len(errors)} of {len(paths)} masks failed: {'; '.join(errors[:_ERRORS_SHOWN])}{more}")
        records = [finished[item] for item in sorted(ids)]
        _write_or_explain(manifest_folder, identity, records)
    return records


def _still_to_do(tasks: Sequence[_Task], finished: Collection[str]) -> list[_Task]:
    return [task for task in tasks if task.plan.item not in finished or not _is_newer(task.target, task.source)]


def _is_newer(target: Path, source: Path) -> bool:
    """Whether ``target`` is there and was written after ``source`` last changed or was put there.

    A file that is moved or copied over another may carry an old time of modification (``cp -p``, ``mv``,
    ``rsync``); that of its inode, or of a link's, is new.
    """
    if not target.is_file() or not source.is_file():
        return False
    state, link = source.stat(), source.lstat()
    return target.stat().st_mtime_ns >= max(state.st_mtime_ns, state.st_ctime_ns, link.st_ctime_ns)


def _identity(settings: MaskFolderSettings, ids: Sequence[str]) -> dict[str, Any]:
    """Settings as the manifest keeps them, with what else decides the result: the items and the program's version."""
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
    plain = json.loads(json.dumps(asdict(settings)))
    return {"command": "masks", "version": __version__, **plain, "items": len(ids), "items_sha256": digest}


def _finished(
    folder: Path, target: Path, identity: dict[str, Any], overwrite: bool, own: set[Path]
) -> dict[str, NoiseRecord]:
    """The records of an earlier, equal run in ``folder``; an error when something else is there."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; expected a folder")
    if not folder.exists() or not {path.name for path in folder.iterdir()} - {LOCK_FILE}:
        return {}
    earlier = _earlier_run(folder)
    if earlier is not None and earlier[0] == identity and not overwrite:
        return earlier[1]
    if not overwrite:
        if earlier is None:
            raise UserError(f"{folder} is not empty and holds no noise of this command; choose another or --overwrite")
        changed = [name for name in identity if identity[name] != earlier[0].get(name)]
        was = ", ".join(f"{name} {earlier[0].get(name)} (now {identity[name]})" for name in changed[:3])
        raise UserError(f"{folder} holds masks of other settings: {was}; choose another folder or --overwrite")
    foreign = sorted({path.relative_to(target) for path in _masks_in(target)} - own)
    if foreign:
        raise UserError(f"{target} holds {foreign[0]}, which this run would not replace; choose another folder")
    return {}


def _masks_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if mask_suffix(path) and path.is_file() and path.name != PREVIEW]


def _earlier_run(folder: Path) -> tuple[dict[str, Any], dict[str, NoiseRecord]] | None:
    """Settings and records that an earlier run left as a journal (if it was cut short) or as a manifest."""
    try:
        if (folder / JOURNAL).is_file():
            lines = _whole_lines(folder / JOURNAL)
            return next(lines), {row["item"]: NoiseRecord(**row) for row in lines}
        if (folder / MANIFEST).is_file():
            content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            return content["settings"], {row["item"]: NoiseRecord(**row) for row in content["items"]}
    except (StopIteration, KeyError, TypeError, ValueError):
        return None
    return None


def _whole_lines(journal: Path) -> Iterator[Any]:
    """The journal's lines; the last one may have been cut off when the process was killed, and is left out then."""
    for line in journal.read_bytes().split(b"\n")[:-1]:
        yield json.loads(line)


def _do(
    tasks: list[_Task],
    journal: Path,
    identity: dict[str, Any],
    finished: dict[str, NoiseRecord],
    workers: int,
) -> list[str]:
    """Do the tasks, adding each record to journal and ``finished``; returns what went wrong with single masks."""
    errors = []
    try:
        with written_aside(journal) as aside:
            rows: list[Any] = [identity, *(asdict(record) for record in finished.values())]
            aside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        with open(journal, "a", encoding="utf-8") as file:
            for outcome in tqdm(_results(tasks, workers), total=len(tasks), unit="mask", desc="noise", disable=None):
                if isinstance(outcome, str):
                    errors.append(outcome)
                    continue
                finished[outcome.item] = outcome
                file.write(json.dumps(asdict(outcome)) + "\n")
                file.flush()
    except OSError as error:
        raise UserError(f"cannot write {journal}: {error.strerror or error}") from error
    return errors


def _results(tasks: list[_Task], workers: int) -> Iterator[NoiseRecord | str]:
    if workers <= 1 or len(tasks) <= 1:
        yield from map(_one_mask, tasks)
        return
    # Started afresh, not forked: a fork of a process that has run OpenCV or torch may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_start_worker)
    try:
        with _interrupts_ignored():  # the workers are started in here and inherit it
            results = pool.map(_one_mask, tasks, chunksize=4)
        yield from results
    except BrokenProcessPool as error:
        raise UserError("a worker was killed, perhaps for lack of memory; try again with fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal; only this one should answer it, with one line."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_worker() -> None:
    # One process, one core; torch, which only the distances import, reads this when it starts.
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A killed parent cannot stop its workers; they would wait for work for ever.
        threading.Thread(target=_leave_after, args=(parent,), daemon=True).start()


def _leave_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _one_mask(task: _Task) -> NoiseRecord | str:
    """Read, change, write, measure one mask. Errors of the mask come back as text, errors of writing are raised."""
    settings = task.settings
    try:
        mask = load_mask(task.source)
        if settings.mm and mask.spacing is None:
            raise UserError(f"{task.source}: --mm needs a file that knows its voxel size")
        noisy, record = apply_noise(
            mask.array,
            settings.beta,
            task.plan,
            labels=settings.labels,
            spacing=mask.spacing if settings.mm else None,
        )
    except UserError as error:
        return str(error)
    except ValueError as error:
        return f"{task.source}: {error}"
    if record.source_sha256 == record.result_sha256:
        _copy(task.source, task.target)
    else:
        save_mask(mask, noisy, task.target)
    if settings.distances and record.kind != "none":
        record.measures.update(distances(mask.array, noisy, mask.spacing, settings.labels))
    return record


def _copy(source: Path, target: Path) -> None:
    try:
        with written_aside(target) as aside:
            shutil.copyfile(source, aside)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error


def _write_or_explain(folder: Path, identity: dict[str, Any], records: list[NoiseRecord]) -> None:
    try:
        write_manifest(folder, identity, records)
        (folder / JOURNAL).unlink()
    except OSError as error:
        raise UserError(f"cannot write {folder / MANIFEST}: {error.strerror or error}") from error
