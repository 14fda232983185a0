"""The kinds of label noise by name: which settings and inputs each has, and how it is made. A new kind is one entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from numpy.typing import NDArray

from seg_anl.records import nearest_names

from .class_noise import asymmetric, pair_flip, symmetric, transition
from .human_labels import human
from .instance_noise import part_dependent, prediction_error
from .report import LabelReport


@dataclass(frozen=True)
class LabelNoiseSettings:
    """What is to be done to a label vector.

    Attributes:
        kind: a name of :data:`KINDS`.
        num_classes: K.
        rate: asked share of wrong labels; None for the kinds that have none (matrix, human).
        seed: of all draws; None for human labels.
        counts, dataset, reflip, bidirectional, superclass, pairs, features, rate_std: see the kind's function. None:
            its default.
        labels: which human labels, see :data:`data_prep.label_noise.human_labels.HUMAN_LABELS`.
    """

    kind: str
    num_classes: int
    rate: float | None = None
    seed: int | None = None
    counts: str | None = None
    dataset: str | None = None
    reflip: bool | None = None
    bidirectional: bool | None = None
    superclass: str | None = None
    pairs: bool | None = None
    features: str | None = None
    rate_std: float | None = None
    labels: str | None = None

    def given(self) -> dict[str, Any]:
        """The settings that are not None, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


@dataclass(frozen=True, eq=False)
class LabelNoiseInputs:
    """Arrays that some kinds need beside the labels: (N, ...) images, softmaxes, a (K, K) matrix, (N,) human labels."""

    images: NDArray[Any] | None = None
    softmax: NDArray[Any] | None = None
    matrix: NDArray[Any] | None = None
    human: NDArray[Any] | None = None


Options = dict[str, Any]


@dataclass(frozen=True)
class LabelNoiseKind:
    """A kind of label noise.

    Attributes:
        meaning: for a person, in a line.
        options: the settings it knows beside kind and num_classes.
        required: those among them that it cannot do without.
        needs: the name of the input it needs, if any.
        make: from labels, number of classes, that input and options to noisy labels and report.
    """

    meaning: str
    options: frozenset[str]
    required: frozenset[str]
    needs: str | None
    make: Callable[[NDArray[Any], int, NDArray[Any], Options], tuple[NDArray[Any], LabelReport]]


_RATE = frozenset({"rate"})
_FLIPS = frozenset({"dataset", "reflip", "bidirectional", "superclass", "pairs"})

KINDS = {
    "symmetric": LabelNoiseKind(
        "into all other classes alike",
        frozenset({"rate", "seed", "counts"}),
        _RATE,
        None,
        lambda labels, number, _, options: symmetric(labels, number, **options),
    ),
    "asymmetric": LabelNoiseKind(
        "into look-alikes: the published flips of MNIST, CIFAR-10, CIFAR-100",
        frozenset({"rate", "seed", "counts"}) | _FLIPS,
        frozenset({"rate", "dataset"}),
        None,
        lambda labels, number, _, options: asymmetric(labels, number, **options),
    ),
    "pair_flip": LabelNoiseKind(
        "each class into the next, the last into the first",
        frozenset({"rate", "seed", "counts"}),
        _RATE,
        None,
        lambda labels, number, _, options: pair_flip(labels, number, **options),
    ),
    "matrix": LabelNoiseKind(
        "by a transition matrix of your own",
        frozenset({"seed", "counts"}),
        frozenset(),
        "matrix",
        lambda labels, number, matrix, options: transition(labels, matrix, number, **options),
    ),
    "part_dependent": LabelNoiseKind(
        "by random projections of the pixels (PDN)",
        frozenset({"rate", "seed", "features", "rate_std"}),
        _RATE,
        "images",
        lambda labels, number, images, options: part_dependent(labels, images, number, **options),
    ),
    "prediction_error": LabelNoiseKind(
        "the samples a network finds most confusable, into what it confuses them with",
        frozenset({"rate", "seed"}),
        _RATE,
        "softmax",
        lambda labels, number, softmax, options: prediction_error(labels, softmax, number, **options),
    ),
    "human": LabelNoiseKind(
        "labels by people: CIFAR-10N, CIFAR-100N",
        frozenset({"labels"}),
        frozenset(),
        "human",
        lambda labels, number, given, _: human(labels, given, number),
    ),
}


def apply_label_noise(
    labels: NDArray[Any], settings: LabelNoiseSettings, inputs: LabelNoiseInputs | None = None
) -> tuple[NDArray[Any], LabelReport]:
    """Make a label vector noisy as the settings say.

    Args:
        labels: (N,) clean integers in ``[0, settings.num_classes)``; not changed.
        settings: what to do.
        inputs: what the kind needs beside the labels.

    Returns:
        (N,) noisy labels of the same dtype, and the report.

    Raises:
        ValueError: an unknown kind, a setting it does not have or lacks, a missing input, or anything the kind's
            function says.

    >>> import numpy as np
    >>> settings = LabelNoiseSettings("pair_flip", num_classes=3, rate=0.5, seed=1)
    >>> apply_label_noise(np.array([0, 0, 1, 1, 2, 2]), settings)[1].confusion.tolist()
    [[1, 1, 0], [0, 1, 1], [1, 0, 1]]
    """
    if settings.kind not in KINDS:
        raise ValueError(f"no kind of label noise {settings.kind!r}; {nearest_names(settings.kind, KINDS)}")
    kind = KINDS[settings.kind]
    options = {name: value for name, value in settings.given().items() if name not in ("kind", "num_classes")}
    foreign = sorted(set(options) - kind.options)
    if foreign:
        raise ValueError(f"{settings.kind} noise has no setting {', '.join(foreign)}")
    missing = sorted(kind.required - set(options))
    if missing:
        raise ValueError(f"{settings.kind} noise needs a {' and a '.join(missing)}")
    needed = None if kind.needs is None else getattr(inputs, kind.needs, None)
    if kind.needs is not None and needed is None:
        raise ValueError(f"{settings.kind} noise needs {kind.needs}")
    return kind.make(labels, settings.num_classes, labels if needed is None else needed, options)
