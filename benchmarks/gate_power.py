"""Does the gate stop what is slower, and nothing else? A resnet20, one thread, batch 1.

    python benchmarks/gate_power.py                     # 50 + 50 gates, about 20 minutes
    python benchmarks/gate_power.py --gates 3           # whether it runs

A bundle is gated against itself (A/A), and a build of it that is slowed down by 10 % is gated
against it, both with `max_regression = 5` percent, in turns, on the road that a release takes:
the timing of `compress bench RUN --against BUNDLE`, then `compress gate`. The slow build has really
that much more work: convolutions beside the network, as many as make its latency a tenth longer
here and now, and a long comparison says what it came to.

Every gate is written down as it is done, in the folder; the same command goes on after the last.
Prints a Markdown table, and ends with 1 when an A/A gate failed or too few slow builds were caught.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from int8_speed import CLASSES, digits, network_for
from torch import Tensor, nn

from deploy_targets.comparison import Ratio, ratio_to_baseline
from deploy_targets.measuring.compare import CompareOptions, compare
from export.bundling import BundleRequest, ExportSource, make_bundles
from foundation.bundle import Preprocessing
from foundation.files import read_json, write_json
from pipeline.benching.bench import bench
from pipeline.benching.in_turns import time_against
from pipeline.gating.gate import gate
from pipeline.recipe.sections.bench import BenchRecipe
from pipeline.recipe.sections.gate import GateRecipe, Limit
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import RunFolder, start_run

MODEL, SIZE, NAME = "resnet20", 32, "local-onnx-fp32"
SLOWDOWN, MAX_REGRESSION, POWER = 1.10, 5.0, 0.9
PROBED = (2, 6, 10)  # convolutions beside the network, between which the right number is sought
BENCH_SETTINGS = BenchRecipe(threads=1, queries=1000, max_seconds=12.0, rounds=16)


class Slowed(nn.Module):
    """A network, and beside it convolutions that hardly change what it says."""

    def __init__(self, network: nn.Module, convolutions: int) -> None:
        super().__init__()
        self.network = network
        layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, stride=2, padding=1)]
        for _ in range(convolutions):
            layers += [nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)]
        self.beside = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(16, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, height, width)."""
        added: Tensor = self.network(images) + 1e-3 * self.head(self.beside(images))
        return added


