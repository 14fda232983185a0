"""The command ``seg-anl-export``: export a trained run as a MONAI bundle, an ONNX file or a TorchScript file."""

from __future__ import annotations

from pathlib import Path

from seg_anl.records import run_command
from seg_anl.records.command_line import OneLineParser

FORMATS = ("bundle", "onnx", "torchscript")
EXAMPLE = """
example:
  seg-anl-export runs/segmentation/.../seed1-0123abcd lesions/ --format bundle
  python -m monai.bundle run --config_file lesions/configs/inference.json --bundle_root lesions \\
    --dataset_dir IMAGES --output_dir MASKS

The exported network takes float32 images (N, C, H, W) with values from 0 to 255, at the training size, and returns
logits. The file is kept only if its output matches the run's network.
"""


def main() -> None:
    """Entry point of ``seg-anl-export``."""
    parser = OneLineParser(prog="seg-anl-export", description="Export a trained run.", epilog=EXAMPLE)
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory of seg-anl-train or seg-anl-classify")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder (bundle) or file to write")
    parser.add_argument("--format", choices=FORMATS, required=True, help="a bundle needs a run of seg-anl-train")
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last", help="default: %(default)s")
    arguments = parser.parse_args()

    def export() -> None:
        from .formats import export_run  # torch and MONAI take seconds to import

        export_run(arguments.run, arguments.out, arguments.format, checkpoint=arguments.checkpoint)

    run_command("seg-anl-export", export)


if __name__ == "__main__":
    main()
