"""Entry points of the commands, which handle Ctrl-C before they import anything slow."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from .interrupt import end_quietly_while_importing


def _entry(program: str, module: str) -> Callable[[], None]:
    def main() -> None:
        end_quietly_while_importing(program)
        import_module(module).main()

    return main


audit = _entry("seg-anl-audit", "seg_anl.audit.command")
classify = _entry("seg-anl-classify", "classification.train")
compare = _entry("seg-anl-compare", "seg_anl.compare.command")
export = _entry("seg-anl-export", "seg_anl.export.command")
losses = _entry("seg-anl-losses", "seg_anl.losses.command")
nnunet = _entry("seg-anl-nnunet", "seg_anl.nnunet.nnunet_command")
noise = _entry("seg-anl-noise", "data_prep.noise_command")
predict = _entry("seg-anl-predict", "seg_anl.segmentation.predict")
prep = _entry("seg-anl-prep", "data_prep.prep_command")
report = _entry("seg-anl-report", "seg_anl.reporting.command")
train = _entry("seg-anl-train", "seg_anl.segmentation.train")
