"""A measurement that nobody took: the least that one says, to be changed with `replace`."""

from deploy_targets.device import facts
from deploy_targets.device.messages import (
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

MEASUREMENT = Measurement(
    bundle=BundleMeasured("toy", "student", "local", "onnx", "fp32", 1234, "ab" * 32),
    host=HostMeasured("local", facts.collect()),
    runtime=RuntimeUsed("onnxruntime", "1.0", 1, "f32", ExecutedPrecision("f32", {"f32": 2})),
    scenario=Scenario(),
    latency_ms=Latency({"p50": Percentile(1.0, 0.9, 1.2)}, 1.5, 0.5, 4.0, 50, 20),
    throughput=Throughput(16, 1000.0, 900.0, 1100.0),
    memory_mb=Memory(None, 90.0, 100.0),
    startup_ms=Startup(10.0, 20.0, 30.0),
    energy=None,
    accuracy=None,
    parity=Parity(0.001, 0.0001, 1.0, 8),
    conditions=[],
    validity=Validity("valid", [], []),
    seconds=3.5,
    started_at="2025-01-01T00:00:00+00:00",
)
