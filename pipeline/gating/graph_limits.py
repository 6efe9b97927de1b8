"""What a graph that is no classifier is held to where a budget says nothing of it."""

from __future__ import annotations

import math

from deploy_targets.measurement import Measurement
from foundation.output_agreement import OutputAgreement, output_tolerance
from pipeline.gating.metrics import Subject
from pipeline.recipe.sections.gate import Limit


def own_limits(subject: Subject) -> dict[str, Limit]:
    """The limits that go with a bundle, by metric; none of a classifier.

    Where the user's scorer said what a bundle of lower precision is worth, its score may lie no
    further below the original's than it was exported for. Else every output is held against the
    original's, on the device, to what its precision is held to when it is exported.
    """
    if not isinstance(subject, Measurement) or not subject.parity.outputs:
        return {}
    tolerated = subject.bundle.score_tolerance
    if tolerated is not None and subject.bundle.precision != "fp32":
        return {"score_drop_points": Limit(max=tolerated)}
    limits: dict[str, Limit] = {}
    for output in subject.parity.outputs:
        limits |= _of_output(output, subject.bundle.precision)
    return limits


def _of_output(output: OutputAgreement, precision: str) -> dict[str, Limit]:
    tolerance, place = output_tolerance(precision), f"outputs.{output.name}"
    if output.same_shape < tolerance.same_shape:
        return {f"{place}.same_shape_percent": Limit(min=100 * tolerance.same_shape)}
    if output.equal is not None:
        return {f"{place}.equal_percent": Limit(min=100 * tolerance.equal)}
    limits = {}
    if math.isfinite(tolerance.relative_error):
        limits[f"{place}.relative_error"] = Limit(max=tolerance.relative_error)
    if tolerance.signal_to_noise_db is not None:
        limits[f"{place}.signal_to_noise_db"] = Limit(min=tolerance.signal_to_noise_db)
    return limits
