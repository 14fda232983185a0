"""Checkpoints: everything that a run needs to continue as if it had never stopped."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seg_anl.records import MetricRow, UserError, is_whole_number, written_aside
from seg_anl.records.errors import reason_of
from seg_anl.records.foreign_files import check_regular

from .randomness import random_states, restore_random_states

CHECKPOINT_SCHEMA = 1


def save_checkpoint(path: Path, *, epoch: int, rows: list[MetricRow], parts: Mapping[str, Any]) -> None:
    """Write the states of ``parts`` (model, loss, optimizer, ...) and of the generators, ``epoch`` and ``rows``."""
    state = {
        "schema": CHECKPOINT_SCHEMA,
        "epoch": epoch,
        "rows": [asdict(row) for row in rows],
        "random": random_states(),
        **{name: _on_host(part.state_dict()) for name, part in parts.items()},
    }
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()  # waits for the copies of _on_host
    with written_aside(path) as aside:
        torch.save(state, aside)


def load_checkpoint(path: Path, *, device: torch.device, parts: Mapping[str, Any]) -> tuple[int, list[MetricRow]]:
    """Restore ``parts`` and the generators; returns the number of finished epochs and their rows."""
    state = read_checkpoint(path, device)
    try:
        epoch, rows = state["epoch"], [MetricRow(**row) for row in state["rows"]]
        _check_rows(epoch, rows)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        restore_random_states(state["random"])
    except Exception as error:  # wrong content raises errors of any type
        raise UserError(f"{path}: does not fit this configuration: {reason_of(error)}") from error
    return epoch, rows


def load_model(path: Path, model: nn.Module, device: torch.device) -> None:
    """Restore only the network, for prediction.

    Raises:
        UserError: also if its weights are not finite.
    """
    state = read_checkpoint(path, device)
    try:
        model.load_state_dict(state["model"])
    except Exception as error:  # as above
        raise UserError(f"{path}: does not fit this network: {reason_of(error)}") from error
    if not is_finite(model):
        raise UserError(f"{path}: its weights are not finite: the run diverged, or the file is damaged")


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of a checkpoint; no code in the file is executed."""
    if not os.path.lexists(path):
        raise UserError(f"{path}: no such checkpoint")
    _check_sums(path)
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:  # its message recommends weights_only=False, which executes code
        raise UserError(f"{path}: not a readable checkpoint: damaged, or not only tensors and numbers") from error
    except Exception as error:  # damaged files raise errors of any type
        raise UserError(f"{path}: not a readable checkpoint: {reason_of(error)}") from error
    schema = state.get("schema") if isinstance(state, dict) else None
    if not is_whole_number(schema) or schema != CHECKPOINT_SCHEMA:
        raise UserError(f"{path}: not a checkpoint of this project (schema {CHECKPOINT_SCHEMA} expected)")
    return state  # type: ignore[no-any-return]


def is_finite(*modules: nn.Module) -> bool:
    """Whether all weights and buffers are finite numbers."""
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    finite = [tensor.isfinite().all() for tensor in tensors if tensor.is_floating_point()]
    return not finite or bool(torch.stack(finite).all())


def _check_sums(path: Path) -> None:
    """Verify the archive's checksums, which torch ignores, and refuse compressed parts, which may expand a lot."""
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            # torch silently reads nothing from an entry with the attributes of a folder
            stored = all(entry.compress_type == entry.external_attr == 0 for entry in entries)
            if not stored or sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise ValueError("torch did not write this archive")
            damaged = archive.testzip()
    except Exception as error:  # as above
        raise UserError(f"{path}: not a readable checkpoint: {reason_of(error)}") from error
    if damaged is not None:
        raise UserError(f"{path}: damaged: wrong checksum of {damaged}; delete the file to continue without it")


def _check_rows(epoch: Any, rows: list[MetricRow]) -> None:
    if not is_whole_number(epoch) or {row.epoch for row in rows} != set(range(epoch)):
        raise ValueError("the metrics are not those of its epochs")
    for row in rows:
        if not isinstance(row.split, str) or not all(isinstance(value, (int, float)) for value in row.values.values()):
            raise ValueError("a metric is not a number")


def _on_host(state: Any) -> Any:
    """``state`` with asynchronous host copies of GPU tensors, and copies of views: torch saves their whole storage."""
    if isinstance(state, Tensor):
        if state.is_cuda:
            return torch.empty_like(state, device="cpu", pin_memory=True).copy_(state, non_blocking=True)
        return state.clone() if state.untyped_storage().nbytes() > state.nbytes else state
    if isinstance(state, Mapping):
        return {key: _on_host(value) for key, value in state.items()}
    return state
