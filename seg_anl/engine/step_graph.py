"""A training step as one CUDA graph (``graph=true``): the host starts it with one call in place of hundreds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UP = 3  # steps in which convolutions are chosen, graphs of the compiler made and memory is taken

Step = Callable[..., None]
"""Takes the tensors of a batch; changes weights and statistics in place, and asks the device for nothing."""


def replayed(step: Step) -> Step:
    """``step`` for one epoch: plain for the first batches, then captured, then replayed for batches of that shape.

    Made anew each epoch, since what is a number to Python is fixed in the graph: the learning rate, a loss's schedule.
    The caller's current stream must not be the default one.
    """
    held: list[Tensor] = []
    replay: Callable[[], None] | None = None
    plain = 0

    def once(*batch: Tensor) -> None:
        nonlocal replay, plain
        if plain < WARM_UP or (replay is not None and [one.shape for one in batch] != [one.shape for one in held]):
            plain += 1
            step(*batch)
            return
        if replay is None:
            held.extend(one.clone() for one in batch)
            replay = _captured(step, held)
        else:
            for own, new in zip(held, batch, strict=True):
                own.copy_(new)
        replay()

    return once


def _captured(step: Step, held: Sequence[Tensor]) -> Callable[[], None]:
    """A graph of ``step``, which is not executed meanwhile. Threads that load data may go on with CUDA."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
        step(*held)
    return graph.replay
