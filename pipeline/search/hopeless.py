"""Trials that are not worth their training: what is said of them, and why.

Before it is trained a student's weights are counted and its latency is estimated, as far as limits
ask for that; after the first of several stages it is held against those that were trained no more
and cost no more. An estimate decides nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from deploy_targets.estimating.calibration import Observation, Range, calibrate, unmeasured
from deploy_targets.estimating.roofline import roofline
from deploy_targets.targets import Target
from export.graphs.to_onnx import export_onnx
from export.requests import BundleRequest
from foundation.bundle import Preprocessing
from foundation.errors import CompressError
from foundation.statistics import wilson_interval
from pipeline.benching.graph_costs import operators_in
from pipeline.gating.metrics import Figure, drop
from pipeline.models.costs import mac_count, parameter_count
from pipeline.search.limits import PointLimit
from pipeline.search.points import FirstStage, StudentCosts, TrialPoint

# What a weight takes at least; INT8 keeps some of them wider.
_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}


class HopelessTrial(Exception):  # noqa: N818 - no error: it says that there is better to do
    """Stops a trial early.

    Args:
        reason: one line.
    """


def costs_of(
    student: nn.Module,
    shape: Preprocessing,
    request: BundleRequest,
    target: Target,
    *,
    limits: Sequence[PointLimit],
    threads: int,
) -> StudentCosts:
    """What a student costs; its graph is looked at only where a limit of latency asks for it."""
    images = torch.zeros(1, shape.channels, shape.height, shape.width)
    parameters, macs = parameter_count(student), mac_count(student, images)
    if not any(limit.figure.startswith("latency") for limit in limits):
        return StudentCosts(parameters, macs)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "student.onnx"
            export_onnx(student, images, path, request.opset)
            least = roofline(operators_in(path, list(images.shape)), target, threads)
    except CompressError:  # of a student that cannot be exported its own export tells
        return StudentCosts(parameters, macs)
    return StudentCosts(parameters, macs, least.ms, least.operators)


def why_hopeless(
    costs: StudentCosts,
    request: BundleRequest,
    target: Target,
    limits: Sequence[PointLimit],
    points: Sequence[TrialPoint],
) -> str | None:
    """Which limit a student breaks before it is trained, in a line; None where none is broken.

    Args:
        costs: of the student.
        request: the bundle that would be made.
        target: for which.
        limits: what must be kept.
        points: of finished trials, whose latencies estimates rest on.
    """
    least_mb = costs.parameters * _BYTES.get(request.precision, 1) / 1e6
    latency = _estimated(costs, request, target, points)
    for limit in limits:
        if limit.sign not in ("<=", "<"):
            continue
        if limit.figure == "size" and least_mb > limit.bound:
            return (
                f"{costs.parameters:,} weights of {request.precision} take {least_mb:.2f} MB at "
                f"least, beyond {limit.words}"
            )
        # A higher percentile is no lower than the median.
        if limit.figure.startswith("latency") and latency and latency.low > limit.bound:
            return (
                f"its median latency is estimated, not measured: {latency.value:.3g} ms "
                f"({latency.low:.3g} to {latency.high:.3g}), beyond {limit.words}"
            )
    return None


def why_behind(
    reached: FirstStage, costs: StudentCosts, request: BundleRequest, points: Sequence[TrialPoint]
) -> str | None:
    """Which finished trial was surely better after its first stage, though its student costs no
    more and had trained no longer; in a line, None where none was."""
    own = _interval(reached)
    for point in points:
        first = point.first_stage
        if (
            first is None
            or first.epochs > reached.epochs
            or (point.format, point.precision) != (request.format, request.precision)
            or not _costs_no_more(point.costs, costs)
        ):
            continue
        gap = drop(own, _interval(first))
        if gap.low > 0:
            return (
                f"after its first stage {own.value:.2f} % of the validation images, where trial "
                f"{point.trial}, which costs no more, had {100 * first.top1:.2f} % "
                f"({gap.low:.2f} to {gap.high:.2f} points above)"
            )
    return None


def _estimated(
    costs: StudentCosts, request: BundleRequest, target: Target, points: Sequence[TrialPoint]
) -> Range | None:
    """A median latency, from what bundles of the same format and precision took; None where
    nothing can be said."""
    if costs.roofline_ms is None or costs.operators is None:
        return None
    known = [
        Observation(point.costs.roofline_ms, point.costs.operators, latency.value)
        for point in points
        if (point.format, point.precision) == (request.format, request.precision)
        and point.costs.roofline_ms is not None
        and point.costs.operators is not None
        and (latency := point.figures.get("latency_p50")) is not None
    ]
    if known:
        return calibrate(known).predict(costs.roofline_ms, costs.operators)
    # The roofline is that of the FP32 graph, and bounds no other.
    if target.clock_mhz is None or request.precision != "fp32":
        return None
    return unmeasured(costs.roofline_ms)


def _costs_no_more(costs: StudentCosts, than: StudentCosts) -> bool:
    if costs.macs is None or than.macs is None:
        return False
    return costs.macs <= than.macs and costs.parameters <= than.parameters


def _interval(reached: FirstStage) -> Figure:
    low, high = wilson_interval(round(reached.top1 * reached.n), reached.n)
    return Figure(100 * reached.top1, 100 * low, 100 * high)
