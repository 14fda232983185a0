"""The command ``seg-anl-predict``: masks of new images, in their own size, from a trained run."""

from __future__ import annotations

from pathlib import Path

from seg_anl.interrupt import end_quietly_while_importing

EXAMPLE = """
example:
  seg-anl-predict runs/segmentation/.../seed1-0123abcd photos/ masks/ --overlay
  seg-anl-predict runs/segmentation/.../seed1-89ab4567 Dataset501_X/imagesTs/ masks/

Writes OUT/NAME.png for every image of IMAGES (a file, or a folder with its sub-folders): 0 and 255 for two classes,
class indices for more. --overlay adds OUT/overlay/NAME.png, the image with the outline drawn on it. A photo with an
EXIF orientation is predicted upright, as in training; its mask and overlay are stored like the photo.

For a run on volumes (data=nnunet and the like): OUT/CASE.nii.gz and the like, in the format and geometry of each image
(.mha for .mhd, NIfTI for DICOM), with the label values of the training masks. IMAGES may be a dataset.json as MONAI's:
its list "test", or else "validation".
Images that cannot be read are named at the end, with exit status 1; the others get their masks.
"""


def main() -> None:
    """Entry point of ``seg-anl-predict``."""
    end_quietly_while_importing("seg-anl-predict")
    from seg_anl.records import run_command
    from seg_anl.records.command_line import OneLineParser

    parser = OneLineParser(prog="seg-anl-predict", description="Predict masks with a trained run.", epilog=EXAMPLE)
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory of seg-anl-train")
    parser.add_argument("images", type=Path, metavar="IMAGES", help="an image, a folder of them, or a MONAI list")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write masks to")
    parser.add_argument("--overlay", action="store_true", help="also write the images with the outlines drawn on them")
    parser.add_argument(
        "--checkpoint",
        choices=("last", "best"),
        default="last",
        help="last epoch (default), or the one with the best Dice on the run's test images",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    parser.add_argument("--overwrite", action="store_true", help="replace masks that OUT already holds")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run the code that RUN names as its network (model=own); else it is refused",
    )
    options = vars(parser.parse_args())

    def predict() -> None:
        from .mask_prediction import predict_masks  # torch and MONAI take seconds to import

        if not predict_masks(**options):
            raise SystemExit(1)

    run_command("seg-anl-predict", predict)


if __name__ == "__main__":
    main()
