"""The ``seg-anl-nnunet`` command."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg_anl.interrupt import EXIT_INTERRUPTED
from seg_anl.records import UserError, run_command
from seg_anl.records.command_line import OneLineParser, positive_int

from . import trainer_folder
from .lookup import EXTERNAL_VARIABLE, check, look_up, quiet, require_nnunet, trainers, with_our_folder
from .plans import add_to_plans_file, dataset_folder
from .sweep import LAUNCHERS, make_trainings, sweep

PROGRAM = "seg-anl-nnunet"
CONTINUE = {
    "train": "add --c to continue from the last checkpoint",
    "predict": "add --continue_prediction to keep what is predicted",
}
EXAMPLE = """\
example:
  export nnUNet_extTrainer=$(seg-anl-nnunet path)
  nnUNetv2_train 501 2d 0 -tr nnUNetTrainerANLCE
or, without the variable:
  seg-anl-nnunet train 501 2d 0 -tr nnUNetTrainerANLCE
  seg-anl-nnunet predict -d 501 -c 2d -f 0 -tr nnUNetTrainerANLCE -i IMAGES -o PREDICTIONS

environment:
  SEG_ANL_LOSS   'anl_ce alpha=10 beta=1', or a YAML file with name: and the parameters
  SEG_ANL_TRAIN  any of 'epochs=100 iterations=125 validation_iterations=10 seed=1 l1=5e-5 weight_decay=0'
  SEG_ANL_TEST   folder with clean imagesTs/ and labelsTs/ to measure Dice on in the last 10 epochs
  SEG_ANL_SOFT   folder of class probabilities CASE.npz to train on instead of the labels
  SEG_ANL_WEIGHTS  CSV with the columns item and weight: case weights
"""
SWEEP_EXAMPLE = """\
example:
  seg-anl-nnunet sweep 501 2d -f 0 1 2 3 4 -tr nnUNetTrainerANLCE nnUNetTrainerGCE --seeds 1 2 3
  seg-anl-nnunet sweep 501 2d -tr nnUNetTrainerANLCE --launcher submitit_slurm --set timeout_min=600 partition=gpu
  seg-anl-nnunet sweep 501 2d -f 0 -tr nnUNetTrainerANLCE --dry-run -- -device cpu
