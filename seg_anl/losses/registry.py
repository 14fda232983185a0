"""Every loss by name. A new loss is one function in one file and one line in ``LOSSES``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from seg_anl.records.errors import nearest_names
from seg_anl.records.ranges import Count, NonNegative, Positive, complaint, keyword_parameters

from .absolute_error import mae, nmae, nrce, rce
from .asymmetric import ael, agce, aul
from .base import PointwiseFunction, PointwiseLoss, RobustLoss
from .combination import WeightedSum
from .cross_entropy import bootstrap_hard, bootstrap_soft, ce, el, el_lsr, lsr, nce, phuber_ce, taylor_ce
from .entropy_regularization import EntropyRegularizedLoss
from .focal import focal, nfl
from .forward_correction import ForwardCorrectedLoss
from .fused import fused_anl_ce
from .generalized_cross_entropy import gce, ngce
from .negative import nnce, nnce_cut, nnfl
from .negative_learning import NegativeLearningLoss
from .noise_robust_dice import NoiseRobustDice
from .sparse_regularization import SparseRegularizedLoss
from .t_loss import TLoss

COMMON = ("reduction", "ignore_index", "activation")

Builder = Callable[..., RobustLoss]
"""Called with the loss's own parameters and the common keywords; its signature names the former with their defaults."""


def pointwise(function: PointwiseFunction, fused: PointwiseFunction | None = None) -> Builder:
    """A loss that is one pure function of each element."""
    own = keyword_parameters(function)

    def build(**keywords: Any) -> RobustLoss:
        parameters = {name: keywords.pop(name) for name in own}
        return PointwiseLoss(function, parameters, fused, **keywords)

    return _described(build, own, function)


def entropy_regularized(function: PointwiseFunction, *, lam: float) -> Builder:
    """ANL*: ``function`` plus the entropy regularizer of the batch's marginal prediction."""
    own = keyword_parameters(function)

    def build(*, lam: NonNegative = lam, **keywords: Any) -> RobustLoss:
        parameters = {name: keywords.pop(name) for name in own}
        return EntropyRegularizedLoss(function, parameters, lam=lam, **keywords)

    return _described(build, {**own, **keyword_parameters(build)}, EntropyRegularizedLoss)


def sparse_regularized(function: PointwiseFunction) -> Builder:
    """SR: ``function`` of sharpened outputs plus their weighted lp-norm."""
    own = keyword_parameters(function)

    def build(
        *,
        tau: Positive = 0.5,
        p: Positive = 0.1,
        lam: NonNegative = 1.2,
        rho: Positive = 1.03,
        every: Count = 1,
        normalize: bool = True,
        exact_official: bool = True,
        **keywords: Any,
    ) -> RobustLoss:
        given = {"exact_official": exact_official, **keywords}
        parameters = {name: given[name] for name in own}
        common = {name: value for name, value in keywords.items() if name not in own}
        return SparseRegularizedLoss(
            function,
            parameters,
            tau=tau,
            p=p,
            lam=lam,
            rho=rho,
            every=every,
            normalize=normalize,
            exact_official=exact_official,
            **common,
        )

    return _described(build, {**own, **keyword_parameters(build)}, SparseRegularizedLoss)


def any_pair(roles: tuple[str, str], names: tuple[str, str], *, weight: float) -> Builder:
    """A weighted sum of two losses that the caller names, with the parts' own parameters as further keywords."""

    def build(**keywords: Any) -> RobustLoss:
        common = {name: keywords.pop(name) for name in COMMON if name in keywords}
        parts = []
        for role, default in zip(roles, names, strict=True):
            part = str(keywords.pop(role, default))
            if part not in POINTWISE:
                raise ValueError(f"{role}={part!r} is no pointwise loss; {nearest_names(part, POINTWISE)}")
            parts.append(POINTWISE[part])
        function = WeightedSum(*parts, alpha=weight, beta=weight)
        parameters = checked_parameters("_".join(roles), keyword_parameters(function), keywords, (*roles, *COMMON))
        return PointwiseLoss(function, parameters, **common)

    defaults = dict(zip(roles, names, strict=True)) | {"alpha": weight, "beta": weight}
    described = {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in defaults.items()
    }
    return _described(build, described, WeightedSum)


def _described(build: Builder, own: dict[str, inspect.Parameter], source: Any) -> Builder:
    """Give ``build`` the signature and documentation of what it builds."""
    build.__signature__ = inspect.Signature(list(own.values()))  # type: ignore[attr-defined]
    build.__doc__ = source.__doc__
    return build


_anl_ce = WeightedSum(nce, nnce, alpha=5.0, beta=5.0)
_anl_fl = WeightedSum(nfl, nnfl, alpha=5.0, beta=5.0)

