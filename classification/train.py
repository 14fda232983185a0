"""The command ``seg-anl-classify``: a configuration to a finished run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from seg_anl.engine import (
    LoopSettings,
    Metrics,
    OptimSettings,
    Process,
    RunDirectory,
    Task,
    Training,
    check_batch_size,
    check_seeds_and_workers,
    check_switches,
    check_tuning_share,
    check_whole_numbers,
    checked_records,
    fit_together,
    hydra_command,
    is_main_process,
    loss_from_config,
    of_each_seed,
    run_path,
    started,
)
from seg_anl.engine.checkpoint import load_model
from seg_anl.engine.randomness import epoch_generator, seed_everything
from seg_anl.losses import RobustLoss
from seg_anl.records import MetricRow, UserError
from seg_anl.records.recipes import load_recipe

from .batches import Samples, check_augmentation, evaluation_samples, training_batches
from .datasets import Dataset, Split, fingerprints, load_dataset
from .evaluation import evaluation_scores, predict_split, training_scores
from .methods import Method, build_method
from .models import penultimate_features
from .noise import check_noise_settings, noise_fingerprints, noise_name, read_noise, write_noise
from .preparation import Prepared, build_network, check_batch_norm, prepare, tuning_items
from .recording import RECORDS, Recorder

HELP = """
seg-anl-classify: train a classification network through wrong labels.

  seg-anl-classify noise.rate=0.6                                          scikit-learn's digits, no download
  seg-anl-classify data=cifar10 noise.rate=0.8 loss=anl_ce preset=anl2024  a cell of a published table
  seg-anl-classify data=cifar10 noise=asymmetric loss=anl_ce_er preset=anl2024 seed=2
  seg-anl-classify data=arrays data.file=MINE.npz noise=none loss=gce loss.q=0.5
  seg-anl-classify -m data=cifar10 loss=ce,gce,anl_ce noise.rate=0.2,0.8 seed=1,2,3 preset=anl2024
  seg-anl-classify -m loss=ce,anl_ce seed=1,2,3 runs_per_device=3          three seeds at a time in one process
  torchrun --nproc-per-node 4 -m classification.train data=webvision data.root=W preset=anl2024 noise=none

Settings (SETTING=VALUE; command line over preset over default):
  data=digits | mnist | fashion_mnist | cifar10 | cifar100 | webvision | animal10n | clothing1m | imagenet | arrays |
       imagefolder                      with data.root, data.limit, data.test_limit, data.imbalance, data.tuning
  noise=symmetric | asymmetric | pair_flip | part_dependent | prediction_error | matrix | human | none
                                        with noise.rate, noise.seed (default: the seed), noise.counts, ...
  loss=NAME                             any loss of `python -c "import seg_anl.losses as l; print(l.list_losses())"`
  method=plain | forward | co_teaching | d2l
  model=published | cnn4 | cnn8 | resnet18 | resnet34 | resnet44 | resnet50 | resnet101 | vgg19_bn
  optim=sgd | adam                      optim.lr, optim.weight_decay, optim.l1, optim.jacobian, optim.schedule, ...
  preset=default | anl2023 | anl2024 | apl2020 | alf2021 | sr2021 | sr2021_imbalance | el2021 |
         re2024
  record=[probabilities,gradients,features]  record_every    what some figures of seg-anl-report need
  seed=N | [N,M,...]  runs_per_device   several seeds, so many of them at once
  epochs batch_size precision compile channels_last device workers run_root run_dir

The run directory follows from the settings. The same command on it resumes a run that was stopped and leaves a finished
one alone. It ends with a table, RUN/summary.json and RUN/metrics.csv; seg-anl-report makes tables of many runs.
"""


@dataclass(frozen=True, eq=False)
class Job:
    """One seed's run, as far as it follows from the settings alone."""

    config: DictConfig
    run: RunDirectory
    method: Method
    loss: RobustLoss


@dataclass(frozen=True, eq=False)
class Begun:
    """A run that is ready for the loop."""

    job: Job
    prepared: Prepared
    recorder: Recorder
    training: Training


def main() -> None:
    """Entry point of ``seg-anl-classify``."""
    hydra_command("seg-anl-classify", "classification", HELP, _train_and_tell)


def _train_and_tell(config: DictConfig) -> None:
    runs = train(config)
    if is_main_process():
        for run in runs:
            print_result(run)


