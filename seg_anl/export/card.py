"""The model card: what a network was trained on, through which noise, by which loss, and how good it is."""

from __future__ import annotations

from omegaconf import DictConfig

import seg_anl
from seg_anl.records.files import file_sha256

from .deployable import Deployable

CARD = "README.md"

# Of the data sets whose terms are known.
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
    rows = [
        f"| {name} | {values['last']:.4f} | {values['last_k_mean']:.4f} |"
        for name, values in summary["metrics"].items()
        if "/marginal_" not in name
    ]
    counts = ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in summary["counts"].items())
    terms = TERMS.get(str(config.data.name), "not known to this program: those of the data hold for the weights, too")
    return "\n".join(
        [
            f"# {config.task} by {config.loss.name}",
            "",
            f"Trained by seg_anl {seg_anl.__version__} through annotations some of which are wrong. Research use;",
            "not a medical device.",
            "",
            "## Input and output",
            "",
            f"float32 images (N, {channels}, {height}, {width}), {'RGB' if channels == 3 else 'gray'},",
            "with values from 0 to 255, resized bilinearly. Logits of the classes " + ", ".join(model.classes) + ".",
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
            f"Weights: checkpoints/{model.weights.name} of the run, SHA-256 {file_sha256(model.weights)}.",
            "",
            "## Metrics",
            "",
            f"| metric | last epoch | mean of the last {k} epochs |",
            "|---|---|---|",
            *rows,
            "",
            f"Judged by {summary['headline']}. Test annotations are taken as right.",
            "",
            "## License",
            "",
            f"Data: {terms}. Program and configuration: Apache-2.0.",
            "",
        ]
    )


def _settings(group: DictConfig) -> str:
    return ", ".join(f"{name!s}={value}" for name, value in group.items())
