"""All figures by name: the paper's figure, the runs it needs, their placement, and how it is drawn.

docs/figures.md has the commands that produce the runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from seg_anl.records import UserError, nearest_names
from seg_anl.reporting.names import PENALTY_NAMES

from . import facets, recorded
from .curves import CLEAN, MISLABELED, SPARSE_RATE, TEST, VALIDATION, Metric, draw_curves, lacks_metrics
from .drawing import Figure
from .records import lacks_record

REGULARIZERS = tuple(f"optim.{penalty}" for penalty in PENALTY_NAMES)
ACCURACIES = (TEST, CLEAN, MISLABELED)


def _curves(
    meaning: str, needs: str, places: dict[str, facets.Placing], metrics: tuple[Metric, ...] = (TEST,), **looks: Any
) -> Figure:
    draw = partial(draw_curves, metrics=metrics, **looks)
    return Figure(meaning, f"metrics.csv {needs}", draw, places, lacks_metrics(*metrics))


def _recorded(meaning: str, kind: str, draw: Any, **placings: facets.Placing) -> Figure:
    return Figure(meaning, f"records/{kind}, kept with record=[{kind}]", draw, placings, lacks_record(kind))


FIGURES: dict[str, Figure] = {
    "accuracies": _curves(
        "Training accuracy on correct and on wrong labels, and test accuracy, for each loss "
        "(Ye et al. 2024, Fig. 3; Kasimoglu et al. 2024, Fig. 1)",
        "of runs with train/accuracy_clean and train/accuracy_mislabelled (evaluation.train_every=1), for any losses",
        {"column": facets.method},
        metrics=ACCURACIES,
        quantity="accuracy",
    ),
    "regularizers-anl": _curves(
        "Test accuracy of ANL-CE by regularizer and its strength (Ye et al. 2024, Fig. 4)",
        "of runs with loss=anl_ce and at most one of optim.l1, optim.weight_decay, optim.jacobian above 0",
        {"column": facets.regularizer("anl_ce"), "line": facets.strength("anl_ce")},
        colors="ordered",
        varied=REGULARIZERS,
    ),
    "regularizers-apl": _curves(
        "Test accuracy of NCE+RCE by regularizer and its strength, compared with ANL-CE (Ye et al. 2024, Fig. 5)",
        "of runs with loss=nce_rce and one of optim.l1, optim.weight_decay, optim.jacobian above 0, and with "
        "loss=anl_ce",
        {"column": facets.regularizer("nce_rce"), "line": facets.strength("nce_rce")},
        colors="ordered",
        varied=("loss", *REGULARIZERS),
    ),
    "anl-grid": _curves(
        "Training and test accuracy of NCE+NNCE by its weights alpha and beta (Ye et al. 2024, Fig. 8)",
        "of runs with loss=anl_ce, several loss.alpha and loss.beta, and evaluation.train_every=1",
        {"column": facets.only("anl_ce", facets.amount("loss.alpha")), "row": facets.amount("loss.beta")},
        metrics=ACCURACIES,
        quantity="accuracy",
    ),
    "normalized": _curves(
        "Test accuracy of original and normalized losses (Ma et al. 2020, Figs. 1 and 2)",
        "of runs with loss=ce, nce, focal, nfl, mae, nmae, rce, nrce",
        {"column": facets.pair_with_normalized, "line": facets.is_normalized},
    ),
    "scaled": _curves(
        "Test accuracy of scaled losses (Ma et al. 2020, Fig. 3)",
        "of runs with loss=nce, nfl, mae, rce, and loss=active_passive with loss.alpha or loss.beta 0",
        {"column": facets.scaled_loss, "line": facets.scale},
        colors="ordered",
    ),
    "combinations": _curves(
        "Test accuracy of active + passive losses, and of two active or two passive ones (Ma et al. 2020, Fig. 4)",
        "of runs with loss=nce_mae, nce_rce, nfl_mae, nfl_rce, and loss=active_passive of nfl and nce, or mae and rce",
        {"line": facets.combination},
        colors="methods",
    ),
    "apl-grid": _curves(
        "Validation accuracy of NCE+RCE by its weights alpha and beta (Ma et al. 2020, Fig. 5)",
        "of runs with loss=nce_rce, several loss.alpha and loss.beta, and a tuning set (data.tuning=0.2)",
        {"column": facets.only("nce_rce", facets.amount("loss.alpha")), "line": facets.amount("loss.beta")},
        metrics=(VALIDATION,),
        colors="ordered",
        quantity="validation accuracy",
    ),
    "sr-weight": _curves(
        "Test accuracy by the weight lambda of sparse regularization (Zhou et al. 2021, Fig. 2)",
        "of runs with loss=ce_sr or fl_sr and several loss.lam",
        {"column": facets.only("ce_sr fl_sr gce_sr", facets.loss), "line": facets.amount("loss.lam")},
        colors="ordered",
    ),
    "sr-power": _curves(
        "Test accuracy by the power p of sparse regularization's norm (Zhou et al. 2021, Fig. 4a)",
        "of runs with loss=ce_sr, loss.lam above 0, and several loss.p",
        {"line": facets.only("ce_sr", facets.amount("loss.p"), lambda run: facets.setting(run, "loss.lam") != 0)},
        colors="ordered",
    ),
    "sr-temperature": _curves(
        "Test accuracy by the temperature tau of output sharpening (Zhou et al. 2021, Fig. 4b)",
        "of runs with loss=ce_sr, loss.lam=0, and several loss.tau",
        {
            "line": facets.only(
                "ce_sr", facets.amount("loss.tau"), where=lambda run: facets.setting(run, "loss.lam") == 0
            )
        },
        colors="ordered",
    ),
    "sparse-rate": _curves(
        "Share of one-hot outputs and test accuracy, with and without sparse regularization (Zhou et al. 2021, Fig. 3)",
        "and records/probabilities, kept with record=[probabilities]",
        {"column": facets.together, "line": facets.method},
        metrics=(SPARSE_RATE, TEST._replace(text="test accuracy")),
        apart=True,
        colors="methods",
        quantity="rate",
        caption="Sparse rate: share of training samples whose largest output, sharpened with τ = 0.1, is above 0.99; "
        "for networks trained on normalized outputs (loss.normalize=true), computed from the outputs without "
        "normalization.",
    ),
    "marginals": Figure(
        "Share of each class among the labels, and its mean predicted probability (Ye et al. 2024, Fig. 2)",
        "metrics.csv with train/marginal_k (evaluation.train_every=1), and noise/confusion.csv",
        recorded.marginal_probabilities,
        {"column": facets.together, "line": facets.method},
        recorded.lacks_marginals,
    ),
    "nnce-gradients": _recorded(
        "Gradient of NNCE on samples with correct and with wrong labels, over epochs (Ye et al. 2024, Fig. 7)",
        "gradients",
        recorded.nnce_gradients,
        row=facets.method,
    ),
    "masks": _recorded(
        "Images with true, noisy and predicted masks for three kinds of noise (Ye et al. 2024, Fig. 6)",
        "masks",
        recorded.predicted_masks,
        row=facets.method,
    ),
    "features": _recorded(
        "t-SNE of learned features by method and noise (Zhou et al. 2021, Figs. 1 and 5)",
        "features",
        recorded.feature_maps,
        row=facets.method,
    ),
    "target-probability": _recorded(
        "Density of the given label's probability for correct and wrong labels, and of the gradient "
        "(Cui et al. 2022, Fig. 1)",
        "probabilities",
        recorded.target_probabilities,
        column=facets.method,
    ),
    "loss-curves": Figure(
        "CE, EL, GCE and MAE against the probability of the label (Cui et al. 2022, Fig. 2)",
        "no runs; drawn from the losses themselves",
        partial(recorded.loss_curves, quantities=[recorded.LOSS]),
    ),
    "gradient-curves": Figure(
        "Gradients of CE, EL, GCE and MAE against the probability of the label (Cui et al. 2022, Fig. 3)",
        "no runs; drawn from the losses themselves",
        partial(recorded.loss_curves, quantities=[recorded.NORM, recorded.RELATIVE]),
    ),
}

OPTIONS = {"epoch": "target-probability", "samples": "features"}
"""Command-line options of figures, and the figure they apply to."""


def select_figures(names: Sequence[str], options: Mapping[str, int | None]) -> dict[str, Figure]:
    """The figures with these names, with those of the ``options`` (:data:`OPTIONS`) that are not None.

    Raises:
        UserError: for an unknown name (with suggestions), or an option that does not apply to any of the figures.
    """
    figures = {}
    for name in names:
        if name not in FIGURES:
            raise UserError(f"unknown figure {name!r}; {nearest_names(name, FIGURES)}")
        figures[name] = FIGURES[name]
    for option, value in options.items():
        name = OPTIONS[option]
        if value is not None and name not in figures:
            raise UserError(f"--{option} needs --figure {name}")
        if value is not None:
            figures[name] = figures[name]._replace(draw_panels=partial(figures[name].draw_panels, **{option: value}))
    return figures
