"""The ``seg-anl-nnunet`` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from seg_anl.records import UserError, run_command
from seg_anl.records.command_line import OneLineParser, positive_int

from . import trainer_folder
from .lookup import EXTERNAL_VARIABLE, check, look_up, quiet, require_nnunet, trainers, with_our_folder
from .plans import add_to_plans_file, dataset_folder

PROGRAM = "seg-anl-nnunet"
EXAMPLE = """\
example:
  export nnUNet_extTrainer=$(seg-anl-nnunet path)
  nnUNetv2_train 501 2d 0 -tr nnUNetTrainerANLCE
or, without the variable:
  seg-anl-nnunet train 501 2d 0 -tr nnUNetTrainerANLCE
  seg-anl-nnunet predict -d 501 -c 2d -f 0 -tr nnUNetTrainerANLCE -i IMAGES -o PREDICTIONS

environment:
  SEG_ANL_LOSS   'anl_ce alpha=10 beta=1', or a YAML file with name: and the parameters
  SEG_ANL_TRAIN  'epochs=100 iterations=125 validation_iterations=10 seed=1 l1=5e-5 weight_decay=0', any of them
  SEG_ANL_TEST   folder of clean imagesTs/ and labelsTs/ to measure Dice on in the last 10 epochs
"""


def main() -> None:
    """Entry point of ``seg-anl-nnunet``."""
    run_command(PROGRAM, lambda: _run(sys.argv[1:]))


def _run(arguments: Sequence[str]) -> None:
    # Everything after these two belongs to nnU-Net, its -h too.
    if arguments and arguments[0] in ("train", "predict"):
        _pass_on(arguments[0], list(arguments[1:]))
        return
    options = _parser().parse_args(arguments)
    version = require_nnunet()
    if options.command == "path":
        print(trainer_folder())
    elif options.command == "list":
        _list()
    elif options.command == "check":
        found = check(options.trainer)
        print(f"nnU-Net {version} finds {len(found)} trainer(s): {', '.join(found)}")
    elif options.command == "export":
        _export(options.model, options.out)
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
    commands.add_parser("list", help="the trainers, with their loss and its parameters")
    command = commands.add_parser("check", help="look the trainers up through nnU-Net and report what is wrong")
    command.add_argument("trainer", nargs="*", help="names; default: all")
    command = commands.add_parser(
        "plan", help="add a configuration with batch 16 and patch 256 x 256 to a dataset's plans"
    )
    command.add_argument("dataset", help="501 or Dataset501_NAME")
    command.add_argument("-p", "--plans", default="nnUNetPlans", help="plans to change (default: %(default)s)")
    command.add_argument("-c", "--base", default="2d", help="configuration to inherit from (default: %(default)s)")
    command.add_argument("--name", default="2d_isic2017", help="name of the new one (default: %(default)s)")
    command.add_argument("--batch-size", type=positive_int, default=16, help="default: %(default)s")
    command.add_argument("--patch-size", type=positive_int, nargs="+", default=[256, 256], help="default: 256 256")
    command = commands.add_parser("export", help="a trained model as plain nnU-Net loads it, without this package")
    command.add_argument("model", type=Path, metavar="MODEL", help="folder TRAINER__PLANS__CONFIGURATION")
    command.add_argument("out", type=Path, metavar="OUT", help="folder to make, or NAME.zip")
    commands.add_parser("train", help="nnUNetv2_train with the variable set; takes all its arguments", add_help=False)
    commands.add_parser("predict", help="nnUNetv2_predict with the variable set", add_help=False)
    return parser


def _list() -> None:
    found = trainers()
    width = max(map(len, found))
    for name, trainer in found.items():
        preset = "" if trainer.preset == "nnunet" else f"; {trainer.preset}"
        print(f"{name:<{width}}  {trainer.own_loss() or 'any, from SEG_ANL_LOSS'}{preset}")


def _plan(options: argparse.Namespace) -> None:
    root = os.environ.get("nnUNet_preprocessed")  # noqa: SIM112  (nnU-Net's own spelling)
    if not root:
        raise UserError("nnUNet_preprocessed is not set; it names nnU-Net's folder of preprocessed data")
    path = dataset_folder(Path(root), options.dataset) / f"{options.plans}.json"
    median = add_to_plans_file(path, options.name, options.base, options.batch_size, options.patch_size)
    patch = " x ".join(map(str, options.patch_size))
    print(f"{path}: configuration {options.name}: {options.base} with batch {options.batch_size}, patch {patch}")
    if median and list(median) != list(map(float, options.patch_size)):
        print(f"note: the images' median size is {' x '.join(f'{size:g}' for size in median)}, not {patch}")


def _export(model: Path, out: Path) -> None:
    with quiet():
        from .plain_model import export_plain  # imports torch

    folds = export_plain(model, out)
    predict = f"nnUNetv2_predict_from_modelfolder -m {out} -f {' '.join(fold[5:] for fold in folds)} -i IMAGES -o MASKS"
    install = f"nnUNetv2_install_pretrained_model_from_zip {out}"
    print(f"{out}: {', '.join(folds)}; {install if out.suffix == '.zip' else predict}")


def _pass_on(command: str, arguments: list[str]) -> None:
    """Run nnU-Net's own command in this process, with our folder in ``nnUNet_extTrainer``."""
    require_nnunet()
    os.environ[EXTERNAL_VARIABLE] = with_our_folder(os.environ.get(EXTERNAL_VARIABLE))
    if command == "train" and "-tr" in arguments[:-1]:
        # Find the trainer and read its settings first: with several GPUs every process would complain.
        trainer = look_up(arguments[arguments.index("-tr") + 1])
        if hasattr(trainer, "choices"):
            trainer.choices(os.environ)
    with quiet():
        if command == "train":
            from nnunetv2.run.run_training import run_training_entry as entry
        else:
            from nnunetv2.inference.predict_from_raw_data import predict_entry_point as entry
    sys.argv = [f"nnUNetv2_{command}", *arguments]
    entry()
