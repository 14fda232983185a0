"""The papers' figures that are curves of accuracy over the epochs: what tells their panels and lines apart."""

from __future__ import annotations

from seg_anl.reporting.names import PENALTY_NAMES, loss_name, number
from seg_anl.reporting.run_directories import Run

from .drawing import Figure
from .epoch_curves import CLEAN, MISLABELED, TEST, VALIDATION, Curves
from .run_selection import Axis, Place, amount, by_amount, by_loss, by_method, penalties, setting

# What each normalized loss normalizes: the panels of Ma et al., Figs. 1 and 2.
NORMALIZED = {"nce": "ce", "nfl": "focal", "nmae": "mae", "nrce": "rce", "ngce": "gce"}
SCALED = ("nce", "nfl", "mae", "rce")
COMBINED = ("nce_mae", "nce_rce", "nfl_mae", "nfl_rce")


def only(losses: tuple[str, ...], axis: Axis) -> Axis:
    """``axis`` for runs of these losses; no place for others."""
    return lambda run: axis(run) if setting(run, "loss.name") in losses else None


def by_normalized_pair(run: Run) -> Place | None:
    """A loss and its normalized form stand together."""
    name = str(setting(run, "loss.name"))
    plain = NORMALIZED.get(name, name)
    pairs = {value: key for key, value in NORMALIZED.items()}
    if plain not in pairs:
        return None
    names = " / ".join(loss_name({"name": loss}) for loss in (plain, pairs[plain]))
    return Place(list(pairs).index(plain), names)


def by_normalization(run: Run) -> Place:
    """Whether the loss is a normalized one."""
    return Place(1, "normalized") if setting(run, "loss.name") in NORMALIZED else Place(0, "not normalized")


def parts_of_pair(run: Run) -> dict[str, float]:
    """The losses that ``active_passive`` adds up, with their weights; those of weight 0 left out."""
    if setting(run, "loss.name") != "active_passive":
        return {}
    roles = {"active": "alpha", "passive": "beta"}
    weights = {str(setting(run, f"loss.{role}")): amount(run, f"loss.{weight}") for role, weight in roles.items()}
    return {part: weight for part, weight in weights.items() if weight > 0}


def scaled_loss(run: Run) -> tuple[str, float] | None:
    """A loss of Ma et al., Fig. 3, and its scale: the loss as it is, or the one part of a pair that has a weight."""
    parts = parts_of_pair(run) or {str(setting(run, "loss.name")): 1.0}
    ((name, scale),) = parts.items() if len(parts) == 1 else (("", 0.0),)
    return (name, scale) if name in SCALED else None


def by_scaled_loss(run: Run) -> Place | None:
    """Which loss is scaled."""
    found = scaled_loss(run)
    return Place(SCALED.index(found[0]), loss_name({"name": found[0]})) if found else None


def by_scale(run: Run) -> Place | None:
    """By how much."""
    found = scaled_loss(run)
    return Place(found[1], f"× {number(found[1])}") if found else None


def by_combination(run: Run) -> Place | None:
    """Active + passive losses (Ma et al.), and pairs of two active or two passive ones."""
    name = str(setting(run, "loss.name"))
    if name in COMBINED:
        return Place(COMBINED.index(name), f"{by_loss(run).text} (APL)")
    parts = set(parts_of_pair(run))
    for i, (kind, pair) in enumerate((("AAL", {"nce", "nfl"}), ("PPL", {"mae", "rce"}))):
        if parts == pair:
            return Place(len(COMBINED) + i, f"{by_loss(run).text} ({kind})")
    return None


def by_penalty(run: Run) -> Place | None:
    """Which one regularizer of the weights is on."""
    on = list(penalties(run))
    return Place(list(PENALTY_NAMES).index(on[0]), PENALTY_NAMES[on[0]]) if len(on) == 1 else None


def by_strength(run: Run) -> Place | None:
    """Delta, the weight of the one regularizer that is on."""
    on = list(penalties(run).values())
    return Place(on[0], f"δ = {number(on[0])}") if len(on) == 1 else None


def unregularized(*losses: str) -> Axis:
    """The reference line of a loss without any regularizer."""
    return only(losses, lambda run: None if penalties(run) else Place(-1, "no regularizer"))


