"""Presets: recipes use existing settings, cover their papers' tables, and match their sources."""

import hashlib
import json
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from classification.networks import MODELS
from data_prep.label_noise import LabelNoiseSettings, apply_label_noise
from seg_anl.engine.command import compose
from seg_anl.engine.optimization import build_optimizer, build_schedule
from seg_anl.engine.settings import OptimSettings, plain
from seg_anl.losses import build_loss
from seg_anl.losses.declarations import declarations
from seg_anl.records import config_folder
from seg_anl.records.ranges import checked
from seg_anl.records.recipes import flat, load_recipe, merged, recipe_names
from seg_anl.reporting.published import list_tables, read_table

PRESETS = [name for name in recipe_names() if load_recipe(name).task == "classification"]
NOISES = ("symmetric", "asymmetric", "none")


@cache
def composed(preset: str, data: str, *overrides: str) -> DictConfig:
    needed = {"arrays": ["data.file=x.npz"]}.get(data, [])
    if "root" in read("data", data) and read("data", data)["root"] == "???":
        needed = ["data.root=x"]
    return compose("classification", [f"preset={preset}", f"data={data}", *needed, *overrides])


@cache
def read(group: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((config_folder() / group / f"{name}.yaml").read_text(encoding="utf-8"))


def places(preset: str) -> list[tuple[str, str, str]]:
    """Data set, noise and loss of every combination in the recipe, and of one that is not."""
    recipe = load_recipe(preset)
    return [place for data in recipe.data for place in product([data], NOISES, ["mae", *recipe.data[data].losses])]


def test_recipes_set_only_existing_settings() -> None:
    """A mistyped key would silently have no effect, and so would an assumption that refers to nothing."""
    for preset, data in [(name, data) for name in PRESETS for data in load_recipe(name).data]:
        recipe, config = load_recipe(preset), composed(preset, data)
        assert config.model.name in MODELS
        checked(OptimSettings, plain(config.optim), "optim")
        every = flat(plain(config))
        known = {name for name in every if not name.startswith(("noise.", "loss."))}
        for _, noise, loss in (place for place in places(preset) if place[0] == data):
            of_noise = {f"noise.{name}" for name in read("noise", noise)}
            here = known | of_noise | {f"loss.{name}" for name in declarations()[loss].parameters}
            assert set(flat(recipe.settings(data, noise, loss))) <= here, (preset, data)
            for name in recipe.assumed(data, noise, loss):
                assert any(f"{setting}.".startswith(f"{name}.") for setting in here), (preset, data, name)


@pytest.mark.parametrize("preset", PRESETS)
def test_hydra_composes_the_recipe(preset: str) -> None:
    """Parameters that are not in the recipe have the loss's defaults."""
    every = places(preset)
    for data, noise, loss in every[:: len(every) // 3 or 1]:
        config = composed(preset, data, f"noise={noise}", f"loss={loss}")
        expected = flat(
            merged({"loss": declarations()[loss].parameters}, load_recipe(preset).settings(data, noise, loss))
        )
        found = flat(OmegaConf.to_container(config))  # type: ignore[arg-type]
        assert {name: found[name] for name in expected} == expected
        assert (config.preset, config.loss.name) == (preset, loss)


# Digests of all merged settings, so that changing a published protocol is deliberate.
DIGESTS = {
    "alf2021": "f180549ab239",
    "anl2023": "ac681c8f1b7a",
    "anl2024": "fca75deea5b5",
    "apl2020": "6e063801cb37",
    "default": "f7aa728373cd",
    "el2021": "aaacd4b5be00",
    "eps2024": "9f945c2b5c30",
    "jal2025": "51c077a3fb17",
    "re2024": "ce9b9510e759",
    "sr2021": "b671ea4d371c",
    "sr2021_imbalance": "df54c7be9600",
}


def test_recipes_change_only_deliberately() -> None:
    found = {}
    for preset in DIGESTS:
        recipe = load_recipe(preset)
        # Merged with the loss's defaults, so that spelling out a default is not a change.
        settings = {
            " ".join(place): merged({"loss": declarations()[place[2]].parameters}, recipe.settings(*place))
            for place in places(preset)
        }
        found[preset] = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    assert found == DIGESTS


def published_losses() -> dict[tuple[str, str], dict[str, set[str]]]:
    """(preset, data) -> loss -> networks in the tables of the preset."""
    found: dict[tuple[str, str], dict[str, set[str]]] = {}
    for table in list_tables():
        if table.task == "classification" and table.kind == "results":
            preset = "sr2021_imbalance" if table.id.endswith("-SR-5") else table.paper
            losses = found.setdefault((preset, table.dataset), {})
            for cell in read_table(table.id):
                if cell.loss:
                    losses.setdefault(cell.loss, set()).update({cell.model} - {""})
    return found


def test_losses_of_published_tables_have_explicit_parameters() -> None:
    """The recipe sets the parameters of each loss, or marks them as assumed."""
    for (preset, data), losses in published_losses().items():
        known = load_recipe(preset).data[data].losses
        for loss, networks in losses.items():
            assert loss in known or not declarations()[loss].parameters, (preset, data, loss)
            assert not networks or composed(preset, data).model.name in networks, (preset, data)


# Losses with values on one data set but not on another, because the defaults are the published values (weights (1, 1)
# on CIFAR-10), or the paper does not train them there.
DEFAULTS = {
    ("alf2021", "cifar10"): "nce_mae nce_rce nfl_rce",
    ("anl2023", "mnist"): "anl_ce_er",
    ("anl2023", "cifar10"): "nce_mae nce_rce nfl_rce sce",
    ("anl2023", "webvision"): "anl_ce_er nce_ael nce_aul nce_mae nfl_rce",
    ("anl2024", "cifar100"): "nce nnce",
    ("anl2024", "webvision"): "anl_ce_er focal nce nnce phuber_ce taylor_ce",
    ("anl2024", "animal10n"): "anl_ce_er anl_fl focal nce nce_agce nce_rce nnce phuber_ce sce taylor_ce",
    ("anl2024", "clothing1m"): "anl_ce_er anl_fl focal nce nce_agce nnce phuber_ce sce taylor_ce",
    ("apl2020", "webvision"): "focal ngce ngce_mae ngce_rce nlnl",
    ("el2021", "cifar10"): "el_lsr",
    ("el2021", "cifar100"): "el_lsr",
    ("el2021", "imagenet"): "bootstrap_hard gce sce",
    ("re2024", "mnist"): "nnce sce",
    ("re2024", "cifar100"): "nnce sce",
    ("sr2021", "mnist"): "phuber_ce",
    ("sr2021", "cifar10"): "nce_mae nce_rce nfl_rce",
    ("sr2021", "webvision"): "gce mae nfl_rce nlnl phuber_ce",
}


def test_losses_have_values_on_all_data_sets_or_none() -> None:
    """The loss's defaults would silently fill a gap."""
    for preset in PRESETS:
        recipe = load_recipe(preset)
        every = {loss for data in recipe.data for loss in recipe.data[data].losses}
        for data in recipe.data:
            gaps = every - set(recipe.data[data].losses)
            assert gaps == set(DEFAULTS.get((preset, data), "").split()), (preset, data)
    values = {data: load_recipe("apl2020").settings(data, loss="ngce")["loss"] for data in ("mnist", "cifar10")}
    assert values == {"mnist": {"q": 0.1}, "cifar10": {"q": 0.1}}


@pytest.mark.parametrize("table", [t for t in list_tables() if t.kind == "parameters"], ids=lambda table: table.id)
def test_parameters_match_the_tables(table: Any) -> None:
    """In the recipe, which Hydra composes as it is (above)."""
    names = {"delta": "optim.l1", "lambda": "loss.lam"}
    cells = read_table(table.id)
    for loss in sorted({cell.loss for cell in cells}):
        defaults = {"loss": declarations()[loss].parameters}
        found = flat(merged(defaults, load_recipe(table.paper).settings(table.dataset, "symmetric", loss)))
        for cell in cells:
            if cell.loss == loss:
                name = names.get(cell.metric, f"loss.{cell.metric}")
                assert found[name] == pytest.approx(cell.mean), (loss, name)
        if loss.startswith("anl"):
            assert found["optim.weight_decay"] == 0  # Section VI-B: "weight decay is set to 0 for all datasets"


# Copied by hand from the sources.
SPOT_CHECKS: dict[tuple[str, ...], dict[str, Any]] = {
    # Ye et al., Section VI-B: "An 8-layer CNN is used for CIFAR-10 ... 120 ... Weight decay is set to 1e-4 ... The
    # initial learning rate is set to 0.01 ... Batch size is set to 128 ... we clip the gradient norm to 5.0"
    ("anl2024", "cifar10", "loss=gce"): {
        "model.name": "cnn8",
        "epochs": 120,
        "batch_size": 128,
        "optim.lr": 0.01,
        "optim.momentum": 0.9,
        "optim.schedule": "cosine",
        "optim.eta_min": 0,
        "optim.weight_decay": 1e-4,
        "optim.clip_norm": 5.0,
        "optim.l1": 0,
        "augmentation.crop_padding": 4,
        "augmentation.flip": 0.5,
        "evaluation.last_k": 1,
    },
    # "a ResNet-34 is used for CIFAR-100 ... 200 epochs ... 1e-5 ... 0.1 for CIFAR-100"; dataset.py: RandomRotation(20)
    ("anl2024", "cifar100", "loss=ce"): {
        "model.name": "resnet34",
        "epochs": 200,
        "optim.weight_decay": 1e-5,
        "optim.lr": 0.1,
        "augmentation.rotation": 20,
    },
    # "ResNet-50 using SGD for 250 epochs with initial learning rate 0.4, nesterov momentum 0.9 and weight decay 3e-5
    # ... and batch size 512. The learning rate is multiplied by 0.97 after every epoch"; Table VIII: delta 6e-6
    ("anl2024", "webvision", "loss=anl_ce"): {
        "model.name": "resnet50",
        "epochs": 250,
        "batch_size": 512,
        "optim.lr": 0.4,
        "optim.nesterov": True,
        "optim.schedule": "step",
        "optim.gamma": 0.97,
        "optim.step_size": 1,
        "optim.l1": 6e-6,
        "optim.weight_decay": 0,
    },
    ("anl2024", "webvision", "loss=sce"): {"optim.weight_decay": 3e-5},
    # The repository's webvision_anl_ce.json: delta 5e-6
    ("anl2023", "webvision", "loss=anl_ce"): {"optim.l1": 5e-6, "loss.alpha": 20.0, "loss.beta": 1.0},
    # "We use VGG-19 with batch normalization ... 100 epochs ... initial learning rate of 0.1, which is divided by 5 at
    # 50% and 75%"; Appendix D-B: {0.5, 1.0, 1e-6} for ANL-CE, {0.5, 1e-4} for GCE, {1e-3} for CE
    ("anl2024", "animal10n", "loss=anl_ce"): {
        "model.name": "vgg19_bn",
        "epochs": 100,
        "optim.milestones": [50, 75],
        "optim.gamma": 0.2,
        "loss.alpha": 0.5,
        "loss.beta": 1.0,
        "optim.l1": 1e-6,
        "optim.weight_decay": 0,
    },
    ("anl2024", "animal10n", "loss=gce"): {"loss.q": 0.5, "optim.weight_decay": 1e-4},
    ("anl2024", "animal10n", "loss=ce"): {"optim.weight_decay": 1e-3},
    # "weight decay of 1e-3, and batch size of 32 ... 10 epochs with learning rate 1e-3 and 1e-4 for 5 epochs each";
    # Appendix D-B: {5.0, 0.1} for ANL-CE with L2 regularization
    ("anl2024", "clothing1m", "loss=anl_ce"): {
        "model.weights": "imagenet",
        "epochs": 10,
        "batch_size": 32,
        "optim.lr": 1e-3,
        "optim.milestones": [5],
        "optim.gamma": 0.1,
        "optim.weight_decay": 1e-3,
        "optim.l1": 0,
        "loss.alpha": 5.0,
        "loss.beta": 0.1,
    },
    # Ma et al., repository, configs/mnist/sym/nfl+mae.yaml
    ("apl2020", "mnist", "loss=nfl_mae"): {
        "model.name": "cnn4",
        "epochs": 50,
        "optim.nesterov": True,
        "optim.weight_decay": 1e-2,
        "optim.eta_min": 1e-3,
        "loss.alpha": 1.0,
        "loss.beta": 10.0,
        "loss.gamma": 0.5,
        "noise.counts": "class",
    },
    # dataset.py: flips on the current labels, cat -> dog before dog -> cat
    ("apl2020", "cifar10", "noise=asymmetric"): {"noise.reflip": True, "noise.counts": "cell"},
    ("anl2024", "cifar10", "noise=asymmetric"): {"noise.reflip": None, "noise.counts": "cell"},
    # "alpha, beta = ... 50.0, 0.1 for NCE+RCE and 50.0, 1.0 for NCE+MAE"
    ("apl2020", "webvision", "loss=nce_mae"): {"loss.alpha": 50.0, "loss.beta": 1.0, "optim.clip_norm": 5.0},
    # ALFs, config.py: "NCEandAUL": NCEandAUE(alpha=10, beta=0.015, num_classes=100, a=6, q=3)
    ("alf2021", "cifar100", "loss=nce_aul"): {"loss.alpha": 10, "loss.beta": 0.015, "loss.a": 6, "loss.q": 3},
    ("alf2021", "cifar100", "loss=nce_rce"): {"loss.alpha": 10, "loss.beta": 1},
    # lnl_sr, config.py: MNIST 'GCE+SR': (0.5, 0.1, 3, 2, 5), GCE q 0.01; main.py: not normalized on MNIST
    ("sr2021", "mnist", "loss=gce_sr"): {
        "loss.tau": 0.5,
        "loss.p": 0.1,
        "loss.lam": 3,
        "loss.rho": 2,
        "loss.every": 5,
        "loss.normalize": False,
        "loss.q": 0.01,
        "noise.counts": "iid",
        "noise.seed": 0,
    },
    # CIFAR-10: (0.5, 0.1, 1.2, 1.03, 1)
    ("sr2021", "cifar10", "loss=ce_sr"): {
        "loss.tau": 0.5,
        "loss.p": 0.1,
        "loss.lam": 1.2,
        "loss.rho": 1.03,
        "epochs": 120,
    },
    # main.py: lamb = 10 if asymm else 4
    ("sr2021", "cifar100", "loss=ce_sr"): {"loss.lam": 4, "loss.p": 0.01, "loss.rho": 1.02},
    ("sr2021", "cifar100", "loss=ce_sr", "noise=asymmetric"): {"loss.lam": 10, "loss.p": 0.01},
    # Cui et al., Section 3.1: "nesterov SGD with momentum 0.9, weight decay 5e-3 and an initial learning rate of 0.1";
    # "we set epsilon as the value of noise rate"; both directions of four pairs
    ("el2021", "cifar10", "loss=el", "noise=asymmetric", "noise.rate=0.3"): {
        "optim.nesterov": True,
        "optim.weight_decay": 5e-3,
        "optim.lr": 0.1,
        "loss.epsilon": 0.3,
        "noise.bidirectional": True,
    },
    ("el2021", "cifar100", "loss=el", "noise.rate=0.8"): {"model.name": "resnet44", "loss.epsilon": 0.8},
    # Section 3.2: "batch size 2048 and initial learning rate 0.8 ... weight decay 1e-4 ... epsilon as 0.1"
    ("el2021", "imagenet", "noise=none", "loss=el"): {
        "batch_size": 2048,
        "optim.lr": 0.8,
        "optim.weight_decay": 1e-4,
        "loss.epsilon": 0.1,
    },
    # Kasimoglu and Amhan, Section 4.2: "ToyModel4L for 120 and ToyModel8L for 200"
    ("re2024", "mnist", "loss=anl_ce"): {"model.name": "cnn4", "epochs": 120, "optim.l1": 1e-6},
    ("re2024", "cifar10", "loss=nce"): {
        "model.name": "cnn8",
        "epochs": 200,
        "optim.lr": 0.01,
        "optim.weight_decay": 1e-4,
    },
}


@pytest.mark.parametrize("choice", SPOT_CHECKS, ids="-".join)
def test_values_match_the_sources(choice: tuple[str, ...]) -> None:
    config = composed(*choice)
    expected = SPOT_CHECKS[choice]
    assert {name: OmegaConf.select(config, name) for name in expected} == expected


def test_command_line_overrides_the_preset() -> None:
    given = ["optim.lr=0.5", "loss.beta=7", "epochs=3", "noise.counts=iid", "optim=adam", "model=resnet18"]
    config = composed("apl2020", "cifar100", "loss=nce_rce", *given)
    assert (config.optim.lr, config.loss.beta, config.epochs, config.noise.counts) == (0.5, 7, 3, "iid")
    assert (config.optim.name, config.model.name) == ("adam", "resnet18")
    assert (config.loss.alpha, config.batch_size) == (10.0, 128)  # what was not given


@pytest.mark.parametrize(
    ("preset", "data", "noise", "realised"),
    [
        # Measured on the published generators: flipping back leaves 0.184 of 0.2; cells are floored per pair.
        ("apl2020", "cifar10", "asymmetric", pytest.approx(0.184, abs=0.002)),
        ("alf2021", "cifar10", "asymmetric", pytest.approx(0.184, abs=0.002)),
        ("sr2021", "cifar10", "asymmetric", pytest.approx(0.184, abs=0.002)),
        ("anl2024", "cifar10", "asymmetric", 0.2),
        ("anl2023", "cifar10", "symmetric", 0.3996),
        ("anl2024", "cifar100", "symmetric", 0.396),
        ("apl2020", "cifar10", "symmetric", 0.4),
        ("sr2021", "cifar100", "symmetric", 0.4),
        # One draw per sample (50 000): 0.4 within five standard deviations.
        ("apl2020", "cifar100", "asymmetric", pytest.approx(0.4, abs=0.011)),
        ("anl2024", "cifar100", "asymmetric", 0.4),
        # Equal Loss: eight of ten classes flip, and two of five.
        ("el2021", "cifar10", "asymmetric", 0.32),
        ("el2021", "cifar100", "asymmetric", 0.16),
        ("el2021", "cifar10", "symmetric", 0.4),
    ],
)
def test_noise_matches_each_source(preset: str, data: str, noise: str, realised: Any) -> None:
    given = plain(composed(preset, data, f"noise={noise}", "noise.rate=0.4").noise)
    classes = {"cifar10": 10, "cifar100": 100}[data]
    labels = np.arange(50_000) % classes
    _, report = apply_label_noise(labels, LabelNoiseSettings(num_classes=classes, **given))
    assert report.realised == realised


@pytest.mark.parametrize("preset", ["alf2021", "sr2021"])
@pytest.mark.parametrize("noise", ["symmetric", "asymmetric"])
def test_mnist_labels_match_the_published_code(preset: str, noise: str) -> None:
    """Sequential multinomial draws per sample, with seed 0 in every run."""
    rate, labels = 0.4, np.random.default_rng(5).integers(0, 10, 3000)
    chances = np.eye(10)
    if noise == "symmetric":
        chances = np.where(chances == 1, 1 - rate, rate / 9)
    else:
        for true, wrong in ((7, 1), (2, 7), (5, 6), (6, 5), (3, 8)):
            chances[true, true], chances[true, wrong] = 1 - rate, rate
    published = np.random.RandomState(0)
    expected = [published.multinomial(1, chances[label], 1)[0].argmax() for label in labels]
    given = plain(composed(preset, "mnist", f"noise={noise}", f"noise.rate={rate}", "seed=7").noise)
    noisy, _ = apply_label_noise(labels, LabelNoiseSettings(num_classes=10, **given))
    assert noisy.tolist() == expected


def test_ye_on_isic2017() -> None:
    """Section VI-B: "We train it for 100 epochs, using the Adam optimizer with an initial learning rate of 1e-3, which
    decays by a factor of 0.8 after each epoch. We set the weight decay to 5e-6 and use a batch size of 16."
    Table VI: "over the last 10 epochs".
    """
    config = compose("segmentation", ["preset=isic2017", "data=folder", "data.root=x"])
    assert (config.preset, config.epochs, config.batch_size, config.data.size) == ("isic2017", 100, 16, 256)
    assert (config.optim.name, config.optim.lr, config.optim.weight_decay) == ("adam", 1e-3, 5e-6)
    assert (config.optim.schedule, config.optim.gamma, config.evaluation.last_k) == ("exponential", 0.8, 10)


@pytest.mark.parametrize("method", ["forward", "d2l", "co_teaching"])
def test_methods_use_the_settings_of_cross_entropy(method: str) -> None:
    config = composed("anl2024", "cifar100", f"method={method}")
    assert (config.method.name, config.loss.name) == (method, "ce")
    assert (config.optim.weight_decay, config.optim.l1) == (1e-5, 0)  # not those of the default loss, ANL-CE
    assert composed("anl2024", "cifar100", f"method={method}", "loss=gce").loss.name == "gce"


def test_clothing1m_trains_five_epochs_per_learning_rate() -> None:
    config = composed("anl2024", "clothing1m")
    optim = checked(OptimSettings, plain(config.optim), "optim")
    model = torch.nn.Linear(1, 1)
    optimizer = build_optimizer(optim, model, torch.nn.Identity())
    schedule = build_schedule(optim, optimizer, config.epochs)
    rates = []
    for _ in range(config.epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1e-3] * 5 + [1e-4] * 5)


def trained(loss: Any, scale: float, lr: float, weight_decay: float, l1: float, clip_norm: float) -> torch.Tensor:
    """Weights after ten steps in the order of the loop: loss, L1 subgradient, clipping, SGD with momentum."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(32, 6, generator=generator, dtype=torch.float64) * 20  # large enough to be clipped
    labels = torch.randint(0, 4, (32,), generator=generator)
    weight = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=lr, momentum=0.9, weight_decay=weight_decay)
    for _ in range(10):
        optimizer.zero_grad()
        (scale * loss(images @ weight, labels)).backward()
        assert weight.grad is not None
        weight.grad += l1 * weight.detach().sign()
        torch.nn.utils.clip_grad_norm_([weight], clip_norm)
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize(
    ("preset", "loss", "scale", "plain"),
    [
        # Ye et al., Section VI-C: "for alpha NCE, we set alpha to 5.0 ... while delta is set to 5e-5 for both"
        ("anl2024", "nce", 5.0, {"lr": 0.01, "weight_decay": 0.0, "l1": 5e-5, "clip_norm": 5.0}),
        ("anl2024", "nnce", 5.0, {"lr": 0.01, "weight_decay": 0.0, "l1": 5e-5, "clip_norm": 5.0}),
        # Kasimoglu and Amhan, Section 4.3: NNCE with beta 5.0, delta 5e-5, weight decay 1e-4
        ("re2024", "nnce", 5.0, {"lr": 0.01, "weight_decay": 1e-4, "l1": 5e-5, "clip_norm": 5.0}),
        # ALFs and lnl_sr, losses.py: MAE with scale 2
        ("alf2021", "mae", 2.0, {"lr": 0.01, "weight_decay": 1e-4, "l1": 0.0, "clip_norm": 5.0}),
        ("sr2021", "mae", 2.0, {"lr": 0.01, "weight_decay": 1e-4, "l1": 0.0, "clip_norm": 5.0}),
    ],
)
def test_scaled_loss_equals_scaled_learning_rate(preset: str, loss: str, scale: float, plain: dict[str, float]) -> None:
    optim = composed(preset, "cifar10", f"loss={loss}").optim
    ours = {name: optim[name] for name in plain}
    expected = trained(build_loss(loss), scale, **plain)
    assert torch.allclose(trained(build_loss(loss), 1.0, **ours), expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(trained(build_loss(loss), scale, **ours), expected, rtol=1e-3)
