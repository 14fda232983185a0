"""The command ``seg-anl-train``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seg_anl.interrupt import end_quietly_while_importing

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """
seg-anl-train: train a segmentation network through wrong masks.

  seg-anl-train loss=anl_ce noise.alpha=0.7 noise.beta=0.7 preset=small         the embedded ISIC-2017 images
  seg-anl-train data=isic2017 data.root=ISIC preset=isic2017 noise.alpha=0.7     as in the paper
  seg-anl-train data=folder data.root=DATA data.size=128 loss=gce loss.q=0.5     your own images
  seg-anl-train data=nnunet data.root=Dataset501_X loss=anl_ce                   an nnU-Net raw dataset, 2-D or 3-D
  seg-anl-train -m loss=ce,anl_ce seed=1,2,3 noise.alpha=0.7 preset=small        a sweep, one run after the other

Settings (SETTING=VALUE; command line over preset over default):
  data=embedded | folder | isic2017     with data.root, data.size, data.limit, data.tuning, data.threshold, data.classes
  data=nnunet | decathlon | volumes     NIfTI, DICOM, 16 bits, many channels: data.root, data.spacing, data.patch,
                                        data.intensity, data.labels, data.memory, augmentation=light | nnunet
  loss=NAME                             any loss; `seg-anl-losses` lists them,
                                        with loss.PARAMETER and loss.dice_weight
  noise.alpha noise.beta                share of training images with a wrong mask; changed area over lesion area
  noise.kinds noise.mode noise.seed     [erode,dilate,affine]; corrected | official
  model=dynunet | monai | own           model.base_filters, model.max_filters, model.stages, model.deep_supervision
  optim=adam | sgd                      optim.lr, optim.weight_decay, optim.schedule, optim.l1, optim.clip_norm, ...
  preset=default | small | isic2017
  record=[masks]                        images, wrong masks and predictions, for `seg-anl-report --figure masks`
  record=[predictions,dynamics]         what seg-anl-audit masks needs of a run that has seen all masks
  folds=5 [fold=K]                      a run for each fold (or one), which predicts the images it has not seen
  data.groups_file                      CSV of item,group: images of one group (a patient) are held out together
  data.exclude_file data.weights_file   images to leave out, one id a line; CSV of item,weight
  data.soft=DIR | data.raters=[DIR,...] class probabilities (seg-anl-prep raters --by mean) in place of the masks; masks
                                        of several raters, one of which is drawn for each image in each epoch
  method=plain | co_teaching | trinet   method.forget_rate, method.unit, ...
         adele | clslsr | dast          method.slowdown, method.trusted_file, ...; docs/raters.md
  seed=N | [N,M,...] epochs batch_size precision compile channels_last graph device workers run_root run_dir
  logger=tensorboard | wandb | mlflow | trackio   or a list of them

data=folder finds: images/ and masks/ below data.root (or images/train, images/test and masks/...; train/images, ...;
images and *_mask, *_segmentation files side by side; the official ISIC-2017 folders). A mask has the stem of its image.

The run directory follows from the settings. The same command on it resumes a run that was stopped and leaves a finished
one alone. It ends with a table, RUN/summary.json, RUN/metrics.csv and RUN/report.png.
"""


def main() -> None:
    """Entry point of ``seg-anl-train``."""
    end_quietly_while_importing("seg-anl-train")
    from seg_anl.engine.command import hydra_command

    hydra_command("seg-anl-train", "segmentation", HELP, _train)


def _train(config: DictConfig) -> float:
    # Imports in steps: a misspelled name is refused without SciPy, a wrong value without torch.
    from seg_anl.engine.settings import of_each_run

    from .settings import read_settings
    from .volumes.settings import is_of_volumes, read_volume_settings

    for one in of_each_run(config):
        read_volume_settings(one) if is_of_volumes(one) else read_settings(one)
    from .experiment import train_and_print

    return train_and_print(config)


if __name__ == "__main__":
    main()
