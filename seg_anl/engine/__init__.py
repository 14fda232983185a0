"""The training loop both trainers share, with its checkpoints, run directories and distribution."""

from .command import compose, config_folder, hydra_command
from .distribution import Process, is_main_process, started
from .loop import LoopSettings, Metrics, Task, fit
from .optimisation import OptimSettings
from .run_directory import RunDirectory, settings_digest

__all__ = [
    "LoopSettings",
    "Metrics",
    "OptimSettings",
    "Process",
    "RunDirectory",
    "Task",
    "compose",
    "config_folder",
    "fit",
    "hydra_command",
    "is_main_process",
    "settings_digest",
    "started",
]
