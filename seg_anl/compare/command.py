"""The command ``seg-anl-compare``: will a robust loss help on these data?"""

from __future__ import annotations

import importlib.util
import re
import shlex
import statistics
import time
from argparse import Namespace
from pathlib import Path

from seg_anl.interrupt import end_quietly_while_importing
from seg_anl.records import UserError, make_directory, run_command, write_json
from seg_anl.records.command_line import OneLineParser, positive_int, refuse_overlap
from seg_anl.records.foreign_files import read_json
from seg_anl.records.lock import locked

from .plan import Method, Plan, make_plan
from .trainers import Command

PROGRAM = "seg-anl-compare"
DESCRIPTION = """\
Train cross entropy and robust losses on a folder of data, with a few short runs each. Report whether one loss is ahead
by more than the spread of seeds, estimate how many annotations are wrong, and suggest what to run next. DATA is
  images and masks, in any layout of seg-anl-train data=folder;
  an nnU-Net raw data set (trained by seg-anl-train data=nnunet, or with --nnunet by nnU-Net itself);
  train/CLASS and test/CLASS, the layout of seg-anl-classify data=imagefolder.
Losses are compared on the test images of DATA, or on a held-out fifth of the training images if it has none.

The results are OUT/compare.html (a self-contained page), OUT/compare.json, OUT/audit and OUT/runs. Run the same command
again to resume it; more --losses or --seeds only add runs."""
EXAMPLE = """\
examples:
  seg-anl-compare DATA
  seg-anl-compare DATA data.size=128 epochs=40 --losses ce anl_ce t_loss --seeds 5
  seg-anl-compare PICTURES model=resnet34 --losses ce 'anl_ce optim.l1=5e-5 optim.weight_decay=0'
  seg-anl-compare nnUNet_raw/Dataset501_X --dry-run
  seg-anl-compare nnUNet_raw/Dataset501_X epochs=100 --nnunet 3d_fullres --plans nnUNetResEncUNetLPlans"""
_COMMANDS = "commands.json"  # in OUT: the settings of each run
_MANY_WRONG = 0.05  # share of wrong annotations above which they should be mended first
_LEARNED = 0.5  # below this Dice a comparison means little


def main() -> None:
    """Entry point of ``seg-anl-compare``."""
    end_quietly_while_importing(PROGRAM)
    parser = OneLineParser(prog=PROGRAM, description=DESCRIPTION, epilog=EXAMPLE)
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="data folder")
    add("settings", nargs="*", metavar="SETTING=VALUE", help="trainer settings for all runs")
    add("--losses", nargs="+", default=[], metavar="LOSS", help="the reference, the loss under test, then any others")
    add("--seeds", type=positive_int, default=3, metavar="N", help="runs per loss (default: %(default)s)")
    add("--out", type=Path, default=Path("compare"), metavar="OUT", help="output folder (default: compare)")
    add("--nnunet", metavar="CONFIGURATION", help="train fold 0 with nnU-Net itself: 2d, 3d_fullres, ...")
    add("-p", "--plans", help="nnU-Net's plans, with --nnunet: nnUNetResEncUNetLPlans, ... (default: nnUNetPlans)")
    add("--dry-run", action="store_true", help="print the commands without running them")
    arguments = parser.parse_intermixed_args()
    words, arguments.losses = arguments.losses, []
    for word in words:  # --losses also takes the settings after it
        (arguments.settings if re.match(r"[\w.+]+=", word) else arguments.losses).append(word)
    run_command(PROGRAM, lambda: compare(arguments))


def compare(arguments: Namespace) -> None:
    """Train all runs, compare their scores and audit the annotations.

    Raises:
        UserError: for bad input or a failed run.
    """
    if arguments.plans and not arguments.nnunet:
        raise UserError("--plans: only with --nnunet CONFIGURATION")
    nnunet = (arguments.nnunet, arguments.plans or "nnUNetPlans") if arguments.nnunet else None
    plan = make_plan(arguments.data, arguments.losses, arguments.seeds, arguments.settings, nnunet)
    out = arguments.out
    refuse_overlap(arguments.data, out)
    for method in plan.methods:
        plan.trainer.check(plan.runs[f"{method.name}-seed1"])
    if arguments.dry_run:
        for name, settings in plan.runs.items():
            print(plan.trainer.command(settings, out / "runs" / name))
        return
    make_directory(out)
    with locked(out):
        save_settings(out / _COMMANDS, plan)
        for number, (name, settings) in enumerate(plan.runs.items(), 1):
            train(plan, settings, out / "runs" / name, f"[{number}/{len(plan.runs)}] {name}")
        report(plan, out)