def _regularized_apl_reference(run: Run) -> Place | None:
    if setting(run, "loss.name") == "anl_ce":
        return Place(-2, by_method(run).text)
    return unregularized("nce_rce")(run)


def sharpened(lam_is_zero: bool, axis: Axis) -> Axis:
    """CE+SR without the norm (lambda 0), or with it."""
    return lambda run: axis(run) if (amount(run, "loss.lam") == 0) == lam_is_zero else None


_REGULARIZERS = tuple(f"optim.{penalty}" for penalty in PENALTY_NAMES)

ACCURACY_FIGURES: dict[str, Figure] = {
    "accuracies": Figure(
        "Training accuracy of right and of wrong labels, and test accuracy, loss by loss "
        "(Ye et al. 2024, Fig. 3; Kasimoglu et al. 2024, Fig. 1)",
        "metrics.csv with train/accuracy_clean and train/accuracy_mislabelled, of any losses. "
        "seg-anl-classify -m loss=ce,mae,nce_rce,anl_ce noise=symmetric noise.rate=0.6",
        Curves(
            "classification runs under label noise, of any losses",
            metrics=(TEST, CLEAN, MISLABELED),
            columns=by_method,
        ),
    ),
    "regularizers-anl": Figure(
        "Test accuracy of ANL-CE by regularizer of the weights and its strength (Ye et al. 2024, Fig. 4)",
        "metrics.csv of runs with loss=anl_ce and at most one of optim.l1, optim.weight_decay, optim.jacobian above 0. "
        "seg-anl-classify -m loss=anl_ce optim.weight_decay=0 optim.l1=0,1e-5,1e-4,1e-3 noise.rate=0.8",
        Curves(
            "runs with loss=anl_ce and one of optim.l1, optim.weight_decay, optim.jacobian above 0",
            columns=only(("anl_ce",), by_penalty),
            lines=by_strength,
            ordered=True,
            reference=unregularized("anl_ce"),
            varied=_REGULARIZERS,
        ),
    ),
    "regularizers-apl": Figure(
        "Test accuracy of NCE+RCE by regularizer and its strength, with ANL-CE beside it (Ye et al. 2024, Fig. 5)",
        "metrics.csv of runs with loss=nce_rce and one of optim.l1, optim.weight_decay, optim.jacobian above 0, and of "
        "loss=anl_ce. seg-anl-classify -m loss=nce_rce optim.weight_decay=0 optim.l1=1e-5,1e-4,1e-3 noise.rate=0.8",
        Curves(
            "runs with loss=nce_rce and one of optim.l1, optim.weight_decay, optim.jacobian above 0",
            columns=only(("nce_rce",), by_penalty),
            lines=by_strength,
            ordered=True,
            reference=_regularized_apl_reference,
            varied=("loss", *_REGULARIZERS),
        ),
    ),
    "anl-grid": Figure(
        "Training and test accuracy of NCE+NNCE by its weights alpha and beta (Ye et al. 2024, Fig. 8)",
        "metrics.csv of runs with loss=anl_ce (in the paper with weight decay). seg-anl-classify -m loss=anl_ce "
        "loss.alpha=0.1,0.5,1,5,10 loss.beta=0.1,0.5,1,5,10 optim.l1=0 optim.weight_decay=1e-4 noise.rate=0.8",
        Curves(
            "runs with loss=anl_ce of several loss.alpha and loss.beta",
            metrics=(TEST, CLEAN, MISLABELED),
            columns=only(("anl_ce",), by_amount("loss.alpha", "α")),
            rows=by_amount("loss.beta", "β"),
        ),
    ),
    "normalized": Figure(
        "Test accuracy of losses as they are and normalized (Ma et al. 2020, Figs. 1 and 2)",
        "metrics.csv of runs with loss=ce, nce, focal, nfl, mae, nmae, rce, nrce. "
        "seg-anl-classify -m loss=ce,nce,focal,nfl,mae,nmae,rce,nrce noise.rate=0.6",
        Curves(
            "runs with loss=ce, nce, focal, nfl, mae, nmae, rce or nrce",
            columns=by_normalized_pair,
            lines=by_normalization,
        ),
    ),
    "scaled": Figure(
        "Test accuracy of scaled losses (Ma et al. 2020, Fig. 3)",
        "metrics.csv of runs with loss=nce, nfl, mae, rce and these scaled. seg-anl-classify -m loss=active_passive "
        "loss.active=nce,nfl loss.alpha=1,2,5,10 loss.beta=0 noise.rate=0.6; the same with loss.passive=mae,rce "
        "loss.beta=1,2,5,10 loss.alpha=0",
        Curves(
            "runs with loss=active_passive, of which one weight is 0 and the other scales nce, nfl, mae or rce",
            columns=by_scaled_loss,
            lines=by_scale,
            ordered=True,
        ),
    ),
    "combinations": Figure(
        "Test accuracy of active + passive losses, beside pairs of two alike (Ma et al. 2020, Fig. 4)",
        "metrics.csv of runs with loss=nce_mae, nce_rce, nfl_mae, nfl_rce and active_passive of two alike. "
        "seg-anl-classify -m loss=nce_mae,nce_rce,nfl_mae,nfl_rce noise.rate=0.6; "
        "seg-anl-classify loss=active_passive loss.active=nfl loss.passive=nce (and mae with rce) noise.rate=0.6",
        Curves(
            "runs with loss=nce_mae, nce_rce, nfl_mae or nfl_rce, and active_passive of nfl and nce or of mae and rce",
            lines=by_combination,
        ),
    ),
    "apl-grid": Figure(
        "Validation accuracy of NCE+RCE by its weights alpha and beta (Ma et al. 2020, Fig. 5)",
        "metrics.csv of runs with loss=nce_rce and a tuning set. seg-anl-classify -m loss=nce_rce "
        "data.tuning=0.2 loss.alpha=0.1,1,10 loss.beta=0.1,1,10,100 noise.rate=0.6",
        Curves(
            "runs with loss=nce_rce and data.tuning=0.2, of several loss.alpha and loss.beta",
            metrics=(VALIDATION,),
            columns=only(("nce_rce",), by_amount("loss.alpha", "α")),
            lines=by_amount("loss.beta", "β"),
            ordered=True,
        ),
    ),
    "sr-weight": Figure(
        "Test accuracy by the weight lambda of sparse regularization (Zhou et al. 2021, Fig. 2)",
        "metrics.csv of runs with loss=ce_sr or fl_sr. seg-anl-classify -m loss=ce_sr loss.tau=1 loss.p=0.1 "
        "loss.rho=1 loss.lam=0.1,1,5,10,20,30 noise.rate=0.6, and loss=fl_sr",
        Curves(
            "runs with loss=ce_sr or fl_sr of several loss.lam",
            columns=only(("ce_sr", "fl_sr", "gce_sr"), by_loss),
            lines=by_amount("loss.lam", "λ"),
            ordered=True,
        ),
    ),
    "sr-power": Figure(
        "Test accuracy by the power p of sparse regularization's norm (Zhou et al. 2021, Fig. 4a)",
        "metrics.csv of runs with loss=ce_sr. seg-anl-classify -m loss=ce_sr loss.tau=1 loss.lam=5 loss.rho=1 "
        "loss.p=0.01,0.1,0.5,1 noise.rate=0.6",
        Curves(
            "runs with loss=ce_sr, loss.lam above 0, of several loss.p",
            lines=only(("ce_sr",), sharpened(False, by_amount("loss.p", "p"))),
            ordered=True,
        ),
    ),
    "sr-temperature": Figure(
        "Test accuracy by the temperature tau of output sharpening (Zhou et al. 2021, Fig. 4b)",
        "metrics.csv of runs with loss=ce_sr and loss.lam=0. seg-anl-classify -m loss=ce_sr loss.lam=0 "
        "loss.tau=0.01,0.1,0.5,1 noise.rate=0.6",
        Curves(
            "runs with loss=ce_sr, loss.lam=0, of several loss.tau",
            lines=only(("ce_sr",), sharpened(True, by_amount("loss.tau", "τ"))),
            ordered=True,
        ),
    ),
}
