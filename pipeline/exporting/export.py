"""Export: bundles of the student, and of the teacher for comparison, for the asked targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from deploy_targets.targets import Target, load_target
from export.formats import FORMATS
from export.quantization import QuantizationScheme
from export.requests import BundleMetric, BundleRequest, ExportSource, bundle_name
from foundation.bundle import MANIFEST
from foundation.errors import ExportError, MissingFileError, UsageError
from foundation.files import sha256_of
from pipeline.data.facts import CALIBRATION, PROBE, TEST, VALIDATION, read_facts, read_images
from pipeline.data.framing import Fit
from pipeline.data.images import ArrayImages, Images, framed_pixels
from pipeline.exporting.learnt_stage import learnt_origin
from pipeline.models.teachers import asked_teacher
from pipeline.recipe.file import recipe_values
from pipeline.recipe.sections.export import AUTO, ExportRecipe
from pipeline.recipe.sections.values import MIXED
from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.target_profiles import remember_target
from pipeline.training.prepare import Role
from smskd.training.stage_files import WEIGHTS

if TYPE_CHECKING:
    from torch import nn

    from export.original import Original

OriginalOf: TypeAlias = "Callable[[ExportSource], Original]"


def export(
    run: RunFolder,
    recipe: ExportRecipe,
    say: Callable[[str], None],
    original_of: OriginalOf | None = None,
    metric: BundleMetric | None = None,
) -> list[Path]:
    """Make every bundle that is asked for; those made before from the same weights stay.

    Args:
        run: the run folder, with a student in it.
        recipe: targets, formats, precisions.
        say: told what is being made.
        original_of: knows something of the student already; None knows nothing.
        metric: what bundles are judged by beside top-1.

    Returns:
        The bundles' folders.

    Raises:
        UsageError: when a target takes none of the asked formats or precisions.
        ExportError: when a bundle does not agree with the network.
    """
    folders: list[Path] = []
    for name in recipe.targets:
        target = load_target(name)
        requests = requests_for(target, recipe)
        _say_left_out(target, recipe, requests, say)
        notes = remember_target(run, name, target)
        folders += _export_role(
            run, "student", requests, say, notes=notes, original_of=original_of, metric=metric
        )
    if recipe.teacher:
        folders += export_teacher(run, recipe, say, metric)
    return folders


def export_teacher(
    run: RunFolder,
    recipe: ExportRecipe,
    say: Callable[[str], None],
    metric: BundleMetric | None = None,
) -> list[Path]:
    """Make an FP32 bundle of the teacher in each format, if the run has a teacher.

    Errors as `export`.
    """
    folders: list[Path] = []
    for name in recipe.targets if run.has_teacher and _is_exportable(run, say) else []:
        requests = requests_for(load_target(name), recipe)
        baselines = [request for request in requests if request.precision == "fp32"]
        teachers = baselines or _as_fp32(requests)
        folders += _export_role(run, "teacher", teachers, say, metric=metric)
    return folders


def _is_exportable(run: RunFolder, say: Callable[[str], None]) -> bool:
    """Whether a bundle can be made of the run's teacher; says so where none can."""
    model = run.recipe().teacher.model
    if model == MIXED:
        say("several teachers are no one network that a bundle could be made of")
        return False
    asked = asked_teacher(model)
    if asked is None or asked.kind.exported is not None:
        return True
    say(f"teacher {model}: is asked, and no network that a bundle could be made of")
    return False


def requests_for(target: Target, recipe: ExportRecipe) -> list[BundleRequest]:
    """All combinations that are asked for and that the target takes, in the target's order.

    Raises:
        UsageError: when there are none.
    """
    formats = [name for name in recipe.formats or target.usual_formats if name in target.formats]
    takes_all = recipe.precisions in (None, [AUTO])
    precisions = target.precisions if takes_all else recipe.precisions or []
    rules = target.quantization
    scheme = QuantizationScheme(
        activation_type=rules.activation_type,
        weight_type=rules.weight_type,
        per_channel=rules.per_channel,
        reduce_range=rules.reduce_range,
        calibration=rules.calibration,
        reason=rules.reason,
    )
    requests = [
        BundleRequest(
            target.name,
            name,
            precision,
            scheme,
            target.onnx_opset,
            target.runtime_for(name),
            recipe.embed_preprocessing,
            recipe.tolerated,
        )
        for name in formats
        for precision in precisions
        if _takes(target, precision) and precision in FORMATS.get(name).precisions
    ]
    if not requests:
        takes = "; ".join(f"{name} in {', '.join(_taken(target, name))}" for name in target.formats)
        raise UsageError(
            f"target {target.name} takes {takes}; nothing that was asked for is among these"
        )
    return requests


