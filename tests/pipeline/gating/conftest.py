"""Measurements whose figures are easy to reckon with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deploy_targets.comparison import Candidate, Comparison
from deploy_targets.device.facts import Facts
from deploy_targets.device.messages import (
    Accuracy,
    Energy,
    ExecutedPrecision,
    Latency,
    Memory,
    Parity,
    Percentile,
    RuntimeUsed,
    Scenario,
    Startup,
    Throughput,
    Validity,
)
from deploy_targets.measurement import BundleMeasured, HostMeasured, Measurement
from foundation.statistics import wilson_interval

FACTS = Facts("a cpu", None, "x86_64", 2, 2, 4096, [], None, None, None, None, "3", "Linux")

Measured = Callable[..., Measurement]
Compared = Callable[..., Comparison]


def _runtime(threads: int = 1) -> RuntimeUsed:
    return RuntimeUsed("onnxruntime", "1", threads, "f32", ExecutedPrecision("int8", {"int8": 9}))


def _bundle(name: str, role: str, sha: str, **changes: Any) -> BundleMeasured:
    facts = {"target": "local", "format": "onnx", "precision": "int8", "model_bytes": 1_500_000}
    return BundleMeasured(name=name, role=role, manifest_sha256=sha * 64, **facts | changes)


def _measured(
    name: str = "local-onnx-int8",
    *,
    role: str = "student",
    sha: str = "a",
    host: str = "local",
    cpu: str = "a cpu",
    threads: int = 1,
    scenario: str = "single-stream",
    percentiles: dict[str, tuple[float, float, float]] | None = None,
    n: int = 200,
    throughput: tuple[float, float, float] = (800.0, 780.0, 820.0),
    top1: float | None = 0.9,
    peak: float | None = 80.0,
    energy: float | None = None,
    suspect: list[str] | None = None,
    **bundle: Any,
) -> Measurement:
    found = {"p50": (2.0, 1.9, 2.1), "p90": (3.0, 2.8, 3.5)} if percentiles is None else percentiles
    bounds = None if top1 is None else wilson_interval(round(360 * top1), 360)
    return Measurement(
        bundle=_bundle(name, role, sha, **bundle),
        host=HostMeasured(host, Facts(**vars(FACTS) | {"cpu": cpu})),
        runtime=_runtime(threads),
        scenario=Scenario(scenario),
        latency_ms=Latency(
            {key: Percentile(*values) for key, values in found.items()}, 2.5, 1.0, 9.0, n, 20
        ),
        throughput=Throughput(16, *throughput),
        memory_mb=Memory(30.0, 60.0, peak),
        startup_ms=Startup(10.0, 20.0, 3.0),
        energy=None if energy is None else Energy(energy, "RAPL"),
        accuracy=None if top1 is None or bounds is None else Accuracy(top1, 360, *bounds),
        parity=Parity(0.1, 0.01, 1.0, 32),
        conditions=[],
        validity=Validity("suspect" if suspect else "valid", suspect or [], []),
        seconds=3.0,
        started_at="2026-01-01T00:00:00+00:00",
    )


def _compared(
    baseline: Measurement,
    other: Measurement,
    factors: list[float],
    *,
    host: str = "local",
    fresh: bool = True,
    threads: int = 1,
    started_at: str = "2026-01-01T00:00:00+00:00",
    percentiles: dict[str, list[float]] | None = None,
) -> Comparison:
    """The other took these factors of the baseline's latency, a round each."""
    base = [1.0 + 0.1 * (i % 3) for i in range(len(factors))]

    def candidate(one: Measurement, ms: list[float], rounds: dict[str, list[float]]) -> Candidate:
        return Candidate(
            one.bundle, _runtime(threads), one.latency_ms, ms, one.parity, None, rounds
        )

    own = [factor * ms for factor, ms in zip(factors, base, strict=True)]
    tails = {
        name: [f * ms for f, ms in zip(v, base, strict=True)]
        for name, v in (percentiles or {}).items()
    }
    return Comparison(
        host=HostMeasured(host, FACTS),
        rounds=len(factors),
        fresh=fresh,
        candidates=[
            candidate(baseline, base, dict.fromkeys(tails, base)),
            candidate(other, own, tails),
        ],
        seconds=3.0,
        started_at=started_at,
    )


@pytest.fixture(scope="session")
def measured() -> Measured:
    """`measured(name, ...)`: latencies of 2 ms (1.9 to 2.1), p90 3 ms (2.8 to 3.5)."""
    return _measured


@pytest.fixture(scope="session")
def compared() -> Compared:
    """`compared(baseline, other, factors)`: two bundles timed in turns."""
    return _compared


@pytest.fixture
def student(measured):
    return measured()


@pytest.fixture
def teacher(measured):
    return measured(
        "local-teacher-onnx-fp32", role="teacher", sha="b", precision="fp32", top1=0.95,
        percentiles={"p50": (5.0, 4.9, 5.1)},
    )  # fmt: skip