POINTWISE: dict[str, PointwiseFunction] = {
    "ce": ce,
    "mae": mae,
    "nce": nce,
    "nmae": nmae,
    "nrce": nrce,
    "focal": focal,
    "nfl": nfl,
    "rce": rce,
    "gce": gce,
    "ngce": ngce,
    "sce": WeightedSum(ce, rce, alpha=0.1, beta=1.0),
    "nnce": nnce,
    "nnfl": nnfl,
    "phuber_ce": phuber_ce,
    "taylor_ce": taylor_ce,
    "agce": agce,
    "aul": aul,
    "ael": ael,
    "nce_mae": WeightedSum(nce, mae),
    "nce_rce": WeightedSum(nce, rce),
    "nfl_mae": WeightedSum(nfl, mae),
    "nfl_rce": WeightedSum(nfl, rce),
    "ngce_mae": WeightedSum(ngce, mae),
    "ngce_rce": WeightedSum(ngce, rce),
    "nce_agce": WeightedSum(nce, agce),
    "nce_aul": WeightedSum(nce, aul),
    "nce_ael": WeightedSum(nce, ael),
    "nfl_agce": WeightedSum(nfl, agce),
    "nfl_aul": WeightedSum(nfl, aul),
    "nfl_ael": WeightedSum(nfl, ael),
    "anl_ce": _anl_ce,
    "anl_fl": _anl_fl,
    "el": el,
    "el_lsr": el_lsr,
    "lsr": lsr,
    "bootstrap_soft": bootstrap_soft,
    "bootstrap_hard": bootstrap_hard,
}

LOSSES: dict[str, Builder] = {
    **{name: pointwise(function) for name, function in POINTWISE.items()},
    "anl_ce": pointwise(_anl_ce, fused=partial(fused_anl_ce, _anl_ce)),
    "anl_ce_er": entropy_regularized(WeightedSum(nce, nnce_cut, alpha=5.0, beta=5.0), lam=2.0),
    "anl_fl_er": entropy_regularized(_anl_fl, lam=2.0),
    "ce_sr": sparse_regularized(ce),
    "fl_sr": sparse_regularized(focal),
    "gce_sr": sparse_regularized(gce),
    "forward": ForwardCorrectedLoss,
    "nlnl": NegativeLearningLoss,
    "nr_dice": NoiseRobustDice,
    "t_loss": TLoss,
    "active_passive": any_pair(("active", "passive"), ("nce", "mae"), weight=1.0),
    "active_negative": any_pair(("active", "negative"), ("nce", "nnce"), weight=5.0),
}


def list_losses() -> list[str]:
    """The names :func:`build_loss` knows, sorted."""
    return sorted(LOSSES)


def loss_parameters(name: str) -> dict[str, Any]:
    """A loss's own parameters with their defaults, in the order of its signature.

    >>> loss_parameters("gce")
    {'q': 0.7, 'exact_official': True}
    """
    return {parameter.name: parameter.default for parameter in _own_parameters(name).values()}


def build_loss(
    name: str,
    *,
    reduction: str = "mean",
    ignore_index: int | None = None,
    activation: str = "softmax",
    **params: Any,
) -> RobustLoss:
    """A loss module by its name.

    >>> import torch
    >>> loss = build_loss("anl_ce", alpha=5.0, beta=5.0)
    >>> value = loss(torch.zeros(4, 2, 8, 8), torch.zeros(4, 8, 8, dtype=torch.long))
    >>> round(value.item(), 4)
    5.0

    Args:
        name: one of :func:`list_losses`.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        ignore_index: label value of elements that do not count.
        activation: ``"softmax"`` or ``"sigmoid"``.
        params: the loss's own parameters, see :func:`loss_parameters`.

    Raises:
        ValueError: for an unknown name or parameter (with the nearest valid ones) or a value out of range.
    """
    own = _own_parameters(name)
    if not name.startswith("active_"):  # whose keywords depend on the parts they name
        params = checked_parameters(name, own, params, COMMON)
    return LOSSES[name](**params, reduction=reduction, ignore_index=ignore_index, activation=activation)


def _own_parameters(name: str) -> dict[str, inspect.Parameter]:
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}; {nearest_names(name, LOSSES)}")
    return {key: value for key, value in keyword_parameters(LOSSES[name]).items() if key not in COMMON}


def checked_parameters(
    owner: str, known: Mapping[str, inspect.Parameter], given: Mapping[str, Any], common: Iterable[str] = ()
) -> dict[str, Any]:
    """Defaults overlaid with what was given; ``common`` are keywords taken elsewhere, named where they come near.

    Raises:
        ValueError: for an unknown name, with the nearest valid ones, or a value outside what the annotation allows.
    """
    for name, value in given.items():
        if name not in known:
            hint = nearest_names(name, [*known, *common])
            raise ValueError(f"loss {owner!r} has no parameter {name!r}; {hint}")
        wrong = complaint(name, known[name].annotation, value)
        if wrong:
            raise ValueError(f"loss {owner!r}: {wrong}")
    return {name: given.get(name, parameter.default) for name, parameter in known.items()}
