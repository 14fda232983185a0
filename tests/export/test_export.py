"""Exported networks match the run's network on real images, without this package."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, verify_metadata, verify_net_in_out
from PIL import Image, ImageOps

from classification.datasets import load_dataset
from classification.experiment import train as classify
from seg_anl.engine.command import compose
from seg_anl.export.bundle import inference
from seg_anl.export.card import model_card
from seg_anl.export.deployable import load_deployable
from seg_anl.export.formats import export_run
from seg_anl.records import UserError, read_metrics
from seg_anl.segmentation.experiment import SegmentationExperiment, train
from seg_anl.segmentation.mask_prediction import predict_masks
from tests.processes import Process, module, without_this_package

pytestmark = pytest.mark.usefixtures("_no_pictures_of_runs")
EMBEDDED = Path(__file__).parents[2] / "seg_anl/segmentation/embedded/isic2017_96.zip"
QUICK = ["progress=false", "device=cpu", "evaluation.last_k=1"]
MAX_MISMATCH = 1e-3  # share of pixels whose class may differ, at boundaries

# Required by MONAI's meta_schema_20240725.json (copy: github.com/Project-MONAI/project-monai.github.io, public/schema)
# or by the bundle specification. The schema file itself has to be downloaded.
REQUIRED = (
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
    *("task", "description", "authors", "copyright", "network_data_format"),
)
ALSO_REQUIRED = ("changelog", "intended_use", "supported_apps", "name")
TENSOR_FIELDS = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range")
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
TENSOR = {
    "type": "object",
    "required": [*TENSOR_FIELDS, "is_patch_data", "channel_def"],
    "properties": {
        **{name: {"type": "string"} for name in ("type", "format", "dtype")},
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": STRINGS,
    },
}
TENSORS = {"type": "object", "minProperties": 1, "additionalProperties": TENSOR}
SCHEMA = {
    "type": "object",
    "required": [*REQUIRED, *ALSO_REQUIRED],
    "properties": {
        **{name: {"type": "string"} for name in REQUIRED if not name.endswith(("packages_version", "format"))},
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "supported_apps": {"type": "object"},
        "changelog": STRINGS,
        "required_packages_version": STRINGS,
        "network_data_format": {"required": ["inputs", "outputs"], "additionalProperties": TENSORS},
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training on the embedded skin lesions."""
    small = ["preset=small", "data.limit=48", "epochs=3", "batch_size=8"]
    small += ["noise.alpha=0.5", "loss=gce"]
    root = tmp_path_factory.mktemp("runs")
    (directory,) = train(compose("segmentation", [*small, *QUICK, f"run_root={root}"]))
    return directory.path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real images: two of the network's size, two of other sizes and not square; one gray, one not stored upright."""
    folder, turned = tmp_path_factory.mktemp("photos"), Image.Exif()
    turned[0x0112] = 6  # a phone held upright
    with zipfile.ZipFile(EMBEDDED) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("images/validation/"))[:4]
        for name, size in zip(names, [(96, 96), (150, 100), (80, 117), (96, 96)], strict=True):
            image = Image.open(io.BytesIO(archive.read(name))).resize(size)
            image.save(folder / f"{Path(name).stem}.png", **({"exif": turned} if size == (150, 100) else {}))
    Image.open(folder / f"{Path(names[3]).stem}.png").convert("L").save(folder / f"{Path(names[3]).stem}.png")
    return folder


def compute_logits(file: Path, images: np.ndarray) -> np.ndarray:
    """Logits of an exported network on uint8 images."""
    floats = images.astype(np.float32)
    if file.suffix == ".onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {"image": floats})[0])
    with torch.inference_mode():
        return torch.jit.load(str(file))(torch.from_numpy(floats)).numpy()


def export_twice(run: Path, out: Path, form: str) -> None:
    """Export and repeat, as after a kill at the very end; the export is not rewritten."""
    export_run(run, out, form)
    modified = out.stat().st_mtime_ns
    export_run(run, out, form)
    assert out.stat().st_mtime_ns == modified


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_exported_file_has_the_dice_measured_in_training(run: Path, tmp_path: Path, form: str) -> None:
    pytest.importorskip("onnxscript")
    file = tmp_path / f"model.{form}"
    export_twice(run, file, form)
    config = compose("segmentation", ["preset=small", "data.limit=48", "device=cpu", "progress=false"])
    (_, test), _ = SegmentationExperiment(config).load()
    predicted = compute_logits(file, test.images.numpy()).argmax(axis=1)
    truth = test.masks.numpy()
    overlap, total = (predicted & truth).sum(axis=(1, 2)), predicted.sum(axis=(1, 2)) + truth.sum(axis=(1, 2))
    measured = json.loads((run / "summary.json").read_text())["metrics"]["test/dice"]["last"]
    assert 0.2 < measured < 1
    assert np.where(total > 0, 2 * overlap / np.maximum(total, 1), 1).mean() == pytest.approx(measured, abs=2e-4)


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_exported_classifier_has_the_accuracy_measured_in_training(tmp_path: Path, form: str) -> None:
    pytest.importorskip("onnxscript")
    config = compose("classification", ["epochs=2", "loss=gce", *QUICK, f"run_root={tmp_path}"])
    (directory,) = classify(config)
    export_run(directory.path, tmp_path / f"model.{form}", form)
    test = load_dataset(config.data).tests["test"]
    predicted = compute_logits(tmp_path / f"model.{form}", test.images.numpy()).argmax(axis=1)
    measured = json.loads((directory.path / "summary.json").read_text())["metrics"]["test/accuracy"]["last"]
    assert (predicted == test.labels).mean() == pytest.approx(measured, abs=1 / len(test))
    with pytest.raises(UserError, match="a bundle predicts masks"):
        export_run(directory.path, tmp_path / "bundle", "bundle")


