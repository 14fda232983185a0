"""The command ``seg-anl-losses``: lists the losses, or describes one. Does not import torch."""

from __future__ import annotations

from seg_anl.records import UserError, nearest_names, run_command
from seg_anl.records.command_line import OneLineParser
from seg_anl.records.ranges import expected

from .declarations import Declaration, declarations

PROGRAM = "seg-anl-losses"
EXAMPLE = f"""\
examples:
  {PROGRAM}             name, title and first line of all losses
  {PROGRAM} anl_ce      formula, parameters with their ranges, source, and how to use it"""


def main() -> None:
    """Entry point of ``seg-anl-losses``."""
    parser = OneLineParser(prog=PROGRAM, description="The losses for wrong annotations.", epilog=EXAMPLE)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a loss, as loss=NAME takes it")
    name = parser.parse_args().name
    run_command(PROGRAM, lambda: print(table() if name is None else description(name)))


def table() -> str:
    """All losses in the order of reports, one line each."""
    known = sorted(declarations().values(), key=lambda loss: (loss.order, loss.title))
    names, titles = (max(len(getattr(loss, field)) for loss in known) for field in ("name", "title"))
    return "\n".join(f"{loss.name:<{names}}  {loss.title:<{titles}}  {loss.summary}" for loss in known)


def description(name: str) -> str:
    """A loss's declaration and how to use it.

    Raises:
        UserError: for an unknown name, with the nearest known ones.
    """
    known = declarations()
    if name not in known:
        raise UserError(f"unknown loss {name!r}; {nearest_names(name, known)}")
    loss = known[name]
    value = [f"value of an element: {loss.formula}"] if loss.formula else []
    facts = [
        *(["symmetric: the sum over all labels is constant"] if loss.symmetric else []),
        *(["has state: part of state_dict()"] if loss.has_state else []),
    ]
    use = [
        f"from seg_anl.losses import {loss.class_name}",
        f"seg-anl-train loss={name}      seg-anl-classify loss={name}",
        f"SEG_ANL_LOSS={name} nnUNetv2_train DATASET 2d FOLD -tr nnUNetTrainerRobust",
    ]
    parts = [f"{name} ({loss.title})", loss.docstring.rstrip(), *value, *_parameters(loss), *facts, "\n".join(use)]
    return "\n\n".join(parts)


def _parameters(loss: Declaration) -> list[str]:
    if not loss.parameters:
        return []
    width = max(map(len, loss.parameters))
    lines = []
    for name, default in loss.parameters.items():
        wanted = expected(loss.annotations[name])
        lines.append(f"  {name:<{width}}  {default}{f'    {wanted}' if wanted else ''}")
    return ["\n".join(["parameters and their defaults:", *lines])]
