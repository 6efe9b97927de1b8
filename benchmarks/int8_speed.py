"""How much faster is INT8 than FP32 in the same runtime? Batch 1, one thread.

    python benchmarks/int8_speed.py               # torchvision's resnet18; also: make bench
    python benchmarks/int8_speed.py --model torchvision/mobilenet_v2

FP32 and INT8 bundles of both runtimes take turns, each in a process of its own; see
`deploy_targets.measuring.compare`. Prints a Markdown table of ratios with their 95 % intervals, and
whether INT8 is as fast as `--wanted` asks. The weights are as they were drawn, which speed does not
depend on; batch norm is measured and the last layer fitted on the digits, so that the bundles pass
their checks.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from deploy_targets.comparison import Comparison
from deploy_targets.measuring.compare import CompareOptions, compare, ratio_to_baseline
from deploy_targets.targets import load_target
from export.bundling import make_bundles
from export.requests import ExportSource
from foundation.bundle import Preprocessing
from pipeline.exporting.candidates import speedup_of
from pipeline.exporting.export import requests_for
from pipeline.models import build_model
from pipeline.recipe.sections.export import ExportRecipe
from pipeline.shown.console import progress_console

IMAGES, CLASSES = 96, 10


def digits(size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images, uint8 (N, size, size, 3), and their labels."""
    dataset = load_digits()
    grey = (dataset.images[:IMAGES] * (255 / 16)).astype(np.uint8)
    resized = [np.asarray(Image.fromarray(image).resize((size, size))) for image in grey]
    return np.repeat(np.stack(resized)[..., None], 3, axis=3), dataset.target[:IMAGES]


def network_for(model: str, images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """A fresh network whose batch norms know the images, and whose last layer their classes."""
    torch.manual_seed(0)
    network = build_model(model, CLASSES, 3).eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean of all batches
        norm.train()
    head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        for batch in images.split(16):
            network(batch)
        network.eval()
        features: list[torch.Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].double()))
        for batch in images.split(16):
            network(batch)
        hook.remove()
        fit_head(head, torch.cat(features), labels)
    return network


def fit_head(head: nn.Linear, features: torch.Tensor, labels: torch.Tensor) -> None:
    """Ridge regression of the classes on features (N, D)."""
    mean = features.mean(0)
    centred = features - mean
    gram = centred @ centred.T
    ridge = gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    target = nn.functional.one_hot(labels, CLASSES).double() - 1 / CLASSES
    weight = (centred.T @ torch.linalg.solve(gram + ridge, target)).T
    head.weight.copy_(weight)
    head.bias.copy_(-weight @ mean)


def bundles_of(model: str, size: int, root: Path) -> list[Path]:
    """FP32 and INT8 bundles for this machine, in every format that it takes."""
    pixels, labels = digits(size)
    shape = Preprocessing(size, size, 3, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    network = network_for(model, torch.from_numpy(shape.apply(pixels)), torch.from_numpy(labels))
    source = ExportSource(
        model=network,
        role="student",
        preprocessing=shape,
        classes=[str(label) for label in range(CLASSES)],
        calibration=pixels[-32:],
        probe_images=pixels[:32],
    )
    recipe = ExportRecipe(precisions=["fp32", "int8"])
    console = progress_console()
    requests = requests_for(load_target("local"), recipe)
    return [
        root / manifest.name for manifest in make_bundles(source, requests, root, console.print)
    ]


def table(comparison: Comparison, min_speedup: float) -> list[str]:
    """A Markdown table with a row for each runtime."""
    rows = [
        "| runtime | FP32 ran in | INT8 ran in | FP32 p50 ms | INT8 p50 ms "
        f"| INT8's speed ÷ FP32's (95 % interval) | at least {min_speedup:g}× |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    candidates = {
        (candidate.bundle.format, candidate.bundle.precision): candidate
        for candidate in comparison.candidates
    }
    for name in dict.fromkeys(candidate.bundle.format for candidate in comparison.candidates):
        full, low = candidates[name, "fp32"], candidates[name, "int8"]
        ratio = speedup_of(ratio_to_baseline(low.round_ms, full.round_ms))
        answer = (
            "yes" if ratio.low >= min_speedup else "no" if ratio.high < min_speedup else "not shown"
        )
        executed = [candidate.runtime.executed_precision.summary for candidate in (full, low)]
        rows.append(
            f"| {low.runtime.name} {low.runtime.version} | {executed[0]} | {executed[1]} "
            f"| {full.latency_ms.p50:.2f} | {low.latency_ms.p50:.2f} | {ratio.words} | {answer} |"
        )
    return rows


def main() -> None:
    """Make the bundles, time them, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="torchvision/resnet18")
    parser.add_argument("--size", type=int, default=224, help="of the images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help="of timing, at most")
    parser.add_argument("--wanted", type=float, default=2.0, help="speed of INT8 over FP32")
    args = parser.parse_args()
    options = CompareOptions(threads=args.threads, rounds=args.rounds, max_seconds=args.seconds)
    with tempfile.TemporaryDirectory() as folder:
        comparison = compare(bundles_of(args.model, args.size, Path(folder)), "local", options)
    features = ", ".join(comparison.host.facts.features or ["none that is known"])
    print(f"{args.model}, {args.size}×{args.size}, batch 1, {args.threads} thread(s)")
    print(f"CPU features: {features}\n")
    print("\n".join(table(comparison, args.wanted)))


if __name__ == "__main__":
    main()
