"""How likely each label is wrong, and how often each class is mistaken for each other one.

Confident learning and the label-quality scores are cleanlab's; Northcutt et al., Confident Learning: Estimating
Uncertainty in Dataset Labels, JAIR 2021. The fit of a robust network in the course of its training is ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError

from .label_sources import LabelSource

SCORES = {
    "self_confidence": "1 - p(given); of cleanlab",
    "normalized_margin": "(1 + max over other classes of p - p(given)) / 2; of cleanlab",
    "confidence_weighted_entropy": "1 - the entropy of p over -log p(given), scaled by cleanlab to [0, 1]",
    "fit": "1 - mean over the epochs of p(given) on the training sample itself; needs record=dynamics",
}
_AHEAD = 0.1  # of the most frequent class: less than that, and a network is not believed
OUT_OF_SAMPLE_SCORE, IN_SAMPLE_SCORE = "self_confidence", "fit"  # the best in docs/audit_labels.md


@dataclass(frozen=True, eq=False)
class LabelAudit:
    """What is found out about N labels of K classes.

    Attributes:
        scores: ``(N,)`` by name of :data:`SCORES`, as far as they are known; higher: more likely wrong.
        score: the name of the one that items are ranked by.
        suggested: ``(N,)`` most probable class.
        suspected: ``(N,)`` what confident learning takes to be wrong: another class is suggested.
        transition: ``(K, K)``, P(given label j | true class i); rows sum to 1.
        noise_rate: estimated share of wrong labels.
    """

    scores: dict[str, NDArray[np.float64]]
    score: str
    suggested: NDArray[np.int64]
    suspected: NDArray[np.bool_]
    transition: NDArray[np.float64]
    noise_rate: float

    @property
    def ranking(self) -> NDArray[np.int64]:
        """Positions, the most suspicious first; equal scores in the order of the data set."""
        return np.argsort(-self.scores[self.score], kind="stable")


def audit_labels(source: LabelSource) -> LabelAudit:
    """Score all labels of a source.

    Raises:
        UserError: where cleanlab is not installed.
    """
    find, quality, counting = _cleanlab()
    labels, probabilities = source.labels, source.probabilities
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with few samples; the counts are in the report
        joint = counting.compute_confident_joint(labels, probabilities)
        _, noise, _ = counting.estimate_latent(joint, labels)
        shares = counting.estimate_joint(labels, probabilities, confident_joint=joint)
        suspected = np.asarray(find(labels, probabilities, confident_joint=joint, n_jobs=1))
        scores = {
            name: 1.0 - np.asarray(quality(labels, probabilities, method=name), dtype=np.float64)
            for name in SCORES
            if name != "fit"
        }
    if source.fit is not None:
        scores["fit"] = 1.0 - source.fit
    score = IN_SAMPLE_SCORE if IN_SAMPLE_SCORE in scores else OUT_OF_SAMPLE_SCORE
    suggested = probabilities.argmax(axis=1)
    return LabelAudit(scores, score, suggested, suspected, _rows(noise.T), float(1.0 - np.trace(shares)))


def _rows(transition: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows that sum to 1 exactly enough; the identity for a class that no sample is of."""
    clean = np.nan_to_num(np.asarray(transition, dtype=np.float64)).clip(min=0)
    empty = clean.sum(axis=1) == 0
    clean[empty] = np.eye(len(clean))[empty]
    rows: NDArray[np.float64] = clean / clean.sum(axis=1, keepdims=True)
    return rows


def _cleanlab() -> tuple[Callable[..., Any], Callable[..., Any], Any]:
    try:
        from cleanlab import count
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise UserError("seg-anl-audit labels needs cleanlab: pip install 'seg-anl[audit]'") from error
    return find_label_issues, get_label_quality_scores, count


def doubts(source: LabelSource) -> list[str]:
    """A remark where networks are hardly ahead of one that always names the most frequent class."""
    labels = source.labels
    agreed, most = np.mean(source.probabilities.argmax(axis=1) == labels), np.bincount(labels).max() / len(labels)
    if agreed >= most + _AHEAD:
        return []
    return [
        f"the predictions agree with {agreed:.0%} of the labels, the most frequent class alone with {most:.0%}: such "
        "networks know too little to accuse"
    ]
