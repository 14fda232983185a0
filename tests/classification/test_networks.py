"""Networks against published sizes, closed forms, torchvision's weights and the moments of initial weights."""

from __future__ import annotations

import itertools
import math
import pickle
import urllib.error
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from classification.networks import MODELS, build_model, penultimate_features, trains_on_one
from seg_anl.engine.side_by_side import Stack
from seg_anl.records import UserError

# Name -> intended images, number of classes, width of the penultimate layer.
PUBLISHED = {
    "cnn4": ((1, 28, 28), 10, 128),
    "cnn8": ((3, 32, 32), 10, 256),
    "resnet18": ((3, 32, 32), 10, 512),
    "resnet34": ((3, 32, 32), 100, 512),
    "resnet44": ((3, 32, 32), 100, 64),
    "resnet50": ((3, 64, 64), 50, 2048),
    "resnet101": ((3, 64, 64), 50, 2048),
    "vgg19_bn": ((3, 64, 64), 10, 4096),
}


def built(name: str, seed: int = 0) -> nn.Module:
    channels, height, width = PUBLISHED[name][0]
    torch.manual_seed(seed)
    return build_model(name, PUBLISHED[name][1], channels, (height, width))


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_every_network_is_tested() -> None:
    assert set(PUBLISHED) == set(MODELS)


@pytest.mark.parametrize("name", ["cnn4", "cnn8", "resnet18", "resnet44", "resnet50"])
def test_logits_are_a_linear_map_of_the_features(name: str) -> None:
    shape, classes, width = PUBLISHED[name]
    model = built(name).eval()
    images = torch.rand(2, *shape)
    with torch.no_grad():
        logits, features = model(images), penultimate_features(model, images)
        head = list(model.modules())[-1]
    assert logits.shape == (2, classes)
    assert features.shape == (2, width)
    assert isinstance(head, nn.Linear)
    torch.testing.assert_close(logits, features @ head.weight.T + head.bias)


def test_features_remove_the_hook_and_keep_gradients() -> None:
    model = built("cnn4")
    images = torch.rand(3, 1, 28, 28)
    penultimate_features(model, images).sum().backward()
    first = next(model.parameters())
    assert first.grad is not None
    assert not any(module._forward_pre_hooks for module in model.modules())
    with pytest.raises(ValueError, match="no linear layer"):
        penultimate_features(nn.ReLU(), images)


def test_sizes_of_the_plain_networks() -> None:
    # Convolutions with bias, two numbers per normalized channel, linear layers with bias.
    cnn4 = (9 * 1 * 32 + 32) + (9 * 32 * 64 + 64) + 2 * (32 + 64) + (7 * 7 * 64 * 128 + 128) + 2 * 128 + 129 * 10
    assert size(built("cnn4")) == cnn4 == 422_090
    channels = [3, 64, 64, 128, 128, 196, 196]
    convolutions = sum(9 * a * b + b + 2 * b for a, b in itertools.pairwise(channels))
    assert size(built("cnn8")) == convolutions + (16 * 196 * 256 + 256) + 2 * 256 + 257 * 10 == 1_639_794


def test_sizes_of_the_residual_networks() -> None:
    # He et al. 2016, Table 6: 0.66 M for ResNet-44. The other two are torchvision's, which documents 11 689 512 and
    # 21 797 672 with 1000 classes, corrected for the 3x3 stem.
    assert round(size(build_model("resnet44", 10, 3, (32, 32))) / 1e6, 2) == 0.66
    stem = (7 * 7 - 3 * 3) * 3 * 64
    for name, classes, documented in (("resnet18", 10, 11_689_512), ("resnet34", 100, 21_797_672)):
        assert size(built(name)) == documented - stem - (1000 - classes) * 513


@pytest.mark.parametrize(("name", "documented"), [("resnet50", 25_557_032), ("resnet101", 44_549_160)])
def test_sizes_of_torchvisions_residual_networks(name: str, documented: int) -> None:
    with torch.device("meta"):
        assert size(build_model(name, 1000, 3, (224, 224))) == documented


def test_size_and_features_of_vgg() -> None:
    with torch.device("meta"):
        model = build_model("vgg19_bn", 1000, 3, (224, 224)).eval()
        assert size(model) == 143_678_248
        assert penultimate_features(model, torch.empty(1, 3, 64, 64)).shape == (1, 4096)


