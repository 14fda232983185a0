"""The command ``seg-anl-train``: a configuration to a finished run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from seg_anl.engine import (
    LoopSettings,
    Metrics,
    OptimSettings,
    Process,
    ResidentBatches,
    RunDirectory,
    Task,
    check_batch_size,
    check_seeds_and_workers,
    check_tuning_share,
    check_whole_numbers,
    checked_records,
    fit,
    hydra_command,
    is_main_process,
    run_path,
    started,
)
from seg_anl.engine.checkpoint import load_model
from seg_anl.engine.randomness import epoch_generator, seed_everything
from seg_anl.records import MetricRow, UserError, array_digest, chosen_items

from .augmentation import Augmentation
from .criterion import SegmentationCriterion, build_criterion
from .datasets import ImageSet, configured_pairs, load_images
from .evaluation import dice_scores, predict_labels
from .models import build_model
from .noise import check_noise_settings, noisy_masks
from .picture import save_report, worst_and_best
from .recording import RECORDS, record_masks

HELP = """
seg-anl-train: train a segmentation network through wrong masks.

  seg-anl-train loss=anl_ce noise.alpha=0.7 noise.beta=0.7 preset=small         the embedded ISIC-2017 images
  seg-anl-train data=isic2017 data.root=ISIC preset=isic2017 noise.alpha=0.7     as in the paper
  seg-anl-train data=folder data.root=DATA data.size=128 loss=gce loss.q=0.5     your own images
  seg-anl-train -m loss=ce,anl_ce seed=1,2,3 noise.alpha=0.7 preset=small        a sweep, one run after the other

Settings (SETTING=VALUE; command line over preset over default):
  data=embedded | folder | isic2017     with data.root, data.size, data.limit, data.tuning, data.threshold, data.classes
  loss=NAME                             any loss of `python -c "import seg_anl.losses as l; print(l.list_losses())"`,
                                        with loss.PARAMETER and loss.dice_weight
  noise.alpha noise.beta                share of training images with a wrong mask; changed area over lesion area
  noise.kinds noise.mode noise.seed     [erode,dilate,affine]; corrected | official
  model=dynunet | monai                 model.base_filters, model.max_filters, model.stages, model.deep_supervision
  optim=adam | sgd                      optim.lr, optim.weight_decay, optim.schedule, optim.l1, optim.clip_norm, ...
  preset=default | small | isic2017
  record=[masks]                        images, wrong masks and predictions, for `seg-anl-report --figure masks`
  seed epochs batch_size precision compile channels_last device workers run_root run_dir

data=folder finds: images/ and masks/ below data.root (or images/train, images/test and masks/...; train/images, ...;
images and *_mask, *_segmentation files side by side; the official ISIC-2017 folders). A mask has the stem of its image.

