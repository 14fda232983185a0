"""How the training set is divided."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seg_anl.engine.distribution import Process
from seg_anl.engine.division import divided
from seg_anl.engine.settings import DivisionSettings, RunSettings
from seg_anl.records import UserError, chosen_items


def test_tuning_on_images_that_are_all_left_out_is_refused(tmp_path: Path) -> None:
    """Otherwise a search would choose by the test images."""
    items, run = list("abcdefgh"), RunSettings(epochs=1, task="", preset="", seed=0, batch_size=1)
    drawn = chosen_items(items, 0.25, 3, "tuning")
    (tmp_path / "one.txt").write_text(min(drawn))
    (tmp_path / "all.txt").write_text("\n".join(drawn))

    def division(name: str):
        data = DivisionSettings(tuning=0.25, exclude_file=str(tmp_path / name))
        return divided(items, run, data, 3, Process(torch.device("cpu")))

    assert [items[position] for position in division("one.txt").tuning] == [max(drawn)]
    with pytest.raises(UserError, match=r"all\.txt, data\.tuning=0\.25: no training image is left to tune on"):
        division("all.txt")
