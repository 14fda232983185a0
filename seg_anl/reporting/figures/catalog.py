"""Every figure by its name: the paper's figure, the runs it needs, and how it is drawn."""

from __future__ import annotations

from matplotlib.figure import Figure as Drawing

from seg_anl.records.recipes import flat
from seg_anl.reporting.names import PENALTY_NAMES
from seg_anl.reporting.run_directories import Run

from . import by, special
from .curves import CLEAN, MISLABELED, SPARSE_RATE, TEST, VALIDATION, Curves
from .drawing import Figure
from .selection import lacks_record

REGULARIZERS = tuple(f"optim.{penalty}" for penalty in PENALTY_NAMES)
ACCURACIES = (TEST, CLEAN, MISLABELED)
NO_RUN = "no run: it is drawn from the losses themselves"
SPARSE_RATES = Curves(
    (SPARSE_RATE, TEST._replace(text="test accuracy")),
    lines=by.method,
    apart=True,
    quantity="rate",
    caption="Sparse rate: share of training samples whose largest output, sharpened with τ = 0.1, is above 0.99.",
)


def sparse_rates(runs: list[Run], notes: list[str]) -> Drawing | None:
    """Sparse rate of the training samples and test accuracy over the epochs."""
    normalized = [run.path for run in runs if flat(run.config).get("loss.normalize") is True]
    if normalized:
        notes.append(
            f"{normalized[0]} was trained on normalized outputs (loss.normalize=true); its sparse rate is that of "
            "the outputs as they are, which the paper's figure (MNIST, not normalized) is about"
        )
    return SPARSE_RATES.draw(runs, notes)


