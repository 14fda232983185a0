"""A training step as one CUDA graph (``graph=true``), which the host launches with one call instead of hundreds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UP = 3  # steps in which convolutions are chosen, code is compiled and memory is allocated

Step = Callable[..., None]
"""Takes the tensors of a batch and updates weights and statistics in place, without synchronization."""


def replayed(step: Step) -> Step:
    """``step`` for one epoch: called for the first batches, then captured, then replayed for batches of that shape.

    Each epoch needs a new capture, because Python numbers such as the learning rate or a loss's schedule are constants
    in the graph. The current stream must not be the default one.
    """
    inputs: list[Tensor] = []
    replay: Callable[[], None] | None = None
    plain = 0

    def once(*batch: Tensor) -> None:
        nonlocal replay, plain
        if plain < WARM_UP or (replay is not None and [one.shape for one in batch] != [one.shape for one in inputs]):
            plain += 1
            step(*batch)
            return
        if replay is None:
            inputs.extend(one.clone() for one in batch)
            replay = _captured(step, inputs)
        else:
            for own, new in zip(inputs, batch, strict=True):
                own.copy_(new)
        replay()

    return once


def _captured(step: Step, inputs: Sequence[Tensor]) -> Callable[[], None]:
    """The replay of a graph of ``step``, captured without executing it; other threads may use CUDA meanwhile."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
        step(*inputs)
    return graph.replay
