"""The base classes of all losses: they prepare the batch, evaluate and reduce. No particular loss lives here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss
from typing_extensions import Unpack

from seg_anl.records.errors import nearest_names
from seg_anl.records.ranges import complaint, keyword_parameters

from .chunked import ChunkEvaluation, can_be_chunked, chunked_mean
from .declarations import COMMON, Common
from .inputs import LabeledLogits, LabeledLogProbs, labeled_logits

REDUCTIONS = ("mean", "sum", "none")
ACTIVATIONS = ("softmax", "sigmoid")

PointwiseFunction = Callable[..., Tensor]
"""``function(pred: LabeledLogProbs, *, parameter=default, ...) -> (B, *E)``: one value per element, not reduced.

For soft labels, where each class is the label in turn, the same code gives ``(K, B, *E)``.
"""

AnyLoss = TypeVar("AnyLoss", bound="RobustLoss")


class ScheduledLoss(nn.Module):
    """A criterion whose ``set_epoch`` the trainers call at the start of each epoch.

    Attributes:
        draws: whether it draws random numbers (from torch's generator).
    """

    draws = False

    def set_epoch(self, epoch: int) -> None:
        """Start ``epoch`` (from 0). Criteria without a schedule ignore it."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ScheduledLoss:
        try:
            return super()._apply(fn, recurse)
        except TypeError:  # a device without float64, the dtype of schedules
            for name, buffer in self._buffers.items():
                if buffer is not None and buffer.dtype == torch.float64:
                    self._buffers[name] = buffer.float()
            return super()._apply(fn, recurse)

    def numbers(self) -> dict[str, float]:
        """Parameters and buffers that are a single number, such as T-Loss's ``log_nu``, by name."""
        return {name: value.item() for name, value in self.state_dict().items() if value.ndim == 0}


def _name_common_keywords(init: Callable[..., None]) -> None:
    """Show the common keywords in the signature of an ``init`` that passes them on as ``**common``."""
    signature = inspect.signature(init, eval_str=True)
    own = [p for p in signature.parameters.values() if p.annotation != Unpack[Common]]
    if len(own) < len(signature.parameters):
        common = keyword_parameters(RobustLoss.__init__).values()
        init.__signature__ = signature.replace(parameters=[*own, *common])  # type: ignore[attr-defined]


class RobustLoss(ScheduledLoss, _Loss):
    """Base of all losses.

    A subclass has an ``evaluate`` and keyword-only parameters, whose annotations give their valid ranges
    (:mod:`seg_anl.records.ranges`): an invalid value or an unknown keyword raises ``ValueError``.

    Attributes:
        hyperparameters: the loss's own parameters, defaults included.
        has_state: whether ``state_dict()`` is not empty.
        per_image: whether the loss has one value per image instead of one per element.
        elementwise: whether an element's value depends on that element alone.
        uses_log_probs_only: whether the logits enter only through ``batch.log_probs()``.

    Args:
        class_weights: C weights, for the elements of each class (for sigmoid: of each channel), or None.
        reduction: ``"mean"``, weighted if there are weights, ``"sum"`` or ``"none"``; or MONAI's ``LossReduction``.
        ignore_index: label value of ignored elements, or None.
        activation: ``"softmax"``, or ``"sigmoid"`` for channels that are independent two-class problems.

    Shape:
        - input: logits ``(B, C, *spatial)``, zero to three spatial dimensions; C = 1 needs ``activation="sigmoid"``.
        - target: class indices ``(B, *spatial)`` or ``(B, 1, *spatial)`` (integer or integral float), one-hot
          ``(B, C, *spatial)``, or probabilities t over the classes ``(B, C, *spatial)``: then the loss is its
          expectation, sum_k t_k L(f, k).
        - weight (optional): of samples or pixels, ``(B,)``, ``(B, *spatial)`` or ``(B, 1, *spatial)``, not negative.
        - output: a scalar; with ``"none"`` ``(B, *spatial)``, for sigmoid ``(B, C, *spatial)``, times the weights.
          float32, or float64 for float64 logits, also under autocast.
    """

    loss_name: ClassVar[str] = ""
    has_state = False
    per_image = False
    elementwise = False
    uses_log_probs_only = False
    hyperparameters: dict[str, Any]
    class_weights: Tensor | None

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "__init__" in vars(cls):
            _name_common_keywords(cls.__init__)

    def __new__(cls: type[AnyLoss], *arguments: Any, **keywords: Any) -> AnyLoss:
        """Check the keywords before any ``__init__`` uses them."""
        loss = super().__new__(cls)
        own, takes_others = own_parameters(cls)  # type: ignore[arg-type]
        given = {name: value for name, value in keywords.items() if name not in COMMON}
        known = {name: value for name, value in given.items() if name in own or not takes_others}
        loss.hyperparameters = checked_parameters(cls.loss_name or cls.__name__, own, known, COMMON)
        return loss

    def __init__(
        self,
        *,
        class_weights: Sequence[float] | Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int | None = None,
        activation: str = "softmax",
    ) -> None:
        super().__init__()
        self.reduction = _one_of("reduction", str(getattr(reduction, "value", reduction)), REDUCTIONS)
        self.activation = _one_of("activation", activation, ACTIVATIONS)
        if ignore_index is not None and (isinstance(ignore_index, bool) or not isinstance(ignore_index, int)):
            raise ValueError(f"ignore_index must be an integer label or None, got {ignore_index!r}")
        self.ignore_index = ignore_index
        # A setting, so not in the state_dict; a buffer, so that it moves with the module.
        self.register_buffer("class_weights", _checked_class_weights(class_weights), persistent=False)

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """Unreduced values and their weights.

        Values are ``(B, *E)``; for soft labels ``(K, B, *E)``, with each class as the label. Weights have the form of
        ``batch.weight``: a mask or numbers ``(B, *E)``, or None.
        """
        raise NotImplementedError(f"{type(self).__name__} must define evaluate()")

    def forward(self, input: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of ``input`` (logits) against ``target``; shapes as in the class."""
        for name, given in (("input", input), ("target", target)):
            if not isinstance(given, Tensor):
                raise TypeError(f"{name} must be a tensor, got {type(given).__name__}")
        # Autocast would run a loss's matrix products in half precision.
        with torch.autocast(device_type=input.device.type, enabled=False):
            return self.reduced(self.labeled(input, target, weight))

    def labeled(self, input: Tensor, target: Tensor, weight: Tensor | None = None) -> LabeledLogits:
        """The batch as :meth:`evaluate` takes it."""
        return labeled_logits(
            input,
            target,
            weight=weight,
            class_weights=self.class_weights,
            ignore_index=self.ignore_index,
            activation=self.activation,
        )

    def reduced(self, batch: LabeledLogits) -> Tensor:
        """The reduced loss of a batch."""
        derivatives = self.values_and_derivatives if self.has_derivatives(batch) else None
        can_be_reduced = self.elementwise and self.reduction != "none"
        if can_be_reduced and can_be_chunked(batch, self.buffers(), of_any_size=derivatives is not None):
            divisor = _divisor(batch.total_weight()) if self.reduction == "mean" else 1
            evaluation = ChunkEvaluation(
                lambda chunk: weighted(chunk, *self.evaluate(chunk))[0], self.uses_log_probs_only, derivatives
            )
            return chunked_mean(batch, divisor, evaluation)
        return self.reduce(batch, *self.evaluate(batch))

    def reduce(self, batch: LabeledLogits, values: Tensor, weight: Tensor | None) -> Tensor:
        """Weight and reduce what :meth:`evaluate` returned for a batch."""
        values, total = weighted(batch, values, weight)
        if self.reduction == "none":
            return values
        return values.sum() / _divisor(total) if self.reduction == "mean" else values.sum()

    def has_derivatives(self, batch: LabeledLogits) -> bool:
        """Whether :meth:`values_and_derivatives` supports the batch."""
        return False

    def values_and_derivatives(self, batch: LabeledLogits, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Values ``(B, *E)`` and the derivatives of ``(scale * values).sum()`` in log-probabilities, in closed form.

        ``batch.scores`` are the log-probabilities; ``scale`` is a number or ``(B, *E)``.
        """
        raise NotImplementedError(f"{type(self).__name__} leaves its derivatives to autograd")

    def extra_repr(self) -> str:
        """The hyper-parameters and common keywords, for ``print(loss)``."""
        shown = {**self.hyperparameters, "reduction": self.reduction}
        if self.class_weights is not None:
            shown["class_weights"] = self.class_weights.tolist()
        if self.ignore_index is not None:
            shown["ignore_index"] = self.ignore_index
        if self.activation != "softmax":
            shown["activation"] = self.activation
        return ", ".join(f"{name}={value}" for name, value in shown.items() if not isinstance(value, Tensor))


class FunctionLoss(RobustLoss):
    """A loss built around one pure function of each element's log-probabilities."""

    function: ClassVar[PointwiseFunction]
    function_keywords: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "function" in vars(cls):
            cls.function_keywords = tuple(keyword_parameters(cls.function))

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**{name: keywords[name] for name in COMMON if name in keywords})

    def values(self, pred: LabeledLogProbs) -> Tensor:
        """The function's value at every element, ``(B, *E)``."""
        return self.function(pred, **{name: self.hyperparameters[name] for name in self.function_keywords})


class PointwiseLoss(FunctionLoss):
    """A loss that is one pure function of each element's log-probabilities."""

    elementwise = True
    uses_log_probs_only = True

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """The function's value at every element."""
        return self.values(batch.log_probs()), batch.weight


def checked_parameters(
    owner: str, known: Mapping[str, inspect.Parameter], given: Mapping[str, Any], common: Iterable[str] = ()
) -> dict[str, Any]:
    """The given values, completed with defaults; ``common`` are keywords to suggest besides the known ones.

    Raises:
        ValueError: for an unknown name (with the nearest valid ones) or a value out of range.
    """
    for name, value in given.items():
        if name not in known:
            hint = nearest_names(name, [*known, *common])
            raise ValueError(f"loss {owner!r} has no parameter {name!r}; {hint}")
        wrong = complaint(name, known[name].annotation, value)
        if wrong:
            raise ValueError(f"loss {owner!r}: {wrong}")
    return {name: given.get(name, parameter.default) for name, parameter in known.items()}


@cache
def own_parameters(cls: type[RobustLoss]) -> tuple[dict[str, inspect.Parameter], bool]:
    """The parameters of a loss without the common ones, and whether it takes further keywords."""
    parameters = inspect.signature(cls, eval_str=True).parameters.values()
    own = {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    takes_others = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return {name: parameter for name, parameter in own.items() if name not in COMMON}, takes_others


def weighted(batch: LabeledLogits, values: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor | int]:
    """The weighted values (for soft labels their expectation) and the sum of the weights."""
    if values.ndim > batch.element_dims:
        return (values * batch.shares()).sum(dim=0), batch.total_weight()
    if weight is None:
        return values, values.numel()
    if weight.dtype == torch.bool:
        zero = torch.zeros((), dtype=values.dtype, device=values.device)
        return torch.where(weight, values, zero), weight.sum()
    return values * weight, weight.sum()


def positive_or_one(total: Tensor) -> Tensor:
    """A safe divisor: 1 where all weights are 0, so that the mean is 0 with zero gradient."""
    return torch.where(total > 0, total, 1)


def _divisor(total: Tensor | int) -> Tensor | int:
    return max(total, 1) if isinstance(total, int) else positive_or_one(total)


def _checked_class_weights(given: Sequence[float] | Tensor | None) -> Tensor | None:
    if given is None:
        return None
    try:
        weights = torch.as_tensor(given, dtype=torch.float32).detach().clone()
    except (TypeError, ValueError, RuntimeError):
        weights = torch.empty(0)
    if (
        weights.ndim != 1
        or not len(weights)
        or not weights.isfinite().all()
        or (weights < 0).any()
        or not weights.any()
    ):
        raise ValueError(f"class_weights must be a number >= 0 for each class, not all 0, or None, got {given!r}")
    return weights


def _one_of(setting: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{setting} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value
