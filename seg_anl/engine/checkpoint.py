"""Checkpoints: everything a run needs to go on as if it had never stopped, whole on the disk or not there."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seg_anl.records import MetricRow, UserError, written_aside

from .randomness import random_states, restore_random_states

CHECKPOINT_SCHEMA = 1


def save_checkpoint(path: Path, *, epoch: int, rows: list[MetricRow], parts: Mapping[str, Any]) -> None:
    """Write the state of ``parts`` (model, loss, optimizer, ...), the generators, finished epochs and rows."""
    state = {
        "schema": CHECKPOINT_SCHEMA,
        "epoch": epoch,
        "rows": [asdict(row) for row in rows],
        "random": random_states(),
        **{name: _owned(part.state_dict()) for name, part in parts.items()},
    }
    with written_aside(path) as aside:
        torch.save(state, aside)


def load_checkpoint(path: Path, *, device: torch.device, parts: Mapping[str, Any]) -> tuple[int, list[MetricRow]]:
    """Restore ``parts`` and the generators; returns the number of finished epochs and their rows.

    Raises:
        UserError: when the file is damaged or belongs to another network.
    """
    state = read_checkpoint(path, device)
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: does not fit this configuration: {_first_line(error)}") from error
    restore_random_states(state["random"])
    return state["epoch"], [MetricRow(**row) for row in state["rows"]]


def load_model(path: Path, model: nn.Module, device: torch.device) -> int:
    """Restore the network alone; returns the number of finished epochs.

    Raises:
        UserError: as :func:`load_checkpoint`.
    """
    state = read_checkpoint(path, device)
    try:
        model.load_state_dict(state["model"])
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{path}: does not fit this network: {_first_line(error)}") from error
    return int(state["epoch"])


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """The raw state; tensors only, nothing in the file is executed.

    Raises:
        UserError: when it cannot be read or is not a checkpoint of this project.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: not a readable checkpoint: {_first_line(error)}") from error
    if not isinstance(state, dict) or state.get("schema") != CHECKPOINT_SCHEMA:
        raise UserError(f"{path}: not a checkpoint of this project (schema {CHECKPOINT_SCHEMA} expected)")
    return state


def _owned(state: Any) -> Any:
    """``state`` with copies instead of tensors that are parts of larger ones, which would be saved whole."""
    if isinstance(state, Tensor):
        return state.clone() if state.untyped_storage().nbytes() > state.nbytes else state
    if isinstance(state, Mapping):
        return {key: _owned(value) for key, value in state.items()}
    return state


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
