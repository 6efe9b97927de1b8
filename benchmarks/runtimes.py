"""All runtimes beside each other on several networks: latency, accuracy, FP32, FP16 and INT8.

    pip install '.[photos,ncnn,executorch]'                # what is not installed is left out
    python benchmarks/runtimes.py PHOTOS --run runs/digits

PHOTOS is a folder of one ImageNet photo of every fifth class (see `real_network.py`). The networks
are EfficientNet-Lite0 with its published weights, ResNet-18 and MobileNetV3, of which none can be
had here, and the student of the run. Those two learn the photos by heart, which takes minutes: what
they then answer to these photos says whether a precision changes the answers of trained weights,
and nothing of what such a network is worth. Each network's bundles are timed in turns on one
thread, a process each. Prints a Markdown table a network; `--json FILE` keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from real_network import CROP, labels, photos, source_of
from torch import nn

from deploy_targets.comparison import Candidate, Ratio
from deploy_targets.measuring.compare import CompareOptions, compare, ratio_to_baseline
from deploy_targets.targets import load_target
from export.bundling import make_bundles
from export.formats import FORMATS
from export.requests import BundleRequest, ExportSource, bundle_name
from foundation.bundle import Manifest
from foundation.errors import ExportError, UsageError
from pipeline.exporting.export import export_source, requests_for
from pipeline.recipe.sections.export import ExportRecipe
from pipeline.run_folder.folder import RunFolder
from pipeline.shown.console import progress_console

BASELINE = "local-onnx-fp32"
FORMATS_TIMED = ["onnx", "openvino", "ncnn", "executorch"]
PRECISIONS = ["fp32", "fp16", "int8"]
TRAINED, STUDENT = "efficientnet-lite0", "student of the run"
LEARNT = ["resnet18", "mobilenet_v3_small"]
BATCH, EPOCHS, LR = 25, 40, 1e-3


@dataclass(frozen=True)
class Row:
    """One bundle of one network.

    Attributes:
        ratio: its median latency over that of ONNX Runtime in FP32; None where it was not made.
        accuracy: share of the images that it names rightly, 0..1.
        note: what it ran in, or why it was not made.
    """

    bundle: str
    ratio: Ratio | None
    p50_ms: float | None
    accuracy: float | None
    note: str


def learnt_source(name: str, pixels: NDArray[np.uint8]) -> ExportSource:
    """A network of torchvision that knows the photos by heart, and nothing else."""
    torch.manual_seed(0)
    network: nn.Module = getattr(torchvision.models, name)(weights=None)
    _learn(network, torch.from_numpy(CROP.apply(pixels)), torch.from_numpy(labels()))
    return replace(source_of(pixels, CROP), model=network)


def _learn(network: nn.Module, images: torch.Tensor, answers: torch.Tensor) -> None:
    """Train a network on all photos; MobileNetV3 names nearly all of them after 30 epochs."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # MobileNetV3's is for many more steps than these
    steps = -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), LR, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * LR, total_steps=EPOCHS * steps)
    network.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = nn.functional.cross_entropy(network(images[batch]), answers[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()


def source_named(network: str, pixels: NDArray[np.uint8], run: Path | None) -> ExportSource:
    """One of the networks, with what its export needs."""
    if network == TRAINED:
        return source_of(pixels, CROP)
    if network != STUDENT:
        return learnt_source(network, pixels)
    if run is None:
        sys.exit(f"error: {STUDENT} needs its folder; give --run")
    return export_source(RunFolder(run), "student")


def installed() -> list[str]:
    """The formats whose packages are there."""
    found = []
    for name in FORMATS_TIMED:
        try:
            FORMATS.get(name)().check_installed()
        except UsageError as error:
            progress_console().print(f"left out: {error}")
        else:
            found.append(name)
    return found


def rows_of(source: ExportSource, root: Path, options: CompareOptions) -> list[Row]:
    """All bundles of a network, made and timed in turns."""
    say = progress_console().print
    recipe = ExportRecipe(formats=installed(), precisions=PRECISIONS)
    failed: dict[str, str] = {}

    def leave_out(request: BundleRequest, error: ExportError) -> None:
        failed[bundle_name(source.role, request)] = str(error)

    requests = requests_for(load_target("local"), recipe)
    made = make_bundles(source, requests, root, say, on_failed=leave_out)
    comparison = compare([root / manifest.name for manifest in made], "local", options)
    timed = {candidate.bundle.name: candidate for candidate in comparison.candidates}
    base = timed[BASELINE]
    refused = [
        Row(name, None, None, None, f"refused: {why.partition(';')[0]}")
        for name, why in failed.items()
    ]
    return [_row(manifest, timed[manifest.name], base) for manifest in made] + refused


def _row(manifest: Manifest, timed: Candidate, base: Candidate) -> Row:
    return Row(
        manifest.name,
        None if timed is base else ratio_to_baseline(timed.round_ms, base.round_ms),
        timed.latency_ms.p50,
        manifest.accuracy.get("top1"),
        timed.runtime.executed_precision.summary,
    )


def table(network: str, rows: list[Row]) -> Iterator[str]:
    """The Markdown table of a network."""
    yield f"| {network} | p50 ms | ÷ ONNX Runtime FP32 (98 %) | top-1 % | ran in |"
    yield "| --- | ---: | --- | ---: | --- |"
    for row in rows:
        ratio = "1" if row.bundle == BASELINE else "–"
        if row.ratio is not None:
            ratio = f"{row.ratio.estimate:.2f} ({row.ratio.low:.2f} to {row.ratio.high:.2f})"
        latency = "–" if row.p50_ms is None else f"{row.p50_ms:.3g}"
        accuracy = "–" if row.accuracy is None else f"{100 * row.accuracy:.1f}"
        yield f"| {row.bundle} | {latency} | {ratio} | {accuracy} | {row.note} |"
    yield ""


def main() -> None:
    """Export, time, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of the photos")
    parser.add_argument("--run", type=Path, help="run folder whose student is timed too")
    parser.add_argument(
        "--network", action="append", choices=[TRAINED, *LEARNT, STUDENT], help="these alone"
    )
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="of a network's timing")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    options = CompareOptions(threads=1, rounds=args.rounds, max_seconds=args.seconds)
    pixels = photos(args.photos, CROP)
    wanted = args.network or [TRAINED, *LEARNT, *([STUDENT] if args.run else [])]
    figures: dict[str, Any] = {}
    for network in wanted:
        source = source_named(network, pixels, args.run)
        with tempfile.TemporaryDirectory() as folder:
            rows = rows_of(source, Path(folder), options)
        figures[network] = [asdict(row) for row in rows]
        print("\n".join(table(network, rows)), flush=True)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
