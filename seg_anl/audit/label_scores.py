"""Score how likely each label is wrong, and estimate the transition matrix between classes.

Confident learning and the label-quality scores are cleanlab's; Northcutt et al., Confident Learning: Estimating
Uncertainty in Dataset Labels, JAIR 2021. The ``fit`` of a robust network during training is our own score.
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
    "self_confidence": "1 - p(given), from cleanlab",
    "normalized_margin": "(1 + max over other classes of p - p(given)) / 2, from cleanlab",
    "confidence_weighted_entropy": "1 - the entropy of p over -log p(given), scaled by cleanlab to [0, 1]",
    "fit": "1 - mean over the epochs of p(given) on the training sample itself; needs record=dynamics",
}
_MIN_LEAD = 0.1  # over the most frequent class's share: below it a network is not trusted
OUT_OF_SAMPLE_SCORE, IN_SAMPLE_SCORE = "self_confidence", "fit"  # the best scores in docs/audit_labels.md


@dataclass(frozen=True, eq=False)
class LabelAudit:
    """Results of an audit of N labels of K classes.

    Attributes:
        scores: the available scores of :data:`SCORES` by name, each ``(N,)``; higher is more likely wrong.
        score: name of the score used for ranking.
        suggested: most probable class ``(N,)``.
        suspected: labels that confident learning flags as wrong ``(N,)``.
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
        """Positions, most suspicious first; ties keep the order of the data set."""
        return np.argsort(-self.scores[self.score], kind="stable")


def audit_labels(source: LabelSource) -> LabelAudit:
    """Score all labels of a source.

    Raises:
        UserError: if cleanlab is not installed.
    """
    find_issues, quality_scores, count = _import_cleanlab()
    labels, probabilities = source.labels, source.probabilities
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes with few samples
        confident_joint = count.compute_confident_joint(labels, probabilities)
        _, noise_matrix, _ = count.estimate_latent(confident_joint, labels)
        joint = count.estimate_joint(labels, probabilities, confident_joint=confident_joint)
        suspected = np.asarray(find_issues(labels, probabilities, confident_joint=confident_joint, n_jobs=1))
        scores = {
            name: 1.0 - np.asarray(quality_scores(labels, probabilities, method=name), dtype=np.float64)
            for name in SCORES
            if name != "fit"
        }
    if source.fit is not None:
        scores["fit"] = 1.0 - source.fit
    score = IN_SAMPLE_SCORE if IN_SAMPLE_SCORE in scores else OUT_OF_SAMPLE_SCORE
    suggested = probabilities.argmax(axis=1)
    transition = _normalize_rows(noise_matrix.T)
    return LabelAudit(scores, score, suggested, suspected, transition, float(1.0 - np.trace(joint)))


def _normalize_rows(transition: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows that sum to 1; identity rows for classes without samples."""
    clean = np.nan_to_num(np.asarray(transition, dtype=np.float64)).clip(min=0)
    empty = clean.sum(axis=1) == 0
    clean[empty] = np.eye(len(clean))[empty]
    rows: NDArray[np.float64] = clean / clean.sum(axis=1, keepdims=True)
    return rows


def _import_cleanlab() -> tuple[Callable[..., Any], Callable[..., Any], Any]:
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
    if agreed >= most + _MIN_LEAD:
        return []
    return [
        f"the predictions agree with {agreed:.0%} of the labels, the most frequent class alone with {most:.0%}: such "
        "networks know too little to accuse"
    ]
