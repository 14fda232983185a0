"""``seg-anl-audit masks``: find wrong segmentation masks."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from seg_anl.records import UserError, make_directory
from seg_anl.records.atomic import remove_partial
from seg_anl.records.command_line import positive_int, refuse_overlap, worker_count
from seg_anl.records.lock import is_ours, locked

HELP = "find wrong segmentation masks"
DESCRIPTION = """\
Compare masks with predictions of networks that have not seen them, and report which masks are wrong and how. SOURCE is
  an nnU-Net result folder (.../nnUNetTrainer__nnUNetPlans__2d) with validation predictions of its folds;
  a folder of fold runs of seg-anl-train, or a single run (reported as in-sample);
  any folder of class probabilities (.npz, .npy) or predicted masks named like the masks.

Written to OUT: audit.csv (worst first), structures.csv, components.csv, audit.json, overview.png and the review page
review.html. Running it again processes only what has changed, and resumes after a kill."""
EXAMPLE = """\
examples:
  nnUNetv2_train 501 2d FOLD --npz          for the folds 0 to 4, then
  seg-anl-audit masks nnUNet_results/Dataset501_X/nnUNetTrainer__nnUNetPlans__2d audit --workers 4
  seg-anl-audit masks probabilities audit --masks masks --images images --by table.csv annotator"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this sub-command."""
    add = parser.add_argument
    add("source", type=Path, metavar="SOURCE", help="predictions, in one of the layouts above")
    add("out", type=Path, metavar="OUT", help="output folder")
    add("--masks", type=Path, metavar="DIR", help="the annotations: a folder, or an nnU-Net raw data set")
    add("--images", type=Path, metavar="DIR", help="the images, if SOURCE and the masks do not lead to them")
    add("--ignore", type=int, metavar="N", help="mask value to ignore")
    add("--tolerance", type=float, metavar="X", help="tolerated distance in mm (or pixels; default: two elements)")
    add("--by", nargs=2, metavar=("CSV", "COLUMN"), help="table with a column item: shares per annotator or site")
    add("--show", type=positive_int, default=500, metavar="N", help="cases on the page (default: the 500 worst)")
    add("--workers", type=worker_count, default=1, metavar="N", help="processes; does not affect the result")


def run(arguments: Namespace) -> int:
    """Run the sub-command; returns the exit status.

    Raises:
        UserError: for bad input.
    """
    from .masks_report import read_groups, summarize, write_report
    from .sources import open_source
    from .streaming import JOURNAL, score_cases

    if arguments.tolerance is not None and not 0 <= arguments.tolerance < float("inf"):
        raise UserError(f"--tolerance must be a number of at least 0, not {arguments.tolerance}")
    out: Path = arguments.out
    for folder in (arguments.source, arguments.masks, arguments.images):
        if folder is not None:
            refuse_overlap(folder, out)
    if out.is_dir() and not (out / JOURNAL).exists() and any(not is_ours(path) for path in out.iterdir()):
        raise UserError(f"{out} is not empty and is not an audit of masks; choose a new folder")
    groups = read_groups(Path(arguments.by[0]), arguments.by[1]) if arguments.by else None
    source = open_source(arguments.source, arguments.masks, arguments.images, arguments.ignore)
    example = source.cases[0]
    if groups is not None and not any(groups.get(case.item) for case in source.cases):
        raise UserError(f"--by: none of its items is a case; an example of a case is {example.item}")
    refuse_overlap(source.raw or example.mask.parent, out)
    print(f"{len(source.cases)} cases ({source.kind}), {'in-sample' if source.in_sample else 'not seen in training'}")
    for remark in source.remarks:
        print(f"note: {remark}")
    make_directory(out)
    with locked(out):
        remove_partial(out)
        (out / "audit.json").unlink(missing_ok=True)  # an earlier audit may have had other masks
        rows = score_cases(source, out, arguments.tolerance, arguments.workers)
        audit = summarize(rows, source, groups)
        names = ("source", "masks", "images")
        paths = {name: None if (path := getattr(arguments, name)) is None else str(path.resolve()) for name in names}
        settings = {**paths, "ignore": source.labels.ignore, "tolerance": arguments.tolerance}
        write_report(out, audit, source, settings, show=arguments.show, workers=arguments.workers)
    print(audit.summary)
    print(f"look at   {out / 'review.html'}")
    return 0
