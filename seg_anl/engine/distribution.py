"""Training in one process, or under ``torchrun`` in several, each on its share of every batch."""

from __future__ import annotations

import atexit
import gc
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from seg_anl.records import UserError
from seg_anl.records.errors import one_line

LONGEST_WAIT = timedelta(days=1)
TO_CONNECT = timedelta(minutes=5)


@dataclass(frozen=True)
class Process:
    """This process's device and rank, and the number of processes."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints messages."""
        return self.rank == 0

    @property
    def machine(self) -> dict[str, Any]:
        """The entries of environment.json: name of the device, number of processes and threads."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {"device": name, "processes": self.world_size, "threads": torch.get_num_threads()}

    @property
    def described(self) -> str:
        """The device in words: a GPU with its memory, a CPU with the threads in use."""
        if self.device.type != "cuda":
            threads = torch.get_num_threads()
            return f"{self.device.type} ({threads} thread{'s' * (threads > 1)})"
        properties = torch.cuda.get_device_properties(self.device)
        return f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB)"

    @property
    def of_batch(self) -> slice:
        """This process's samples of a batch: every ``world_size``-th."""
        return slice(self.rank, None, self.world_size)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """``model``, in DistributedDataParallel if there are several processes."""
        if self.world_size == 1:
            return model
        device_ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=device_ids)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients of parameters outside DistributedDataParallel, such as those of a loss."""
        if self.world_size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= self.world_size

    def mean(self, value: Tensor) -> Tensor:
        """The mean of ``value`` over the processes."""
        if self.world_size == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.world_size

    def share(self, count: int) -> slice:
        """This process's contiguous part of ``count`` items; parts differ by one item at most."""
        if count < self.world_size:
            raise UserError(f"{count} image(s) to evaluate are too few for {self.world_size} processes")
        return slice(count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size)

    def gathered(self, part: Tensor, count: int) -> Tensor:
        """All ``count`` items in order, in every process; ``part`` is this process's :meth:`share`."""
        if self.world_size == 1:
            return part
        ends = [count * rank // self.world_size for rank in range(self.world_size + 1)]
        lengths = [end - start for start, end in itertools.pairwise(ends)]
        padded = part.new_zeros(max(lengths), *part.shape[1:], device=self.device)  # all_gather needs equal shapes
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
        return torch.cat([each[:length] for each, length in zip(parts, lengths, strict=True)]).to(part.device)

    def share_buffers(self, model: nn.Module) -> None:
        """Copy the main process's buffers, such as batch norm statistics, to every process."""
        if self.world_size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.world_size > 1:
            dist.barrier()


def is_main_process() -> bool:
    """Like :attr:`Process.is_main`, also outside :func:`started`."""
    return _environment("WORLD_SIZE", 1) == 1 or _environment("RANK", 0) == 0


def _environment(name: str, default: int) -> int:
    """A number that torchrun sets."""
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise UserError(f"{name}={text} in the environment: expected a whole number, as torchrun sets it; unset {name}")
    return int(text)


@contextmanager
def started(device: str) -> Iterator[Process]:
    """Choose the device and, under ``torchrun``, join the process group; running out of memory is a UserError.

    Args:
        device: ``"auto"`` (CUDA, else Apple's MPS, else the CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    """
    try:
        with _joined(_device(device)) as process:
            if process.device.type == "cuda":
                # Try all convolution algorithms on the first batch and use the fastest for the others. The choice, and
                # so the rounding, differs between runs.
                torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
            yield process
    except RuntimeError as error:
        # Only for GPUs does the error have its own type.
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise UserError(
            f"device={device}: out of memory; lower batch_size (or runs_per_device), or use precision=bf16"
        ) from error


@contextmanager
def _joined(chosen: torch.device) -> Iterator[Process]:
    world_size = _environment("WORLD_SIZE", 1)
    if world_size == 1:
        yield Process(chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", _environment("LOCAL_RANK", 0))
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        rank = _environment("RANK", 0)
        try:
            if rank >= world_size:
                raise ValueError(f"RANK={rank} is too large")
            store, *_ = next(rendezvous("env://", rank, world_size, timeout=TO_CONNECT))
        except Exception as error:  # each backend has its own types
            raise UserError(
                f"WORLD_SIZE={world_size} in the environment, but the processes did not connect: {one_line(error)}; "
                "start them with torchrun, or unset WORLD_SIZE if it is left over"
            ) from error
        # The others wait while the main process makes the noise, which can take longer than the default of minutes.
        store.set_timeout(LONGEST_WAIT)
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=LONGEST_WAIT)
        # One group until the process ends, because a second one could connect to the first one's store.
        atexit.register(_leave_group)
    yield Process(chosen, dist.get_rank(), world_size)


def _leave_group() -> None:
    """Before Python shuts down, after which a thread of gloo would crash on Python's lock."""
    gc.collect()  # networks in reference cycles keep the group alive
    dist.destroy_process_group()


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "meta":  # it exists, but computes nothing
            raise RuntimeError
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name}: not available on this machine; use device=cpu or device=auto") from error
    return torch.device("cpu") if device.type == "cpu" else device
