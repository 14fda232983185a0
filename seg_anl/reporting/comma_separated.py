"""Tables as CSV for programs: one line per method and noise, numbers in full precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_anl.records import write_csv

from .tables import Table
from .wording import departures_text

COLUMNS = (
    "table",
    "task",
    "data",
    "method",
    "variant",
    "noise",
    "split",
    "metric",
    "last_k",
    "seeds",
    "mean",
    "std",
    "best",
    "published_method",
    "published_mean",
    "published_std",
    "published_runs",
    "difference",
    "difference_in_standard_errors",
    "differs_in",
    "runs",
)


def write_table_csv(table: Table, path: Path) -> None:
    """Write ``table``; accuracy and Dice are in percent, as in the papers."""
    rows = []
    for key, entries in table.rows.items():
        for column, entry in entries.items():
            row: dict[str, Any] = {
                "table": table.published.id if table.published else "",
                "task": table.key.task,
                "data": table.key.data,
                "method": key.method,
                "variant": key.variant,
                "noise": column.noise,
                "split": column.split,
                "metric": table.metric,
            }
            if entry.average and entry.cell:
                row |= {
                    "last_k": entry.cell.k(f"{column.split}/{table.metric}"),
                    "seeds": entry.average.seeds,
                    "mean": entry.average.mean,
                    "std": entry.average.std,
                    "best": int(entry.best),
                    "runs": "; ".join(str(run.path) for run in entry.cell.runs),
                }
            if entry.published:
                row |= {
                    "published_method": entry.published.method,
                    "published_mean": entry.published.mean,
                    "published_std": entry.published.std,
                    "published_runs": entry.published_runs,
                    "difference": entry.difference,
                    "difference_in_standard_errors": entry.difference_in_errors,
                    "differs_in": departures_text(entry.departures),
                }
            rows.append(row)
    write_csv(path, COLUMNS, rows)
