"""Reproducible random numbers: seeds, generators per epoch, and states of global generators for checkpoints."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from seg_anl.records import item_hash


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def epoch_generator(seed: int, epoch: int, purpose: str) -> torch.Generator:
    """A generator that depends only on its arguments, so an epoch can be repeated without those before it."""
    return torch.Generator().manual_seed(item_hash(seed, str(epoch), purpose) % 2**63)


def random_states() -> dict[str, Any]:
    """The states of the global generators, as lists and tensors for ``torch.load(weights_only=True)``."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # type: ignore[misc]
    version, internal, gauss_next = random.getstate()
    return {
        "python": [version, list(internal), gauss_next],
        "numpy": [name, [int(key) for key in keys], position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Restore the result of :func:`random_states`; CUDA states only if there are as many devices."""
    version, internal, gauss_next = states["python"]
    random.setstate((version, tuple(internal), gauss_next))
    name, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
