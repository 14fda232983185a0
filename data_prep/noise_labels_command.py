"""``seg-anl-noise labels``: its arguments and output."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.records.array_files import has_array, read_array, read_matrix
from seg_anl.records.command_line import positive_int
from seg_anl.records.ranges import checked

from .label_noise import HUMAN_LABELS, LabelNoiseInputs, LabelNoiseSettings, NoisyLabels, label_kinds, read_human_labels
from .label_noise.class_noise import DATASET_CLASSES
from .label_noise.label_folder import LABELS, make_label_noise, refuse_own_input
from .label_noise.label_kind import Counts, Features, LabelKind, Superclass, label_kind
from .label_noise.label_report import checked_labels

_FILES = ("matrix", "softmax", "human")
_SETTINGS = [field.name for field in fields(LabelNoiseSettings) if field.name not in ("kind", "num_classes", "seed")]
_CHOICES = {"dataset": list(DATASET_CLASSES), "labels": list(HUMAN_LABELS)}
_NOTABLE = 0.01  # of the rate asked: a larger shortfall of a class is mentioned

_DESCRIPTION = """\
Write a noisy copy of training labels: labels.npy (same data type), manifest.csv and manifest.json (what was done to
which sample, realized rates, SHA-256), confusion.csv and confusion.png.