The run directory follows from the settings. The same command on it resumes a run that was stopped and leaves a finished
one alone. It ends with a table, RUN/summary.json, RUN/metrics.csv and RUN/report.png.
"""


@dataclass(frozen=True)
class Prepared:
    """Everything of a run that follows from its configuration and the files it names."""

    clean: ImageSet
    noisy: ImageSet
    tuning: ImageSet | None
    test: ImageSet
    noise_items: list[dict[str, Any]]
    classes: int


def main() -> None:
    """Entry point of ``seg-anl-train``."""
    hydra_command("seg-anl-train", "segmentation", HELP, _train_and_tell)


def _train_and_tell(config: DictConfig) -> None:
    run = train(config)
    if is_main_process():
        print_result(run)


def train(config: DictConfig) -> RunDirectory:
    """Run a configuration to its end, or find that it has been; returns its run directory.

    Raises:
        UserError: for bad settings or files; nothing is written before the settings have been checked.
    """
    settings = LoopSettings.from_config(config)
    optim = OptimSettings.from_config(config.optim)
    augmentation = Augmentation.from_config(config.augmentation)
    criterion = build_criterion(config.loss)
    _check(config)
    seed_everything(config.seed)
    model = build_model(config.model, config.data)
    run = RunDirectory(run_path(config, noise_name(config)))
    with started(str(config.device)) as process:
        say = print if process.is_main else _silent
        run.check(config)
        if run.finished:
            say(f"{run.path}: finished already, left alone")
            return run
        pairs = configured_pairs(config.data, config.noise.seed)
        say(f"{pairs.remark}; {len(pairs.train)} to train on")
        clean = load_images(pairs.train, config.data, workers=config.workers, progress=settings.progress)
        test = load_images(pairs.test, config.data, workers=config.workers, progress=settings.progress)
        for name, data in (("training", clean), ("test", test)):
            for mode, count in data.conversions.items():
                say(f"{count} {name} image(s) stored as {mode} were converted to RGB")
        held_out = _tuning_items(clean.items, config)
        check_batch_size(config.batch_size, len(clean) - len(held_out), process.world_size)
        with run.locked() if process.is_main else nullcontext():
            if process.is_main:
                inputs = {**_fingerprints("training", clean), **_fingerprints("test", test)}
                run.check_inputs(inputs)
                noisy_masks(clean, config.noise, run.path / "noise")
                run.create(config, inputs)
            process.wait()
            prepared = _prepare(clean, test, held_out, config, run.path / "noise")
            say(run.path, "resumes" if run.last.exists() else "begins")
            task = _task(prepared, config, augmentation, process)
            rows = fit(model, criterion, task, settings, optim, run, process)
            if process.is_main:
                _finish(run, config, model, criterion, rows, prepared, process)
            process.wait()
    return run


def noise_name(config: DictConfig) -> str:
    """The noise's part of a run's place."""
    return f"alpha{config.noise.alpha:g}-beta{config.noise.beta:g}"


def print_result(run: RunDirectory) -> None:
    """The table at the end of a run."""
    summary = run.summary
    if summary is None:
        return
    k = min(summary["k"], summary["epochs"])
    print(f"\n{'metric':<26}{'last':>11}{'mean':>11}{'std':>11}   (mean and std over the last {k} epochs)")
    for name, values in summary["metrics"].items():
        spread = "" if values["last_k_std"] is None else f"{values['last_k_std']:.4f}"
        print(f"{name:<26}{values['last']:>11.4f}{values['last_k_mean']:>11.4f}{spread:>11}")
    print(f"\npicture   {run.path / 'report.png'}")
    print(f"curves    tensorboard --logdir {run.path / 'tb'}")
    print(f"predict   seg-anl-predict {run.path} IMAGES OUT --overlay")


def _check(config: DictConfig) -> None:
    """Settings that no part checks when it is built."""
    check_noise_settings(config.noise)
    check_seeds_and_workers(config, 1)
    check_whole_numbers(config, 1, "evaluation.last_k", "evaluation.train_every")
    check_tuning_share(config)
    checked_records(config, RECORDS)


def _tuning_items(items: list[str], config: DictConfig) -> set[str]:
    """The training images held out for tuning, with their noisy masks."""
    held_out = chosen_items(items, config.data.tuning, config.noise.seed, "tuning")
    if config.data.tuning and not held_out:
        raise UserError(f"data.tuning={config.data.tuning} of {len(items)} images is none")
    return held_out


def _fingerprints(split: str, data: ImageSet) -> dict[str, str]:
    return {f"{split} images": array_digest(data.images.numpy()), f"{split} masks": array_digest(data.masks.numpy())}


def _prepare(clean: ImageSet, test: ImageSet, held_out: set[str], config: DictConfig, noise_folder: Path) -> Prepared:
    noisy, items = noisy_masks(clean, config.noise, noise_folder)
    tuning = noisy.subset(held_out) if held_out else None
    kept = set(clean.items) - held_out
    clean, noisy = clean.subset(kept), noisy.subset(kept)
    return Prepared(clean, noisy, tuning, test, items, config.data.classes)


def _task(prepared: Prepared, config: DictConfig, augmentation: Augmentation, process: Process) -> Task:
    batches = ResidentBatches(
        prepared.noisy.images,
        prepared.noisy.masks,
        config.batch_size,
        config.seed,
        process,
    )

    # Augmentation draws on the CPU, for the whole batch: the same on every device and with any number of processes, and
    # no synchronization to read it back. The 0 is of the stream that the recorded runs drew from.
    def augmented(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = epoch_generator(config.seed, epoch, "augmentation 0")
        for images, masks in batches.epoch(epoch):
            yield augmentation(images, masks, augmentation.draw(config.batch_size, generator)[:, process.of_batch])

    for data in filter(None, (prepared.test, prepared.tuning)):
        process.share(len(data))  # too few images for the processes are refused now rather than after an epoch

    def evaluate(model: nn.Module, epoch: int) -> Metrics:
        classes = prepared.classes

        def scores(data: ImageSet) -> tuple[Tensor, dict[str, float]]:
            part = predict_labels(model, data.images[process.share(len(data))], process.device)
            predicted = process.gathered(part, len(data))
            return predicted, dice_scores(predicted, data.masks, classes)

        metrics = {"test": scores(prepared.test)[1]}
        if prepared.tuning is not None:
            metrics["tuning"] = scores(prepared.tuning)[1]
        if (epoch + 1) % config.evaluation.train_every == 0 or epoch + 1 == config.epochs:
            predicted, noisy = scores(prepared.noisy)
            clean = dice_scores(predicted, prepared.clean.masks, classes)
            metrics["train"] = {**noisy, **{f"{name}_clean": value for name, value in clean.items()}}
        return metrics

    return Task(augmented, len(batches), evaluate, headline=("test", "dice"))


def _finish(
    run: RunDirectory,
    config: DictConfig,
    model: nn.Module,
    criterion: SegmentationCriterion,
    rows: list[MetricRow],
    prepared: Prepared,
    process: Process,
) -> None:
    """Write picture and summary; the summary comes last, because it says that the run is finished."""
    model.eval()
    classes = prepared.classes
    with torch.inference_mode():
        test = predict_labels(model, prepared.test.images, process.device)
        train = predict_labels(model, prepared.noisy.images, process.device)
    wrong = {record["item"] for record in prepared.noise_items if record["realised"] > 0}
    among = [i for i, item in enumerate(prepared.clean.items) if item in wrong]
    groups = [
        worst_and_best("training", prepared.clean, prepared.noisy, train, classes, among),
        worst_and_best("test", prepared.test, None, test, classes),
    ]
    noise = f"alpha {config.noise.alpha}, beta {config.noise.beta}"
    title = f"{config.loss.name}, {config.data.name}, {noise}, seed {config.seed}"
    save_report(run.path / "report.png", title, groups, rows)
    if "masks" in checked_records(config, RECORDS):
        record_masks(run.path / "records", prepared.clean, prepared.noisy, train, prepared.noise_items)
    counts = {"train": len(prepared.noisy), "test": len(prepared.test), "wrong_masks": len(wrong)}
    run.write_summary(config, rows, criterion.loss, "test/dice", counts)


def load_run_model(run: RunDirectory, checkpoint: Path, device: torch.device) -> tuple[nn.Module, DictConfig]:
    """The network of a run with the weights of ``checkpoint``, in eval mode, and the run's configuration."""
    config = run.config()
    model = build_model(config.model, config.data)
    load_model(checkpoint, model, device)
    return model.to(device).eval(), config


def _silent(*_: object) -> None:
    return None


if __name__ == "__main__":
    main()
