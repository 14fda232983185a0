"""The command ``seg-anl-noise`` with its sub-commands."""

from __future__ import annotations

from seg_anl.records import run_command
from seg_anl.records.command_line import OneLineParser

from . import noise_labels_command, noise_masks_command

PROGRAM = "seg-anl-noise"
_SUB_COMMANDS = {"masks": noise_masks_command, "labels": noise_labels_command}


def main() -> None:
    """Parse the command line and run the sub-command it names."""
    parser = OneLineParser(
        prog=PROGRAM,
        description="Reproducible annotation noise for your own datasets.",
        epilog=f"example:\n  {PROGRAM} masks MASKS NOISY --alpha 0.7 --beta 0.7 --preview",
    )
    sub_commands = parser.add_subparsers(dest="sub_command", required=True, metavar="|".join(_SUB_COMMANDS))
    for module in _SUB_COMMANDS.values():
        module.add_arguments(sub_commands)
    arguments = parser.parse_args()
    name = arguments.sub_command
    run_command(f"{PROGRAM} {name}", lambda: _SUB_COMMANDS[name].run(arguments))