def test_monai_runs_and_verifies_the_bundle(run: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("fire")
    bundle = tmp_path / "lesions"
    export_twice(run, bundle, "bundle")
    assert "seg_anl" not in (bundle / "configs/inference.json").read_text()
    arguments = {"config_file": str(bundle / "configs/inference.json"), "bundle_root": str(bundle)}
    folders = {"dataset_dir": str(photos), "output_dir": str(tmp_path / "theirs")}
    words = [word for name, value in (arguments | folders).items() for word in (f"--{name}", value)]
    status, _, errors = Process(without_this_package(module("monai.bundle", "run", *words)), tmp_path).ended()
    assert status == 0, errors[-3000:]
    predict_masks(
        run, photos, tmp_path / "ours", overlay=False, checkpoint="last", device="cpu", overwrite=False, trust=False
    )
    ours, theirs = ({file.name: file for file in (tmp_path / name).iterdir()} for name in ("ours", "theirs"))
    assert len(ours) == 4
    assert ours.keys() == theirs.keys()
    for name, file in ours.items():
        mask, other = (np.asarray(ImageOps.exif_transpose(Image.open(path))) for path in (file, theirs[name]))
        assert mask.shape == other.shape
        assert set(np.unique(other)) <= {0, 255}
        assert (mask != other).mean() <= MAX_MISMATCH, name
    assert any(np.asarray(Image.open(file)).std() > 0 for file in ours.values())

    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    metadata = str(bundle / "configs/metadata.json")
    schema = str(tmp_path / "schema.json")  # exists, so nothing is downloaded
    verify_metadata(meta_file=metadata, filepath=schema)
    verify_net_in_out("network_def", meta_file=metadata, device="cpu", **arguments)
    card = (bundle / "docs/README.md").read_text()
    for text in ("CC0", "name=gce", "alpha=0.5", "test/dice", "train: 48"):
        assert text in card


def test_bundle_refuses_images_of_16_bits(run: Path, tmp_path: Path) -> None:
    """Pillow would clip them at 255, and the network would see white."""
    export_run(run, tmp_path / "lesions", "bundle")
    parser = ConfigParser()
    parser.read_config(str(tmp_path / "lesions/configs/inference.json"))
    read = parser.get_parsed_content("preprocessing")
    for name, dtype in (("bytes.png", np.uint8), ("words.png", np.uint16)):
        Image.fromarray(np.full((20, 30), 200, dtype)).save(tmp_path / name)
    assert read({"image": str(tmp_path / "bytes.png")})["image"].max() == 200
    with pytest.raises(RuntimeError) as caught:
        read({"image": str(tmp_path / "words.png")})
    assert "more than 8 bits per channel" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("names", "message"), [([], "no images in dataset_dir"), (["a.png", "a.bmp"], "differ in their suffix only")]
)
def test_bundle_refuses_what_would_give_no_mask(run: Path, tmp_path: Path, names: list[str], message: str) -> None:
    (tmp_path / "images").mkdir()
    for name in names:
        Image.new("RGB", (32, 32)).save(tmp_path / "images" / name)
    parser = ConfigParser(inference(load_deployable(run, "last")))
    parser["dataset_dir"] = str(tmp_path / "images")
    with pytest.raises(RuntimeError) as caught:
        [parser.get_parsed_content(f"run::{step}") for step in range(2)]
    assert message in str(caught.value.__cause__)


def test_card_has_the_metrics_of_the_exported_weights(run: Path) -> None:
    model = load_deployable(run, "best")
    by_epoch = [row.values["dice"] for row in read_metrics(run / "metrics.csv") if row.split == "test"]
    best = int(np.argmax(by_epoch))
    chosen = f"after epoch {best + 1} of {len(by_epoch)}, chosen as the epoch with the best test/dice"
    assert chosen in model_card(model)
    other = int(np.argmin(by_epoch))
    assert by_epoch[other] != by_epoch[best]
    for epoch in (best, other):
        model.summary["metrics"]["test/dice"]["best_epoch"] = epoch
        assert f"| test/dice | {by_epoch[epoch]:.4f} |" in model_card(model)
    assert f"| test/dice | {by_epoch[-1]:.4f} |" in model_card(load_deployable(run, "last"))


def test_failed_export_raises_one_line_and_leaves_nothing(run: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="already exists"):
        export_run(run, tmp_path / "there", "bundle")
    (tmp_path / "file").write_text("another's")
    with pytest.raises(UserError, match="already exists"):
        export_run(run, tmp_path / "file", "torchscript")
    with pytest.raises(UserError, match="not a run directory"):
        export_run(tmp_path, tmp_path / "new", "torchscript")
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished/config.yaml").write_text((run / "config.yaml").read_text())
    with pytest.raises(UserError, match="not finished"):
        export_run(tmp_path / "unfinished", tmp_path / "new", "torchscript")
    shutil.copytree(run, tmp_path / "volumes")
    config = (run / "config.yaml").read_text()
    assert "name: embedded" in config
    (tmp_path / "volumes/config.yaml").write_text(config.replace("name: embedded", "name: volumes"))
    with pytest.raises(UserError, match="a run on volumes; only networks for pictures can be exported"):
        export_run(tmp_path / "volumes", tmp_path / "new", "torchscript")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there", "unfinished", "volumes"]
