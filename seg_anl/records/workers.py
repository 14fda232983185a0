"""Work for several threads, or processes: started afresh, ended with their parent, quiet when Ctrl-C is pressed."""

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
    """The results in the order of the tasks; memory stays bounded, for at most ``workers`` wait to be taken.

    Raises:
        UserError: in the end, naming the first task at fault and how many more there are.
    """
    errors: list[UserError] = []
    for outcome in tried_in_threads(function, tasks, workers):
        if isinstance(outcome, UserError):
            errors.append(outcome)
        elif not errors:
            yield outcome
    if errors:
        raise UserError(f"{errors[0]}" + (f" (and {len(errors) - 1} more at fault)" if errors[1:] else ""))


def tried_in_threads(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[Result | UserError]:
    """As :func:`in_threads`, with the error of a task at fault in the place of its result."""

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
    """The results in the order of the tasks, from ``workers`` processes; with one worker, from this one.

    Raises:
        UserError: when a process was killed.
    """
    if workers <= 1 or len(tasks) <= 1:
        yield from map(function, tasks)
        return
    # Not forked: a fork of a process that has run OpenCV or torch may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_start_worker)
    try:
        with _interrupts_ignored():  # the workers are started in here and inherit it
            results = pool.map(function, tasks, chunksize=2)
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
    import cv2  # takes a while, and only workers need it

    cv2.setNumThreads(1)  # one process, one core
    os.environ["OMP_NUM_THREADS"] = "1"
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A killed parent cannot stop its workers; they would wait for work for ever.
        threading.Thread(target=_leave_after, args=(parent,), daemon=True).start()


def _leave_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