def train(config: DictConfig) -> list[RunDirectory]:
    """Run a configuration to its end, or find that it has been; returns the run directory of each of its seeds.

    Raises:
        UserError: for bad settings or files, before anything is written; for runs that diverged, after all have ended.
    """
    settings = LoopSettings.from_config(config)
    optim = OptimSettings.from_config(config.optim)
    jobs = [_job(one) for one in of_each_seed(config)]
    say = print if is_main_process() else _silent
    for job in jobs:
        job.run.check(job.config)
        if job.run.finished:
            say(f"{job.run.path}: finished already, left alone")
    waiting = [job for job in jobs if not job.run.finished]
    if not waiting:
        return [job.run for job in jobs]
    first_runs = _first_runs(config, waiting)
    failures: list[UserError] = []
    with started(str(config.device)) as process:
        data = load_dataset(config.data)
        say(f"{data.remark}; {len(data.train)} to train on")
        check_augmentation(data, config)
        for at_once in _groups(waiting, config.runs_per_device):
            with ExitStack() as locks:
                begun = [_begin(job, data, first_runs.get(job.config.seed), process, locks) for job in at_once]
                outcomes = fit_together([one.training for one in begun], settings, optim, process)
                for one, outcome in zip(begun, outcomes, strict=True):
                    if isinstance(outcome, UserError):
                        failures.append(outcome)
                    elif process.is_main:
                        _finish(one, outcome)
                process.wait()
    if failures:
        raise UserError("; ".join(map(str, failures)))
    return [job.run for job in jobs]


def _job(config: DictConfig) -> Job:
    loss = loss_from_config(config.loss)
    method = build_method(config.method, str(config.loss.name))
    _check(config)
    return Job(config, RunDirectory(run_path(config, noise_name(config.noise))), method, loss)


def _groups(jobs: list[Job], size: int) -> list[list[Job]]:
    return [jobs[start : start + size] for start in range(0, len(jobs), size)]