def _taken(target: Target, name: str) -> list[str]:
    """The precisions of a format that a target takes."""
    return [each for each in FORMATS.get(name).precisions if _takes(target, each)]


def _say_left_out(
    target: Target, recipe: ExportRecipe, requests: list[BundleRequest], say: Callable[[str], None]
) -> None:
    """Tell of what was asked for in a format that lacks it, where there is more than that."""
    made = {(request.format, request.precision) for request in requests}
    for name in recipe.formats or []:
        asked = [each for each in recipe.precisions or [] if each != AUTO]
        lacking = [each for each in asked if (name, each) not in made]
        if lacking:
            taken = ", ".join(_taken(target, name)) or "nothing"
            say(
                f"note: no {' and no '.join(lacking)} in format {name}: target {target.name} takes "
                f"{taken} in it"
            )


def _takes(target: Target, precision: str) -> bool:
    """Whether its profile lists a precision; BF16, where its CPU computes in that, goes unlisted,
    for what is not asked for by name is not made in it."""
    has_bf16 = any("bf16" in feature for feature in target.features)
    return precision in target.precisions or (precision == "bf16" and has_bf16)


def _as_fp32(requests: list[BundleRequest]) -> list[BundleRequest]:
    return [replace(requests[0], precision="fp32")]


def _export_role(
    run: RunFolder,
    role: Role,
    requests: list[BundleRequest],
    say: Callable[[str], None],
    *,
    notes: Sequence[str] = (),
    original_of: OriginalOf | None = None,
    metric: BundleMetric | None = None,
) -> list[Path]:
    folders = [run.bundles / bundle_name(role, request) for request in requests]
    depends_on: dict[str, Any] = {
        "requests": [recipe_values(request) for request in requests],
        "weights": weights_of(run, role),
        "data": data_products(run),
        "code": run.record().get("code", {}).get(role),
        **judged_by(metric),
    }
    if role == "student":
        depends_on["learnt"] = learnt_origin(run)
    with run.step(step_name(requests[0].target, role), **depends_on) as step:
        for note in notes:
            step.remark(note)
        if step.needed:
            source = export_source(run, role, metric=metric)
            original = original_of(source) if original_of else None
            step.products = write_bundles(
                run, source, requests, say, step.remark, original=original
            )
    return folders


def judged_by(metric: BundleMetric | None) -> dict[str, str]:
    """What bundles depend on of the metric that they are judged by, where there is one."""
    return {} if metric is None else {"metric": metric.identity}


def step_name(target: str, role: Role) -> str:
    """The step that makes a role's bundles for a target, all of them or those that could ship.

    One name for both: each replaces bundles of the other, and then has made them.
    """
    return f"export {target} {role}"


def write_bundles(
    run: RunFolder,
    source: ExportSource,
    requests: Sequence[BundleRequest],
    say: Callable[[str], None],
    remark: Callable[[str], None],
    *,
    on_failed: Callable[[BundleRequest, ExportError], None] | None = None,
    original: Original | None = None,
) -> list[Path]:
    """Make bundles in the run folder, and give all their files; as `make_bundles`.

    What was said of bundles that are not these any more goes: which of them ships.
    """
    from export.bundling import make_bundles  # noqa: PLC0415 - torch

    folders = [run.bundles / bundle_name(source.role, request) for request in requests]
    before = _manifests(folders)
    try:
        make_bundles(
            source,
            requests,
            run.bundles,
            say,
            on_remark=remark,
            on_failed=on_failed,
            original=original,
            findings=run.findings,
        )
    finally:
        if any(_manifests(folders).get(folder) != digest for folder, digest in before.items()):
            run.shipping_path.unlink(missing_ok=True)
        with suppress(OSError):  # it holds what was made before, or what failed
            run.bundles.rmdir()
    made = [*folders, *(run.findings / folder.name for folder in folders)]
    return sorted(path for folder in made for path in folder.rglob("*") if path.is_file())