@pytest.mark.parametrize(("name", "layers"), [("resnet18", 18), ("resnet34", 34), ("resnet44", 44)])
def test_residual_network_has_the_depth_in_its_name(name: str, layers: int) -> None:
    weighted = [m for m in built(name).modules() if isinstance(m, nn.Linear) or getattr(m, "kernel_size", 0) == (3, 3)]
    assert len(weighted) == layers


@pytest.mark.parametrize(("name", "shrunk"), [("resnet18", 8), ("resnet44", 4)])
def test_the_stem_keeps_the_resolution(name: str, shrunk: int) -> None:
    maps: list[Tensor] = []
    model = built(name).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, output: maps.append(output))
    with torch.no_grad():
        model(torch.rand(1, 3, 32, 32))
    assert maps[0].shape[-2:] == (32, 32)
    assert maps[-1].shape[-2:] == (32 // shrunk, 32 // shrunk)


def test_resnet18_matches_torchvision_with_a_small_stem() -> None:
    # torchvision's ResNet-18 with a 3x3 stem has the same tensors in the same order.
    model = built("resnet18").eval()
    other = torchvision.models.resnet18(num_classes=10)
    other.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    other.maxpool = nn.Identity()
    other.load_state_dict(dict(zip(other.state_dict(), model.state_dict().values(), strict=True)))
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images), other.eval()(images))


@pytest.mark.parametrize("name", ["cnn8", "resnet18", "resnet44"])
def test_initial_weights_are_uniform_with_the_published_variance(name: str) -> None:
    model = built(name)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            bound = math.sqrt(6 / (module.in_channels * module.kernel_size[0] * module.kernel_size[1]))
        elif isinstance(module, nn.Linear):
            bound = math.sqrt(6 / (module.in_features + module.out_features))
        else:
            continue
        weight = module.weight.detach()
        count = weight.numel()
        assert weight.abs().max() <= bound
        if count < 1000:
            continue
        assert weight.abs().max() > 0.98 * bound
        assert weight.mean().abs() < 5 * bound / math.sqrt(3 * count)  # 5 standard errors
        # The squares of a uniform variable on [-b, b] have mean b^2 / 3 and variance 4 b^4 / 45.
        assert abs(weight.square().mean() - bound**2 / 3) < 5 * bound**2 * math.sqrt(4 / 45 / count)


@pytest.mark.parametrize("name", ["cnn8", "resnet18"])
def test_weights_depend_only_on_the_seed(name: str) -> None:
    one, same, other = (list(built(name, seed).parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])


@pytest.mark.parametrize(("name", "smallest"), [("cnn8", 8), ("resnet18", 8), ("resnet44", 4)])
def test_small_and_odd_images(name: str, smallest: int) -> None:
    for side in ((smallest, smallest), (smallest + 3, smallest + 1)):
        assert build_model(name, 7, 2, side)(torch.rand(4, 2, *side)).shape == (4, 7)
    with pytest.raises(UserError, match=rf"{name} needs images of {smallest} x {smallest} .* got {smallest - 1} x 64"):
        build_model(name, 7, 2, (smallest - 1, 64))


def test_bad_requests_suggest_alternatives() -> None:
    with pytest.raises(UserError, match="did you mean 'resnet34'"):
        build_model("resnet_34", 10, 3, (32, 32))
    with pytest.raises(UserError, match="suitable networks: cnn4, cnn8, resnet18, resnet34, resnet44"):
        build_model("vgg19_bn", 10, 3, (31, 31))
    with pytest.raises(UserError, match=r"color images, the data has 1 channel"):
        build_model("resnet50", 10, 1, (64, 64))


def test_weights_with_the_same_classes_are_loaded_completely(tmp_path: Path) -> None:
    source = built("resnet44", seed=1)
    for wrapped in (source.state_dict(), {"state_dict": source.state_dict()}, nn.DataParallel(source).state_dict()):
        torch.save(wrapped, tmp_path / "weights.pth")
        loaded = build_model("resnet44", 100, 3, (32, 32), str(tmp_path / "weights.pth"))
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), source.parameters(), strict=True))