def _begin(job: Job, data: Dataset, first: RunDirectory | None, process: Process, locks: ExitStack) -> Begun:
    """Build the network and open the run directory, which ``locks`` hold from then on."""
    config, run, method = job.config, job.run, job.method
    seed_everything(config.seed)
    model = method.network(lambda: build_network(config, data))
    held_out = tuning_items(len(data.train), config)
    check_batch_size(config.batch_size, len(data.train) - len(held_out), process.world_size)
    check_batch_norm(model, config.batch_size // process.world_size)
    noise_folder = run.path / "noise"
    if process.is_main:
        locks.enter_context(run.locked())
        inputs = {**fingerprints(data), **noise_fingerprints(data, config.noise)}
        run.check_inputs(inputs)
        write_noise(data, config.noise, noise_folder)
        run.create(config, inputs)
    process.wait()
    prepared = prepare(data, read_noise(data, config.noise, noise_folder), held_out)
    if process.is_main:
        print(f"{prepared.told(config.noise)}\n{run.path}", "resumes" if run.last.exists() else "begins")
    samples = evaluation_samples(prepared.data, config, process.device)
    if first is not None:
        method.learn(_probabilities(first, build_network(config, data), prepared.data.train, samples, process))
    criterion = method.criterion(job.loss, epochs=config.epochs, process=process)
    recorder = Recorder(run.path / "records", config, prepared.data.train.labels, prepared.clean)
    task = _task(prepared, config, method, samples, recorder, process)
    return Begun(job, prepared, recorder, Training(model, criterion, task, run))


def print_result(run: RunDirectory) -> None:
    """The table at the end of a run."""
    summary = run.summary
    if summary is None:
        return
    print(f"\n{'metric':<28}{'last':>9}{'best':>9}   (best as seen on the split itself)")
    for name, values in summary["metrics"].items():
        if "/marginal_" not in name:
            print(f"{name:<28}{values['last']:>9.4f}{values['best']:>9.4f}   epoch {values['best_epoch'] + 1}")
    print(f"\ncurves    tensorboard --logdir {run.path / 'tb'}")
    print(f"tables    seg-anl-report {run.path}")


def _check(config: DictConfig) -> None:
    """Settings that no part checks when it is built."""
    check_noise_settings(config.noise)
    check_seeds_and_workers(config, 0)
    check_whole_numbers(config, 0, "evaluation.train_every")
    check_whole_numbers(config, 1, "evaluation.last_k", "evaluation.batch_size", "record_every", "runs_per_device")
    check_switches(config, "data.download", "augmentation.random_crop")
    check_switches(config, "noise.reflip", "noise.bidirectional", "noise.pairs")
    check_tuning_share(config)
    checked_records(config, RECORDS)
    _check_preset(config)


def _check_preset(config: DictConfig) -> None:
    """A preset that says nothing of the data set would change nothing, silently."""
    recipe = load_recipe(str(config.preset))
    if recipe.task != config.task:
        raise UserError(f"preset={config.preset} is not a preset of seg-anl-classify")
    recipe.settings(str(config.data.name))


def _task(
    prepared: Prepared, config: DictConfig, method: Method, samples: Samples, recorder: Recorder, process: Process
) -> Task:
    data = prepared.data
    batches = training_batches(data, config, process)
    given = torch.from_numpy(data.train.labels)
    clean = None if prepared.clean is None else torch.from_numpy(prepared.clean)
    tests = {**data.tests, **({} if prepared.tuning is None else {"tuning": prepared.tuning})}
    for split in tests.values():
        process.share(len(split))  # too few samples for the processes are refused now rather than after an epoch
    truths = {name: torch.from_numpy(split.labels) for name, split in tests.items()}
    train_every = config.evaluation.train_every

    def drawn(epoch: int, count: int) -> Iterator[Tensor]:
        order = torch.randperm(len(data.train), generator=epoch_generator(config.seed, epoch, "method"))
        return samples(data.train.subset(order[:count].numpy()))

    def evaluate(model: nn.Module, epoch: int) -> Metrics:
        metrics = {
            name: evaluation_scores(predict_split(model, split, samples, process), truths[name])
            for name, split in tests.items()
        }
        recording = recorder.due(epoch, "probabilities", "gradients")
        scoring = train_every and ((epoch + 1) % train_every == 0 or epoch + 1 == config.epochs)
        if scoring or recording:
            predictions = predict_split(model, data.train, samples, process, keep_log_probs=recording)
            if scoring:
                metrics["train"] = training_scores(predictions, given, clean)
            if predictions.log_probs is not None and process.is_main:
                recorder.training(epoch, predictions.log_probs)
        if recorder.due(epoch, "features"):
            test = next(iter(data.tests.values()))
            part = samples(test.part(process.share(len(test))))
            found = process.gathered(torch.cat([penultimate_features(model, images) for images in part]), len(test))
            if process.is_main:
                recorder.features(epoch, found, test.labels)
        return metrics

    def after_epoch(model: nn.Module, epoch: int) -> dict[str, float]:
        return method.after_epoch(model, epoch, drawn)

    return Task(
        batches.epoch,
        batches.steps,
        evaluate,
        headline=(next(iter(tests)), "accuracy"),
        after_epoch=after_epoch,
        state=method.state,
        finish=batches.finish,
    )


def _first_runs(config: DictConfig, jobs: list[Job]) -> dict[int, RunDirectory]:
    """Train the networks that a method learns from, by seed: plain runs, those that the same command would make."""
    method = jobs[0].method
    if method.first_loss is None:
        return {}
    first = config.copy()
    first.loss, first.method = {"name": method.first_loss}, {"name": "plain"}
    first.seed = [job.config.seed for job in jobs]
    first.run_dir = None if config.run_dir is None else str(jobs[0].run.path / "first_network")
    return dict(zip(first.seed, train(first), strict=True))


def _probabilities(first: RunDirectory, model: nn.Module, split: Split, samples: Samples, process: Process) -> Tensor:
    """What the network of a finished run says of ``split``: ``(N, K)``."""
    load_model(first.last, model, process.device)
    with torch.inference_mode():
        model.to(process.device).eval()
        log_probs = predict_split(model, split, samples, process, keep_log_probs=True).log_probs
    assert log_probs is not None
    return log_probs.exp()


def _finish(begun: Begun, rows: list[MetricRow]) -> None:
    """Write the summary, last of all: it says that the run is finished."""
    config, run, prepared, criterion = begun.job.config, begun.job.run, begun.prepared, begun.training.loss
    begun.recorder.finish()
    tests = prepared.data.tests
    counts = {"train": len(prepared.data.train), **{name: len(split) for name, split in tests.items()}}
    headline = f"{'test' if 'test' in tests else next(iter(tests))}/accuracy"
    run.write_summary(config, rows, criterion, headline, {**counts, "wrong_labels": prepared.mislabeled})


def _silent(*_: object) -> None:
    return None


if __name__ == "__main__":
    main()
