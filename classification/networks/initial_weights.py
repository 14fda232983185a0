"""Load initial weights from a file, or ImageNet weights from torchvision, without executing code in the file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seg_anl.records import UserError
from seg_anl.records.errors import reason_of

from .head import head_of

IMAGENET = "imagenet"

# torchvision's first weights (V1), from plain ImageNet training, as in the papers; V2 weights use a longer recipe.
# torchvision's ResNet-18 and ResNet-34 differ from those of this package.
IMAGENET_WEIGHTS = {"resnet50": "ResNet50_Weights", "resnet101": "ResNet101_Weights", "vgg19_bn": "VGG19_BN_Weights"}


def load_weights(model: nn.Module, name: str, weights: str) -> None:
    """Load ``weights`` into ``model`` in place.

    Args:
        model: the network; its head keeps its initial weights if the file has another number of classes.
        name: name of the network.
        weights: a file of tensors by parameter name (``torch.save`` of a ``state_dict``, or of a dictionary with one
            under ``state_dict`` or ``model``), or ``imagenet``, which is downloaded once to torch's hub folder.

    Raises:
        UserError: for a file that is missing, damaged, holds anything but tensors, or belongs to another network, and
            for a failed download.
    """
    path = _imagenet_file(name) if weights == IMAGENET else Path(weights).expanduser()
    state = _read_state(path)
    head_name, head = head_of(model)
    heads = {f"{head_name}.weight": head.weight, f"{head_name}.bias": head.bias}
    other_classes = {key for key, own in heads.items() if key in state and state[key].shape != own.shape}
    state = {key: value for key, value in state.items() if key not in other_classes}
    try:
        result = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # wrong shapes, with one line per tensor
        raise UserError(f"model.weights={path}: {reason_of(error, -1)}; is it a file of {name}?") from error
    mismatched = [*(key for key in result.missing_keys if key not in other_classes), *result.unexpected_keys]
    if mismatched:
        raise UserError(
            f"model.weights={path} is not a file of {name}: {len(result.missing_keys)} tensor(s) missing, "
            f"{len(result.unexpected_keys)} unknown, for example {mismatched[0]!r}"
        )


def _imagenet_file(name: str) -> Path:
    if name not in IMAGENET_WEIGHTS:
        raise UserError(f"model.weights={IMAGENET}: not available for {name}, only for {', '.join(IMAGENET_WEIGHTS)}")
    import torchvision  # imported late, because local files do not need it

    url: str = getattr(torchvision.models, IMAGENET_WEIGHTS[name]).IMAGENET1K_V1.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.exists():
        digest = path.stem.rsplit("-", 1)[-1]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=False)
        except (OSError, RuntimeError) as error:  # no network, no space, or a wrong digest
            raise UserError(
                f"model.weights={IMAGENET}: {url} cannot be downloaded to {path} ({reason_of(error, -1)}); "
                "download it by other means and give model.weights=FILE"
            ) from error
    return path


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"model.weights={path}: no such file") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"model.weights={path} is damaged or holds more than tensors: save only the state_dict()"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"model.weights={path} cannot be read: {reason_of(error, -1)}") from error
    return _state_dict(content, path)


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"model.weights={path}: expected tensors by parameter name, got {type(content).__name__}")
    other = next((key for key, value in content.items() if not isinstance(value, Tensor)), None)
    if other is not None:
        raise UserError(f"model.weights={path}: {other!r} is not a tensor; save only the network's state_dict()")
    # DataParallel and DistributedDataParallel prefix all names with "module.".
    return {str(key).removeprefix("module."): value for key, value in content.items()}
