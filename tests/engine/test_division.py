"""How the training set is divided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seg_anl.engine.division import Division, divided
from seg_anl.engine.settings import DivisionSettings, RunSettings
from seg_anl.records import UserError, chosen_items

ITEMS = list("abcdefgh")


def division(**data: Any) -> Division:
    run = RunSettings(epochs=1, task="", preset="", seed=0, batch_size=1)
    return divided(ITEMS, run, DivisionSettings(**data), 3, 1)


def test_tuning_on_images_that_are_all_left_out_is_refused(tmp_path: Path) -> None:
    """Otherwise a search would choose by the test images."""
    drawn = chosen_items(ITEMS, 0.25, 3, "tuning")
    (tmp_path / "one.txt").write_text(min(drawn))
    (tmp_path / "all.txt").write_text("\n".join(drawn))

    tuning = division(tuning=0.25, exclude_file=str(tmp_path / "one.txt")).tuning
    assert [ITEMS[position] for position in tuning] == [max(drawn)]
    with pytest.raises(UserError, match=r"data\.tuning=0\.25, .*all\.txt: no training image is left to tune on"):
        division(tuning=0.25, exclude_file=str(tmp_path / "all.txt"))


def test_a_group_or_weights_that_leave_nothing_to_train_on(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("\n".join(["item,group", *(f"{item},one" for item in ITEMS)]))
    with pytest.raises(UserError, match=r"data\.tuning=0\.1, data\.groups_file=.*g\.csv: no training image is left"):
        division(tuning=0.1, groups_file=str(tmp_path / "g.csv"))
    (tmp_path / "w.csv").write_text("\n".join(["item,weight", *(f"{item},0" for item in ITEMS)]))
    with pytest.raises(UserError, match=r"w\.csv: the weights of all images to train on are 0"):
        division(weights_file=str(tmp_path / "w.csv"))