"""


def main() -> None:
    """Entry point of ``seg-anl-nnunet``."""
    run_command(PROGRAM, lambda: _run(sys.argv[1:]))


def _run(arguments: Sequence[str]) -> None:
    # All arguments after these two are nnU-Net's, including -h.
    if arguments and arguments[0] in ("train", "predict"):
        _run_nnunet(arguments[0], list(arguments[1:]))
        return
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    options, nnunet_arguments = _parser().parse_args(arguments[:end]), list(arguments[end + 1 :])
    if nnunet_arguments and options.command != "sweep":
        raise UserError(f"{options.command} takes no arguments after --")
    version = require_nnunet()
    if options.command == "path":
        print(trainer_folder())
    elif options.command == "list":
        _list()
    elif options.command == "check":
        names = check(options.trainer)
        print(f"nnU-Net {version} finds {len(names)} trainer(s): {', '.join(names)}")
    elif options.command == "export":
        _export(options.model, options.out)
    elif options.command == "sweep":
        _sweep(options, nnunet_arguments)
    else:
        _plan(options)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=PROGRAM,
        description="Train nnU-Net v2 with noise-robust losses.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("path", help=f"print the value for {EXTERNAL_VARIABLE}")
    commands.add_parser("list", help="list the trainers with their losses and parameters")
    command = commands.add_parser("check", help="check that nnU-Net finds the trainers")
    command.add_argument("trainer", nargs="*", help="trainer names; default: all")
    command = commands.add_parser(
        "plan", help="add a configuration with batch 16 and patch 256 x 256 to a dataset's plans"
    )
    command.add_argument("dataset", help="501 or Dataset501_NAME")
    command.add_argument("-p", "--plans", default="nnUNetPlans", help="plans to change (default: %(default)s)")
    command.add_argument("-c", "--base", default="2d", help="configuration to inherit from (default: %(default)s)")
    command.add_argument("--name", default="2d_isic2017", help="name of the new configuration (default: %(default)s)")
    command.add_argument("--batch-size", type=positive_int, default=16, help="default: %(default)s")
    command.add_argument("--patch-size", type=positive_int, nargs="+", default=[256, 256], help="default: 256 256")
    command = commands.add_parser("export", help="export a trained model for plain nnU-Net, without this package")
    command.add_argument("model", type=Path, metavar="MODEL", help="folder TRAINER__PLANS__CONFIGURATION")
    command.add_argument("out", type=Path, metavar="OUT", help="new folder, or NAME.zip")
    command = commands.add_parser(
        "sweep",
        help="train folds x trainers x seeds: here, on a Ray cluster, or as Slurm jobs",
        epilog=SWEEP_EXAMPLE,
        description="Skips finished trainings and resumes unfinished ones. Arguments after -- go to nnUNetv2_train.",
    )
    command.add_argument("dataset", help="501 or Dataset501_NAME")
    command.add_argument("configuration", help="2d, 3d_fullres, ...")
    command.add_argument("-f", "--folds", nargs="+", type=_fold, default=["0", "1", "2", "3", "4"], metavar="FOLD")
    command.add_argument("-tr", "--trainers", nargs="+", required=True, metavar="TRAINER")
    command.add_argument("--seeds", nargs="+", type=_seed, default=[], help="for SEG_ANL_TRAIN; default: none")
    command.add_argument("-p", "--plans", default="nnUNetPlans", help="default: %(default)s")
    command.add_argument("--launcher", choices=["here", *LAUNCHERS], default="here", help="default: %(default)s")
    command.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="override settings of the launcher")
    command.add_argument("--dry-run", action="store_true", help="print the commands without running them")
    commands.add_parser("train", help=f"run nnUNetv2_train with {EXTERNAL_VARIABLE} set", add_help=False)
    commands.add_parser("predict", help=f"run nnUNetv2_predict with {EXTERNAL_VARIABLE} set", add_help=False)
    return parser


def _list() -> None:
    by_name = trainers()
    width = max(map(len, by_name))
    for name, trainer in by_name.items():
        preset = "" if trainer.preset == "nnunet" else f"; {trainer.preset}"
        print(f"{name:<{width}}  {trainer.own_loss() or 'any, from SEG_ANL_LOSS'}{preset}")


def _plan(options: argparse.Namespace) -> None:
    root = os.environ.get("nnUNet_preprocessed")  # noqa: SIM112  (nnU-Net's own spelling)
    if not root:
        raise UserError("nnUNet_preprocessed is not set; expected nnU-Net's folder of preprocessed data")
    path = dataset_folder(Path(root), options.dataset) / f"{options.plans}.json"
    median = add_to_plans_file(path, options.name, options.base, options.batch_size, options.patch_size)
    patch = " x ".join(map(str, options.patch_size))
    print(f"{path}: configuration {options.name}: {options.base} with batch {options.batch_size}, patch {patch}")
    if median and list(median) != list(map(float, options.patch_size)):
        print(f"note: the median image size is {' x '.join(f'{size:g}' for size in median)}, not {patch}")


def _export(model: Path, out: Path) -> None:
    with quiet():
        from .plain_model import export_plain  # imports torch

    folds = export_plain(model, out)
    path, numbers = shlex.quote(str(out)), " ".join(fold.removeprefix("fold_") for fold in folds)
    predict = f"nnUNetv2_predict_from_modelfolder -m {path} -f {numbers} -i IMAGES -o MASKS"
    install = f"nnUNetv2_install_pretrained_model_from_zip {path}"
    print(f"{out}: {', '.join(folds)}; {install if out.suffix == '.zip' else predict}")


def _sweep(options: argparse.Namespace, nnunet_arguments: list[str]) -> None:
    os.environ[EXTERNAL_VARIABLE] = with_our_folder(os.environ.get(EXTERNAL_VARIABLE))
    if options.set and options.launcher == "here":
        raise UserError("--set needs a --launcher other than here")
    grid = {name: getattr(options, name) for name in ("folds", "trainers", "seeds", "plans")}
    trainings = make_trainings(options.dataset, options.configuration, **grid, nnunet_arguments=nnunet_arguments)
    for name in dict.fromkeys(options.trainers):
        _note_ignored(name, look_up(name))
    if options.dry_run:
        for training in trainings:
            print(f"# finished: {training.name}" if training.is_finished() else training.command())
        return
    status = sweep(trainings, options.launcher, options.set)
    if status:
        raise SystemExit(status)


def _note_ignored(name: str, trainer: Any) -> None:
    """Say so if a trainer of nnU-Net ignores this package's variables; ``-tr`` may have been forgotten."""
    ignored = sorted(variable for variable in os.environ if variable.startswith("SEG_ANL_"))
    if ignored and not hasattr(trainer, "choices"):
        print(f"note: {name} is not a trainer of this package and ignores {', '.join(ignored)}", file=sys.stderr)


def _fold(text: str) -> str:
    if text != "all" and not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a fold; expected a whole number or all")
    return text if text == "all" else str(int(text))  # 00 is fold 0, too


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed; expected a whole number >= 0")
    return int(text)


def _run_nnunet(command: str, arguments: list[str]) -> None:
    """Run nnU-Net's own command in this process, with our folder in ``nnUNet_extTrainer``."""
    require_nnunet()
    os.environ[EXTERNAL_VARIABLE] = with_our_folder(os.environ.get(EXTERNAL_VARIABLE))
    if command == "train":
        name, trainer = "nnUNetTrainer", None
        if "-tr" in arguments[:-1]:
            # Look up the trainer and validate its settings first; with several GPUs every process would report errors.
            name = arguments[arguments.index("-tr") + 1]
            trainer = look_up(name)
            if hasattr(trainer, "choices"):
                trainer.choices(os.environ)
        _note_ignored(name, trainer)
    with quiet():
        if command == "train":
            from nnunetv2.run.run_training import run_training_entry as entry
        else:
            from nnunetv2.inference.predict_from_raw_data import predict_entry_point as entry
    sys.argv = [f"nnUNetv2_{command}", *arguments]
    # The default action would leave nnU-Net's workers behind. They keep it: one may be ended while it holds a lock.
    signal.signal(signal.SIGTERM, _exit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    try:
        entry()
    except KeyboardInterrupt:  # the same command would start over
        print(f"{PROGRAM}: interrupted; {CONTINUE[command]}", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None


def _exit(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
