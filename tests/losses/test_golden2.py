"""The newer losses against the published implementations, in float64."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_anl.losses import AbstentionLoss, ADSLoss, GJSLoss, build_loss

COPY = Path(__file__).parents[1] / "data" / "golden_losses2"
FULL = Path(__file__).parents[2].parent / "shared" / "golden" / "losses2"
STEMS = [stem for stem in (COPY, FULL) if stem.with_suffix(".json").exists()]
GOLDEN = [(stem, entry) for stem in STEMS for entry in json.loads(stem.with_suffix(".json").read_text())["losses"]]
NAMES = sorted({entry["loss"] for _, entry in GOLDEN})
ARRAYS = {stem: np.load(stem.with_suffix(".npz")) for stem in STEMS}
# How far off, where not 1e-10: probabilities that published code clamps, in float32 or not; a softmax of five steps;
# and 1e-8 in a norm instead of 1e-7.
TOLERANCES = {
    "js": 1e-6,
    "js_unscaled": 1e-6,
    "gjs": 1e-6,
    "gjs_unscaled": 1e-6,
    "sac": 1e-6,
    "ce_logitclip_delta": 1e-6,
}
TOLERANCES |= {"bi_tempered": 1e-3, "ogc_ce": 1e-6, "gac": 1e-6, "efl": 1e-9, "efl_mae": 1e-9}

Evaluate = Callable[..., Tensor]


def abstaining(kind: str, p: dict[str, Any]) -> Evaluate:
    own = {"q": p["q"]} if "q" in p else {}
    own = {"alpha": p["sce_alpha"], "beta": p["sce_beta"]} if kind == "sac" else own
    schedule = {"warmup": p.get("warmup_epochs", 1), "epochs": p.get("max_epochs", 50)}
    loss = AbstentionLoss(kind, noise_rate=p.get("noise_rate"), gamma=p.get("gamma", 0.0), **schedule)
    if own:
        loss.base = build_loss(loss.base.loss_name, **{**loss.base.hyperparameters, **own})
    loss.alpha = p["alpha_final"] if "alpha_final" in p else p["alpha"]
    loss = loss.double()
    loss.set_epoch(p.get("epoch", 10))
    return loss


def as_ours(name: str, p: dict[str, Any]) -> Evaluate:
    """The project's loss of a published name and its parameters."""
    if name.startswith("ce_logitclip"):
        norm = {"ce_logitclip": lambda: 1 / p["temp"], "ce_logitclip_delta": lambda: p["delta"]}
        official = "paper" if name.endswith("paper") else "official"
        return build_loss(
            "logit_clip", max_norm=norm.get(name, lambda: p["tau"])(), lp=p.get("lp", 2), threshold=official
        )
    if name.startswith(("js", "gjs")):
        own = {"pi": p["weights"][0], "scaled": p["scaled"]}
        return build_loss("js", **own) if name.startswith("js") else GJSLoss(**own)
    if name in ("gac", "sac", "idac", "dac"):
        return abstaining(name, p)
    if name == "ads":
        rates = p.get("class_noise", p.get("noise_rate"))
        schedule = {"warmup": p["warmup_epochs"], "epochs": p["max_epochs"]}
        loss = ADSLoss(noise_rate=rates, alpha=p["alpha_final"], gamma=p["gamma"], **schedule).double()
        loss.set_epoch(p["epoch"])
        return loss
    if name == "ogc_ce":  # with a threshold that stands still it is partially Huberized cross entropy
        return build_loss("phuber_ce", tau=1 / p["p_thr"])
    if name.startswith("bi_tempered"):
        return build_loss("bi_tempered", **{key: value for key, value in p.items() if key != "num_iters"})
    return build_loss(name, **{key: value for key, value in p.items() if key != "mask"})


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("ogc_fl", "ogc_gce")])
def test_published_values_and_gradients(name: str) -> None:
    for stem, entry in GOLDEN:
        case, p, arrays = entry["case"], entry["params"], ARRAYS[stem]
        if entry["loss"] != name or p.get("t2", 1) < 1:
            continue
        logits = "logits_abst" if name in ("gac", "sac", "idac", "dac") else "logits"
        z = torch.tensor(arrays[f"{logits}_{case}"], requires_grad=True)
        labels = torch.tensor(arrays[f"labels_{case}"])
        others: dict[str, Tensor] = {}
        if name.startswith("gjs"):
            others["grad2"] = torch.tensor(arrays[f"logits2_{case}"], requires_grad=True)
            value = as_ours(name, p)([z, others["grad2"]], labels)
        elif name == "ads":
            others["grad_head"] = torch.tensor(arrays[f"abst_head_{case}"], requires_grad=True)
            value = as_ours(name, p)(z, labels, others["grad_head"])
        elif name == "slsr":
            given = f"pixmask_{case}" in entry["inputs"]
            noisy = torch.tensor(arrays[f"pixmask_{case}"]).reshape(labels.shape) if given else None
            value = as_ours(name, p)(z, labels, noisy=noisy)
        else:
            value = as_ours(name, p)(z, labels)
        value.backward()
        tolerance = TOLERANCES.get(name, 1e-10)
        assert value.item() == pytest.approx(entry["value"], rel=tolerance), (stem, case)
        for kind, leaf in {"grad": z, **others}.items():
            published = arrays[f"{kind}_{case}_{name}"]
            assert leaf.grad is not None
            off = np.abs(leaf.grad.numpy() - published).max() / np.abs(published).max()
            assert off <= tolerance * 10, (stem, case, kind, off)


def test_every_published_loss_is_in_the_copy() -> None:
    assert len({entry["loss"] for stem, entry in GOLDEN if stem == COPY}) == 25
    assert isinstance(as_ours("js", {"weights": [0.5, 0.5], "scaled": True}), nn.Module)
