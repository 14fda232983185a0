"""What every loss accepts, ignores, reduces, returns and refuses."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.utils import LossReduction

from seg_anl.losses import build_loss
from seg_anl.losses.declarations import declarations

from .conftest import SINGLE

# The base settles all this for all losses. One of each kind stands in: pointwise, with a gradient of its own, with a
# statistic of the batch, with a schedule, with a matrix, with chance, and two that look at whole images.
STAND_INS = ["gce", "anl_ce", "anl_ce_er", "ce_sr", "forward", "nlnl", "nr_dice", "t_loss"]
# For what is over before a loss sees the batch: the ways through the base, in parts, with written gradients, in one
# piece, and that of the loss that prepares its batch itself.
WAYS = ["gce", "anl_ce", "t_loss", "nr_dice"]
PER_IMAGE = [name for name, known in declarations().items() if known.per_image]
EXACTLY: dict[str, Any] = {"rtol": 0.0, "atol": 0.0}
SPATIAL = [(), (7,), (4, 5), (2, 3, 4)]
FORMS = ["long", "int32", "uint8", "float", "channel", "channel_float", "one_hot", "one_hot_float", "one_hot_bool"]


def target_as(form: str, labels: torch.Tensor, classes: int) -> torch.Tensor:
    one_hot = F.one_hot(labels, classes).movedim(-1, 1)
    return {
        "long": labels,
        "int32": labels.int(),
        "uint8": labels.to(torch.uint8),
        "float": labels.float(),
        "channel": labels.unsqueeze(1),
        "channel_float": labels.unsqueeze(1).float(),
        "one_hot": one_hot,
        "one_hot_float": one_hot.float(),
        "one_hot_bool": one_hot.bool(),
    }[form]


@pytest.mark.parametrize("name", STAND_INS)
def test_all_target_forms_agree(name: str, make_loss: Any, evaluate: Any) -> None:
    for classes, spatial in itertools.product((2, 3), SPATIAL):
        logits, labels = torch.randn(4, classes, *spatial), torch.randint(classes, (4, *spatial))
        loss = make_loss(name, classes, reduction="none")
        value, gradient = evaluate(loss, logits, labels)

        assert value.shape == ((4,) if name in PER_IMAGE else (4, *spatial))
        assert value.dtype == torch.float32
        assert gradient.isfinite().all()
        for form in FORMS:
            other_value, other_gradient = evaluate(loss, logits, target_as(form, labels, classes))
            assert torch.equal(other_value, value), form
            assert torch.equal(other_gradient, gradient), form


def test_reductions_agree(make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(3, 3, 4, 5), torch.randint(3, (3, 4, 5))
    labels[0, :2] = 255

    def reduced(reduction: Any) -> dict[str, torch.Tensor]:
        return {
            name: evaluate(make_loss(name, reduction=reduction, ignore_index=255), logits, labels)[0] for name in WAYS
        }

    each = reduced("none")
    counted = {name: len(each[name]) if name in PER_IMAGE else (labels != 255).sum() for name in WAYS}
    torch.testing.assert_close(reduced("sum"), {name: values.sum() for name, values in each.items()})
    torch.testing.assert_close(reduced("mean"), {name: values.sum() / counted[name] for name, values in each.items()})
    for reduction in LossReduction:
        torch.testing.assert_close(reduced(reduction), reduced(reduction.value), **EXACTLY)


@pytest.mark.parametrize("name", STAND_INS)
def test_ignored_pixels_are_as_if_they_were_not_there(name: str, make_loss: Any, evaluate: Any) -> None:
    # Of more than two classes fewer pixels draw other complementary ones.
    for classes, ignore_index in itertools.product((2,) if name == "nlnl" else (2, 3), (255, -1, 0)):
        logits, labels = torch.randn(1, classes, 6, 6), torch.randint(classes, (1, 6, 6))
        labels[torch.rand(1, 6, 6) < 0.3] = ignore_index
        keep = labels != ignore_index

        value, gradient = evaluate(make_loss(name, classes, ignore_index=ignore_index), logits, labels)
        kept_value, kept_gradient = evaluate(make_loss(name, classes), logits[:, :, keep[0]], labels[:, keep[0]])

        torch.testing.assert_close(value, kept_value)
        torch.testing.assert_close(gradient[:, :, keep[0]], kept_gradient, atol=1e-7, rtol=1e-5)
        assert torch.equal(gradient[:, :, ~keep[0]], torch.zeros(1, classes, int((~keep).sum())))
        if name not in PER_IMAGE:
            each, _ = evaluate(make_loss(name, classes, ignore_index=ignore_index, reduction="none"), logits, labels)
            assert torch.equal(each[~keep], torch.zeros(int((~keep).sum())))


@pytest.mark.parametrize("name", STAND_INS)
def test_with_every_pixel_ignored_value_and_gradient_are_zero(name: str, make_loss: Any, evaluate: Any) -> None:
    for activation, reduction in itertools.product(("softmax", "sigmoid"), ("mean", "sum", "none")):
        channels, classes = (1, 2) if activation == "sigmoid" else (3, 3)
        loss = make_loss(name, classes, activation=activation, reduction=reduction, ignore_index=255)
        value, gradient = evaluate(loss, torch.randn(2, channels, 5), torch.full((2, 5), 255))
        assert torch.equal(value, torch.zeros_like(value)), (activation, reduction)
        assert torch.equal(gradient, torch.zeros_like(gradient)), (activation, reduction)


@pytest.mark.parametrize(("ignore_index", "as_channels"), [(255, True), (-1, True), (2, False)])
def test_ignored_pixels_of_a_one_hot_target(
    ignore_index: int, as_channels: bool, make_loss: Any, evaluate: Any
) -> None:
    logits, labels = torch.randn(2, 3, 6), torch.randint(2, (2, 6))
    ignored = torch.rand(2, 6) < 0.4
    one_hot = F.one_hot(labels.masked_fill(ignored, 2), 3).movedim(-1, 1)
    if as_channels:  # as a resampled or padded one-hot mask marks them: by the value in all its channels
        one_hot = one_hot.masked_fill(ignored.unsqueeze(1), ignore_index)
    for name in WAYS:
        loss = make_loss(name, ignore_index=ignore_index)
        expected, expected_gradient = evaluate(loss, logits, labels.masked_fill(ignored, ignore_index))
        value, gradient = evaluate(loss, logits, one_hot)
        assert torch.equal(value, expected), name
        assert torch.equal(gradient, expected_gradient), name


@pytest.mark.parametrize("name", [name for name in STAND_INS if name not in PER_IMAGE])
def test_sigmoid_is_two_classes_per_channel(name: str, make_loss: Any, evaluate: Any) -> None:
    # Normalizing the logits of a single channel would leave nothing but their sign, so SR does not do it there.
    own = {"normalize": False} if name == "ce_sr" else {}
    for channels, spatial in itertools.product((1, 3), ((), (4, 5))):
        logits, present = torch.randn(4, channels, *spatial), torch.randint(2, (4, channels, *spatial))
        value, gradient = evaluate(make_loss(name, 2, activation="sigmoid", reduction="none", **own), logits, present)
        assert value.shape == logits.shape
        for channel in range(channels):
            two, truth = torch.stack((torch.zeros(4, *spatial), logits[:, channel]), dim=1), present[:, channel]
            expected, expected_gradient = evaluate(make_loss(name, 2, reduction="none", **own), two, truth)
            torch.testing.assert_close(value[:, channel], expected)
            torch.testing.assert_close(gradient[:, channel], expected_gradient[:, 1])


def test_sigmoid_of_one_channel_takes_masks_of_every_form(make_loss: Any, evaluate: Any) -> None:
    logits, mask = torch.randn(3, 1, 4, 5), torch.randint(2, (3, 4, 5))
    for name in WAYS:
        loss = make_loss(name, 2, activation="sigmoid")
        expected = evaluate(loss, logits, mask)[0]
        for form in (mask.float(), mask.bool(), mask.unsqueeze(1), mask.unsqueeze(1).float(), mask.to(torch.uint8)):
            assert torch.equal(evaluate(loss, logits, form)[0], expected), (name, form.dtype, form.shape)


@pytest.mark.parametrize("name", STAND_INS)
def test_sigmoid_ignores_single_channels(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, present = torch.randn(2, 3, 8), torch.randint(2, (2, 3, 8))
    ignored = torch.rand(2, 3, 8) < 0.3
    loss = make_loss(name, 2, activation="sigmoid", ignore_index=255)
    value, gradient = evaluate(loss, logits, present.masked_fill(ignored, 255))
    assert value.isfinite()
    assert (gradient[ignored] == 0).all()
    changed = evaluate(loss, logits + 3 * ignored, present.masked_fill(ignored, 255))[0]
    assert torch.equal(value, changed)


@pytest.mark.parametrize("name", SINGLE)
def test_one_value_per_element_or_image_in_float64_or_float32(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    each, gradient = evaluate(make_loss(name, reduction="none"), logits, labels)
    assert each.shape == ((2,) if name in PER_IMAGE else (2, 4, 4))
    assert gradient.abs().sum(dim=1).count_nonzero() == 32
    loss = make_loss(name)
    reference, _ = evaluate(loss, logits.double(), labels)
    assert reference.dtype == torch.float64
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        rounded = logits.to(dtype)
        value, gradient = evaluate(loss, rounded, labels)
        assert value.dtype == torch.float32
        assert gradient.dtype == dtype
        exact, exact_gradient = evaluate(loss, rounded.double(), labels)
        torch.testing.assert_close(value, exact.float(), rtol=1e-5, atol=1e-6)
        if dtype == torch.float32:
            scale = exact_gradient.abs().max().item()
            torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-3, atol=1e-4 * scale)


def test_autocast_changes_nothing(make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    expected = {name: evaluate(make_loss(name), logits, labels) for name in WAYS}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = {name: evaluate(make_loss(name), logits, labels) for name in WAYS}
    torch.testing.assert_close(found, expected, **EXACTLY)


def test_memory_layout_does_not_matter(make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(2, 3, 4, 6), torch.randint(3, (2, 4, 6))
    expected = {name: evaluate(make_loss(name), logits, labels) for name in WAYS}
    strided = labels.transpose(1, 2).contiguous().transpose(1, 2)
    channels_last = logits.to(memory_format=torch.channels_last)
    transposed = logits.transpose(2, 3).contiguous().transpose(2, 3)
    for same_logits in (channels_last, transposed):
        found = {name: evaluate(make_loss(name), same_logits, strided) for name in WAYS}
        torch.testing.assert_close(found, expected)


def test_monai_tensors_are_welcome(make_loss: Any) -> None:
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 1, 4, 4)).float()
    for name in WAYS:
        loss, monai_logits = make_loss(name), MetaTensor(logits).requires_grad_()
        value = loss(monai_logits, MetaTensor(labels))
        value.backward()
        assert value.item() == pytest.approx(loss(logits, labels).item()), name
        assert monai_logits.grad.isfinite().all(), name


def test_inputs_are_left_as_they_were(make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(2, 3, 4), torch.randint(3, (2, 4))
    labels[0, 0] = 255
    logits_before, labels_before = logits.clone(), labels.clone()
    for name in WAYS:
        evaluate(make_loss(name, ignore_index=255), logits, labels)
        assert torch.equal(logits, logits_before), name
        assert torch.equal(labels, labels_before), name


def test_an_empty_batch_is_worth_nothing(make_loss: Any, evaluate: Any) -> None:
    for name in STAND_INS:
        value, gradient = evaluate(make_loss(name), torch.zeros(0, 3, 4, 4), torch.zeros(0, 4, 4, dtype=torch.long))
        assert value == 0, name
        assert gradient.shape == (0, 3, 4, 4), name


def test_without_gradient_the_value_is_the_same(make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(2, 3, 4), torch.randint(3, (2, 4))
    expected = {name: evaluate(make_loss(name), logits, labels)[0] for name in WAYS}
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            torch.testing.assert_close({name: make_loss(name)(logits, labels) for name in WAYS}, expected)


# Errors


def test_shapes_that_do_not_fit_are_both_named() -> None:
    for logits_shape, target_shape in (
        ((2, 3, 4, 4), (2, 4, 5)),
        ((2, 3, 4, 4), (2, 2, 4, 4)),
        ((2, 3, 4, 4), (3, 4, 4)),
        ((2, 3), (2, 3, 1)),
        ((2, 3, 4, 4), (2,)),
    ):
        message = f"target of shape {target_shape} does not fit input of shape {logits_shape}"
        with pytest.raises(ValueError, match=re.escape(message)):
            build_loss("anl_ce")(torch.zeros(logits_shape), torch.zeros(target_shape, dtype=torch.long))


def test_a_channel_for_what_is_ignored_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"give labels, target\.argmax\(1\), and ignore_index=3"):
        build_loss("anl_ce")(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, 4))


def test_shapes_of_logits_that_are_none() -> None:
    for shape in ((3,), (1, 2, 3, 4, 5, 6)):
        with pytest.raises(ValueError, match="zero to three spatial dimensions"):
            build_loss("anl_ce")(torch.zeros(shape), torch.zeros(shape[:1], dtype=torch.long))
    with pytest.raises(ValueError, match=r"has one channel.*pass activation='sigmoid'"):
        build_loss("anl_ce")(torch.zeros(2, 1, 4), torch.zeros(2, 4, dtype=torch.long))


def test_labels_that_are_none() -> None:
    for target, message in (
        (torch.tensor([0, 3]), "from 0 to 3, expected classes 0 to 2.*ignore_index"),
        (torch.tensor([0, 255], dtype=torch.uint8), "from 0 to 255.*ignore_index"),
        (torch.tensor([-1, 2]), "from -1 to 2"),
        (torch.tensor([0.0, 1.5]), "fractions"),
        (torch.tensor([0.0, float("nan")]), "fractions"),
        (torch.tensor([0, 1], dtype=torch.complex64), "complex64"),
        (torch.tensor([[1, 1, 0], [1, 0, 0]]), "not one 1"),
        (torch.tensor([[0, 0, 0], [1, 0, 0]]), "not one 1"),
        (torch.tensor([[2, -1, 0], [1, 0, 0]]), "not one 1"),
    ):
        with pytest.raises(ValueError, match=message):
            build_loss("anl_ce")(torch.zeros(2, 3), target)


def test_sigmoid_labels_that_are_none() -> None:
    loss = build_loss("ce", activation="sigmoid")
    with pytest.raises(ValueError, match="0 or 1 per channel"):
        loss(torch.zeros(2, 3), torch.tensor([[0, 1, 2], [0, 0, 0]]))
    with pytest.raises(ValueError, match=r"values from 1\.5 to 1\.5"):
        loss(torch.zeros(2, 3), torch.full((2, 3), 1.5))


def test_integer_logits_and_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="floating-point"):
        build_loss("ce")(torch.zeros(2, 3, dtype=torch.long), torch.tensor([0, 1]))
    with pytest.raises(TypeError, match="target must be a tensor, got list"):
        build_loss("ce")(torch.zeros(2, 3), [0, 1])


def test_a_floor_above_the_uniform_prediction_is_refused() -> None:
    for name, learned in itertools.product(("nnce", "nnfl", "anl_ce", "anl_fl_er"), (False, True)):
        with pytest.raises(ValueError, match="p_min must be below 1 / C"):
            build_loss(name, p_min=0.4)(torch.zeros(2, 3, requires_grad=learned), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"got 0\.25 for 4 classes"):  # at which the normalizer is 0
        build_loss("nnce", p_min=0.25)(torch.zeros(1, 4), torch.tensor([0]))


def test_a_transition_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="2 classes, input has 3"):
        build_loss("forward", transition=torch.eye(2))(torch.zeros(2, 3), torch.tensor([0, 1]))
