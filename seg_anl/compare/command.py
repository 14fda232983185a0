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

from .plan import NNUNET, Method, Plan, make_plan

PROGRAM = "seg-anl-compare"
DESCRIPTION = """\
Train cross entropy and robust losses on a folder of data, with a few short runs each. Report whether one loss is ahead
by more than the spread of seeds, estimate how many annotations are wrong, and suggest what to run next. DATA is
  images and masks, in any layout of seg-anl-train data=folder;
  an nnU-Net raw data set (trained by seg-anl-train data=nnunet);
  train/CLASS and test/CLASS, the layout of seg-anl-classify data=imagefolder.
Losses are compared on the test images of DATA, or on a held-out fifth of the training images if it has none.

The results are OUT/compare.html (a self-contained page), OUT/compare.json, OUT/audit and OUT/runs. Run the same command
again to resume it; more --losses or --seeds only add runs."""
EXAMPLE = """\
examples:
  seg-anl-compare DATA
  seg-anl-compare DATA data.size=128 epochs=40 --losses ce anl_ce t_loss --seeds 5
  seg-anl-compare PICTURES model=resnet34 --losses ce 'anl_ce optim.l1=5e-5 optim.weight_decay=0'
  seg-anl-compare nnUNet_raw/Dataset501_X --dry-run"""
_COMMANDS = "commands.json"  # in OUT: the settings of each run
_MANY_WRONG = 0.05  # share of wrong annotations above which they should be mended first
_LEARNED = 0.5  # below this Dice a comparison means little


def main() -> None:
    """Entry point of ``seg-anl-compare``."""
    end_quietly_while_importing(PROGRAM)
    parser = OneLineParser(prog=PROGRAM, description=DESCRIPTION, epilog=EXAMPLE)
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="data folder")
    add("settings", nargs="*", metavar="SETTING=VALUE", help="trainer settings for all runs; right after DATA")
    add("--losses", nargs="+", default=[], metavar="LOSS", help="the reference, the loss under test, then any others")
    add("--seeds", type=positive_int, default=3, metavar="N", help="runs per loss (default: %(default)s)")
    add("--out", type=Path, default=Path("compare"), metavar="OUT", help="output folder (default: compare)")
    add("--dry-run", action="store_true", help="print the commands without running them")
    arguments = parser.parse_args()
    run_command(PROGRAM, lambda: compare(arguments))


def compare(arguments: Namespace) -> None:
    """Train all runs, compare their scores and audit the annotations.

    Raises:
        UserError: for bad input or a failed run.
    """
    plan = make_plan(arguments.data, arguments.losses, arguments.seeds, arguments.settings)
    out = arguments.out
    refuse_overlap(arguments.data, out)
    if arguments.dry_run:
        for name, settings in plan.runs.items():
            print(shlex.join([plan.kind.program, *settings, f"run_dir={out / 'runs' / name}"]))
        return
    make_directory(out)
    with locked(out):
        save_settings(out / _COMMANDS, plan.runs)
        for number, (name, settings) in enumerate(plan.runs.items(), 1):
            train(plan, settings, out / "runs" / name, f"[{number}/{len(plan.runs)}] {name}")
        report(plan, out)


def save_settings(path: Path, runs: dict[str, list[str]]) -> None:
    """Save the settings of all runs, so that results of other settings are never mixed in.

    Raises:
        UserError: if a finished run of the same name had other settings, or the file is damaged.
    """
    saved = read_json(path) if path.is_file() else {}
    if not isinstance(saved, dict):
        raise UserError(f"{path}: damaged: expected the settings of runs; delete {path.parent}")
    for name, settings in runs.items():
        finished = (path.parent / "runs" / name / SUMMARY_FILE).is_file()
        if finished and saved.get(name) != settings:
            previous = " ".join(saved.get(name, ["unknown"]))
            raise UserError(f"{path.parent} holds {name} with other settings ({previous}); choose another --out")
    write_json(path, {**saved, **runs})


def train(plan: Plan, settings: list[str], run: Path, title: str) -> None:
    """Train one run unless it is finished. The trainer's progress bar goes to stderr.

    Raises:
        UserError: if the trainer fails (details are on stderr).
    """
    if not (run / SUMMARY_FILE).is_file():
        print(f"{title}: training", flush=True)
        start = time.monotonic()
        make_directory(run)  # the path of an existing folder needs no quotes
        run_module([plan.kind.module, *settings, f"run_dir={run}"])
        title = f"{title}: {time.monotonic() - start:.0f} s"
    metric, value = read_score(run)
    print(f"{title}: {metric} {value:.4f}", flush=True)


