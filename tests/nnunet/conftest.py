"""Fixtures: real nnU-Net data sets, planned and preprocessed once, and helpers to run commands on them."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import multiprocessing
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seg_anl.nnunet.lookup import quiet, trainers
from tests.processes import Process, main_of

collect_ignore_glob = [] if importlib.util.find_spec("nnunetv2") else ["test_*.py"]

EMBEDDED = Path(__file__).parents[2] / "seg_anl" / "segmentation" / "embedded" / "isic2017_96.zip"
Make = Callable[..., Any]
Entry = Callable[[], object]


def command(place: str) -> Entry:
    """The function ``MODULE:NAME``, imported where it runs."""
    module, _, name = place.partition(":")
    return lambda: getattr(importlib.import_module(module), name)()


ours = command("seg_anl.nnunet.nnunet_command:main")
nnunet_train = command("nnunetv2.run.run_training:run_training_entry")


def nnunet_plan() -> None:
    """``nnUNetv2_plan_and_preprocess``, on fewer voxels: it draws 100 million, which takes 20 seconds."""
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
    from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry

    run = DatasetFingerprintExtractor.run

    def run_on_few(extractor: DatasetFingerprintExtractor, *arguments: Any, **keywords: Any) -> Any:
        extractor.num_foreground_voxels_for_intensitystats = 1e5
        return run(extractor, *arguments, **keywords)

    DatasetFingerprintExtractor.run = run_on_few
    plan_and_preprocess_entry()


def import_nnunet() -> None:
    """Import what is slow to import, for copies of this process."""
    with quiet():
        for name in ("run.run_training", "training.nnUNetTrainer.primus.primus_trainers"):
            importlib.import_module(f"nnunetv2.{name}")


def fork_workers() -> None:
    """Have nnU-Net's pools fork: its spawned workers would import torch and nnU-Net anew, seconds for each pool.

    torch keeps to one thread, though nnU-Net asks for one per core: threads stay behind at a fork.
    """
    contexts, torch.set_num_threads = multiprocessing.get_context, lambda _: None
    multiprocessing.get_context = lambda method=None: contexts("fork")  # type: ignore[assignment]


@dataclass(frozen=True)
class NNUNet:
    """nnU-Net's three folders below ``root``."""

    root: Path

    @property
    def variables(self) -> dict[str, str]:
        folders = {f"nnUNet_{name}": str(self.root / name) for name in ("raw", "preprocessed", "results")}
        # One process each, for small and shared machines.
        return folders | {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0", "nnUNet_compile": "f"}

    def start(self, entry: Entry, *arguments: str, **variables: str) -> Process:
        """Begin a command in a copy of this process, which has imported nnU-Net."""
        import_nnunet()

        def work() -> object:
            for name in [name for name in os.environ if name.startswith(("nnUNet_", "SEG_ANL_"))]:
                del os.environ[name]
            os.environ.update(self.variables | variables)
            warnings.simplefilter("ignore")
            fork_workers()
            return entry()

        return Process(main_of("nnunet", work, *arguments))

    def run(self, entry: Entry, *arguments: str, **variables: str) -> tuple[int, str, str]:
        return self.start(entry, *arguments, **variables).ended()

    def kill_in_second_epoch(self, entry: Entry, *arguments: str, **variables: str) -> None:
        process = self.start(entry, *arguments, **variables)
        process.until(lambda: "Epoch 1" in process.out)
        process.kill()

    def succeed(self, entry: Entry, *arguments: str, **variables: str) -> str:
        status, output, errors = self.run(entry, *arguments, **variables)
        assert status == 0, output[-3000:] + errors[-3000:]
        return output

    def plan(self, dataset: int, configuration: str, *more: str) -> None:
        """Plan a data set, with so few channels that the convolutions cost little."""
        self.succeed(
            nnunet_plan,
            *("-d", str(dataset), "-c", configuration, "-npfp", "1", "-np", "1", *more),
            nnUNet_n_proc_DA="1",  # 0 fails in planning
        )
        (path,) = self.root.glob(f"preprocessed/Dataset{dataset}_*/nnUNetPlans.json")
        plans = json.loads(path.read_text())
        architecture = plans["configurations"][configuration]["architecture"]["arch_kwargs"]
        architecture["features_per_stage"] = [4] * architecture["n_stages"]
        path.write_text(json.dumps(plans))


def write_case(folder: Path, name: str, image: Image.Image, mask: np.ndarray, split: str) -> None:
    for kind in ("images", "labels"):
        (folder / f"{kind}{split}").mkdir(parents=True, exist_ok=True)
    image.save(folder / f"images{split}" / f"{name}_0000.png")
    Image.fromarray(mask.astype(np.uint8)).save(folder / f"labels{split}" / f"{name}.png")


def embedded_pairs(split: str, count: int) -> dict[str, tuple[Image.Image, np.ndarray]]:
    with zipfile.ZipFile(EMBEDDED) as archive:
        names = sorted(n for n in archive.namelist() if n.startswith(f"images/{split}/"))[:count]
        pairs = {}
        for name in names:
            stem = Path(name).stem
            image = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            mask = Image.open(io.BytesIO(archive.read(f"masks/{split}/{stem}.png"))).convert("L")
            pairs[stem] = (image, np.asarray(mask) > 127)
    return pairs


def write_description(folder: Path, labels: Mapping[str, object], **more: object) -> None:
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, **more}))


@pytest.fixture(scope="session")
def isic(tmp_path_factory: pytest.TempPathFactory) -> NNUNet:
    """Dataset 501: 24 embedded ISIC-2017 images of 96 x 96, six more for testing in imagesTs and labelsTs."""
    nnunet = NNUNet(tmp_path_factory.mktemp("nnunet2d"))
    folder = nnunet.root / "raw" / "Dataset501_ISIC"
    for split, source, count in (("Tr", "train", 24), ("Ts", "validation", 6)):
        for name, (image, mask) in embedded_pairs(source, count).items():
            write_case(folder, name, image, mask, split)
    write_description(
        folder,
        {"background": 0, "lesion": 1},
        channel_names={"0": "R", "1": "G", "2": "B"},
        numTraining=24,
        file_ending=".png",
        overwrite_image_reader_writer="NaturalImage2DIO",
    )
    nnunet.plan(501, "2d")
    return nnunet


@pytest.fixture
def isic_folder(isic: NNUNet) -> Path:
    """The raw folder of dataset 501."""
    return isic.root / "raw" / "Dataset501_ISIC"


@pytest.fixture
def make(isic: NNUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A function (trainer name, environment) -> trainer on dataset 501, not yet initialized."""
    for name, value in (isic.variables | {"nnUNet_results": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    folder = isic.root / "preprocessed" / "Dataset501_ISIC"

    def make_trainer(name: str | type, *, continued: bool = False, **variables: str) -> Any:
        for variable in ("LOSS", "TRAIN", "TEST", "SOFT", "WEIGHTS"):
            monkeypatch.delenv(f"SEG_ANL_{variable}", raising=False)
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        plans = json.loads((folder / "nnUNetPlans.json").read_text())
        description = json.loads((folder / "dataset.json").read_text())
        trainer_class = trainers()[name] if isinstance(name, str) else name
        plans["continue_training"] = continued
        return trainer_class(plans, "2d", 0, description, torch.device("cpu"))

    return make_trainer


def stops(capsys: pytest.CaptureFixture[str], action: Callable[[], object]) -> str:
    """The one-line error with which ``action`` exits."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        action()
    assert caught.value.code == 2
    errors = capsys.readouterr().err
    assert errors.startswith("seg_anl: error: ")
    assert errors.count("\n") == 1
    return errors