SRC is an .npy file of labels, or an .npz file with y_train (and x_train, for part_dependent). Test labels are neither
read nor written. The result depends on the labels, their order, the settings and the seed alone."""

_EXAMPLE = """\
examples:
  seg-anl-noise labels cifar10.npz noisy --kind symmetric --rate 0.4 --seed 0
  seg-anl-noise labels cifar10.npz noisy --kind asymmetric --dataset cifar10 --rate 0.4 --reflip
  seg-anl-noise labels cifar10.npz noisy --kind human --human CIFAR-10_human.pt --human-labels worst"""


def add_arguments(sub_commands: Any) -> None:
    """Add the parser of this sub-command."""
    kinds = label_kinds()
    width = max(map(len, kinds))
    meanings = "\n".join(f"  {name:{width}}  {kind.meaning}" for name, kind in kinds.items())
    parser = sub_commands.add_parser(
        "labels",
        help="noisy copies of class labels",
        description=_DESCRIPTION,
        epilog=f"kinds:\n{meanings}\n\n{_EXAMPLE}",
    )
    add = parser.add_argument
    add("source", metavar="SRC", type=Path, help="clean labels, .npy or .npz")
    add("target", metavar="DST", type=Path, help="new folder")
    add("--kind", required=True, metavar="KIND", help="of noise, see below")
    add("--rate", type=float, help="share of labels to change, in [0, 1]; for asymmetric, of each class that flips")
    add("--seed", type=int, default=0, help="default 0")
    classes = "number of classes (default: the greatest label + 1, if no label is missing)"
    add("--classes", type=positive_int, metavar="K", help=classes)
    counts = "exact in each class (default); as published: cell (rounded down for each pair of classes), class, iid"
    add("--counts", choices=get_args(Counts), help=counts)
    add = parser.add_argument_group("asymmetric").add_argument
    add("--dataset", choices=list(DATASET_CLASSES), help="whose flips")
    add("--reflip", action="store_true", default=None, help="CIFAR-10: flip current labels in turn, as APL and SR do")
    add("--bidirectional", action="store_true", default=None, help="CIFAR-10: all four pairs both ways (Equal Loss)")
    superclass = "CIFAR-100: blocks of five ids (default, published) or the real ones"
    add("--superclass", choices=get_args(Superclass), help=superclass)
    add("--pairs", action="store_true", default=None, help="CIFAR-100: two classes of each superclass (Equal Loss)")
    add = parser.add_argument_group("other kinds").add_argument
    add("--matrix", type=Path, metavar="FILE", help="matrix: .npy, .npz, .csv or .txt; row clean, column noisy")
    features = "part_dependent: pixels unchanged (default, published) or normalized"
    add("--features", choices=get_args(Features), help=features)
    add("--rate-std", type=float, metavar="STD", help="part_dependent: spread of the samples' flip rates (default 0.1)")
    add("--softmax", type=Path, metavar="FILE", help="prediction_error: .npy or .npz, (N, K) or (epochs, N, K)")
    add("--human", type=Path, metavar="FILE", help="human: CIFAR-10_human.pt, CIFAR-100_human.pt, or an .npz")
    add("--human-labels", dest="labels", metavar="SET", help=f"human: {', '.join(HUMAN_LABELS)}")
    parser.add_argument("--overwrite", action="store_true", help="also where DST holds other labels")


def run(arguments: Namespace) -> None:
    """Run the command."""
    try:
        kind = label_kind(arguments.kind)
    except ValueError as error:
        raise UserError(str(error)) from error
    _check_options(arguments, kind)
    source, target = arguments.source, arguments.target
    labels = read_array(source, "y_train")
    settings = _settings(arguments, kind, labels)
    _check_labels(source, labels, settings.num_classes, counted=arguments.classes is not None)
    files = [path for path in map(vars(arguments).get, _FILES) if path is not None]
    refuse_own_input(target, (source, *files))
    inputs = _inputs(arguments, kind.needs, labels, settings.num_classes)
    noisy = make_label_noise(labels, settings, inputs, source=str(source), other_sources=[*map(str, files)])
    noisy.write(target, overwrite=arguments.overwrite)
    print(summary(noisy, settings))
    print(f"labels: {target / LABELS}")


def _check_options(arguments: Namespace, kind: LabelKind) -> None:
    """Refuse options of other kinds, and ask for those that this kind needs."""
    required = kind.required | ({kind.needs} & {*_FILES}) | (kind.options & {"labels"})
    for name in (*_SETTINGS, *_FILES):
        option = "--human-labels" if name == "labels" else f"--{name.replace('_', '-')}"
        given = getattr(arguments, name) is not None
        if given and name not in kind.options | {kind.needs}:
            raise UserError(f"{option} is not for --kind {arguments.kind}")
        if name in required and not given:
            choices = f", one of {', '.join(_CHOICES[name])}" if name in _CHOICES else ""
            raise UserError(f"--kind {arguments.kind} needs {option}{' FILE' if name in _FILES else choices}")


def _check_labels(source: Path, labels: NDArray[Any], num_classes: int, *, counted: bool) -> None:
    """Refuse invalid labels and, unless --classes was given (``counted``), missing ones."""
    try:
        absent = np.flatnonzero(np.bincount(checked_labels(labels, num_classes), minlength=num_classes) == 0)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
    if absent.size and not counted:  # labels from 1, or 255 for "ignore": noise would make labels of no class
        others = f" (and {absent.size - 1} more)" if absent.size > 1 else ""
        raise UserError(
            f"{source}: no label {absent[0]}{others} in 0..{num_classes - 1}; number the classes from 0 without gaps, "
            f"or confirm their number by --classes {num_classes}"
        )


def _settings(arguments: Namespace, kind: LabelKind, labels: NDArray[Any]) -> LabelNoiseSettings:
    """All settings of the kind, defaults too, for the manifest."""
    # Labels that are not integers are refused later, with the reason.
    classes = arguments.classes or (int(labels.max()) + 1 if labels.dtype.kind in "iu" and labels.size else 2)
    defaults = {"counts": "cell" if arguments.reflip else "exact", "features": "raw", "rate_std": 0.1}
    if arguments.dataset == "cifar100":
        defaults["superclass"] = "index"
    given = {name: getattr(arguments, name) for name in (*_SETTINGS, "seed") if name in kind.options}
    values = {name: defaults.get(name) if value is None else value for name, value in given.items()}
    return checked(LabelNoiseSettings, {"kind": arguments.kind, "num_classes": classes, **values})


def _inputs(arguments: Namespace, needs: str | None, labels: NDArray[Any], num_classes: int) -> LabelNoiseInputs:
    if needs == "images":
        if not has_array(arguments.source, "x_train"):
            raise UserError(f"{arguments.source}: --kind {arguments.kind} needs an .npz with x_train beside y_train")
        return LabelNoiseInputs(images=read_array(arguments.source, "x_train"))
    if needs == "softmax":
        return LabelNoiseInputs(softmax=read_array(arguments.softmax, "softmax"))
    if needs == "matrix":
        return LabelNoiseInputs(matrix=read_matrix(arguments.matrix))
    if needs == "human":
        return LabelNoiseInputs(human=read_human_labels(arguments.human, arguments.labels, labels, num_classes))
    return LabelNoiseInputs()


def summary(noisy: NoisyLabels, settings: LabelNoiseSettings) -> str:
    """Asked and realized rates, overall and per class, for the terminal."""
    report, asked = noisy.report, settings.rate or 0.0
    total = int(report.confusion.sum())
    changed = total - int(report.confusion.trace())
    said = "" if settings.rate is None else f", asked {settings.rate:g}"
    lines = [f"{settings.kind}: {changed} of {total} labels changed: {report.realised:.4f}{said}"]
    rates = [rate for rate in report.class_rates if rate is not None]
    lines.append(f"{settings.num_classes} classes, rates of a class {min(rates):.4f} to {max(rates):.4f}")
    if len(rates) < settings.num_classes:
        lines.append(f"no samples in {settings.num_classes - len(rates)} of the classes")
    if settings.counts == "cell" and asked - max(rates) > _NOTABLE * asked:
        lines.append(
            "the counts of each pair of classes are rounded down: --counts exact meets the rate in every class"
        )
    elif asked and not changed:
        remedy = "; --counts iid draws for each sample" if settings.counts else ""
        lines.append(f"too few samples in a class for this rate: nothing changed{remedy}")
    away = report.confusion.astype(np.float64)
    np.fill_diagonal(away, 0)
    if changed:
        top = away.max(axis=1).sum() / changed
        lines.append(f"{top:.0%} of a class's changed labels went to its most frequent wrong one")
    return "\n".join(lines)