def test_weights_with_other_classes_are_loaded_except_the_head(tmp_path: Path) -> None:
    source = torchvision.models.resnet50(num_classes=1000)
    state = {k: v for k, v in source.state_dict().items() if "num_batches_tracked" not in k}  # as in old files
    torch.save(state, tmp_path / "imagenet.pth")
    torch.manual_seed(3)
    loaded = build_model("resnet50", 14, 3, (224, 224), str(tmp_path / "imagenet.pth"))
    torch.manual_seed(3)
    fresh = torchvision.models.resnet50(num_classes=14)
    for name, value in loaded.state_dict().items():
        origin = fresh if name.startswith("fc.") else source
        assert torch.equal(value, origin.state_dict()[name]), name


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (self.target, "executed"))


def test_file_with_code_is_refused(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    torch.save({"head.weight": Malicious(proof)}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"head.weight": Malicious(proof)}, protocol=2))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(UserError, match="damaged or holds more than tensors"):
            build_model("cnn4", 10, 1, (28, 28), str(tmp_path / name))
    assert not proof.exists()
    torch.load(tmp_path / "zip.pth", weights_only=False)
    assert proof.exists()  # unpickling it would have run the code


def test_weights_of_other_networks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"

    def refused(match: str) -> None:
        with pytest.raises(UserError, match=match):
            build_model("cnn4", 10, 1, (28, 28), str(path))

    refused("no such file")
    path.write_bytes(b"")
    refused("cannot be read|damaged")
    torch.save(built("cnn4").state_dict(), path)
    path.write_bytes(path.read_bytes()[:-3000])
    refused("cannot be read")
    torch.save([torch.zeros(3)], path)
    refused("expected tensors by parameter name, got list")
    torch.save({"epoch": 3}, path)
    refused("'epoch' is not a tensor")
    torch.save(built("resnet44").state_dict(), path)
    refused("not a file of cnn4: .* missing, .* unknown")
    torch.save(build_model("cnn4", 10, 1, (32, 32)).state_dict(), path)
    refused("size mismatch for hidden.0.weight")


def test_imagenet_weights_are_cached_or_fail_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def no_network(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(UserError, match=r"resnet50-0676ba61\.pth cannot be downloaded .* give model\.weights=FILE"):
        build_model("resnet50", 14, 3, (224, 224), "imagenet")
    with pytest.raises(UserError, match="not available for resnet18, only for resnet50"):
        build_model("resnet18", 14, 3, (224, 224), "imagenet")
    source = torchvision.models.resnet50()
    torch.save(source.state_dict(), tmp_path / "checkpoints" / "resnet50-0676ba61.pth")
    loaded = build_model("resnet50", 14, 3, (224, 224), "imagenet")
    assert torch.equal(loaded.state_dict()["layer4.2.conv3.weight"], source.layer4[2].conv3.weight)


@pytest.mark.parametrize("name", ["cnn4", "resnet18", "resnet44", "resnet50"])
def test_networks_side_by_side_match_single_networks(name: str) -> None:
    """Outputs and batch-norm statistics in training mode, as used by ``runs_per_device``."""
    shape = PUBLISHED[name][0]
    images = list(torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0)))
    stack = Stack([built(name, seed).train() for seed in (1, 2)])
    for found, part, batch, seed in zip(stack(images), stack.networks, images, (1, 2), strict=True):
        alone = built(name, seed).train()
        torch.testing.assert_close(found, alone(batch), rtol=1e-3, atol=1e-4)
        for (key, here), there in zip(part.state_dict().items(), alone.state_dict().values(), strict=True):
            torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-5, msg=key)


def test_dropout_is_refused_side_by_side() -> None:
    with pytest.raises(UserError, match="dropout cannot be trained beside others"):
        Stack([nn.Sequential(nn.Linear(4, 3), nn.Dropout()) for _ in range(2)])


@pytest.mark.parametrize(
    ("name", "side"), [("cnn4", 8), ("resnet18", 8), ("resnet18", 9), ("resnet44", 8), ("vgg19_bn", 32)]
)
def test_networks_that_cannot_train_on_one_image_are_told(name: str, side: int) -> None:
    """The same answer as torch gives in a training step; weights, statistics and random numbers stay untouched."""
    model = build_model(name, 10, 3, (side, side))
    before, generator = {key: value.clone() for key, value in model.state_dict().items()}, torch.get_rng_state()
    possible = trains_on_one(model, (3, side, side))
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with nullcontext() if possible else pytest.raises(ValueError, match="more than 1 value per channel"):
        model(torch.zeros(1, 3, side, side))
    assert possible == (side > 8 or name == "resnet44")
