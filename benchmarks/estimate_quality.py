"""How good are estimates? Each network's latency is estimated from measurements of the others.

    python benchmarks/estimate_quality.py                  # eight networks, about 6 minutes
    python benchmarks/estimate_quality.py --seconds 0.5    # to see that it works

FP32 and INT8 bundles of each network, in every format that this machine takes, are measured here,
one image at a time on one thread. Then each bundle's latency is estimated from the measurements of
all other networks with the same runtime and precision. Prints a Markdown table and, last, how far
the estimates were off and how many intervals held the truth. Needs a core whose rates are
documented (`compress targets local`).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from int8_speed import bundles_of

from deploy_targets.estimating.calibration import CONFIDENCE, Observation, Range, calibrate
from deploy_targets.estimating.roofline import roofline
from deploy_targets.measuring.measure import MeasureOptions, measure
from deploy_targets.targets import load_target
from foundation.bundle import open_bundle
from foundation.errors import ExportError
from pipeline.benching.graph_costs import graph_costs

NETWORKS = {
    "resnet8": 32, "resnet20": 32, "wrn-16-2": 32, "vgg8": 32, "mobilenetv2": 32,
    "torchvision/shufflenet_v2_x1_0": 224, "torchvision/resnet18": 224,
    "torchvision/mobilenet_v2": 224,
}  # fmt: skip
FEWEST = 2


@dataclass(frozen=True)
class Measured:
    """One bundle: what it was, what its roofline is, and what it took."""

    network: str
    runtime: str
    precision: str
    observation: Observation


def measured(network: str, size: int, seconds: float, root: Path) -> list[Measured]:
    """Make a network's bundles and measure them."""
    try:
        folders = bundles_of(network, size, root)
    except ExportError as error:  # a fresh network may lose too much to INT8: FP32 is there
        print(f"<!-- {error} -->")
        folders = sorted(path.parent for path in root.glob("local-*/bundle.json"))
    target = load_target("local")
    rows = []
    for folder in folders:
        found = measure(folder, "local", MeasureOptions(threads=1, max_seconds=seconds))
        least = roofline(graph_costs(open_bundle(folder)), target, threads=1)
        p50 = found.latency_ms.p50
        assert p50 is not None
        seen = Observation(least.ms, least.operators, p50)
        rows.append(Measured(network, found.runtime.name, found.bundle.precision, seen))
    return rows


def estimated(one: Measured, every: Sequence[Measured]) -> Range | None:
    """Its latency by the others; None where they are too few."""
    others = [
        other.observation
        for other in every
        if other.network != one.network
        and (other.runtime, other.precision) == (one.runtime, one.precision)
    ]
    if len(others) < FEWEST:
        return None
    return calibrate(others).predict(one.observation.roofline_ms, one.observation.operators)


def table(every: Sequence[Measured]) -> list[str]:
    """A row a bundle, and the summary."""
    lines = [
        "| network | runtime | precision | measured p50 ms "
        f"| estimate ms ({CONFIDENCE:.0%} interval) | off |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    errors, held, widths = [], [], []
    for one in every:
        told, truth = estimated(one, every), one.observation.measured_ms
        if told is None:
            continue
        errors.append(abs(math.log(told.value / truth)))
        held.append(told.low <= truth <= told.high)
        widths.append(told.high / told.low)
        lines.append(
            f"| {one.network} | {one.runtime} | {one.precision} | {truth:.3f} "
            f"| {told.value:.3f} ({told.low:.3f} to {told.high:.3f}) "
            f"| {told.value / truth - 1:+.0%} |"
        )
    ordered = sorted(errors)
    nine_tenths = ordered[math.ceil(0.9 * len(ordered)) - 1]
    lines += [
        "",
        f"{len(errors)} bundles: off by {math.expm1(statistics.median(errors)):.0%} in the median, "
        f"nine of ten by {math.expm1(nine_tenths):.0%} at most; {sum(held)} of {len(held)} within "
        f"their interval, whose upper end is {statistics.median(widths):.1f} times its lower.",
    ]
    return lines


def main() -> None:
    """Make, measure, estimate, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of timing a bundle, at most")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--out", type=Path, help="keep what was measured here, as JSON")
    asked = parser.parse_args()
    every: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, network in enumerate(asked.networks):
            root = Path(folder) / str(number)
            every += measured(network, NETWORKS[network], asked.seconds, root)
    if asked.out:
        asked.out.write_text(json.dumps([asdict(one) for one in every], indent=2) + "\n")
    print("\n".join(table(every)))


if __name__ == "__main__":
    main()
