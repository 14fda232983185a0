"""Write TorchScript and ONNX files, and check them against the run's network."""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from torch import Tensor

from seg_anl.records import UserError, make_directory, written_aside
from seg_anl.records.atomic import folder_aside, remove_partial
from seg_anl.records.foreign_files import check_regular, read_text

from .bundle import write_bundle
from .card import CARD, model_card
from .deployable import Deployable, load_deployable

TOLERANCE = 1e-3  # absolute and relative; logits are of the order of 1 to 10
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def export_run(run: Path, out: Path, form: str, *, checkpoint: str = "last") -> None:
    """Export a finished run to ``out`` as a ``bundle``, ``onnx`` or ``torchscript``. An existing export is kept.

    Raises:
        UserError: if the run cannot be exported, ``out`` holds anything else, a package is missing, or the exported
            network's output differs from the run's. Nothing is left behind then.
    """
    if form == "onnx" and (missing := [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]):
        raise UserError(f"--format onnx needs {missing[0]}: pip install 'seg-anl[export]'")
    exists = os.path.lexists(out)
    card = _read_card(out, form) if exists else None
    conflict = UserError(f"{out} already exists; choose another path")
    if exists and card is None:
        raise conflict
    model = load_deployable(run, checkpoint)
    if form == "bundle" and str(model.config.task) != "segmentation":
        raise UserError(f"{run}: a bundle predicts masks; export a run of seg-anl-classify as onnx or torchscript")
    if exists:
        if card != model_card(model):
            raise conflict
        print(f"{out}: already exported, left unchanged")
        return
    remove_partial(make_directory(out.parent), below=False)
    if form == "bundle":
        with folder_aside(out) as folder:
            write_bundle(model, folder)
            write_torchscript(model, folder / "models" / "model.ts")
    else:
        with written_aside(out) as aside:
            (_write_onnx if form == "onnx" else write_torchscript)(model, aside)
    print(f"{out}: logits equal the run's within {TOLERANCE:g}")


def _read_card(path: Path, form: str) -> str | None:
    """The model card of an earlier export, which identifies its run; None for anything else."""
    try:
        if form == "bundle":
            return read_text(path / "docs" / CARD)
        check_regular(path)
        if form == "onnx":
            return _read_onnx_card(path)
        with ZipFile(path) as archive:
            return archive.read(f"archive/extra/{CARD}").decode()
    except (UserError, OSError, KeyError, UnicodeDecodeError, BadZipFile):
        return None


def _read_onnx_card(path: Path) -> str | None:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return str(onnx.load(path, load_external_data=False).doc_string)
    except DecodeError:
        return None


def write_torchscript(model: Deployable, path: Path) -> None:
    """Write a traced network with its model card (``torch.jit.load(path, _extra_files={"README.md": ""})``)."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and tracing treats shapes as constants
        traced = torch.jit.trace(model.network, model.examples())
        buffer = io.BytesIO()  # torch.jit.save to a file aborts the process on a full disk
        torch.jit.save(traced, buffer, _extra_files={CARD: model_card(model)})
        path.write_bytes(buffer.getvalue())
        _check_logits(model, torch.jit.load(str(path))(model.examples()), path)


def _write_onnx(model: Deployable, path: Path) -> None:
    """Write an ONNX file with a dynamic batch size and the model card as ``doc_string``."""
    import onnx
    import onnxruntime

    batch = {0: torch.export.Dim("batch")}
    program = torch.onnx.export(
        model.network,
        (model.examples(),),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=(batch,),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    proto.doc_string = model_card(model)
    onnx.save(proto, str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": model.examples().numpy()})
    _check_logits(model, torch.from_numpy(np.asarray(logits)), path)


def _check_logits(model: Deployable, logits: Tensor, path: Path) -> None:
    with torch.inference_mode():
        expected = model.network(model.examples())
    if logits.shape != expected.shape or not torch.allclose(logits, expected, rtol=TOLERANCE, atol=TOLERANCE):
        raise UserError(f"{path}: the exported network's output differs from the run's; nothing was kept")
