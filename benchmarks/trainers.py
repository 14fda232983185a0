"""Images per second of the training loops, compared with a bare forward and backward pass of the same network.

    python benchmarks/trainers.py --rounds 5
    python benchmarks/trainers.py --size 256 --base-filters 32 --batch 16 --precision bf16 --device cuda --steps 300
    python benchmarks/trainers.py --task classification --rounds 5
    python benchmarks/trainers.py --task classification --model resnet34 --steps 390 --workers 8 --device cuda
    python benchmarks/trainers.py --task classification --model cnn4 --runs-per-device 4 --device cuda

The loops alternate, round after round, so that drift of the machine affects all alike:

bare    forward, cross entropy and backward on one resident batch: no optimizer, no data loading
ours    the loop of seg-anl-train or seg-anl-classify: batches, augmentation, ANL-CE, optimizer
usual   per-sample transforms of MONAI or torchvision in a DataLoader, then the same step
4 runs  like ours, with 4 networks at once (--runs-per-device); counts the images of all

Segmentation uses the embedded ISIC-2017 images. Classification uses random images with the number and size of
CIFAR-10's, with crop, flip, L1 penalty and clipping as published for ANL-CE.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

LOOPS = ["bare", "ours", "usual"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("classification", "segmentation"), default="segmentation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps per loop and round")
    parser.add_argument("--batch", type=int, help="batch size; default 16, for classification 128")
    parser.add_argument("--workers", type=int, default=0, help="DataLoader workers of the usual loop")
    parser.add_argument("--precision", choices=("bf16", "fp16", "fp32"), default="fp32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true", help="compile all loops, in an epoch that is not timed")
    parser.add_argument("--device", help="default: cuda if available, else cpu")
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS, help="bare is always timed")
    parser.add_argument("--graph", action="store_true", help="capture a step as a CUDA graph (classification)")
    group = parser.add_argument_group("segmentation")
    group.add_argument("--size", type=int, default=64)
    group.add_argument("--base-filters", type=int, default=16)
    group.add_argument("--max-filters", type=int, default=128)
    group = parser.add_argument_group("classification")
    group.add_argument("--model", default="cnn8", help="a network of seg-anl-classify (default: cnn8)")
    group.add_argument("--runs-per-device", type=int, default=1, help="networks trained at once in a fourth loop")
    args = parser.parse_args()

    import step_loops  # torch and MONAI take seconds to import
    from timing import default_device, in_turns, machine, median_ratio

    args.device = args.device or default_device()
    subject = step_loops.classification(args) if args.task == "classification" else step_loops.segmentation(args)
    with tempfile.TemporaryDirectory() as folder:
        bench = step_loops.Bench(subject, args.steps, args.device, Path(folder))
        loops = {name: getattr(bench, name) for name in LOOPS if name in ("bare", *args.loops)}
        if args.runs_per_device > 1:
            loops[f"{args.runs_per_device} runs"] = lambda: bench.ours(args.runs_per_device)
        in_turns(loops, 1)  # warm up
        rates = in_turns(loops, args.rounds)
    options = f"{args.precision}{', compiled' * args.compile}{', graph' * args.graph}"
    print(f"\n{subject.title}, {options}; {args.workers} workers in the usual loop; {args.rounds} rounds")
    print(f"{machine(args.device)}\n")
    print("| loop | images per second (median) | ratio to bare (median of rounds) |")
    print("|---|---|---|")
    for name, values in rates.items():
        print(f"| {name} | {statistics.median(values):.1f} | {median_ratio(values, rates['bare']):.2f} |")


if __name__ == "__main__":
    main()
