"""A sample of the hostile inputs; ``python -m benchmarks.hostile.run`` runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from .processes import Process, module


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits of memory are those of Linux")
def test_hostile_inputs_end_in_a_result_or_in_one_line() -> None:
    process = Process(module("benchmarks.hostile.run", "--sample", "30", "--seed", "2"), Path(__file__).parents[1])
    assert process.wait(600) == 0, process.out + process.err
