"""Names, parameters, defaults and the errors that a wrong one gets."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from seg_anl.losses import build_loss, loss_parameters

from .conftest import PAIRS

RCE = {"log_zero": math.log(1e-4)}
FOCAL = {"gamma": 0.5, "detach_modulation": True}
GCE = {"q": 0.7, "exact_official": True}
NNCE = {"p_min": 1e-7, "exact_official": True}
AGCE, AUL, AEL = {"a": 1.0, "q": 2.0}, {"a": 1.5, "q": 0.9}, {"a": 3.0}
ONE_ONE, FIVE_FIVE = {"alpha": 1.0, "beta": 1.0}, {"alpha": 5.0, "beta": 5.0}
BUMP = {"m": 1e4, "clamp": 1e-8}
SR = {"tau": 0.5, "p": 0.1, "lam": 1.2, "rho": 1.03, "every": 1, "normalize": True, "exact_official": True}

TABLE: dict[str, dict[str, Any]] = {
    "ce": {},
    "mae": {},
    "nce": {},
    "nmae": {},
    "nrce": {},
    "focal": FOCAL,
    "nfl": FOCAL,
    "rce": RCE,
    "gce": GCE,
    "ngce": GCE,
    "sce": {"alpha": 0.1, "beta": 1.0, **RCE},
    "nnce": NNCE,
    "nnfl": {**NNCE, **FOCAL},
    "phuber_ce": {"tau": 2.0},
    "taylor_ce": {"t": 2},
    "agce": AGCE,
    "aul": AUL,
    "ael": AEL,
    "nce_mae": ONE_ONE,
    "nce_rce": {**ONE_ONE, **RCE},
    "nfl_mae": {**ONE_ONE, **FOCAL},
    "nfl_rce": {**ONE_ONE, **FOCAL, **RCE},
    "ngce_mae": {**ONE_ONE, **GCE},
    "ngce_rce": {**ONE_ONE, **GCE, **RCE},
    "nce_agce": {**ONE_ONE, **AGCE},
    "nce_aul": {**ONE_ONE, **AUL},
    "nce_ael": {**ONE_ONE, **AEL},
    "nfl_agce": {**ONE_ONE, **FOCAL, **AGCE},
    "nfl_aul": {**ONE_ONE, **FOCAL, **AUL},
    "nfl_ael": {**ONE_ONE, **FOCAL, **AEL},
    "anl_ce": {**FIVE_FIVE, **NNCE},
    "anl_fl": {**FIVE_FIVE, **NNCE, **FOCAL},
    "anl_ce_er": {**FIVE_FIVE, **NNCE, "lam": 2.0},
    "anl_fl_er": {**FIVE_FIVE, **NNCE, **FOCAL, "lam": 2.0},
    "ce_sr": SR,
    "fl_sr": {**SR, **FOCAL},
    "gce_sr": {**SR, **GCE},
    "el": {"epsilon": 0.1},
    "el_lsr": {"epsilon": 0.1, "smoothing": 0.1},
    "lsr": {"smoothing": 0.1},
    "bootstrap_soft": {"beta": 0.95},
    "bootstrap_hard": {"beta": 0.8},
    "forward": {"transition": None},
    "nlnl": {
        "nl_epochs": 720,
        "selnl_epochs": 720,
        "selnl_threshold": None,
        "selpl_threshold": 0.5,
        "complements": 1,
    },
    "nr_dice": {"gamma": 1.5, "areas": "official", "include_background": True},
    "t_loss": {"nu": 1.0, "sigma": "official", "per_pixel": False},
    "active_passive": {"active": "nce", "passive": "mae", **ONE_ONE},
    "active_negative": {"active": "nce", "negative": "nnce", **FIVE_FIVE},
    "amse": {"a": 30.0},
    "nce_amse": {**ONE_ONE, "a": 30.0},
    "nfl_amse": {**ONE_ONE, "a": 30.0, **FOCAL},
    "ece": BUMP,
    "ece_mae": {**ONE_ONE, **BUMP},
    "efl": {**BUMP, **FOCAL, "gamma": 0.1},
    "efl_mae": {**ONE_ONE, **BUMP, **FOCAL, "gamma": 0.1},
    "js": {"pi": 0.5, "scaled": True},
    "slsr": {"epsilon": 0.25},
    "unhinged": {},
    "bi_tempered": {"t1": 0.8, "t2": 1.2, "label_smoothing": 0.0},
    "logit_bias": {"base": "mae", "bias": 1.0},
    "logit_clip": {"base": "ce", "max_norm": 1.0, "lp": 2.0, "threshold": "paper"},
    "sharpened": {"base": "ce", "temperature": 0.5, "normalize": True},
    "epsilon_softmax": {"base": "ce", **BUMP},
}


def test_names_parameters_and_defaults_of_the_table(make_loss: Any) -> None:
    """A loss that is added later needs no row."""
    for name, parameters in TABLE.items():
        assert loss_parameters(name) == parameters, name
        given = {key: value for key, value in parameters.items() if key != "transition"}
        loss = make_loss(name, **given)
        assert {key: loss.hyperparameters[key] for key in given} == given, name


# A function, one with a gradient of its own, with a regularizer, a class, one with state, a pair, one around another.
@pytest.mark.parametrize("name", ["gce", "anl_ce", "anl_ce_er", "nr_dice", "t_loss", "active_passive", "logit_clip"])
def test_a_loss_can_be_copied_and_pickled(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(5, 3), torch.randint(3, (5,))
    loss = make_loss(name)
    value, gradient = evaluate(loss, logits, labels)
    for clone in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        value_of_clone, gradient_of_clone = evaluate(clone, logits, labels)
        assert torch.equal(value, value_of_clone)
        assert torch.equal(gradient, gradient_of_clone)
        assert repr(clone) == repr(loss)


PARTS = PAIRS | {"anl_ce": ("nce", "nnce"), "anl_fl": ("nfl", "nnfl")}
NOT_DEFAULT = {"log_zero": -4.0, "gamma": 2.0, "detach_modulation": False, "q": 0.6, "a": 2.5, "p_min": 1e-3}
NOT_DEFAULT |= {"exact_official": False}


@pytest.mark.parametrize("name", PARTS)
def test_a_pair_is_the_weighted_sum_of_its_parts(name: str, evaluate: Any) -> None:
    logits, labels = torch.randn(9, 4, dtype=torch.float64), torch.randint(4, (9,))
    own = {key: NOT_DEFAULT[key] for key in loss_parameters(name) if key in NOT_DEFAULT}
    first, second = (
        evaluate(build_loss(part, **{key: own[key] for key in loss_parameters(part)}), logits, labels)
        for part in PARTS[name]
    )
    expected = [2.0 * a + 0.3 * b for a, b in zip(first, second, strict=True)]
    weights = {"alpha": 2.0, "beta": 0.3}
    torch.testing.assert_close(list(evaluate(build_loss(name, **weights, **own), logits, labels)), expected)
    free = build_loss("active_passive", active=PARTS[name][0], passive=PARTS[name][1], **weights, **own)
    torch.testing.assert_close(list(evaluate(free, logits, labels)), expected)


def test_a_free_negative_pair_equals_anl() -> None:
    logits, labels = torch.randn(9, 4), torch.randint(4, (9,))
    free = build_loss("active_negative", active="nfl", negative="nnfl", gamma=1.0)
    torch.testing.assert_close(free(logits, labels), build_loss("anl_fl", gamma=1.0)(logits, labels))


def test_weights_of_a_pair_do_not_reach_into_its_parts() -> None:
    logits, labels = torch.randn(9, 4), torch.randint(4, (9,))
    pair = build_loss("active_passive", active="sce", passive="bootstrap_soft", alpha=3.0, beta=0.5)
    parts = 3.0 * build_loss("sce")(logits, labels) + 0.5 * build_loss("bootstrap_soft")(logits, labels)
    torch.testing.assert_close(pair(logits, labels), parts)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'anl_cee'.*'anl_ce'"):
        build_loss("anl_cee")


def test_an_unknown_parameter_is_answered_with_the_nearest() -> None:
    for name, wrong, nearest in (
        ("anl_ce", "aplha", "alpha"),
        ("ce_sr", "taus", "tau"),
        ("t_loss", "per_pixels", "per_pixel"),
        ("ce", "reductoin", "reduction"),
        ("active_passive", "pasive", "passive"),
        ("active_negative", "p_mim", "p_min"),
    ):
        with pytest.raises(ValueError, match=f"{wrong}.*'{nearest}'"):
            build_loss(name, **{wrong: 1.0})


REFUSED: dict[str, list[dict[str, Any]]] = {
    "gce": [{"q": 0.0}, {"q": 1.1}, {"q": "0.7"}, {"q": True}, {"exact_official": 1}],
    "focal": [{"gamma": -0.1}, {"gamma": 50.5}, {"gamma": math.inf}, {"detach_modulation": "yes"}],
    "rce": [{"log_zero": 0.0}],
    "nnce": [{"p_min": 0.0}, {"p_min": 1.0}],
    "phuber_ce": [{"tau": 1.0}, {"tau": 1.1e12}],
    "taylor_ce": [{"t": 0}, {"t": 2.5}, {"t": 10_001}],
    "agce": [{"a": 0.0}, {"a": 1000.5}, {"q": 0.0}, {"q": 10.5}],
    "aul": [{"a": 1.0}, {"a": 1000.5}],
    "ael": [{"a": 0.0}, {"a": 1.1e6}],
    "amse": [{"a": -0.1}, {"a": 1000.5}],
    "bi_tempered": [{"t1": 1.1}, {"t2": 0.9}, {"t2": 10.5}, {"label_smoothing": 1.0}],
    "js": [{"pi": 0.0}, {"pi": 1.0}],
    "logit_bias": [{"bias": -1000.5}, {"bias": 1000.5}],
    "logit_clip": [{"max_norm": 0.0}, {"max_norm": 1.1e6}, {"lp": 0.9}, {"lp": 100.5}, {"threshold": "none"}],
    "epsilon_softmax": [{"m": -1.0}, {"clamp": 1.0}],
    "el": [{"epsilon": -1e-9}, {"epsilon": 1.1e12}, {"epsilon": math.nan}],
    "lsr": [{"smoothing": 1.5}],
    "bootstrap_hard": [{"beta": -0.1}],
    "anl_ce": [{"alpha": -1.0}, {"beta": 1.1e12}],
    "anl_ce_er": [{"lam": -1.0}],
    "ce_sr": [{"tau": 0.0}, {"tau": 1.1e6}, {"every": 0}, {"p": 0.0}, {"p": 1000.5}, {"rho": 0.0}, {"rho": 1000.5}],
    "nlnl": [{"complements": 0}, {"nl_epochs": -1}],
    "t_loss": [{"sigma": "paper"}, {"nu": -50.5}, {"nu": 50.5}, {"nu": math.inf}],
    "nr_dice": [{"gamma": 0.9}, {"gamma": 2.1}, {"include_background": 1}],
    "forward": [
        {"transition": wrong} for wrong in (None, [[0.5, 0.5]], [[0.9, 0.2], [0.1, 0.9]], [[1.5, -0.5], [0, 1]])
    ],
    "active_passive": [{"passive": "t_loss"}],
    "ce": [{"reduction": "average"}, {"activation": "relu"}, {"ignore_index": 1.5}, {"ignore_index": True}],
}


def test_a_value_out_of_range_is_refused_by_name() -> None:
    for name, wrong in REFUSED.items():
        for parameters in wrong:
            with pytest.raises(ValueError, match=next(iter(parameters))):
                build_loss(name, **parameters)


def test_any_number_will_do() -> None:
    for q in (np.float32(0.5), np.float64(0.5), 1):
        assert torch.isfinite(build_loss("gce", q=q)(torch.randn(2, 3), torch.tensor([0, 1])))
