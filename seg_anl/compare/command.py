"""The command ``seg-anl-compare``: will a robust loss help on these data?"""

from __future__ import annotations

import importlib.util
import shlex
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

from seg_anl.interrupt import end_quietly_while_importing
from seg_anl.records import UserError, make_directory, run_command, write_json
from seg_anl.records.command_line import OneLineParser, positive_int, refuse_overlap
from seg_anl.records.foreign_files import read_json
from seg_anl.records.lock import locked
from seg_anl.records.runs import SUMMARY_FILE

from .plan import NNUNET, Method, Plan, planned

PROGRAM = "seg-anl-compare"
DESCRIPTION = """\
Train cross entropy and robust losses on the data in a folder, each a few times and shortly, and say whether one is
ahead by more than the spread of seeds; then how many annotations look wrong, and what to run next. DATA is
  images and masks, in any layout of seg-anl-train data=folder;
  an nnU-Net raw data set (trained by seg-anl-train data=nnunet);
  train/CLASS and test/CLASS, as seg-anl-classify data=imagefolder reads them.
Losses are compared on the test images where DATA has some, else on a fifth held out of the training images.

OUT gets compare.html (one page that needs nothing else), compare.json, audit/ and runs/. The same command carries on
where it was stopped; more --losses or --seeds add to what is there."""
EXAMPLE = """\
examples:
  seg-anl-compare DATA
  seg-anl-compare DATA data.size=128 epochs=40 --losses ce anl_ce t_loss --seeds 5
  seg-anl-compare PICTURES model=resnet34 --losses ce 'anl_ce optim.l1=5e-5 optim.weight_decay=0'
  seg-anl-compare nnUNet_raw/Dataset501_X --dry-run"""
_COMMANDS = "commands.json"  # of OUT: the settings of each run in it
_MANY_WRONG = 0.05  # of the annotations: mending comes first
_LEARNED = 0.5  # Dice below which a comparison says little


def main() -> None:
    """Entry point of ``seg-anl-compare``."""
    end_quietly_while_importing(PROGRAM)
    parser = OneLineParser(prog=PROGRAM, description=DESCRIPTION, epilog=EXAMPLE)
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder of the data")
    add("settings", nargs="*", metavar="SETTING=VALUE", help="of the trainer, for all runs; right after DATA")
    add(
        "--losses", nargs="+", default=[], metavar="LOSS", help="first the reference, then the one the verdict is about"
    )
    add("--seeds", type=positive_int, default=3, metavar="N", help="runs of each loss (default: %(default)s)")
    add("--out", type=Path, default=Path("compare"), metavar="OUT", help="folder for the results (default: compare)")
    add("--dry-run", action="store_true", help="print the commands and run none")
    arguments = parser.parse_args()
    run_command(PROGRAM, lambda: compare(arguments))


def compare(arguments: Namespace) -> None:
    """Do what the command line asks for.

    Raises:
        UserError: for anything wrong with the input, or a run that failed.
    """
    plan, out = planned(arguments.data, arguments.losses, arguments.seeds, arguments.settings), arguments.out
    refuse_overlap(arguments.data, out)
    if arguments.dry_run:
        for name, words in plan.runs.items():
            print(shlex.join([plan.kind.program, *words, f"run_dir={out / 'runs' / name}"]))
        return
    make_directory(out)
    with locked(out):
        remember(out / _COMMANDS, plan.runs)
        for number, (name, words) in enumerate(plan.runs.items(), 1):
            train(plan, words, out / "runs" / name, f"[{number}/{len(plan.runs)}] {name}")
        conclude(plan, out)


def remember(path: Path, runs: dict[str, list[str]]) -> None:
    """Note the settings of all runs, so that no result of others is taken for theirs.

    Raises:
        UserError: where a finished run of the same name had others, or the file is damaged.
    """
    known = read_json(path) if path.is_file() else {}
    if not isinstance(known, dict):
        raise UserError(f"{path}: damaged: expected the settings of runs; delete {path.parent}")
    for name, words in runs.items():
        finished = (path.parent / "runs" / name / SUMMARY_FILE).is_file()
        if finished and known.get(name) != words:
            before = " ".join(known.get(name, ["unknown"]))
            raise UserError(f"{path.parent} holds {name} with other settings ({before}); name another --out")
    write_json(path, {**known, **runs})


