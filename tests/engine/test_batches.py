"""Batches that a seed and an epoch decide, and that processes share."""

from __future__ import annotations

import pytest
import torch

from seg_anl.engine.batches import ResidentBatches
from seg_anl.engine.distribution import Process
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


def batches(size: int, seed: int, rank: int = 0, world_size: int = 1) -> ResidentBatches:
    process = Process(CPU, rank, world_size)
    return ResidentBatches(INDEX[:, None].expand(-1, 3), INDEX, Added(), size, seed, process)


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
