"""The declaration of a kind of label noise, the registry, and noise by a kind's name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, ParamSpec, TypeAlias

from numpy.typing import NDArray

from seg_anl.records import nearest_names
from seg_anl.records.ranges import Fraction, PositiveFraction, Seed, complaint

from ..discovery import import_modules
from .label_report import LabelReport

Counts = Literal["exact", "cell", "class", "iid"]
FlipsOf = Literal["mnist", "cifar10", "cifar100"]
Superclass = Literal["index", "semantic"]
Features = Literal["raw", "normalized"]
Noisy: TypeAlias = tuple[NDArray[Any], LabelReport]  # (N,) labels of the clean ones' dtype
Given = ParamSpec("Given")

_ORDER = ("symmetric", "asymmetric", "pair_flip", "matrix", "part_dependent", "prediction_error", "human")


@dataclass(frozen=True)
class LabelNoiseSettings:
    """The settings of all kinds, see their functions; None: not one of this kind, or its default."""

    kind: str  # a name of label_kinds()
    num_classes: int
    rate: Fraction | None = None
    seed: Seed | None = None
    counts: Counts | None = None
    dataset: FlipsOf | None = None
    reflip: bool | None = None
    bidirectional: bool | None = None
    superclass: Superclass | None = None
    pairs: bool | None = None
    features: Features | None = None
    rate_std: PositiveFraction | None = None
    labels: str | None = None  # a name of HUMAN_LABELS

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


class LabelKind(NamedTuple):
    """A declared kind of label noise, see :func:`label_noise`."""

    meaning: str
    needs: str | None
    parameters: frozenset[str]  # the settings that its function takes
    options: frozenset[str]  # its settings, but kind and number of classes
    required: frozenset[str]  # those without a default
    make: Callable[..., Noisy]


_DECLARED: dict[str, LabelKind] = {}


def label_noise(
    name: str, *, meaning: str, needs: str | None = None, options: Collection[str] = ()
) -> Callable[[Callable[Given, Noisy]], Callable[Given, Noisy]]:
    """Declare the decorated function as a kind of label noise; annotations check its arguments.

    It takes the labels, the array it needs (if any), the number of classes, and settings of
    :class:`LabelNoiseSettings`.

    Args:
        name: for ``--kind`` and ``noise.kind``.
        meaning: in one line, for the help.
        needs: the array of :class:`LabelNoiseInputs` that it needs.
        options: settings of the kind that its function does not take.
    """

    def declare(function: Callable[Given, Noisy]) -> Callable[Given, Noisy]:
        signature = inspect.signature(function, eval_str=True)

        @functools.wraps(function)
        def checking(*args: Given.args, **kwargs: Given.kwargs) -> Noisy:
            for argument, value in signature.bind(*args, **kwargs).arguments.items():
                wrong = complaint(argument, signature.parameters[argument].annotation, value)
                if wrong:
                    raise ValueError(wrong)
            return function(*args, **kwargs)

        settings = list(signature.parameters.values())[2 if needs is None else 3 :]
        required = frozenset(setting.name for setting in settings if setting.default is setting.empty)
        parameters = frozenset(setting.name for setting in settings)
        _DECLARED[name] = LabelKind(meaning, needs, parameters, parameters.union(options), required, checking)
        return checking

    return declare


def label_kinds() -> dict[str, LabelKind]:
    """Every declared kind: those of the papers, then others by name."""
    import_modules("data_prep.label_noise")
    return {name: _DECLARED[name] for name in (*_ORDER, *sorted(_DECLARED.keys() - set(_ORDER)))}


def label_kind(name: str) -> LabelKind:
    """The kind of this name, or a ValueError."""
    kinds = label_kinds()
    if name not in kinds:
        raise ValueError(f"no kind of label noise {name!r}; {nearest_names(name, kinds)}")
    return kinds[name]


def apply_label_noise(
    labels: NDArray[Any], settings: LabelNoiseSettings, inputs: LabelNoiseInputs | None = None
) -> Noisy:
    """Make a label vector noisy by the settings and the ``inputs`` that the kind needs.

    Raises:
        ValueError: an unknown kind, a setting that it does not have, a missing setting or input, or an error of its
            function.

    >>> import numpy as np
    >>> settings = LabelNoiseSettings("pair_flip", num_classes=3, rate=0.5, seed=1)
    >>> apply_label_noise(np.array([0, 0, 1, 1, 2, 2]), settings)[1].confusion.tolist()
    [[1, 1, 0], [0, 1, 1], [1, 0, 1]]
    """
    kind = label_kind(settings.kind)
    options = {name: value for name, value in settings.given().items() if name not in ("kind", "num_classes")}
    foreign = sorted(options.keys() - kind.options)
    if foreign:
        raise ValueError(f"{settings.kind} noise has no setting {', '.join(foreign)}")
    missing = sorted(kind.required - options.keys())
    if missing:
        raise ValueError(f"{settings.kind} noise needs a {' and a '.join(missing)}")
    arrays = [] if kind.needs is None else [getattr(inputs, kind.needs, None)]
    if any(array is None for array in arrays):
        raise ValueError(f"{settings.kind} noise needs {kind.needs}")
    taken = {name: value for name, value in options.items() if name in kind.parameters}
    return kind.make(labels, *arrays, settings.num_classes, **taken)
