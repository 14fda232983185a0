"""Write the files that make a fold's folder a run directory: config, environment, metrics and summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from seg_anl.records import MetricRow, write_json, write_metrics, write_text
from seg_anl.records.provenance import provenance, write_environment
from seg_anl.records.runs import CONFIG_FILE, ENVIRONMENT_FILE, METRICS_FILE, SUMMARY_FILE, finished_summary

LAST_K = 10
PACKAGES = ("seg-anl", "nnunetv2", "dynamic_network_architectures", "batchgeneratorsv2", "torch", "numpy")


class RunRecord:
    """Writes the files of a run with configuration ``config`` into ``folder``."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder, self.config = folder, config

    def begin(self, device: torch.device, processes: int, epoch: int) -> None:
        """Write config.yaml and environment.json; a run resumed at ``epoch`` > 0 appends its environment."""
        write_text(self.folder / CONFIG_FILE, OmegaConf.to_yaml(OmegaConf.create(dict(self.config))))
        write_environment(self.folder / ENVIRONMENT_FILE, environment(device, processes), resumed_at=epoch)

    def write_rows(self, rows: Sequence[MetricRow]) -> None:
        """Rewrite metrics.csv."""
        write_metrics(self.folder / METRICS_FILE, rows)

    def finish(self, rows: Sequence[MetricRow], counts: dict[str, int], loss_state: dict[str, float]) -> None:
        """Write summary.json, which marks the run as finished."""
        write_json(
            self.folder / SUMMARY_FILE,
            finished_summary(self.config, rows, headline="test/dice", k=LAST_K, counts=counts, loss_state=loss_state),
        )


def environment(device: torch.device, processes: int) -> dict[str, Any]:
    """Versions, device, threads, git revision (if any) and command line."""
    return {
        **provenance(PACKAGES, Path(__file__).parent),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": processes,
        "threads": torch.get_num_threads(),
    }