def run_module(arguments: list[str]) -> None:
    """Run ``python -m`` in a subprocess and discard its standard output.

    Raises:
        UserError: if it fails (details are on stderr).
    """
    result = subprocess.run([sys.executable, "-m", *arguments], stdout=subprocess.DEVNULL, check=False)
    if result.returncode:
        raise UserError(f"failed (see above): python -m {shlex.join(arguments)}")


def read_score(run: Path) -> tuple[str, float]:
    """The name of a run's headline metric and its mean over the last epochs, from summary.json.

    Raises:
        UserError: for a damaged summary.
    """
    try:
        summary = read_json(run / SUMMARY_FILE)
        return str(summary["headline"]), float(summary["metrics"][summary["headline"]]["last_k_mean"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run / SUMMARY_FILE}: damaged ({error}); delete that folder") from error


def report(plan: Plan, out: Path) -> None:
    """Compare the scores, audit the annotations, and write compare.html and compare.json."""
    from .page import write_page
    from .verdict import Difference, sentence

    reference, ours = plan.methods[:2]
    metric, _ = read_score(out / "runs" / f"{ours.name}-seed1")
    scores = {m.name: [read_score(out / "runs" / f"{m.name}-seed{s}")[1] for s in plan.seeds] for m in plan.methods}
    differences = {name: Difference.paired(values, scores[reference.name]) for name, values in scores.items()}
    verdict = sentence(ours.name, reference.name, differences[ours.name], metric)
    best = max(map(statistics.fmean, scores.values()))
    if plan.kind.audit == "masks" and best < _LEARNED:
        verdict += f" But no network has learned much (best {metric}: {best:.2f}): train for more epochs."
    share, estimate = audit(plan, out)
    ahead = differences[ours.name].clear and differences[ours.name].mean > 0
    following = next_command(plan, out, ours if ahead else reference, share)
    results = {
        "verdict": verdict, "metric": metric, "tested_on": plan.tested, "scores": scores,
        "differences": {name: each.as_dict() for name, each in differences.items() if name != reference.name},
        "audit": estimate, "next": following, "settings": plan.common,
    }  # fmt: skip
    write_page(out / "compare.html", plan, results, differences)
    write_json(out / "compare.json", results)
    print(f"\n{verdict}\nTested on {plan.tested}.\n{estimate}\npage      {out / 'compare.html'}\nnext      {following}")


def audit(plan: Plan, out: Path) -> tuple[float, str]:
    """The estimated share of wrong annotations (NaN if unknown), and a sentence about it."""
    name = plan.methods[1].name
    run, target = out / "runs" / f"{name}-seed1", out / "audit"
    if plan.kind.audit == "labels" and importlib.util.find_spec("cleanlab") is None:
        return float("nan"), "The share of wrong labels is unknown: estimating it needs pip install 'seg-anl[audit]'."
    source = [str(run), str(target)]
    if plan.kind == NNUNET:
        predictions = str(out / "predictions")
        run_module(["seg_anl.segmentation.predict", str(run), str(plan.data / "imagesTr"), predictions, "--overwrite"])
        source = [predictions, str(target), "--masks", str(plan.data)]
    run_module(["seg_anl.audit.command", plan.kind.audit, *source])
    content = read_json(target / "audit.json")
    origin = f"by {name}, which was trained on them; look at {target / 'review.html'}"
    if plan.kind.audit == "labels":
        return content["noise_rate"], f"Estimated wrong labels: {content['noise_rate']:.0%}, {origin}."
    wrong = content["wrong"]
    estimate = f"{wrong['value']:.0%} ({wrong['low']:.0%} to {wrong['high']:.0%})"
    return wrong["low"], f"Estimated wrong masks: {estimate}, {origin}."


def next_command(plan: Plan, out: Path, best: Method, share: float) -> str:
    """Mend the annotations if many look wrong; otherwise train the better loss for longer."""
    if share > _MANY_WRONG:
        action = "--ignore" if plan.kind.audit == "masks" else "--drop"
        return f"seg-anl-audit apply {shlex.quote(str(out / 'audit'))} MENDED {action}   (after a look at review.html)"
    settings = [word for word in plan.common if word not in plan.kind.short and not word.startswith("epochs=")]
    return shlex.join([plan.kind.program, *settings, *best.settings])


if __name__ == "__main__":
    main()
