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
class MeasuredBundle:
    """One bundle: what it was, what its roofline is, and what it took."""

    network: str
    runtime: str
    precision: str
    observation: Observation


def measure_network(network: str, size: int, seconds: float, root: Path) -> list[MeasuredBundle]:
    """Make a network's bundles and measure them."""
    try:
        folders = bundles_of(network, size, root)
    except ExportError as error:  # a fresh network may lose too much to INT8: FP32 is there
        print(f"<!-- {error} -->")
        folders = sorted(path.parent for path in root.glob("local-*/bundle.json"))
    target = load_target("local")
    rows = []
    for folder in folders:
        measurement = measure(folder, "local", MeasureOptions(threads=1, max_seconds=seconds))
        bound = roofline(graph_costs(open_bundle(folder)), target, threads=1)
        p50 = measurement.latency_ms.p50
        assert p50 is not None
        observation = Observation(bound.ms, bound.operators, p50)
        rows.append(
            MeasuredBundle(
                network, measurement.runtime.name, measurement.bundle.precision, observation
            )
        )
    return rows


def estimate_from_others(bundle: MeasuredBundle, bundles: Sequence[MeasuredBundle]) -> Range | None:
    """Its latency by the others; None where they are too few."""
    observations = [
        candidate.observation
        for candidate in bundles
        if candidate.network != bundle.network
        and (candidate.runtime, candidate.precision) == (bundle.runtime, bundle.precision)
    ]
    if len(observations) < FEWEST:
        return None
    return calibrate(observations).predict(
        bundle.observation.roofline_ms, bundle.observation.operators
    )


def table(bundles: Sequence[MeasuredBundle]) -> list[str]:
    """A row a bundle, and the summary."""
    lines = [
        "| network | runtime | precision | measured p50 ms "
        f"| estimate ms ({CONFIDENCE:.0%} interval) | off |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    errors, covered, widths = [], [], []
    for bundle in bundles:
        estimate, truth = estimate_from_others(bundle, bundles), bundle.observation.measured_ms
        if estimate is None:
            continue
        errors.append(abs(math.log(estimate.value / truth)))
        covered.append(estimate.low <= truth <= estimate.high)
        widths.append(estimate.high / estimate.low)
        lines.append(
            f"| {bundle.network} | {bundle.runtime} | {bundle.precision} | {truth:.3f} "
            f"| {estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f}) "
            f"| {estimate.value / truth - 1:+.0%} |"
        )
    ordered = sorted(errors)
    nine_tenths = ordered[math.ceil(0.9 * len(ordered)) - 1]
    lines += [
        "",
        f"{len(errors)} bundles: off by {math.expm1(statistics.median(errors)):.0%} in the median, "
        f"nine of ten by {math.expm1(nine_tenths):.0%} at most; {sum(covered)} of {len(covered)} "
        f"within their interval, whose upper end is {statistics.median(widths):.1f} times its "
        "lower.",
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
    args = parser.parse_args()
    bundles: list[MeasuredBundle] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, network in enumerate(args.networks):
            root = Path(folder) / str(number)
            bundles += measure_network(network, NETWORKS[network], args.seconds, root)
    if args.out:
        args.out.write_text(json.dumps([asdict(bundle) for bundle in bundles], indent=2) + "\n")
    print("\n".join(table(bundles)))


if __name__ == "__main__":
    main()
