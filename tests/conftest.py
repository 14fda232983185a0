"""One thread of a process for numbers, and tests marked ``cuda`` left out where there is no GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Before torch is imported: on tensors this small threads cost more than they bring, and tests fork (processes.py).
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("nnUNet_def_n_proc", "1")  # nnU-Net reads it as it is imported


@pytest.fixture(scope="module")
def _no_pictures_of_runs() -> Iterator[None]:
    """Skip report.png: it takes two thirds of a tiny run, and the tests of segmentation look at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seg_anl.segmentation.experiment.save_report", lambda *_: None)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch  # imported late: a second that most runs of a single file do without

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))
