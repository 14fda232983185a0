"""Where the configuration files are."""

from __future__ import annotations

from pathlib import Path

import seg_anl

from .errors import UserError


def config_folder() -> Path:
    """The folder of the YAML and CSV files: inside the package in an installed wheel, beside it in a checkout."""
    package = Path(seg_anl.__file__).parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "segmentation.yaml").is_file():
            return folder
    raise UserError(f"{package}: the configuration files are missing; reinstall seg-anl")
