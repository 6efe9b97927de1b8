"""Where the time of a bundle goes, as each runtime tells it."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from deploy_targets.device.operator_times import Profiled, ProfiledOperator, calm_half
from deploy_targets.device.runtimes._ort_profile import RunsNoted, mean_times
from deploy_targets.device.runtimes.ncnn import NcnnSession
from deploy_targets.device.runtimes.ov import OpenVinoProfiler
from deploy_targets.measuring.profile_operators import ProfileOptions, profile_operators
from deploy_targets.operator_profile import (
    family_of,
    read_operator_profile,
    write_operator_profile,
)
from foundation.bundle import open_any_bundle
from foundation.errors import UsageError

QUICK = ProfileOptions(threads=1, max_seconds=1.0)


def profile(folder, **options):
    return profile_operators(open_any_bundle(folder), "local", QUICK, **options)


@pytest.fixture(scope="module")
def onnx_profile(onnx_bundle):
    told: list[dict[str, Any]] = []
    made = profile(onnx_bundle, on_progress=told.append)
    assert [step["step"] for step in told] == ["loading", "warming up", "timing"]
    return made


def test_onnx_runtime_tells_of_the_graph_that_it_runs(onnx_profile):
    kinds = [operator.kind for operator in onnx_profile.profiled.operators]
    # The Relu is fused into the convolution, and a layout is turned back after it.
    assert kinds == ["Conv", "ReorderOutput", "GlobalAveragePool", "Flatten", "Gemm"] or (
        {"Conv", "GlobalAveragePool", "Gemm"} <= set(kinds) and "Relu" not in kinds
    )
    assert {operator.precision for operator in onnx_profile.profiled.operators} == {"f32"}


def test_times_add_up_to_the_whole_and_the_rest_is_told(onnx_profile, tmp_path):
    profiled = onnx_profile.profiled
    assert profiled.operators_ms + profiled.outside_ms == pytest.approx(profiled.whole_ms)
    assert 0 < profiled.operators_ms < profiled.whole_ms
    assert sum(kind.ms for kind in onnx_profile.by_kind()) == pytest.approx(profiled.operators_ms)
    assert sum(onnx_profile.by_family().values()) == pytest.approx(profiled.operators_ms)
    assert 1 <= profiled.runs <= 10 and 1 <= profiled.warmup_n <= 3 and 1 <= profiled.rounds <= 5
    assert profiled.slowdown == profiled.whole_median_ms / profiled.unprofiled_ms
    write_operator_profile(tmp_path / "a.json", onnx_profile)
    assert read_operator_profile(tmp_path / "a.json") == onnx_profile


def test_an_int8_bundle_is_seen_to_compute_in_8_bits(int8_bundle):
    profiled = profile(int8_bundle).profiled
    convolutions = [o for o in profiled.operators if family_of(o.kind) == "convolutions"]
    assert convolutions and all(o.precision in {"u8", "i8"} for o in convolutions)


def test_openvino_tells_kernels_and_what_took_no_time(openvino_bundle):
    profiled = profile(openvino_bundle).profiled
    kinds = {operator.kind: operator for operator in profiled.operators}
    assert kinds["Convolution"].precision == "f32"
    assert kinds["Convolution"].implementation
    assert profiled.not_run >= 1
    assert 0 < profiled.operators_ms < profiled.whole_ms


class Session:
    """Tells means over all runs since it was compiled, as OpenVINO does, cut to microseconds."""

    run = None

    def __init__(self):
        self.means_us = {}

    def profile(self):
        return [
            SimpleNamespace(
                node_name=name, node_type="Convolution", exec_type="jit_f32",
                status=SimpleNamespace(name="EXECUTED"), real_time=timedelta(microseconds=us),
            )
            for name, us in self.means_us.items()
        ]  # fmt: skip

    def formats(self):
        return {"a": "f32"}


def test_openvino_counts_no_run_before_it_began_by_hand():
    """As seen: the first run took 2,181 µs, and the mean of four was 555."""
    session = Session()
    profiler = OpenVinoProfiler(session)
    session.means_us = {"a": 2181}
    profiler.begin(1)
    session.means_us = {"a": 555}
    noted = profiler.operator_times([10, 20, 30])
    (time,) = noted.operators
    assert noted.counted == [0, 1, 2]
    assert time.ms == pytest.approx((4 * 0.555 - 2.181) / 3)
    assert (time.name, time.precision, time.implementation) == ("a", "f32", "jit_f32")


def test_a_runtime_that_cannot_tell_says_so(onnx_profile):
    untold = NcnnSession.profiler(object.__new__(NcnnSession))
    profiled = Profiled(onnx_profile.profiled.runtime, untold=untold.reason)
    assert "does not tell where its time goes" in profiled.untold
    assert list(profiled.problems()) == []


def test_a_runtime_for_another_format_is_refused(onnx_bundle):
    options = ProfileOptions(threads=1, runtime="openvino", max_seconds=1.0)
    with pytest.raises(UsageError, match="takes models of format openvino"):
        profile_operators(open_any_bundle(onnx_bundle), "local", options)


def node(name, begun, took, kind="Conv", index="1"):
    arguments = {"op_name": kind, "input_type_shape": [{"float": [1]}], "node_index": index}
    return {"cat": "Node", "name": name, "ts": begun, "dur": took, "args": arguments}


def run(begun, took):
    return {"cat": "Session", "name": "model_run", "ts": begun, "dur": took}


def format_of(arguments):
    return next((kind for entry in arguments["input_type_shape"] for kind in entry), None)


def test_means_of_a_profile_are_of_the_runs_that_count_by_hand():
    events = [
        node("a_kernel_time", 10, 900), run(0, 1000),
        node("a_kernel_time", 2010, 40), node("b_kernel_time", 2060, 20, "Gemm"),
        node("a_fence_before", 2009, 1), run(2000, 100),
        node("a_kernel_time", 3010, 60), node("b_kernel_time", 3080, 10, "Gemm"), run(3000, 100),
    ]  # fmt: skip
    assert mean_times(events, RunsNoted(1, 2, [0, 1]), format_of) == [
        ProfiledOperator("a", "Conv", 0.05, "float"),
        ProfiledOperator("b", "Gemm", 0.015, "float"),
    ]
    assert mean_times(events, RunsNoted(1, 2, [1]), format_of) == [
        ProfiledOperator("a", "Conv", 0.06, "float"),
        ProfiledOperator("b", "Gemm", 0.01, "float"),
    ]


def test_the_faster_half_of_runs_counts():
    assert calm_half([5, 900, 4, 6]) == [0, 2]
    assert calm_half([7, 8, 6]) == [0, 2]
    assert calm_half([7]) == [0]


def test_what_runs_within_another_operator_counts_once():
    events = [
        node("if_kernel_time", 10, 50, "If"), node("in_kernel_time", 20, 30, index="2"),
        node("after_kernel_time", 60, 5, index="3"), run(0, 100),
    ]  # fmt: skip
    times = {time.name: time.ms for time in mean_times(events, RunsNoted(0, 1, [0]), format_of)}
    assert times == {"if": 0.02, "in": 0.03, "after": 0.005}


def test_a_profile_that_is_not_whole_is_refused():
    with pytest.raises(ValueError, match="has 1 inferences, but 3 were run"):
        mean_times([node("a_kernel_time", 10, 40), run(0, 100)], RunsNoted(1, 2, [0, 1]), format_of)


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("Conv", "convolutions"), ("QLinearConv", "convolutions"),
        ("Deconvolution", "convolutions"),
        ("GroupConvolution", "convolutions"), ("Convert", "all else"), ("ConvertLike", "all else"),
        ("FullyConnectedQuantizedLegacy", "matrix products"), ("QGemm", "matrix products"),
        ("MatMulInteger", "matrix products"), ("MaxPool", "all else"),
    ],
)  # fmt: skip
def test_kinds_of_all_runtimes_have_a_family(kind, family):
    assert family_of(kind) == family
