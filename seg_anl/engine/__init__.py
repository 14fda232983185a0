"""The training loop both trainers share, with its checkpoints, run directories and distribution."""

from .batches import ResidentBatches, check_batch_size
from .command import compose, hydra_command
from .distribution import Process, is_main_process, started
from .ledger import Metrics
from .loop import LoopSettings, Task, Training, fit, fit_together
from .optimization import OptimSettings
from .run_directory import RunDirectory, run_path, settings_digest
from .settings import (
    check_seeds_and_workers,
    check_switches,
    check_tuning_share,
    check_whole_numbers,
    checked_records,
    listed,
    loss_from_config,
    of_each_seed,
)

__all__ = [
    "LoopSettings",
    "Metrics",
    "OptimSettings",
    "Process",
    "ResidentBatches",
    "RunDirectory",
    "Task",
    "Training",
    "check_batch_size",
    "check_seeds_and_workers",
    "check_switches",
    "check_tuning_share",
    "check_whole_numbers",
    "checked_records",
    "compose",
    "fit",
    "fit_together",
    "hydra_command",
    "is_main_process",
    "listed",
    "loss_from_config",
    "of_each_seed",
    "run_path",
    "settings_digest",
    "started",
]