def make_bundle(root: Path, convolutions: int) -> Path:
    """A bundle of the network, slowed by that many convolutions; made before, it is taken."""
    folder = root / str(convolutions) / NAME
    if (folder / "bundle.json").is_file():
        return folder
    pixels, labels = digits(SIZE)
    shape = Preprocessing(SIZE, SIZE, 3, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    network = network_for(MODEL, torch.from_numpy(shape.apply(pixels)), torch.from_numpy(labels))
    source = ExportSource(
        model=Slowed(network, convolutions).eval() if convolutions else network,
        role="student",
        preprocessing=shape,
        classes=[str(label) for label in range(CLASSES)],
        calibration=pixels[-32:],
        probe_images=pixels[:32],
    )
    make_bundles(source, [BundleRequest("local", "onnx", "fp32")], folder.parent, lambda _: None)
    return folder


def ratios(bundles: Sequence[Path], rounds: int) -> list[Ratio]:
    """Latencies over the first's."""
    options = CompareOptions(threads=1, rounds=rounds, queries=200, max_seconds=8.0 * rounds)
    base, *candidates = compare(bundles, "local", options).candidates
    return [ratio_to_baseline(candidate.round_ms, base.round_ms, 0.98) for candidate in candidates]


def calibrated(folder: Path, rounds: int) -> dict[str, Any]:
    """How many convolutions make it a tenth slower here, and what a long comparison says of it."""
    path = folder / "calibration.json"
    if path.is_file():
        calibration: dict[str, Any] = read_json(path)
        return calibration
    bundles = [make_bundle(folder / "bundles", count) for count in (0, *PROBED)]
    slower = [ratio.estimate for ratio in ratios(bundles, max(8, rounds // 4))]
    first, last = (PROBED[0], slower[0]), (PROBED[-1], slower[-1])
    per_convolution = (last[1] - first[1]) / (last[0] - first[0])
    # Rather a little less than a tenth: the gate must not be helped.
    count = max(1, int(first[0] + (SLOWDOWN - first[1]) / per_convolution))
    slow = make_bundle(folder / "bundles", count)
    (truth,) = ratios([bundles[0], slow], rounds)
    calibration = {
        "convolutions": count,
        "true_ratio": [truth.low, truth.estimate, truth.high],
        "rounds": rounds,
        "probed": dict(zip(map(str, PROBED), slower, strict=True)),
    }
    write_json(path, calibration)
    return calibration


def run_with(folder: Path, bundle: Path) -> RunFolder:
    """A run folder whose only bundle is this one, measured once."""
    run = start_run(folder, Recipe(name=folder.name))
    if not (run.bundles / NAME).is_dir():
        shutil.copytree(bundle, run.bundles / NAME)
    bench(run, BENCH_SETTINGS, lambda _name, _facts: None, lambda _line: None, [NAME])
    return run


def run_gate(run: RunFolder, baseline: Path) -> dict[str, Any]:
    """One gate, as a release has it: times in turns, and the verdict on them."""
    started = time.monotonic()
    time_against(run, baseline, BENCH_SETTINGS, lambda _name, _facts: None, [NAME], again=True)
    limits = {"latency_p50_ms": Limit(max_regression=MAX_REGRESSION)}
    (check,) = gate(run, GateRecipe(limits=limits, baseline=str(baseline))).checks
    assert check.basis == "interleaved", check.reason
    figures = {"value": check.value, "low": check.low, "high": check.high}
    return {"verdict": check.verdict, **figures, "seconds": time.monotonic() - started}


def recorded_gates(log: Path) -> list[dict[str, Any]]:
    """Gates that are written down; a line that was cut short is none."""
    if not log.is_file():
        return []
    lines = log.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def table(gates: Sequence[dict[str, Any]], truth: Sequence[float]) -> list[str]:
    """A row for each kind of gate."""
    low, value, high = (f"{ratio:.3f}" for ratio in truth)
    rows = [
        f"{MODEL}, one thread, batch 1; {BENCH_SETTINGS.rounds} rounds in fresh processes; "
        f"max_regression {MAX_REGRESSION:g} %; the slow build takes {value} × ({low} to {high}).",
        "",
        "| gate | gates | pass | fail | inconclusive | median of the ratios | seconds a gate |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind, words in (("same", "against itself"), ("slow", "slowed down")):
        records = [record for record in gates if record["kind"] == kind]
        counts = Counter(record["verdict"] for record in records)
        ratio = sorted(1 + record["value"] / 100 for record in records)[len(records) // 2]
        seconds = sum(record["seconds"] for record in records) / len(records)
        rows.append(
            f"| {words} | {len(records)} | {counts['pass']} | {counts['fail']} | "
            f"{counts['inconclusive']} | {ratio:.3f} | {seconds:.1f} |"
        )
    return rows


def main() -> None:
    """Calibrate, gate, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--gates", type=int, default=50, help="of each kind")
    parser.add_argument("--folder", type=Path, default=Path("runs/gate-power"))
    parser.add_argument("--long", type=int, default=60, help="rounds of the long comparison")
    args = parser.parse_args()
    truth = calibrated(args.folder, args.long)
    slow = make_bundle(args.folder / "bundles", truth["convolutions"])
    baseline = make_bundle(args.folder / "bundles", 0)
    runs = {
        "same": run_with(args.folder / "same", baseline),
        "slow": run_with(args.folder / "slow", slow),
    }
    log = args.folder / "gates.jsonl"
    gates = recorded_gates(log)
    # What was cut short must not run together with the next line.
    log.write_text("".join(json.dumps(record) + "\n" for record in gates))
    for number in range(args.gates):
        for kind, run in runs.items():
            if sum(record["kind"] == kind for record in gates) > number:
                continue
            gates.append({"kind": kind, **run_gate(run, baseline)})
            with log.open("a") as file:
                file.write(json.dumps(gates[-1]) + "\n")
            print(f"{number + 1}/{args.gates} {kind}: {gates[-1]['verdict']}", flush=True)
    print("\n".join(["", *table(gates, truth["true_ratio"]), ""]))
    false_fails = sum(record["kind"] == "same" and record["verdict"] == "fail" for record in gates)
    slow_gates = [record for record in gates if record["kind"] == "slow"]
    caught = sum(record["verdict"] == "fail" for record in slow_gates)
    passed = false_fails == 0 and caught >= POWER * len(slow_gates)
    print(f"false fails {false_fails}, caught {caught} of {len(slow_gates)}: ", end="")
    print("as it must be" if passed else "NOT as it must be")
    raise SystemExit(0 if passed else 1)


if __name__ == "__main__":
    main()
