"""Work in threads: results in order, few at a time, and what is said of tasks at fault."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from seg_anl.records import UserError
from seg_anl.records.workers import _interrupts_ignored, in_processes, in_threads


def test_results_come_in_order_until_the_first_fault_and_all_faults_count() -> None:
    def square(number: int) -> int:
        if number in (3, 5):
            raise UserError(f"{number} is broken")
        return number * number

    assert list(in_threads(square, range(3), workers=2)) == [0, 1, 4]
    results = in_threads(square, range(8), workers=3)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(UserError, match=r"^3 is broken \(and 1 more failed\)$"):
        next(results)
    with pytest.raises(UserError, match=r"^3 is broken$"):
        list(in_threads(square, range(5), workers=3))


def test_no_more_tasks_are_begun_than_results_may_wait() -> None:
    begun: list[int] = []
    results = in_threads(lambda number: begun.append(number) or number, range(100), workers=4)
    assert next(results) == 0
    assert len(begun) <= 4
    results.close()
    met = threading.Barrier(4, timeout=20)  # broken unless four tasks run at once
    assert sorted(in_threads(lambda _: met.wait(), range(4), workers=4)) == [0, 1, 2, 3]


def test_one_worker_or_one_task_needs_no_process() -> None:
    for tasks, workers in ((range(3), 1), (range(1), 4)):
        assert list(in_processes(lambda _: os.getpid(), tasks, workers)) == [os.getpid()] * len(tasks)


def test_workers_start_with_interrupts_ignored() -> None:
    before = signal.getsignal(signal.SIGINT)
    with _interrupts_ignored():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before