def _manifests(folders: Sequence[Path]) -> dict[Path, str]:
    """SHA-256 of the manifests of those that are there, by folder."""
    paths = {folder: folder / MANIFEST for folder in folders}
    return {folder: sha256_of(path) for folder, path in paths.items() if path.is_file()}


def weights_of(run: RunFolder, role: Role) -> str | None:
    """SHA-256 of what a role's bundles are made of; None where there is nothing yet."""
    path = _model_file(run, role)
    return sha256_of(path) if path.is_file() else None


def data_products(run: RunFolder) -> dict[str, str]:
    """SHA-256 of what a run made of its data, by the path within the folder.

    Raises:
        MissingFileError: when it has made nothing yet.
    """
    step = run.record()["steps"].get("data")
    if step is None:
        raise MissingFileError(
            f"{run.path}: has no data and no student yet; run `compress distill` for it first"
        )
    products: dict[str, str] = step["products"]
    return products


def export_source(
    run: RunFolder, role: Role, *, chooses: bool = False, metric: BundleMetric | None = None
) -> ExportSource:
    """A network of the run, with the images that its export needs.

    Bundles of a network that was trained here are judged on validation images too, as its stages
    were; those of a finished one only where something is chosen by them.

    Args:
        run: the run folder.
        role: whose network.
        chooses: whether something is chosen by the validation images.
        metric: what bundles are judged by beside top-1.

    Raises:
        MissingFileError: when the run has no such network yet.
    """
    from pipeline.exporting.learnt_integers import learnt_integers  # noqa: PLC0415 - torch

    facts = read_facts(run.data)
    student = role == "student"

    def images(use: str) -> ArrayImages:
        return read_images(run.data / facts.images_for(role, use))

    test = images(TEST)
    record, learnt = run.record(), learnt_integers(run) if student else None
    # Where the test images stand in for it, they are not asked twice.
    is_judged = facts.has_labels and bool(facts.counts["validation"])
    is_finished = record.get("adopted") is not None
    validation = images(VALIDATION) if is_judged and (chooses or not is_finished) else None
    has_others = not facts.has_labels and bool(facts.counts["validation"])
    return ExportSource(
        model=_model(run, role),
        role=role,
        preprocessing=facts.seen_by(role),
        classes=facts.classes,
        calibration=images(CALIBRATION).pixels,
        probe_images=images(PROBE).pixels,
        evaluation=(test.pixels, test.labels) if facts.has_labels else None,
        validation=None if validation is None else (validation.pixels, validation.labels),
        unlabelled=None if facts.has_labels else test.pixels,
        unlabelled_validation=images(VALIDATION).pixels if has_others and chooses else None,
        origin={
            "run": record["name"],
            "model": record["networks"][role]["model"],
            "dataset": facts.name,
            "dataset_sha256": facts.fingerprint,
            "weights_sha256": weights_of(run, role),
            "commit": record["commit"],
            "versions": record["versions"],
        },
        learnt=learnt,
        metric=metric,
        fit=partial(_fitted, Fit.of(facts.seen_by(role))),
    )


def _fitted(fit: Fit, picture: Images) -> Images:
    """The image of one picture (H, W, C)."""
    image: Images = framed_pixels(picture[None], fit)[0]
    return image


def _model(run: RunFolder, role: Role) -> nn.Module | Path:
    from pipeline.training.networks import trained_student, trained_teacher  # noqa: PLC0415 - torch

    if role == "teacher":
        return run.teacher_graph if run.teacher_graph.is_file() else trained_teacher(run)
    return run.student_graph if run.student_graph.is_file() else trained_student(run)


def _model_file(run: RunFolder, role: Role) -> Path:
    if role == "teacher":
        return run.teacher_graph if run.teacher_graph.is_file() else run.teacher / WEIGHTS
    return run.student_graph if run.student_graph.is_file() else run.student