def save_settings(path: Path, plan: Plan) -> None:
    """Save the settings of all runs, so that results of other settings are never mixed in.

    Raises:
        UserError: if a finished run of the same name had other settings, or the file is damaged.
    """
    saved = read_json(path) if path.is_file() else {}
    if not isinstance(saved, dict):
        raise UserError(f"{path}: damaged: expected the settings of runs; delete {path.parent}")
    for name, settings in plan.runs.items():
        finished = plan.trainer.score_file(path.parent / "runs" / name)
        if finished and saved.get(name) != settings:
            previous = " ".join(saved.get(name, ["unknown"]))
            raise UserError(f"{path.parent} holds {name} with other settings ({previous}); choose another --out")
    write_json(path, {**saved, **plan.runs})


def train(plan: Plan, settings: list[str], run: Path, title: str) -> None:
    """Train one run unless it is finished. The progress bar of this package's trainers goes to stderr.

    Raises:
        UserError: if the trainer fails (details are on stderr).
    """
    if plan.trainer.score_file(run) is None:
        print(f"{title}: training", flush=True)
        start = time.monotonic()
        make_directory(run)  # the path of an existing folder needs no quotes
        plan.trainer.command(settings, run).run()
        title = f"{title}: {time.monotonic() - start:.0f} s"
    metric, value = plan.trainer.read_score(run)
    print(f"{title}: {metric} {value:.4f}", flush=True)


def report(plan: Plan, out: Path) -> None:
    """Compare the scores, audit the annotations, and write compare.html and compare.json."""
    from .page import write_page
    from .verdict import Difference, sentence

    reference, ours = plan.methods[:2]
    read = plan.trainer.read_score
    metric, _ = read(out / "runs" / f"{ours.name}-seed1")
    scores = {m.name: [read(out / "runs" / f"{m.name}-seed{s}")[1] for s in plan.seeds] for m in plan.methods}
    differences = {name: Difference.paired(values, scores[reference.name]) for name, values in scores.items()}
    verdict = sentence(ours.name, reference.name, differences[ours.name], metric)
    means = {name: statistics.fmean(values) for name, values in scores.items()}
    best = max(means, key=means.__getitem__)
    if plan.trainer.audit == "masks" and means[best] < _LEARNED:
        verdict += f" But no network has learned much (best {metric}: {means[best]:.2f}): train for more epochs."
    print(f"\n{verdict}\nTested on {plan.tested}.", flush=True)  # before the audit, which may fail
    # Wrong labels are found by the network that knows most (docs/audit_labels.md), wrong masks by a robust one.
    share, estimate = audit(plan, out, best if plan.trainer.audit == "labels" else ours.name)
    ahead = differences[ours.name].clear and differences[ours.name].mean > 0
    following = next_command(plan, out, ours if ahead else reference, share)
    results = {
        "verdict": verdict, "metric": metric, "tested_on": plan.tested, "scores": scores,
        "differences": {name: each.as_dict() for name, each in differences.items() if name != reference.name},
        "audit": estimate, "next": following, "settings": plan.common,
    }  # fmt: skip
    write_page(out / "compare.html", plan, results, differences)
    write_json(out / "compare.json", results)
    print(f"{estimate}\npage      {out / 'compare.html'}")
    if (review := out / "audit" / "review.html").is_file():
        print(f"review    {review}")
    print(f"next      {following}")


def audit(plan: Plan, out: Path, name: str) -> tuple[float, str]:
    """The share of wrong annotations that the loss ``name`` leads to (NaN if unknown), and a sentence about it."""
    kind = plan.trainer.audit
    run, target = out / "runs" / f"{name}-seed1", out / "audit"
    if kind == "labels" and importlib.util.find_spec("cleanlab") is None:
        return float("nan"), "The share of wrong labels is unknown: estimating it needs pip install 'seg-anl[audit]'."
    source, *more = plan.trainer.audit_arguments(plan.data, run)
    Command("seg-anl-audit", "seg_anl.audit.command", [kind, source, str(target), *more]).run()
    content = read_json(target / "audit.json")
    origin = plan.trainer.audited(name)
    if kind == "labels":
        return content["noise_rate"], f"Estimated wrong labels: {content['noise_rate']:.0%}, {origin}."
    wrong = content["wrong"]
    estimate = f"{wrong['value']:.0%} ({wrong['low']:.0%} to {wrong['high']:.0%})"
    return wrong["low"], f"Estimated wrong masks: {estimate}, {origin}."


def next_command(plan: Plan, out: Path, best: Method, share: float) -> str:
    """Mend the annotations if many look wrong; otherwise train the better loss for longer."""
    if share > _MANY_WRONG:
        action = "--ignore" if plan.trainer.audit == "masks" else "--drop"
        return f"seg-anl-audit apply {shlex.quote(str(out / 'audit'))} MENDED {action}"
    return str(plan.trainer.full_command([*plan.common, *best.settings]))


if __name__ == "__main__":
    main()
