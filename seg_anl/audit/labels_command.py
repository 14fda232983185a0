"""``seg-anl-audit labels``: find wrong class labels and suggest better ones."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from seg_anl.records import UserError
from seg_anl.records.atomic import remove_partial
from seg_anl.records.command_line import refuse_overlap
from seg_anl.records.lock import is_ours, locked

HELP = "find wrong class labels"
DESCRIPTION = """\
Rank labels by how likely they are wrong. SOURCE is a folder of
  fold runs of seg-anl-classify (folds=5), or a single run (record=[predictions,dynamics]; reported as in-sample);
  or two arrays, probabilities.npy (N, K) and labels.npy (N,), optionally with images.npy.

Written to OUT: audit.csv (worst first), audit.json, transition.csv (for loss=forward loss.transition=FILE), exclude.txt
(for data.exclude_file=FILE), pairs/ (sample images per pair of given and suggested class) and review.html."""
EXAMPLE = """\
examples:
  seg-anl-classify data=cifar10 noise=none loss=ce folds=5
  seg-anl-audit labels runs/classification/cifar10/none/ce/default audit
  seg-anl-classify data=cifar10 noise=none loss=ce record=[predictions,dynamics] run_dir=one
  seg-anl-audit labels one audit"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this sub-command."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a run, or a folder of fold runs or of two arrays")
    parser.add_argument("out", type=Path, metavar="OUT", help="output folder")


def run(arguments: Namespace) -> int:
    """Run the sub-command; returns the exit status.

    Raises:
        UserError: for bad input.
    """
    from .label_report import write_report
    from .label_scores import audit_labels, doubts
    from .label_sources import open_labels

    source = open_labels(arguments.source)
    _check_out(arguments.source, arguments.out)
    audit = audit_labels(source)
    source.remarks.extend(doubts(source))
    with locked(arguments.out):
        remove_partial(arguments.out)
        write_report(arguments.out, source, audit, arguments.source)
    seen = "seen in training" if source.in_sample else "not seen in training"
    print(f"{len(source.items)} labels of {len(source.classes)} classes, {seen} ({source.kind})")
    for remark in source.remarks:
        print(remark)
    print(f"estimated wrong: {audit.noise_rate:.1%}; ranked by {audit.score}; {int(audit.suspected.sum())} suspected")
    print(f"look at   {arguments.out / 'review.html'}")
    print(f"train     data.exclude_file={arguments.out / 'exclude.txt'}")
    print(f"or        loss=forward loss.transition={arguments.out / 'transition.csv'}")
    print(f"or        loss=el loss.epsilon={audit.noise_rate:.3f}")
    return 0


def _check_out(source: Path, out: Path) -> None:
    """Refuse an output folder that overlaps the source or holds anything but an audit of labels."""
    refuse_overlap(source, out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file")
    known = {"audit.csv", "audit.json", "exclude.txt", "transition.csv", "pairs", "pictures", "review.html"}
    paths = out.iterdir() if out.exists() else ()
    foreign = sorted(path.name for path in paths if path.name not in known and not is_ours(path))
    if foreign:
        raise UserError(f"{out} holds {foreign[0]}, which is not part of an audit; choose a new folder")
