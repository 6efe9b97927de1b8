"""What the device side itself costs: its start, and its work around each query.

    python benchmarks/device_side.py BUNDLE
    python benchmarks/device_side.py runs/digits/bundles/local-onnx-fp32 --rounds 20

Start: from starting the worker's process to its first answered image, the median of fresh
processes. Overhead: what a query takes in our timing loop beyond the clock's own two readings,
with a model that does nothing; that is all that lies between two queries, and most of it is not
within a sample. Prints a Markdown table and ends with 1 when a limit is broken.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from deploy_targets.device.jobs import Job
from deploy_targets.device.runtimes import runtime_for
from deploy_targets.device.scenarios import series_of
from foundation.bundle import open_bundle
from foundation.records import as_dict

MOST_START_S, MOST_OVERHEAD_US = 1.0, 20.0


def start_s(job: Job) -> float:
    """Seconds from nothing to the first answered image."""
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "deploy_targets.device.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(as_dict(job)))
        process.stdin.close()
        for line in process.stdout:
            if json.loads(line)["kind"] == "startup":
                break
        elapsed = time.perf_counter() - begun
        process.kill()
    return elapsed


def overhead_us(queries: int = 20_000) -> float:
    """Microseconds that a query takes when the model takes none."""
    series = series_of(
        Job(bundle="bundle", runtime="runtime"), [lambda batch: batch], [np.zeros(1)]
    )
    return min(series.part(queries, 60).span_ns / queries / 1e3 for _ in range(5))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    bundle = open_bundle(args.bundle)
    runtime = runtime_for(bundle.manifest.format)
    job = Job(bundle=str(bundle.folder.resolve()), runtime=runtime, threads=1)
    start = statistics.median(start_s(job) for _ in range(args.rounds))
    overhead = overhead_us()
    print("| what | found | at most |")
    print("| --- | ---: | ---: |")
    print(
        f"| start to first inference, {bundle.manifest.name} | {start:.3f} s | {MOST_START_S:g} s |"
    )
    print(f"| overhead of a query | {overhead:.2f} µs | {MOST_OVERHEAD_US:g} µs |")
    return 0 if start < MOST_START_S and overhead < MOST_OVERHEAD_US else 1


if __name__ == "__main__":
    sys.exit(main())
