"""The roofline beside a profile: of the target, where the profile is of such a machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deploy_targets.device.facts import Facts
from deploy_targets.device.messages import ExecutedPrecision, RuntimeUsed
from deploy_targets.device.operator_times import Profiled, ProfiledOperator
from deploy_targets.device.runtimes._sample import ONNX
from deploy_targets.measurement import HostMeasured, describe
from deploy_targets.operator_profile import OperatorProfile
from deploy_targets.targets import load_target
from foundation.bundle import (
    Bundle,
    Manifest,
    Preprocessing,
    RuntimeRange,
    TensorSpec,
    checksums,
    open_bundle,
    write_manifest,
)
from pipeline.benching.profiled import roofline_beside

FACTS = Facts("a cpu", None, "aarch64", 4, 4, 4096, [], None, None, None, None, "3", "Linux")
RUNTIME = RuntimeUsed("onnxruntime", "1", 2, "f32", ExecutedPrecision("f32", {"f32": 1}))
TOLD = Profiled(
    RUNTIME, [ProfiledOperator("c", "Conv", 0.1)],
    runs=1, whole_ms=0.2, whole_median_ms=0.2, unprofiled_ms=0.2,
)  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A convolution of a 2×2 image with 3×3 weights."""
    (tmp_path / "model.onnx").write_bytes(ONNX)
    manifest = Manifest(
        name="a", role="student", target="rpi4", format="onnx", precision="fp32",
        model_file="model.onnx", input=TensorSpec("x", "float32", "NCHW", [1, 1, 2, 2]),
        output=TensorSpec("y", "float32", "NC", [1, 4]),
        preprocessing=Preprocessing(2, 2, 1, mean=[0.5], std=[0.5]), classes=["a", "b", "c", "d"],
        files=checksums(tmp_path), opset=20, runtime=RuntimeRange("onnxruntime", "1.0"),
    )  # fmt: skip
    write_manifest(tmp_path, manifest)
    return open_bundle(tmp_path)


def profile_of(bundle: Bundle, told: Profiled = TOLD, arch: str = "aarch64") -> OperatorProfile:
    return OperatorProfile(
        bundle=describe(bundle), host=HostMeasured("far", replace(FACTS, arch=arch)),
        profiled=told, seconds=1.0, started_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def test_it_is_that_of_the_target_with_the_threads_that_were_used(bundle: Bundle) -> None:
    target, said = load_target("rpi4"), list[str]()
    shown = roofline_beside(bundle, target, profile_of(bundle), said.append)
    assert shown is not None and (shown.target, shown.threads, said) == ("rpi4", 2, [])
    # 4 outputs of 9 products; 4 + 4 features and 9 weights of 4 bytes.
    per_ms = target.per_cycle()["fp32"] * target.clock_mhz * 1e3 * 2
    least = max(2 * 36 / per_ms, 17 * 4 / (target.memory_gb_s * 1e6))
    assert shown.ms["convolutions"] == pytest.approx(least)
    assert shown.ms["matrix products"] == shown.ms["all else"] == 0


def test_there_is_none_for_another_machine_than_the_targets(bundle: Bundle) -> None:
    target, said = load_target("rpi4"), list[str]()
    untold = profile_of(bundle, Profiled(RUNTIME, untold="it does not tell"))
    assert roofline_beside(bundle, target, profile_of(bundle, arch="x86_64"), said.append) is None
    assert roofline_beside(bundle, target, untold, said.append) is None
    assert roofline_beside(bundle, None, profile_of(bundle), said.append) is None
    bare = replace(target, clock_mhz=None)
    assert roofline_beside(bundle, bare, profile_of(bundle), said.append) is None
    assert said == []