def train(plan: Plan, words: list[str], run: Path, title: str) -> None:
    """Train one run unless it is finished; epochs are shown on the standard error.

    Raises:
        UserError: when the trainer fails; it has said why.
    """
    if not (run / SUMMARY_FILE).is_file():
        print(f"{title}: training", flush=True)
        start = time.monotonic()
        make_directory(run)  # the path of an existing folder needs no quotes
        call([plan.kind.module, *words, f"run_dir={run}"])
        title = f"{title}: {time.monotonic() - start:.0f} s"
    metric, value = scored(run)
    print(f"{title}: {metric} {value:.4f}", flush=True)


def call(words: list[str]) -> None:
    """Run a module of this package in a process of its own, without its standard output.

    Raises:
        UserError: when it fails; it has said why on the standard error.
    """
    done = subprocess.run([sys.executable, "-m", *words], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise UserError(f"failed, as said above: python -m {shlex.join(words)}")


def scored(run: Path) -> tuple[str, float]:
    """The name of a run's headline metric and its mean over the last epochs, as its summary.json says.

    Raises:
        UserError: for a damaged summary.
    """
    try:
        summary = read_json(run / SUMMARY_FILE)
        return str(summary["headline"]), float(summary["metrics"][summary["headline"]]["last_k_mean"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run / SUMMARY_FILE}: damaged ({error}); delete that folder") from error


def conclude(plan: Plan, out: Path) -> None:
    """Say what came out, audit the annotations, and write the page."""
    from .page import write_page
    from .verdict import Difference, sentence

    reference, ours = plan.methods[:2]
    metric, _ = scored(out / "runs" / f"{ours.name}-seed1")
    values = {m.name: [scored(out / "runs" / f"{m.name}-seed{s}")[1] for s in plan.seeds] for m in plan.methods}
    differences = {name: Difference.paired(each, values[reference.name]) for name, each in values.items()}
    verdict = sentence(ours.name, reference.name, differences[ours.name], metric)
    best = max(map(statistics.fmean, values.values()))
    if plan.kind.audit == "masks" and best < _LEARNED:
        verdict += f" But no network has learned much ({metric} {best:.2f} at best): take more epochs."
    share, estimate = audit(plan, out)
    ahead = differences[ours.name].clear and differences[ours.name].mean > 0
    following = next_command(plan, out, ours if ahead else reference, share)
    found = {
        "verdict": verdict, "metric": metric, "tested_on": plan.tested, "scores": values,
        "differences": {name: each.as_dict() for name, each in differences.items() if name != reference.name},
        "audit": estimate, "next": following, "settings": plan.common,
    }  # fmt: skip
    write_page(out / "compare.html", plan, found, differences)
    write_json(out / "compare.json", found)
    print(f"\n{verdict}\nTested on {plan.tested}.\n{estimate}\npage      {out / 'compare.html'}\nnext      {following}")


def audit(plan: Plan, out: Path) -> tuple[float, str]:
    """The estimated share of wrong annotations (NaN: unknown), and what to say of it."""
    name = plan.methods[1].name
    run, target = out / "runs" / f"{name}-seed1", out / "audit"
    if plan.kind.audit == "labels" and importlib.util.find_spec("cleanlab") is None:
        return float("nan"), "How many labels are wrong is not estimated: it needs pip install 'seg-anl[audit]'."
    source = [str(run), str(target)]
    if plan.kind == NNUNET:
        predicted = str(out / "predictions")
        call(["seg_anl.segmentation.predict", str(run), str(plan.data / "imagesTr"), predicted, "--overwrite"])
        source = [predicted, str(target), "--masks", str(plan.data)]
    call(["seg_anl.audit.command", plan.kind.audit, *source])
    found = read_json(target / "audit.json")
    where = f"by {name}, which has been trained on them; look at {target / 'review.html'}"
    if plan.kind.audit == "labels":
        return found["noise_rate"], f"Estimated wrong labels: {found['noise_rate']:.0%}, {where}."
    wrong = found["wrong"]
    limits = f"{wrong['value']:.0%} ({wrong['low']:.0%} to {wrong['high']:.0%})"
    return wrong["low"], f"Estimated wrong masks: {limits}, {where}."


def next_command(plan: Plan, out: Path, best: Method, share: float) -> str:
    """Mend the annotations where many look wrong; else train longer with what is ahead."""
    if share > _MANY_WRONG:
        action = "--ignore" if plan.kind.audit == "masks" else "--drop"
        return f"seg-anl-audit apply {shlex.quote(str(out / 'audit'))} MENDED {action}   (after a look at review.html)"
    full = [word for word in plan.common if word not in plan.kind.short and not word.startswith("epochs=")]
    return shlex.join([plan.kind.program, *full, *best.words])


if __name__ == "__main__":
    main()
