"""Do our latencies agree with the field's own tools? Batch 1, one thread, FP32 asked for.

    python benchmarks/agreement.py runs/digits            # every FP32 bundle of a run
    python benchmarks/agreement.py BUNDLE --rounds 20 --seconds 3

For an OpenVINO bundle our p50 is held against the median of `benchmark_app` on the same file (one
stream, synchronous); for an ONNX bundle against the median of a bare loop over `session.run` with
a C-order numpy image. Ours and theirs take turns, in a fresh process each, so that both see the
same machine; a round gives a ratio, and the interval comes from the rounds. Prints a Markdown table
and ends with 1 when a ratio is further from 1 than `--within`. Let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from deploy_targets.comparison import Ratio, ratio_to_baseline
from deploy_targets.intervals import fewest_differences
from deploy_targets.measuring.measure import MeasureOptions, measure
from foundation.bundle import Bundle, open_bundle

CONFIDENCE = 0.95

_BARE_LOOP = """
import json, statistics, sys, time
import numpy as np, onnxruntime
path, name, shape, seconds = json.loads(sys.argv[1])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
image = np.ascontiguousarray(np.random.default_rng(0).random(shape, dtype=np.float32))
samples, start = [], time.perf_counter()
while time.perf_counter() - start < 1.25 * seconds:
    begun = time.perf_counter_ns()
    session.run(None, {name: image})
    samples.append(time.perf_counter_ns() - begun)
print(statistics.median(samples[len(samples) // 5:]) / 1e6)
"""


def our_p50(bundle: Bundle, seconds: float) -> float:
    """Our p50, milliseconds."""
    options = MeasureOptions(
        threads=1, min_seconds=seconds, max_seconds=2 * seconds, throughput_batch=1
    )
    p50 = measure(bundle.folder, options=options).latency_ms.p50
    assert p50 is not None
    return p50


def bare_loop(bundle: Bundle, seconds: float) -> float:
    """Median milliseconds of `session.run` and nothing else, in a process of its own."""
    spec = bundle.manifest.input
    shape = [size if isinstance(size, int) else 1 for size in spec.shape]
    arguments = json.dumps([str(bundle.model_path), spec.name, [1, *shape[1:]], seconds])
    process = subprocess.run(
        [sys.executable, "-c", _BARE_LOOP, arguments], capture_output=True, text=True, check=True
    )
    return float(process.stdout)


def benchmark_app(bundle: Bundle, seconds: float) -> float:
    """The median milliseconds that OpenVINO's own tool reports."""
    spec = bundle.manifest.input
    shape = [1, *spec.shape[1:]]
    tool = Path(sys.executable).with_name("benchmark_app")
    with tempfile.TemporaryDirectory() as folder:  # it may leave files where it runs
        command = [
            str(tool), "-m", str(bundle.model_path.resolve()), "-d", "CPU", "-hint", "none",
            "-nstreams", "1", "-nthreads", "1", "-api", "sync", "-infer_precision", "f32",
            "-shape", f"{spec.name}[{','.join(map(str, shape))}]",
            "-t", str(max(1, round(seconds))),
        ]  # fmt: skip
        output = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=folder
        ).stdout
    # The report's file rounds to 0.01 ms.
    value, unit = re.search(r"Median:\s+([\d.]+) (ms|us)", output).groups()  # type: ignore[union-attr]
    return float(value) / (1000 if unit == "us" else 1)


TOOLS: dict[str, tuple[str, Callable[[Bundle, float], float]]] = {
    "onnx": ("bare session.run loop", bare_loop),
    "openvino": ("benchmark_app", benchmark_app),
}


def agree(bundle: Bundle, rounds: int, seconds: float) -> tuple[list[float], list[float], Ratio]:
    """Our and their medians of each round, and the ratio of ours to theirs."""
    _, tool = TOOLS[bundle.manifest.format]
    medians: tuple[list[float], list[float]] = ([], [])
    for index in range(rounds):
        turns = [(medians[0], our_p50), (medians[1], tool)]
        for series, time_it in turns if index % 2 == 0 else reversed(turns):
            series.append(time_it(bundle, seconds))
    return *medians, ratio_to_baseline(*medians, CONFIDENCE)


def bundles_in(path: Path) -> list[Bundle]:
    """The bundle, or all FP32 bundles of a run folder."""
    if (path / "bundle.json").is_file():
        return [open_bundle(path)]
    bundles = map(open_bundle, sorted(file.parent for file in path.glob("bundles/*/bundle.json")))
    return [bundle for bundle in bundles if bundle.manifest.precision == "fp32"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", type=Path, nargs="+", help="bundles or run folders")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--within", type=float, default=3.0, help="percent")
    args = parser.parse_args()
    if args.rounds < fewest_differences(CONFIDENCE):
        parser.error(f"--rounds must be at least {fewest_differences(CONFIDENCE)}")
    print("| bundle | against | ours, p50 ms | theirs, ms | ratio | 95 % interval | agrees |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- |")
    all_agree = True
    for bundle in [bundle for path in args.paths for bundle in bundles_in(path)]:
        our_medians, tool_medians, ratio = agree(bundle, args.rounds, args.seconds)
        agrees = abs(ratio.estimate - 1) <= args.within / 100
        all_agree &= agrees
        print(
            f"| {bundle.manifest.name} | {TOOLS[bundle.manifest.format][0]} "
            f"| {statistics.median(our_medians):.4f} | {statistics.median(tool_medians):.4f} "
            f"| {ratio.estimate:.4f} | {ratio.low:.4f} to {ratio.high:.4f} "
            f"| {'yes' if agrees else 'no'} |",
            flush=True,
        )
    return 0 if all_agree else 1


if __name__ == "__main__":
    sys.exit(main())
