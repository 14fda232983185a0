"""The model card: data, annotation noise, loss, training settings and metrics of a network."""

from __future__ import annotations

from omegaconf import DictConfig

import seg_anl
from seg_anl.records import read_metrics
from seg_anl.records.files import file_sha256
from seg_anl.records.runs import METRICS_FILE

from .deployable import Deployable

CARD = "README.md"

# Licenses of the data sets that this package names.
TERMS = {
    "embedded": "ISIC-2017 challenge (Codella et al., 2017), CC0 1.0",
    "isic2017": "ISIC-2017 challenge (Codella et al., 2017), CC0 1.0",
    "digits": "scikit-learn's digits (UCI Optical Recognition of Handwritten Digits), CC BY 4.0",
}


def model_card(model: Deployable) -> str:
    """The card in Markdown."""
    config, summary = model.config, model.summary
    channels, height, width = model.shape
    k = min(summary["k"], summary["epochs"])
    epoch, exported = _metrics_of_weights(model)
    rows = [
        f"| {name} | {f'{exported[name]:.4f}' if name in exported else ''} | {values['last_k_mean']:.4f} |"
        for name, values in summary["metrics"].items()
        if "/marginal_" not in name
    ]
    chosen = f", chosen as the epoch with the best {summary['headline']}" if model.weights.stem == "best" else ""
    counts = ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in summary["counts"].items())
    terms = TERMS.get(str(config.data.name), "unknown to this program; the terms of the data also apply to the weights")
    return "\n".join(
        [
            f"# {config.task} by {config.loss.name}",
            "",
            f"Trained by seg_anl {seg_anl.__version__} on annotations that may be wrong. For research use;",
            "not a medical device.",
            "",
            "## Input and output",
            "",
            f"float32 images (N, {channels}, {height}, {width}), {'RGB' if channels == 3 else 'gray'},",
            "with values from 0 to 255, resized bilinearly. Output: logits of " + ", ".join(model.classes) + ".",
            "",
            "## Data",
            "",
            f"`data={config.data.name}`. Counts: {counts}.",
            "",
            "## Annotation noise",
            "",
            f"Added in training: {_settings(config.noise)}.",
            "",
            "## Loss and training",
            "",
            f"Loss: {_settings(config.loss)}. Network: {_settings(config.model)}.",
            f"{config.epochs} epochs, batches of {config.batch_size}, {_settings(config.optim)}; seed {config.seed}.",
            "",
            f"Weights: checkpoints/{model.weights.name} of the run, SHA-256 {file_sha256(model.weights)},",
            f"after epoch {epoch + 1} of {config.epochs}{chosen}.",
            "",
            "## Metrics",
            "",
            f"| metric | epoch {epoch + 1} | mean of the last {k} epochs |",
            "|---|---|---|",
            *rows,
            "",
            f"Headline metric: {summary['headline']}. Test annotations are assumed to be correct.",
            "",
            "## License",
            "",
            f"Data: {terms}. Code and configuration: Apache-2.0.",
            "",
        ]
    )


def _metrics_of_weights(model: Deployable) -> tuple[int, dict[str, float]]:
    """The epoch of the weights (from 0) and the metrics measured after it."""
    rows = read_metrics(model.weights.parents[1] / METRICS_FILE)
    summary = model.summary
    epoch = rows[-1].epoch
    if model.weights.stem == "best":
        epoch = summary["metrics"][summary["headline"]]["best_epoch"]
    return epoch, {f"{row.split}/{name}": row.values[name] for row in rows if row.epoch == epoch for name in row.values}


def _settings(group: DictConfig) -> str:
    return ", ".join(f"{name!s}={value}" for name, value in group.items())
