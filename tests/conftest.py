"""One thread of a process for numbers, and tests marked ``cuda`` left out where there is no GPU."""

from __future__ import annotations

import os

import pytest

# Before torch is imported: on tensors this small threads cost more than they bring, and tests fork (processes.py).
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("nnUNet_def_n_proc", "1")  # nnU-Net reads it as it is imported


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch  # imported late: a second that most runs of a single file do without

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))
