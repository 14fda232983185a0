"""``seg-anl-noise masks``: its arguments and output."""

from __future__ import annotations

import textwrap
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_anl.records import NoiseRecord, UserError
from seg_anl.records.command_line import worker_count
from seg_anl.records.files import check_folder
from seg_anl.records.manifest import PREVIEW
from seg_anl.records.ranges import checked

from .mask_folder import MaskFolderSettings, run_mask_noise
from .mask_kinds import DEFAULT_KINDS, mask_kinds
from .mask_preview import write_preview
from .nnunet_raw import complete_noisy_dataset, is_nnunet_dataset, noise_labels, read_description

_DESCRIPTION = """\
Write a noisy copy of a folder of masks: same names, formats, sizes, data types and label values, with a manifest of
what was done to which file. SRC may be nested, or an nnU-Net raw dataset (then DST becomes a complete one).

Known formats: PNG, TIFF, BMP, NPY, NIfTI (.nii, .nii.gz), and NRRD and MHA where SimpleITK is installed.
The noise of a mask depends only on the seed and its name. A second run makes only missing or edited masks."""

_EXAMPLE = """\
example:
  seg-anl-noise masks ISIC-2017_Training_Part1_GroundTruth noisy --alpha 0.7 --beta 0.7 --workers 4 --preview"""


def add_arguments(sub_commands: Any) -> None:
    """Add the parser of this sub-command."""
    kinds = mask_kinds()
    width = max(map(len, kinds))
    meanings = "\n".join(
        textwrap.fill(kind.beta, 116, initial_indent=f"  {name:{width}}  ", subsequent_indent=" " * (width + 4))
        for name, kind in kinds.items()
    )
    parser = sub_commands.add_parser(
        "masks",
        help="noisy copies of segmentation masks",
        description=_DESCRIPTION,
        epilog=f"kinds, and what beta means for each:\n{meanings}\n\n{_EXAMPLE}",
    )
    add = parser.add_argument
    add("source", metavar="SRC", type=Path, help="folder of masks, or nnU-Net raw dataset")
    add("target", metavar="DST", type=Path, help="new folder")
    add("--alpha", type=float, required=True, help="share of the masks to make noisy, in [0, 1]")
    add("--beta", type=float, required=True, help="strength, in [0, 1]: share of a mask's area to change")
    add(
        "--kinds",
        nargs="+",
        default=list(DEFAULT_KINDS),
        metavar="KIND",
        help="of noise, one per mask (default: %(default)s)",
    )
    add("--mode", default="corrected", help="corrected (default), or official: the published script with its bugs")
    add("--seed", type=int, default=0, help="default 0")
    add("--labels", type=int, nargs="+", metavar="N", help="change these label values only")
    add("--mm", action="store_true", help="distances, outlines and rotations in mm, by the file's voxel size")
    add("--only", default="*", metavar="GLOB", help="take only files with matching names, such as '*.png'")
    add("--images", choices=["link", "copy"], default="link", help="of an nnU-Net dataset (default: symbolic links)")
    add("--workers", type=worker_count, default=1, metavar="N", help="processes; they change only the time")
    add("--no-distances", action="store_true", help="leave Dice, ASSD and HD95 out of the manifest")
    add("--preview", action="store_true", help="write preview.png: weakest and strongest cases, clean against noisy")
    add("--overwrite", action="store_true", help="start over, even if DST holds masks of other settings")


def run(arguments: Namespace) -> None:
    """Run the command."""
    source, target = arguments.source, arguments.target
    check_folder(source)
    settings = _settings(arguments)
    nnunet = is_nnunet_dataset(source)
    folders, pattern, picture = (source, target), arguments.only, target / PREVIEW
    if arguments.preview and not nnunet and (source / PREVIEW).exists():
        raise UserError(f"{source / PREVIEW} has the name that --preview writes in {target}; rename it")
    if nnunet:
        if pattern != "*":
            raise UserError(f"--only: {source} is an nnU-Net dataset, which has masks of one format; all are taken")
        pattern = f"*{read_description(source)['file_ending']}"
        folders = (source / "labelsTr", target / "labelsTr")
        settings = noise_labels(source, settings)
    records = run_mask_noise(
        *folders,
        settings,
        pattern=pattern,
        manifest_folder=target,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
    )
    if nnunet:
        complete_noisy_dataset(source, target, settings, copy=arguments.images == "copy")
    print(summary(records, settings))
    print(f"manifest: {target / 'manifest.csv'}")
    if arguments.preview and not any(record.realised > 0 for record in records):
        print("no preview: no mask was changed")
    elif arguments.preview:
        write_preview(*folders, records, picture, pattern)
        print(f"preview: {picture}")


def _settings(arguments: Namespace) -> MaskFolderSettings:
    given = {name: getattr(arguments, name) for name in ("alpha", "beta", "kinds", "mode", "seed", "mm")}
    labels = None if arguments.labels is None else sorted(set(arguments.labels))
    return checked(MaskFolderSettings, {**given, "labels": labels, "distances": not arguments.no_distances})


def summary(records: Sequence[NoiseRecord], settings: MaskFolderSettings) -> str:
    """Asked and realized noise per kind, and why masks were left unchanged, for the terminal."""
    noisy = [record for record in records if record.kind != "none"]
    lines = [f"{len(noisy)} of {len(records)} masks noisy (alpha {settings.alpha}), strength asked {settings.beta}"]
    if settings.alpha > 0 and not noisy:
        lines.append(f"alpha {settings.alpha} of {len(records)} masks is less than half a mask: all stay clean")
    if noisy:
        header = f"{'kind':<10}{'masks':>7}{'realized':>10}{'10 %':>8}{'90 %':>8}"
        lines.append(header + (f"{'Dice':>8}{'ASSD':>9}{'HD95':>9}" if settings.distances else ""))
    for kind in sorted({record.kind for record in noisy}):
        lines.append(_kind_line(kind, [record for record in noisy if record.kind == kind]))
    notes = Counter(record.note for record in noisy if record.note)
    for note, count in sorted(notes.items(), key=lambda pair: (-pair[1], pair[0]))[:8]:
        lines.append(f"{count} x {note}")
    if len(notes) > 8:
        lines.append(f"and {len(notes) - 8} more notes: see the manifest")
    return "\n".join(lines)


def _kind_line(kind: str, records: Sequence[NoiseRecord]) -> str:
    realized = np.percentile([record.realised for record in records], [50, 10, 90])
    line = f"{kind:<10}{len(records):>7}{realized[0]:>10.3f}{realized[1]:>8.3f}{realized[2]:>8.3f}"
    for name, width in (("dice", 8), ("assd", 9), ("hd95", 9)):
        values = [record.measures[name] for record in records if record.measures.get(name) is not None]
        if values:
            digits = 3 if name == "dice" else 2
            line += f"{np.median(values):>{width}.{digits}f}"
    units = sorted({record.measures["unit"] for record in records if "unit" in record.measures})
    return f"{line} {'/'.join(units)}".rstrip()
