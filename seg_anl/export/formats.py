"""TorchScript and ONNX files, compared with the run's network before they are kept."""

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
from .deployable import Deployable, deployable

TOLERANCE = 1e-3  # of logits, which are of the order of 1 to 10
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def export_run(run: Path, out: Path, form: str, *, checkpoint: str = "last") -> None:
    """Write a finished run to ``out`` as a ``bundle``, ``onnx`` or ``torchscript``, unless that was done before.

    Raises:
        UserError: for what is no such run, something else at ``out``, a missing package, and a network that says
            something else in its new form; nothing is left behind then.
    """
    if form == "onnx" and (missing := [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]):
        raise UserError(f"--format onnx needs {missing[0]}: pip install 'seg-anl[export]'")
    there = os.path.lexists(out)
    card = _card(out, form) if there else None
    taken = UserError(f"{out} exists already; choose another place")
    if there and card is None:
        raise taken
    model = deployable(run, checkpoint)
    if form == "bundle" and str(model.config.task) != "segmentation":
        raise UserError(f"{run}: a bundle predicts masks; export a run of seg-anl-classify as onnx or torchscript")
    if there:
        if card != model_card(model):
            raise taken
        print(f"{out}: exported already, left alone")
        return
    remove_partial(make_directory(out.parent), below=False)
    if form == "bundle":
        _whole_bundle(model, out)
    else:
        with written_aside(out) as aside:
            (_write_onnx if form == "onnx" else write_torchscript)(model, aside)
    print(f"{out}: logits equal the run's within {TOLERANCE:g}")


def _card(path: Path, form: str) -> str | None:
    """The model card in what an earlier export made, which says from what; None for anything else."""
    try:
        if form == "bundle":
            return read_text(path / "docs" / CARD)
        check_regular(path)
        if form == "onnx":
            return _onnx_card(path)
        with ZipFile(path) as archive:
            return archive.read(f"archive/extra/{CARD}").decode()
    except (UserError, OSError, KeyError, UnicodeDecodeError, BadZipFile):
        return None


def _onnx_card(path: Path) -> str | None:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return str(onnx.load(path, load_external_data=False).doc_string)
    except DecodeError:
        return None


def write_torchscript(model: Deployable, path: Path) -> None:
    """A traced network with its model card inside (``torch.jit.load(path, _extra_files={"README.md": ""})``)."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of TorchScript's age, and of shapes that the trace takes as constant
        traced = torch.jit.trace(model.network, model.examples())
        content = io.BytesIO()  # torch itself would end the process on a full disk
        torch.jit.save(traced, content, _extra_files={CARD: model_card(model)})
        path.write_bytes(content.getvalue())
        _compare(model, torch.jit.load(str(path))(model.examples()), path)


def _write_onnx(model: Deployable, path: Path) -> None:
    """An ONNX file, its model card as ``doc_string``; any number of images at a time."""
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
    _compare(model, torch.from_numpy(np.asarray(logits)), path)


def _compare(model: Deployable, found: Tensor, path: Path) -> None:
    with torch.inference_mode():
        expected = model.network(model.examples())
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
        raise UserError(f"{path}: the exported network does not say what the run's says; nothing was kept")


def _whole_bundle(model: Deployable, out: Path) -> None:
    with folder_aside(out) as folder:
        write_bundle(model, folder)
        write_torchscript(model, folder / "models" / "model.ts")
