"""The lowest layer, without torch: errors, atomic files, seeds, manifests, run directories, configuration folder."""

from .atomic import make_directory, write_bytes, write_csv, write_json, write_text, written_aside
from .configuration import config_folder
from .errors import UserError, exit_with_error, nearest_names, run_command
from .manifest import NoiseRecord, array_digest, write_manifest
from .ranges import is_number, is_whole_number
from .runs import METRICS_KEYS, SUMMARY_SCHEMA, MetricRow, metric_summary, parse_metrics, read_metrics, write_metrics
from .seeds import chosen_items, fold_items, item_generator, item_hash, item_id

__all__ = [
    "METRICS_KEYS",
    "SUMMARY_SCHEMA",
    "MetricRow",
    "NoiseRecord",
    "UserError",
    "array_digest",
    "chosen_items",
    "config_folder",
    "exit_with_error",
    "fold_items",
    "is_number",
    "is_whole_number",
    "item_generator",
    "item_hash",
    "item_id",
    "make_directory",
    "metric_summary",
    "nearest_names",
    "parse_metrics",
    "read_metrics",
    "run_command",
    "write_bytes",
    "write_csv",
    "write_json",
    "write_manifest",
    "write_metrics",
    "write_text",
    "written_aside",
]
