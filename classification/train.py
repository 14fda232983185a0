"""The command ``seg-anl-classify``: train the run of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seg_anl.interrupt import end_quietly_while_importing

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """
seg-anl-classify: train a classification network on noisy labels.

  seg-anl-classify noise.rate=0.6                                          scikit-learn's digits, no download
  seg-anl-classify data=cifar10 noise.rate=0.8 loss=anl_ce preset=anl2024  a cell of a published table
  seg-anl-classify data=cifar10 noise=asymmetric loss=anl_ce_er preset=anl2024 seed=2
  seg-anl-classify data=arrays data.file=MINE.npz noise=none loss=gce loss.q=0.5
  seg-anl-classify -m data=cifar10 loss=ce,gce,anl_ce noise.rate=0.2,0.8 seed=1,2,3 preset=anl2024
  seg-anl-classify data=cifar10 noise=none loss=ce folds=5                 for seg-anl-audit labels
  seg-anl-classify -m loss=ce,anl_ce seed=1,2,3 runs_per_device=3          three seeds at once in one process
  torchrun --nproc-per-node 4 -m classification.train data=webvision data.root=W preset=anl2024 noise=none

Settings (SETTING=VALUE; command line over preset over default):
  data=digits | mnist | fashion_mnist | cifar10 | cifar100 | webvision | animal10n | clothing1m | imagenet | arrays |
       imagefolder                      with data.root, data.limit, data.test_limit, data.imbalance, data.tuning
  noise=symmetric | asymmetric | pair_flip | part_dependent | prediction_error | matrix | human | none
                                        with noise.rate, noise.seed (default: the seed), noise.counts, ...
  loss=NAME                             any loss; see `seg-anl-losses`
  method=plain | forward | co_teaching | d2l | elr
  model=published | cnn4 | cnn8 | resnet18 | resnet34 | resnet44 | resnet50 | resnet101 | vgg19_bn
  optim=sgd | adam                      optim.lr, optim.weight_decay, optim.l1, optim.jacobian, optim.schedule, ...
  preset=default | anl2023 | anl2024 | apl2020 | alf2021 | sr2021 | sr2021_imbalance | el2021 | re2024 | eps2024 |
         jal2025
  record=[probabilities,gradients,features]  record_every    for some figures of seg-anl-report
  record=[predictions,dynamics]         for seg-anl-audit labels on a single run (in-sample)
  folds=5 [fold=K]                      one run per fold (or only fold K), which predicts its held-out samples
  data.groups_file                      CSV of item,group: samples of one group (a patient) are held out together
  data.exclude_file data.weights_file   samples to leave out, one per line; CSV of item,weight
  seed=N | [N,M,...]  runs_per_device   several seeds, and how many to train at once
  epochs batch_size precision compile channels_last graph device workers run_root run_dir
  logger=tensorboard | wandb | mlflow | trackio   or a list of them

The settings determine the run directory. The same command resumes an interrupted run and skips a finished one. Results
are printed as a table and saved to RUN/summary.json and RUN/metrics.csv; seg-anl-report makes tables of many runs.
"""


def main() -> None:
    """Entry point of ``seg-anl-classify``."""
    end_quietly_while_importing("seg-anl-classify")
    from seg_anl.engine.command import hydra_command

    hydra_command("seg-anl-classify", "classification", HELP, _train)


def _train(config: DictConfig) -> float:
    # Imported step by step, so that bad settings are reported before SciPy and torch are loaded.
    from seg_anl.engine.settings import of_each_run

    from .settings import read_settings

    for one in of_each_run(config):
        read_settings(one)
    from .experiment import train_and_print

    return train_and_print(config)


if __name__ == "__main__":
    main()
