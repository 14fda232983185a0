"""Relations that hold whatever the implementation: symmetry, limits, permutations, an image and its pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from seg_anl.losses import build_loss, list_losses, loss_parameters
from seg_anl.losses.declarations import declarations

from .conftest import SINGLE

# sum_k L(f, k) for C classes at alpha = beta = 1, from the papers.
RCE_SCALE = 9.210340371976182
SUM_OVER_LABELS = {
    "mae": lambda c: c - 1,
    "nmae": lambda c: 1,
    "nrce": lambda c: 1,
    "rce": lambda c: RCE_SCALE * (c - 1),
    "nce": lambda c: 1,
    "nfl": lambda c: 1,
    "ngce": lambda c: 1,
    "nnce": lambda c: c - 1,
    "unhinged": lambda c: 0,
    "nnfl": lambda c: c - 1,
    "nce_mae": lambda c: c,
    "nfl_mae": lambda c: c,
    "ngce_mae": lambda c: c,
    "nce_rce": lambda c: 1 + RCE_SCALE * (c - 1),
    "nfl_rce": lambda c: 1 + RCE_SCALE * (c - 1),
    "ngce_rce": lambda c: 1 + RCE_SCALE * (c - 1),
    "anl_ce": lambda c: c,
    "anl_fl": lambda c: c,
    "active_passive": lambda c: c,
    "active_negative": lambda c: c,
}
STAND_INS = ["nfl", "gce", "anl_ce", "phuber_ce", "el_lsr", "ce_sr", "forward", "anl_fl_er"]  # per element
# What makes a loss unsymmetric that is symmetric at its defaults.
UNSYMMETRIC = {
    "active_passive": {"active": "ce"},
    "active_negative": {"active": "ce"},
    "forward": {"transition": [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.0, 0.2, 0.8]]},
}


def summed_over_labels(loss: Any, logits: torch.Tensor) -> torch.Tensor:
    """sum_k L(f, k) of each row, every row a batch of its own."""
    classes = logits.shape[1]
    return torch.stack([sum(loss(row.unsqueeze(0), torch.tensor([k])) for k in range(classes)) for row in logits])


@pytest.mark.parametrize("name", sorted(SUM_OVER_LABELS))
def test_symmetric_losses_sum_to_their_constant(name: str) -> None:
    weights = {key: 1.0 for key in loss_parameters(name) if key in ("alpha", "beta")}
    for classes in (2, 3, 10):
        logits = 5 * torch.randn(8, classes, dtype=torch.float64)
        sums = summed_over_labels(build_loss(name, **weights), logits)
        torch.testing.assert_close(sums, torch.full_like(sums, SUM_OVER_LABELS[name](classes)))


def test_a_loss_is_symmetric_if_it_says_so(make_loss: Any) -> None:
    logits = 2 * torch.randn(8, 3, dtype=torch.float64)
    names = [name for name in list_losses() if name not in ("nlnl", "nr_dice", "t_loss")]
    sums = {name: summed_over_labels(make_loss(name, **UNSYMMETRIC.get(name, {})), logits) for name in names}
    constant = [name for name in names if sums[name].max() - sums[name].min() < 1e-9]
    assert constant == [name for name in names if declarations()[name].symmetric]


@pytest.mark.parametrize(
    ("name", "parameters", "limit", "tolerance"),
    [
        ("el", {"epsilon": 0.0}, ("ce", {}), 1e-12),
        ("el", {"epsilon": 1e-9}, ("ce", {}), 1e-6),
        ("el", {"epsilon": 1e9}, ("mae", {}), 1e-6),
        ("el_lsr", {"epsilon": 0.0, "smoothing": 0.2}, ("lsr", {"smoothing": 0.2}), 1e-12),
        ("el_lsr", {"smoothing": 0.0}, ("el", {}), 1e-12),
        ("gce", {"q": 1e-7}, ("ce", {}), 1e-6),
        ("gce", {"q": 1.0}, ("mae", {}), 1e-12),
        ("ngce", {"q": 1e-7}, ("nce", {}), 1e-6),
        ("ngce", {"q": 1.0}, ("nmae", {}), 1e-12),
        ("focal", {"gamma": 0.0}, ("ce", {}), 1e-12),
        ("focal", {"gamma": 0.0, "detach_modulation": False}, ("ce", {}), 1e-12),
        ("nfl", {"gamma": 0.0}, ("nce", {}), 1e-12),
        ("nnfl", {"gamma": 0.0}, ("nnce", {}), 1e-12),
        ("taylor_ce", {"t": 1}, ("mae", {}), 1e-12),
        ("taylor_ce", {"t": 5000}, ("ce", {}), 1e-6),
        ("phuber_ce", {"tau": 1e6}, ("ce", {}), 1e-12),
        ("anl_ce", {"alpha": 1.0, "beta": 0.0}, ("nce", {}), 1e-12),
        ("anl_ce", {"alpha": 0.0, "beta": 1.0}, ("nnce", {}), 1e-12),
        ("anl_fl", {"alpha": 1.0, "beta": 0.0}, ("nfl", {}), 1e-12),
        ("anl_fl", {"gamma": 0.0}, ("anl_ce", {}), 1e-12),
        ("anl_ce_er", {"lam": 0.0}, ("anl_ce", {}), 1e-6),
        ("anl_fl_er", {"lam": 0.0}, ("anl_fl", {}), 1e-6),
        ("bootstrap_soft", {"beta": 1.0}, ("ce", {}), 1e-12),
        ("bootstrap_hard", {"beta": 1.0}, ("ce", {}), 1e-12),
        ("lsr", {"smoothing": 0.0}, ("ce", {}), 1e-12),
        ("agce", {"a": 1e-9, "q": 1.0}, ("mae", {}), 1e-6),
        ("agce", {"a": 3.0, "q": 1.0}, ("mae", {}), 1e-12),
        ("aul", {"a": 3.0, "q": 1.0}, ("mae", {}), 1e-12),
        ("sce", {"alpha": 1.0, "beta": 0.0}, ("ce", {}), 1e-12),
        ("sce", {"alpha": 0.0, "beta": 1.0, "log_zero": -1.0}, ("mae", {}), 1e-12),
        ("forward", {"transition": torch.eye(4)}, ("ce", {}), 1e-12),
        ("ce_sr", {"tau": 1.0, "lam": 0.0, "normalize": False}, ("ce", {}), 1e-12),
        ("fl_sr", {"tau": 1.0, "lam": 0.0, "normalize": False}, ("focal", {}), 1e-12),
        ("ece", {"m": 0.0}, ("ce", {}), 1e-7),
        ("efl", {"m": 0.0, "gamma": 1.0}, ("focal", {"gamma": 1.0}), 1e-7),
        ("epsilon_softmax", {"m": 20.0}, ("ece", {"m": 20.0}), 1e-12),
        ("logit_clip", {"max_norm": 1e3, "base": "gce", "q": 0.4}, ("gce", {"q": 0.4}), 1e-12),
        ("logit_clip", {"max_norm": 1.0, "threshold": "official"}, ("logit_clip", {}), 1e-6),
        ("logit_bias", {"base": "anl_fl", "bias": 0.0}, ("anl_fl", {}), 1e-12),
        ("sharpened", {"temperature": 0.3, "base": "gce"}, ("gce_sr", {"tau": 0.3, "lam": 0.0}), 1e-12),
        ("js", {"pi": 1e-6}, ("ce", {}), 1e-4),
        ("bi_tempered", {"t1": 1.0, "t2": 1.0}, ("ce", {}), 1e-9),
        ("bi_tempered", {"t1": 1.0, "t2": 1.0 + 1e-7}, ("ce", {}), 1e-5),
        ("bi_tempered", {"t1": 1 - 1e-7, "t2": 1.0}, ("ce", {}), 1e-5),
        ("gce_sr", {"tau": 1.0, "lam": 0.0, "normalize": False}, ("gce", {}), 1e-12),
    ],
)
def test_limits(
    name: str, parameters: dict[str, Any], limit: tuple[str, dict[str, Any]], tolerance: float, evaluate: Any
) -> None:
    logits, labels = torch.randn(50, 4, dtype=torch.float64), torch.randint(4, (50,))
    value, gradient = evaluate(build_loss(name, reduction="none", **parameters), logits, labels)
    expected, expected_gradient = evaluate(build_loss(limit[0], reduction="none", **limit[1]), logits, labels)
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gradient, expected_gradient, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7, 1.0])
def test_lsr_is_pytorchs(smoothing: float) -> None:
    logits, labels = torch.randn(3, 5, 6, 7), torch.randint(5, (3, 6, 7))
    labels[0, 0] = 255
    ours = build_loss("lsr", smoothing=smoothing, ignore_index=255)(logits, labels)
    torch.testing.assert_close(ours, F.cross_entropy(logits, labels, label_smoothing=smoothing, ignore_index=255))


def test_ce_under_sigmoid_is_pytorchs_binary_cross_entropy() -> None:
    logits, present = 10 * torch.randn(3, 5, 6), torch.randint(2, (3, 5, 6))
    ours = build_loss("ce", activation="sigmoid")(logits, present)
    torch.testing.assert_close(ours, F.binary_cross_entropy_with_logits(logits, present.float()))


@pytest.mark.parametrize("name", [name for name in SINGLE if name not in ("forward", "nlnl", "t_loss")])
def test_renaming_the_classes_renames_the_gradient(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(6, 4, 5, dtype=torch.float64), torch.randint(4, (6, 5))
    order = torch.tensor([2, 0, 3, 1])
    new_name = torch.argsort(order)
    value, gradient = evaluate(make_loss(name, 4), logits, labels)
    renamed_value, renamed_gradient = evaluate(make_loss(name, 4), logits[:, order], new_name[labels])
    torch.testing.assert_close(renamed_value, value)
    torch.testing.assert_close(renamed_gradient, gradient[:, order])


def test_renaming_the_classes_of_a_corrected_loss_renames_its_transition(evaluate: Any) -> None:
    logits, labels = torch.randn(6, 4, dtype=torch.float64), torch.randint(4, (6,))
    transition = torch.softmax(torch.randn(4, 4), dim=1)
    order = torch.tensor([2, 0, 3, 1])
    value, gradient = evaluate(build_loss("forward", transition=transition), logits, labels)
    renamed = build_loss("forward", transition=transition[order][:, order])
    renamed_value, renamed_gradient = evaluate(renamed, logits[:, order], torch.argsort(order)[labels])
    torch.testing.assert_close(renamed_value, value)
    torch.testing.assert_close(renamed_gradient, gradient[:, order])


@pytest.mark.parametrize("classes", [2, 4])
def test_renaming_the_classes_leaves_t_loss_alone(classes: int) -> None:
    logits, labels = torch.randn(3, classes, 5), torch.randint(classes, (3, 5))
    order = torch.arange(classes).flip(0)
    loss = build_loss("t_loss")
    torch.testing.assert_close(loss(logits[:, order], torch.argsort(order)[labels]), loss(logits, labels))


@pytest.mark.parametrize("name", ["anl_ce_er", "nr_dice", "t_loss"])  # those that see more than an element
def test_moving_the_pixels_moves_the_gradient(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(2, 3, 20, dtype=torch.float64), torch.randint(3, (2, 20))
    order = torch.randperm(20)
    value, gradient = evaluate(make_loss(name), logits, labels)
    moved_value, moved_gradient = evaluate(make_loss(name), logits[:, :, order], labels[:, order])
    torch.testing.assert_close(moved_value, value)
    torch.testing.assert_close(moved_gradient, gradient[:, :, order])


@pytest.mark.parametrize("name", STAND_INS)
def test_an_image_equals_its_pixels(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    for reduction in ("mean", "none"):
        loss = make_loss(name, reduction=reduction)
        value, gradient = evaluate(loss, logits, labels)
        flat_value, flat_gradient = evaluate(loss, logits.movedim(1, -1).reshape(-1, 3), labels.flatten())
        torch.testing.assert_close(value.flatten(), flat_value.flatten())
        torch.testing.assert_close(gradient.movedim(1, -1).reshape(-1, 3), flat_gradient)


# Log-probabilities know nothing of a shift; these look at logits, or write down their gradient.
@pytest.mark.parametrize("name", ["anl_ce", "logit_bias", "nr_dice", "t_loss"])
def test_a_shift_of_all_logits_changes_nothing(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(6, 3, dtype=torch.float64), torch.randint(3, (6,))
    value, gradient = evaluate(make_loss(name), logits, labels)
    torch.testing.assert_close(evaluate(make_loss(name), logits + 7, labels)[0], value)
    torch.testing.assert_close(gradient.sum(dim=1), torch.zeros(6, dtype=torch.float64), atol=1e-12, rtol=0)
