"""A MONAI bundle around a TorchScript network: metadata, inference on a folder of images, and a model card.

Format: https://docs.monai.io/en/stable/mb_specification.html. Running it needs MONAI and ``fire``, not this package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

import seg_anl
from data_prep.pairing import IMAGE_SUFFIXES
from seg_anl.records import make_directory, write_json, write_text

from .card import CARD, model_card
from .deployable import Deployable

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"

_UPRIGHT_RGB = "ImageOps.exif_transpose(image).convert('RGB')"


def _refusal(reason: str) -> str:
    """An expression that raises an error."""
    return f"exec('raise ValueError(\"{reason}\")')"


def write_bundle(model: Deployable, folder: Path) -> None:
    """Write everything except ``models/model.ts``, and create its folder."""
    for name in ("configs", "docs", "models"):
        make_directory(folder / name)
    write_json(folder / "configs" / "metadata.json", metadata(model))
    write_json(folder / "configs" / "inference.json", inference(model))
    write_text(folder / "docs" / CARD, model_card(model))


def metadata(model: Deployable) -> dict[str, Any]:
    """The content of metadata.json."""
    config, (channels, height, width) = model.config, model.shape
    shape = {"spatial_shape": [height, width], "dtype": "float32", "is_patch_data": False}
    image = {"type": "image", "format": "RGB", "modality": "n/a", "num_channels": channels, "value_range": [0, 255]}
    pred = {"type": "image", "format": "segmentation", "num_channels": len(model.classes), "value_range": []}
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": "exported by seg-anl-export"},
        "monai_version": monai.__version__,
        "pytorch_version": str(torch.__version__).partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"fire": "0.5.0", "pillow": "10.3.0"},
        "supported_apps": {},
        "name": f"{config.data.name}, {config.loss.name}",
        "task": "Segmentation of images",
        "description": f"Trained with {config.loss.name} on noisy masks by seg_anl {seg_anl.__version__}.",
        "authors": "the person who trained it",
        "copyright": "see docs/README.md",
        "intended_use": "Research; not a medical device",
        "network_data_format": {
            "inputs": {"image": {**image, **shape, "channel_def": {"0": "red", "1": "green", "2": "blue"}}},
            "outputs": {"pred": {**pred, **shape, "channel_def": dict(enumerate(model.classes))}},
        },
    }


def inference(model: Deployable) -> dict[str, Any]:
    """The content of inference.json: resize each image, resize its logits back, and save the class of each pixel."""
    _, height, width = model.shape
    too_deep = _refusal("more than 8 bits per channel; convert the image to 8-bit RGB")
    return {
        "imports": ["$import glob", "$import os", "$import numpy", "$import torch", "$from PIL import ImageOps"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/masks'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "files": (
            "$sorted(path for path in glob.glob(os.path.join(@dataset_dir, '*'))"
            f" if os.path.splitext(path)[1].lower() in {tuple(IMAGE_SUFFIXES)!r})"
        ),
        "network_def": {
            "_target_": "torch.jit.load",
            "f": "$@bundle_root + '/models/model.ts'",
            "map_location": "@device",
        },
        "network": "$@network_def.eval()",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "LoadImaged",
                    "keys": "image",
                    "reader": "PILReader",
                    "converter": f"$lambda image: {_UPRIGHT_RGB} if image.mode[0] not in 'IF' else {too_deep}",
                    "ensure_channel_first": True,
                },
                # MONAI's PILReader puts the horizontal axis first.
                {"_target_": "Transposed", "keys": "image", "indices": [0, 2, 1]},
                {"_target_": "Resized", "keys": "image", "spatial_size": [height, width], "mode": "bilinear"},
                {"_target_": "Lambdad", "keys": "image", "func": "$lambda image: image.round().clamp(0, 255)"},
            ],
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "",
                    "output_ext": ".png",
                    "output_dtype": "$numpy.uint8",
                    "scale": 255 if len(model.classes) == 2 else None,
                    "resample": False,
                    "separate_folder": False,
                    "print_log": False,
                },
            ],
        },
        "predicted": "$lambda item: {**item, 'pred': @network(item['image'][None].to(@device))[0].cpu()}",
        "names": "${os.path.splitext(os.path.basename(path))[0] for path in @files}",
        "run": [
            f"$@files or {_refusal('no images in dataset_dir')}",
            f"$len(@names) == len(@files) or {_refusal('two images differ in their suffix only; rename one')}",
            # "and None": the results of all files would not fit into memory.
            "$[@postprocessing(@predicted(@preprocessing({'image': file}))) and None for file in @files]",
        ],
    }
