"""Export: bundles of the student, and of the teacher for comparison, for the asked targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from deploy_targets.targets import Target, load_target
from export.bundling import BundleRequest, ExportSource, bundle_name, make_bundles
from export.formats import FORMATS
from export.quantization import QuantizationScheme
from foundation.errors import UsageError
from foundation.files import sha256_of
from pipeline.data.facts import CALIBRATION, PROBE, TEST, read_facts, read_images
from pipeline.data.images import ArrayImages
from pipeline.networks import trained_student, trained_teacher
from pipeline.recipe import ExportRecipe
from pipeline.recipe_file import recipe_values
from pipeline.runs import RunFolder
from pipeline.steps.prepare import Role
from smskd.results import WEIGHTS


def export(run: RunFolder, asked: ExportRecipe, say: Callable[[str], None]) -> list[Path]:
    """Make every bundle that is asked for; those made before from the same weights stay.

    Args:
        run: the run folder, with a student in it.
        asked: targets, formats, precisions.
        say: told what is being made.

    Returns:
        The bundles' folders.

    Raises:
        UsageError: when a target takes none of the asked formats or precisions.
        ExportError: when a bundle does not agree with the network.
    """
    folders: list[Path] = []
    for name in asked.targets:
        target = load_target(name)
        requests = requests_for(target, asked)
        folders += _export_role(run, "student", requests, say)
        if asked.teacher:
            baselines = [r for r in requests if r.precision == "fp32"]
            folders += _export_role(run, "teacher", baselines or _as_fp32(requests), say)
    return folders


def requests_for(target: Target, asked: ExportRecipe) -> list[BundleRequest]:
    """All combinations that are asked for and that the target takes, in the target's order.

    Raises:
        UsageError: when there are none.
    """
    formats = [name for name in asked.formats or target.formats if name in target.formats]
    wanted = asked.precisions or target.precisions
    rules = target.quantization
    scheme = QuantizationScheme(
        activation_type=rules.activation_type,
        weight_type=rules.weight_type,
        per_channel=rules.per_channel,
        reduce_range=rules.reduce_range,
        calibration=rules.calibration,
    )
    requests = [
        BundleRequest(target.name, name, precision, scheme, target.onnx_opset)
        for name in formats
        for precision in wanted
        if precision in target.precisions and precision in FORMATS.get(name).precisions
    ]
    if not requests:
        raise UsageError(
            f"target {target.name} takes {', '.join(target.formats)} in "
            f"{', '.join(target.precisions)}; nothing that was asked for is among these"
        )
    return requests


def _as_fp32(requests: list[BundleRequest]) -> list[BundleRequest]:
    return [replace(requests[0], precision="fp32")]


def _export_role(
    run: RunFolder, role: Role, requests: list[BundleRequest], say: Callable[[str], None]
) -> list[Path]:
    weights = run.student if role == "student" else run.teacher / WEIGHTS
    folders = [run.bundles / bundle_name(role, request) for request in requests]
    depends_on = {
        "requests": [recipe_values(request) for request in requests],
        "weights": sha256_of(weights) if weights.is_file() else None,
    }
    with run.step(f"export {requests[0].target} {role}", **depends_on) as step:
        if step.needed:
            make_bundles(_source(run, role, weights), requests, run.bundles, say)
            files = (path for folder in folders for path in folder.rglob("*"))
            step.products = sorted(path for path in files if path.is_file())
    return folders


def _source(run: RunFolder, role: Role, weights: Path) -> ExportSource:
    facts = read_facts(run.data)
    student = role == "student"

    def images(use: str) -> ArrayImages:
        return read_images(run.data / facts.images_for(role, use))

    test = images(TEST)
    network: nn.Module = trained_student(run) if student else trained_teacher(run)
    record = run.record()
    return ExportSource(
        model=network,
        role=role,
        preprocessing=facts.preprocessing if student else facts.teacher_preprocessing,
        classes=facts.classes,
        calibration=images(CALIBRATION).pixels,
        probe_images=images(PROBE).pixels,
        evaluation=(test.pixels, test.labels),
        origin={
            "run": record["name"],
            "model": record["networks"][role]["model"],
            "dataset": facts.name,
            "weights_sha256": sha256_of(weights),
            "commit": record["commit"],
            "versions": record["versions"],
        },
    )
