"""Run tasks in threads or in spawned processes, which end with their parent and stay quiet on Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import TypeVar

from .errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_threads(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """Yield results in task order; at most ``workers`` results are held in memory.

    Raises:
        UserError: at the end, with the first task's error and the number of others.
    """
    errors: list[UserError] = []
    for outcome in tried_in_threads(function, tasks, workers):
        if isinstance(outcome, UserError):
            errors.append(outcome)
        elif not errors:
            yield outcome
    if errors:
        raise UserError(f"{errors[0]}" + (f" (and {len(errors) - 1} more failed)" if errors[1:] else ""))


def tried_in_threads(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[Result | UserError]:
    """Like :func:`in_threads`, but yield the error of a failed task instead of its result."""

    def tried(task: Task) -> Result | UserError:
        try:
            return function(task)
        except UserError as error:
            return error

    waiting: deque[Future[Result | UserError]] = deque()
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for task in tasks:
            waiting.append(pool.submit(tried, task))
            if len(waiting) >= workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def in_processes(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """Yield results in task order, from ``workers`` processes; with one worker, from this process.

    Raises:
        UserError: if a process was killed.
    """
    if workers <= 1 or len(tasks) <= 1:
        yield from map(function, tasks)
        return
    # spawn, because a fork of a process that has run OpenCV or torch may hang
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_start_worker)
    try:
        with _interrupts_ignored():  # inherited by the workers, which start here
            results = pool.map(function, tasks, chunksize=2)
        yield from results
    except BrokenProcessPool as error:
        raise UserError("a worker was killed, perhaps because memory ran out; try fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal; only the parent should report it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_worker() -> None:
    import cv2  # slow to import, and only workers need it

    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A killed parent cannot stop its workers, which would wait for work forever.
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
