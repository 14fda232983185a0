"""Noise that depends only on the class: symmetric, asymmetric, pair flip, any transition matrix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seg_anl.records.ranges import Fraction, Seed

from .label_kind import Counts, FlipsOf, Noisy, Superclass, label_noise
from .label_report import checked_labels, random_stream, with_report
from .transitions import (
    CIFAR10_FLIPS,
    CIFAR10_PAIRS,
    MNIST_FLIPS,
    Flip,
    both_ways,
    checked_matrix,
    cifar100_groups,
    circular_flips,
    flips_matrix,
    symmetric_matrix,
)

DATASET_CLASSES = {"mnist": 10, "cifar10": 10, "cifar100": 100}
OfMatrix = Literal["exact", "cell", "iid"]  # how many samples go from class to class


@label_noise("symmetric", meaning="into all other classes alike")
def symmetric(
    labels: NDArray[Any], num_classes: int, rate: Fraction, *, counts: Counts = "cell", seed: Seed = 0
) -> Noisy:
    """Turn a share of each class into the other classes, evenly.

    Args:
        labels, num_classes, rate, seed: as in all kinds; below, K classes and n_c samples of class c.
        counts: ``"exact"``: ``round(rate * n_c)`` samples of class c, spread as evenly as possible.
            ``"cell"``: ``int(rate / (K - 1) * n_c)`` samples of class c become each other class (Active Negative
            Loss). Rounding down has a price: with 500 samples in each of 100 classes, 0.1 gives no noise at all.
            ``"class"``: ``int(rate * N / K)`` samples of each class, whatever its size, each to a random other class
            (Active Passive Loss). ``"iid"``: a draw for each sample.

    Raises:
        ValueError: ``"class"`` with a class smaller than its count.

    >>> _, report = symmetric(np.arange(50000) % 10, 10, 0.4)
    >>> round(report.realised, 6), int(report.confusion[0, 1])
    (0.3996, 222)
    """
    clean = checked_labels(labels, num_classes)
    stream = random_stream(seed)
    if counts == "class":
        noisy = _equal_count_per_class(clean, num_classes, rate, stream)
    else:
        noisy = _by_matrix(clean, symmetric_matrix(num_classes, rate), counts, stream)
    return with_report(labels, noisy, num_classes)


@label_noise("asymmetric", meaning="into look-alikes: the published flips of MNIST, CIFAR-10, CIFAR-100")
def asymmetric(
    labels: NDArray[Any],
    num_classes: int,
    rate: Fraction,
    *,
    dataset: FlipsOf,
    counts: OfMatrix = "cell",
    reflip: bool = False,
    bidirectional: bool = False,
    superclass: Superclass = "index",
    pairs: bool = False,
    seed: Seed = 0,
) -> Noisy:
    """Turn classes into look-alikes, by the published flips of a data set.

    The rate is that of each source class; half the classes of MNIST and CIFAR-10 have no flip, so about half of it is
    realized overall.

    Args:
        labels, num_classes, rate, seed: as in all kinds.
        dataset: ``"mnist"``, ``"cifar10"`` or ``"cifar100"``, of ``num_classes`` classes.
        counts: ``"exact"``, ``round(rate * n_c)``; ``"cell"``, ``int(rate * n_c)``; or ``"iid"``.
        reflip: CIFAR-10 as in Active Passive Loss, Asymmetric Loss Functions and Sparse Regularization: flips are
            applied in turn to the current labels, so "dogs" that are flipped cats are flipped back.
        bidirectional: CIFAR-10 as in Equal Loss: truck <-> automobile, bird <-> airplane, deer <-> horse, cat <-> dog.
        superclass: CIFAR-100, ``"index"`` or ``"semantic"``, see
            :func:`data_prep.label_noise.transitions.cifar100_groups`.
        pairs: CIFAR-100 as in Equal Loss: two classes of every superclass, drawn with the seed, flip into each other.
            Otherwise each class flips into the next of its superclass, the last into the first.

    Raises:
        ValueError: an option that the data set does not have.

    >>> _, report = asymmetric(np.arange(50000) % 10, 10, 0.4, dataset="cifar10", reflip=True)
    >>> round(report.realised, 2), [round(report.class_rates[c], 2) for c in (3, 5)]
    (0.18, [0.24, 0.4])
    """
    clean = checked_labels(labels, num_classes)
    _check_dataset(dataset, num_classes, reflip or bidirectional, pairs or superclass != "index")
    if reflip and (bidirectional or counts != "cell"):
        raise ValueError("reflip goes with counts 'cell', and not with bidirectional")
    stream = random_stream(seed)
    if reflip:
        return with_report(labels, _one_after_the_other(clean, CIFAR10_FLIPS, rate, stream), num_classes)
    flips: Iterable[Flip] = MNIST_FLIPS
    if dataset == "cifar10":
        flips = both_ways(CIFAR10_PAIRS) if bidirectional else CIFAR10_FLIPS
    elif dataset == "cifar100":
        flips = _cifar100_flips(superclass, pairs, stream)
    matrix = flips_matrix(num_classes, flips, rate)
    return with_report(labels, _by_matrix(clean, matrix, counts, stream), num_classes)


@label_noise("pair_flip", meaning="each class into the next, the last into the first")
def pair_flip(
    labels: NDArray[Any], num_classes: int, rate: Fraction, *, counts: OfMatrix = "cell", seed: Seed = 0
) -> Noisy:
    """Turn a share of each class into the next class, of the last into the first.

    Reference: Han et al., Co-teaching, NeurIPS 2018.
    """
    flips = circular_flips([range(num_classes)]) if num_classes > 1 else []
    matrix = flips_matrix(num_classes, flips, rate)
    return transition(labels, matrix, num_classes, counts=counts, seed=seed)


@label_noise("matrix", meaning="by a transition matrix of your own", needs="matrix")
def transition(
    labels: NDArray[Any], matrix: NDArray[Any], num_classes: int, *, counts: OfMatrix = "cell", seed: Seed = 0
) -> Noisy:
    """Change labels by a transition matrix.

    Args:
        labels, num_classes, seed: as in all kinds.
        matrix: (K, K), rows sum to 1; the share of a clean class (row) that becomes a label (column).
        counts: ``"cell"``: ``int(matrix[c, j] * n_c)`` samples each; ``"exact"``: rounded so that the number of changes
            of each class is right; ``"iid"``: a draw for each sample.
    """
    clean = checked_labels(labels, num_classes)
    noisy = _by_matrix(clean, checked_matrix(matrix, num_classes), counts, random_stream(seed))
    return with_report(labels, noisy, num_classes)


def _by_matrix(
    clean: NDArray[np.int64], matrix: NDArray[np.float64], counts: str, stream: np.random.RandomState
) -> NDArray[np.int64]:
    if counts == "iid":
        # One multinomial draw per sample, as published; one call for many samples would draw differently.
        draws = (stream.multinomial(1, matrix[label]).argmax() for label in clean)
        return np.fromiter(draws, np.int64, len(clean))
    noisy = clean.copy()
    for source, row in enumerate(matrix):
        pool = np.flatnonzero(clean == source)
        numbers = (row * len(pool)).astype(np.int64)
        if counts == "exact":
            numbers = _rounded(np.where(np.arange(len(row)) == source, 0, row) * len(pool), stream)
        for target in np.flatnonzero(numbers):
            if target != source:
                chosen = stream.choice(len(pool), numbers[target], replace=False)
                noisy[pool[chosen]] = target
                pool = np.delete(pool, chosen)
    return noisy


def _rounded(wanted: NDArray[np.float64], stream: np.random.RandomState) -> NDArray[np.int64]:
    """Integers that sum to the rounded sum of ``wanted``: the largest fractions are rounded up, ties at random."""
    numbers = wanted.astype(np.int64)
    order = np.lexsort((stream.random_sample(len(wanted)), numbers - wanted))
    numbers[order[: round(float(wanted.sum())) - int(numbers.sum())]] += 1
    return numbers


def _equal_count_per_class(
    clean: NDArray[np.int64], num_classes: int, rate: float, stream: np.random.RandomState
) -> NDArray[np.int64]:
    number = int(rate * len(clean)) // num_classes
    sizes = np.bincount(clean, minlength=num_classes)
    if sizes.min() < number:
        smallest = int(sizes.argmin())
        raise ValueError(
            f"counts 'class' takes {number} samples of every class, but class {smallest} has {sizes[smallest]}: "
            "use 'exact' or 'iid'"
        )
    pools = (np.flatnonzero(clean == label) for label in range(num_classes))
    chosen = np.concatenate([stream.choice(pool, number, replace=False) for pool in pools])
    other = stream.randint(0, num_classes - 1, size=len(chosen))
    noisy = clean.copy()
    noisy[chosen] = other + (other >= clean[chosen])  # skip the class itself
    return noisy


def _one_after_the_other(
    clean: NDArray[np.int64], flips: Iterable[Flip], rate: float, stream: np.random.RandomState
) -> NDArray[np.int64]:
    noisy = clean.copy()
    for source, target in flips:
        pool = np.flatnonzero(noisy == source)  # of the current labels, so flips can go back
        noisy[stream.choice(pool, int(rate * len(pool)), replace=False) if len(pool) else pool] = target
    return noisy


def _cifar100_flips(superclass: str, pairs: bool, stream: np.random.RandomState) -> list[Flip]:
    groups = cifar100_groups(superclass)
    if not pairs:
        return circular_flips(groups)
    chosen = (stream.choice(group, 2, replace=False) for group in groups)
    return both_ways((int(first), int(second)) for first, second in chosen)


def _check_dataset(dataset: str, num_classes: int, cifar10_options: bool, cifar100_options: bool) -> None:
    if num_classes != DATASET_CLASSES[dataset]:
        raise ValueError(
            f"the flips of {dataset} are for {DATASET_CLASSES[dataset]} classes, these labels have {num_classes}"
        )
    if cifar10_options and dataset != "cifar10":
        raise ValueError(f"reflip and bidirectional are for cifar10, not for {dataset}")
    if cifar100_options and dataset != "cifar100":
        raise ValueError(f"superclass 'semantic' and pairs are for cifar100, not for {dataset}")
