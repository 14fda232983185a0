"""The command ``seg-anl-audit``: find wrong annotations and write a mended data set."""

from __future__ import annotations

import sys
from importlib import import_module

from seg_anl.records import run_command
from seg_anl.records.command_line import OneLineParser

PROGRAM = "seg-anl-audit"
# Each module has HELP, DESCRIPTION, EXAMPLE, add_arguments(parser) and run(arguments) -> exit status.
_SUB_COMMANDS = {"masks": "masks_command", "labels": "labels_command", "apply": "apply_command"}


def main() -> None:
    """Entry point of ``seg-anl-audit``."""
    parser = OneLineParser(
        prog=PROGRAM,
        description="Find wrong annotations, diagnose what is wrong with them, and mend the data set.",
        epilog=f"example:\n  {PROGRAM} masks nnUNet_results/Dataset501_X/nnUNetTrainer__nnUNetPlans__2d audit",
    )
    sub_commands = parser.add_subparsers(dest="sub_command", required=True, metavar="|".join(_SUB_COMMANDS))
    modules = {name: import_module(f"{__package__}.{module}") for name, module in _SUB_COMMANDS.items()}
    for name, module in modules.items():
        epilog = module.EXAMPLE
        sub_parser = sub_commands.add_parser(name, help=module.HELP, description=module.DESCRIPTION, epilog=epilog)
        module.add_arguments(sub_parser)
    arguments = parser.parse_args()
    status = 0

    def run() -> None:
        nonlocal status
        status = modules[arguments.sub_command].run(arguments)

    run_command(f"{PROGRAM} {arguments.sub_command}", run)
    sys.exit(status)


if __name__ == "__main__":
    main()
