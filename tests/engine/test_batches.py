"""Batches that a seed and an epoch decide, and that processes share."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seg_anl.engine.batches import ResidentBatches, placed
from seg_anl.engine.distribution import Process
from seg_anl.engine.settings import RunSettings
from seg_anl.records import UserError

CPU = torch.device("cpu")
INDEX = torch.arange(10, dtype=torch.uint8)


class Added:
    """Adds a drawn number below 1 to every image."""

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        return torch.rand(count, generator=generator)

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, draws: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return images + draws[:, None], targets


def run_settings(size: int, **changes: Any) -> RunSettings:
    return RunSettings(task="t", preset="p", seed=1, epochs=1, batch_size=size, **changes)


def batches(size: int, seed: int, rank: int = 0, world_size: int = 1, **changes: Any) -> ResidentBatches:
    process, sizes = Process(CPU, rank, world_size), run_settings(size, **changes).batch_sizes(len(INDEX), world_size)
    return ResidentBatches(INDEX[:, None].expand(-1, 3), INDEX, Added(), sizes, seed, process)


def order(data: ResidentBatches, epoch: int) -> list[int]:
    return [int(i) for _, targets in data.epoch(epoch) for i in targets]


def test_an_epoch_can_be_repeated_without_those_before_it() -> None:
    walked = [order(batches(3, 1), epoch) for epoch in range(3)]
    assert order(batches(3, 1), 2) == walked[2]
    assert walked[0] != walked[1]
    assert all(len(set(epoch)) == 9 for epoch in walked)
    assert order(batches(3, 2), 0) != walked[0]


def test_images_targets_and_draws_stay_together_over_processes_and_epochs() -> None:
    def drawn(rank: int = 0, world_size: int = 1, epoch: int = 1) -> dict[int, float]:
        found = {}
        for images, targets in batches(4, 1, rank, world_size).epoch(epoch):
            assert torch.equal(images[:, 2].floor().long(), targets.long())
            found |= {int(target): float(image[0] % 1) for image, target in zip(images, targets, strict=True)}
        return found

    whole = drawn()
    assert len(set(whole.values())) == 8
    assert drawn(0, 2) | drawn(1, 2) == whole
    assert drawn(epoch=2) != whole


def test_processes_share_a_batch_without_overlap() -> None:
    one = order(batches(4, 0), 0)[:4]
    parts = [order(batches(4, 0, rank, 2), 0)[:2] for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == sorted(one)
    with pytest.raises(UserError, match="cannot be shared by 3"):
        batches(4, 0, 0, 3)


def test_the_last_batch_is_kept_on_request() -> None:
    kept = list(batches(4, 1, drop_last=False).epoch(0))
    assert [len(targets) for _, targets in kept] == [4, 4, 2]
    assert sorted(int(i) for _, targets in kept for i in targets) == list(range(10))
    for (images, _), (same, _) in zip(kept, batches(4, 1).epoch(0), strict=False):
        assert torch.equal(images, same)
    parts = [order(batches(4, 1, rank, 2, drop_last=False), 0) for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == list(range(10))
    with pytest.raises(UserError, match=r"the last batch, of 1 images \(see drop_last\)"):
        batches(3, 1, 0, 3, drop_last=False)


@pytest.mark.parametrize(("images", "steps"), [(50_000, 391), (60_000, 469)])
def test_steps_of_the_published_protocols(images: int, steps: int) -> None:
    assert len(run_settings(128, drop_last=False).batch_sizes(images, 1)) == steps
    assert len(run_settings(128).batch_sizes(images, 1)) == steps - 1


def test_indexed_batches_end_with_positions() -> None:
    data = ResidentBatches(INDEX[:, None], INDEX, Added(), [4, 4], 1, Process(CPU), INDEX + 0.5, indexed=True)
    for _, targets, weights, positions in data.epoch(0):
        assert torch.equal(positions, targets.long())
        assert torch.equal(weights, targets + 0.5)


def test_the_memory_of_all_tensors_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (400, 1000))  # a quarter of 400 bytes may be used
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    images, soft_targets = torch.zeros(60, dtype=torch.uint8), torch.zeros(15, dtype=torch.float32)
    assert [tensor.device for tensor in placed(torch.device("cuda"), images, soft_targets)] == [CPU, CPU]