FIGURES: dict[str, Figure] = {
    "accuracies": Curves(ACCURACIES, by.method, quantity="accuracy").figure(
        "Training accuracy of right and of wrong labels, and test accuracy, loss by loss "
        "(Ye et al. 2024, Fig. 3; Kasimoglu et al. 2024, Fig. 1)",
        "metrics.csv with train/accuracy_clean and train/accuracy_mislabelled, of any losses. "
        "seg-anl-classify -m loss=ce,mae,nce_rce,anl_ce noise=symmetric noise.rate=0.6",
    ),
    "regularizers-anl": Curves(
        columns=by.only("anl_ce", by.penalty),
        lines=by.strength,
        ordered=True,
        reference=by.only("anl_ce", by.unregularized),
        varied=REGULARIZERS,
    ).figure(
        "Test accuracy of ANL-CE by regularizer of the weights and its strength (Ye et al. 2024, Fig. 4)",
        "metrics.csv of runs with loss=anl_ce and at most one of optim.l1, optim.weight_decay, optim.jacobian above 0. "
        "seg-anl-classify -m loss=anl_ce optim.weight_decay=0 optim.l1=0,1e-5,1e-4,1e-3 noise.rate=0.8",
    ),
    "regularizers-apl": Curves(
        columns=by.only("nce_rce", by.penalty),
        lines=by.strength,
        ordered=True,
        reference=by.beside_apl,
        varied=("loss", *REGULARIZERS),
    ).figure(
        "Test accuracy of NCE+RCE by regularizer and its strength, with ANL-CE beside it (Ye et al. 2024, Fig. 5)",
        "metrics.csv of runs with loss=nce_rce and one of optim.l1, optim.weight_decay, optim.jacobian above 0, and of "
        "loss=anl_ce. seg-anl-classify -m loss=nce_rce optim.weight_decay=0 optim.l1=1e-5,1e-4,1e-3 noise.rate=0.8",
    ),
    "anl-grid": Curves(
        ACCURACIES,
        by.only("anl_ce", by.amount("loss.alpha", "α")),
        rows=by.amount("loss.beta", "β"),
        quantity="accuracy",
    ).figure(
        "Training and test accuracy of NCE+NNCE by its weights alpha and beta (Ye et al. 2024, Fig. 8)",
        "metrics.csv of runs with loss=anl_ce (in the paper with weight decay). seg-anl-classify -m loss=anl_ce "
        "loss.alpha=0.1,0.5,1,5,10 loss.beta=0.1,0.5,1,5,10 optim.l1=0 optim.weight_decay=1e-4 noise.rate=0.8",
    ),
    "normalized": Curves(columns=by.normalized_pair, lines=by.normalization).figure(
        "Test accuracy of losses as they are and normalized (Ma et al. 2020, Figs. 1 and 2)",
        "metrics.csv of runs with loss=ce, nce, focal, nfl, mae, nmae, rce, nrce. "
        "seg-anl-classify -m loss=ce,nce,focal,nfl,mae,nmae,rce,nrce noise.rate=0.6",
    ),
    "scaled": Curves(columns=by.scaled_loss, lines=by.scale, ordered=True).figure(
        "Test accuracy of scaled losses (Ma et al. 2020, Fig. 3)",
        "metrics.csv of runs with loss=nce, nfl, mae, rce and these scaled. seg-anl-classify -m loss=active_passive "
        "loss.active=nce,nfl loss.alpha=1,2,5,10 loss.beta=0 noise.rate=0.6; the same with loss.passive=mae,rce "
        "loss.beta=1,2,5,10 loss.alpha=0",
    ),
    "combinations": Curves(lines=by.combination).figure(
        "Test accuracy of active + passive losses, beside pairs of two alike (Ma et al. 2020, Fig. 4)",
        "metrics.csv of runs with loss=nce_mae, nce_rce, nfl_mae, nfl_rce and active_passive of two alike. "
        "seg-anl-classify -m loss=nce_mae,nce_rce,nfl_mae,nfl_rce noise.rate=0.6; "
        "seg-anl-classify loss=active_passive loss.active=nfl loss.passive=nce (and mae with rce) noise.rate=0.6",
    ),
    "apl-grid": Curves(
        (VALIDATION,),
        by.only("nce_rce", by.amount("loss.alpha", "α")),
        lines=by.amount("loss.beta", "β"),
        ordered=True,
        quantity="validation accuracy",
    ).figure(
        "Validation accuracy of NCE+RCE by its weights alpha and beta (Ma et al. 2020, Fig. 5)",
        "metrics.csv of runs with loss=nce_rce and a tuning set. seg-anl-classify -m loss=nce_rce "
        "data.tuning=0.2 loss.alpha=0.1,1,10 loss.beta=0.1,1,10,100 noise.rate=0.6",
    ),
    "sr-weight": Curves(
        columns=by.only("ce_sr fl_sr gce_sr", by.loss), lines=by.amount("loss.lam", "λ"), ordered=True
    ).figure(
        "Test accuracy by the weight lambda of sparse regularization (Zhou et al. 2021, Fig. 2)",
        "metrics.csv of runs with loss=ce_sr or fl_sr. seg-anl-classify -m loss=ce_sr loss.tau=1 loss.p=0.1 "
        "loss.rho=1 loss.lam=0.1,1,5,10,20,30 noise.rate=0.6, and loss=fl_sr",
    ),
    "sr-power": Curves(lines=by.sharpened(by.amount("loss.p", "p"), norm=True), ordered=True).figure(
        "Test accuracy by the power p of sparse regularization's norm (Zhou et al. 2021, Fig. 4a)",
        "metrics.csv of runs with loss=ce_sr and loss.lam above 0. seg-anl-classify -m loss=ce_sr loss.tau=1 "
        "loss.lam=5 loss.rho=1 loss.p=0.01,0.1,0.5,1 noise.rate=0.6",
    ),
    "sr-temperature": Curves(lines=by.sharpened(by.amount("loss.tau", "τ"), norm=False), ordered=True).figure(
        "Test accuracy by the temperature tau of output sharpening (Zhou et al. 2021, Fig. 4b)",
        "metrics.csv of runs with loss=ce_sr and loss.lam=0. seg-anl-classify -m loss=ce_sr loss.lam=0 "
        "loss.tau=0.01,0.1,0.5,1 noise.rate=0.6",
    ),
    "sparse-rate": SPARSE_RATES.figure(
        "Share of one-hot outputs and test accuracy, with and without sparse regularization (Zhou et al. 2021, Fig. 3)",
        "records/probabilities and metrics.csv. seg-anl-classify -m loss=ce,focal,gce noise.rate=0.8 "
        "record=[probabilities] record_every=1; and loss=ce_sr loss.tau=0.1 loss.normalize=false",
    )._replace(drawn=sparse_rates),
    "marginals": Figure(
        "Share of each class among the labels, and mean predicted probability of each (Ye et al. 2024, Fig. 2)",
        "metrics.csv with train/marginal_k, and noise/confusion.csv. "
        "seg-anl-classify -m loss=anl_ce,anl_ce_er noise=asymmetric noise.rate=0.4 data=cifar10",
        special.marginal_probabilities,
        special.lacks_marginals,
    ),
    "nnce-gradients": Figure(
        "Gradient of NNCE on samples with right and with wrong labels, over the epochs (Ye et al. 2024, Fig. 7)",
        "records/gradients. seg-anl-classify -m loss=anl_ce noise.rate=0.6,0.8 record=[gradients] record_every=5",
        special.nnce_gradients,
        lacks_record("gradients"),
    ),
    "masks": Figure(
        "Images with true, noisy and predicted masks under the three noises (Ye et al. 2024, Fig. 6)",
        "records/masks.npz. seg-anl-train loss=anl_ce noise.alpha=0.7 noise.beta=0.7 preset=small record=[masks]",
        special.predicted_masks,
        special.lacks_masks,
    ),
    "features": Figure(
        "t-SNE maps of learned features by method and noise (Zhou et al. 2021, Figs. 1 and 5)",
        "records/features. seg-anl-classify -m loss=ce,ce_sr noise.rate=0,0.4,0.8 record=[features]",
        special.feature_maps,
        lacks_record("features"),
    ),
    "target-probability": Figure(
        "Density of the given label's probability for right and wrong labels, and of the gradient "
        "(Cui et al. 2022, Fig. 1)",
        "records/probabilities. seg-anl-classify -m loss=ce,el noise.rate=0.4 record=[probabilities] record_every=5",
        special.target_probabilities,
        lacks_record("probabilities"),
    ),
    "loss-curves": Figure(
        "CE, EL, GCE and MAE against the probability of the label (Cui et al. 2022, Fig. 2)",
        NO_RUN,
        special.loss_curves,
    ),
    "gradient-curves": Figure(
        "Gradients of CE, EL, GCE and MAE against the probability of the label (Cui et al. 2022, Fig. 3)",
        NO_RUN,
        special.gradient_curves,
    ),
}
