"""The way from teacher to INT8, step by step: what each did to accuracy, size and latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.exporting.candidates import FULL
from pipeline.report.bundles import Exported

Kind = Literal["teacher", "alone", "stage", "student", "bundle"]

_SPLITS = ("validation", "test")
_PRECISIONS = (FULL, "fp16", "bf16", "int8")


@dataclass(frozen=True)
class WaterfallStep:
    """One step.

    Attributes:
        name: such as "1 kd" or "onnx int8".
        description: in words: what it is, and what was done.
        top1: in percent, by the split that it was measured on.
        size_bytes: of its weights, or of the bundle's model.
        latency_ms: median of one image; None where it was not measured, so for all in torch.
        source: what it was made of, and is compared with.
        bundle, format: the bundle's name and format, if it is one.
    """

    name: str
    kind: Kind
    description: str
    top1: Mapping[str, float]
    size_bytes: int | None
    latency_ms: float | None = None
    source: WaterfallStep | None = None
    bundle: str | None = None
    format: str | None = None

    @property
    def split(self) -> str | None:
        """The images that its accuracy is told on: validation, or for want of it the test."""
        return next((split for split in _SPLITS if split in self.top1), None)

    @property
    def reached(self) -> float | None:
        """Its accuracy there, in percent."""
        return None if self.split is None else self.top1[self.split]

    @property
    def before(self) -> float | None:
        """Its source's accuracy on the same images."""
        if self.source is None or self.split is None:
            return None
        return self.source.top1.get(self.split)

    @property
    def change(self) -> float | None:
        """Percentage points that it gained; less than zero where they were lost."""
        if self.reached is None or self.before is None:
            return None
        return self.reached - self.before

    @property
    def shrink(self) -> float | None:
        """Size of its source over its own."""
        return _ratio(self.source.size_bytes if self.source else None, self.size_bytes)

    @property
    def speedup(self) -> float | None:
        """Latency of its source over its own."""
        return _ratio(self.source.latency_ms if self.source else None, self.latency_ms)


def usual_split(steps: Sequence[WaterfallStep]) -> str:
    """The images that steps are told on, but for those that are marked: the test images where no
    step has been held against validation images, as with a finished network."""
    splits = {step.split for step in steps}
    return "test" if splits & {*_SPLITS} == {"test"} else "validation"


def is_marked(step: WaterfallStep, steps: Sequence[WaterfallStep]) -> bool:
    """Whether a step is told on other images than the rest."""
    return step.split is not None and step.split != usual_split(steps)


def network_step(
    role: Literal["teacher", "student"],
    network: Mapping[str, Any],
    size_bytes: int | None,
    source: WaterfallStep | None = None,
) -> WaterfallStep:
    """The teacher, or the student as all stages left it, as run.json tells of it."""
    top1 = {split: 100 * network[split]["top1"] for split in _SPLITS if network.get(split)}
    return WaterfallStep(role, role, network["model"], top1, size_bytes, source=source)


def alone_step(
    network: Mapping[str, Any],
    training: Mapping[str, Any],
    size_bytes: int | None,
    teacher: WaterfallStep | None,
) -> WaterfallStep:
    """The student that was trained alone on the labels.

    Args:
        network: what run.json tells of it.
        training: metrics of its training.
        size_bytes: of its weights.
        teacher: whom it is compared with.
    """
    top1 = {split: 100 * network[split]["top1"] for split in _SPLITS if network.get(split)}
    description = f"the student without a teacher, {training['last']['epoch']} epochs on the labels"
    return WaterfallStep("alone", "alone", description, top1, size_bytes, source=teacher)


def stage_steps(
    stages: Sequence[tuple[Mapping[str, Any], int | None]],
    before: WaterfallStep | None,
    pruned: Sequence[Mapping[str, Any]],
) -> list[WaterfallStep]:
    """The student after each stage.

    Args:
        stages: metrics and size of the weights, in order.
        before: what the first stage is compared with.
        pruned: what run.json tells of each pruning.
    """
    prunings = {pruning["before_stage"]: pruning for pruning in pruned}
    steps: list[WaterfallStep] = []
    for metrics, size_bytes in stages:
        top1 = metrics["best" if metrics["stage"].get("keep") == "best" else "last"]["val_top1"]
        steps.append(
            WaterfallStep(
                name=f"{metrics['index']} {metrics['name']}",
                kind="stage",
                description=_stage_description(metrics, prunings.get(metrics["index"])),
                top1={} if top1 is None else {"validation": 100 * top1},
                size_bytes=size_bytes,
                source=steps[-1] if steps else before,
            )
        )
    return steps


def bundle_steps(
    bundles: Sequence[Exported], student: WaterfallStep, latencies: Mapping[str, float]
) -> list[WaterfallStep]:
    """A student's bundles, format by format, FP32 first; the others are compared with it.

    Args:
        bundles: of one target.
        student: whom FP32 is compared with.
        latencies: median milliseconds by the bundle's name.
    """
    full: dict[str, WaterfallStep] = {}
    steps = []
    for bundle in sorted(bundles, key=_order):
        manifest = bundle.manifest
        source = full.get(manifest.format, student)
        step = WaterfallStep(
            name=f"{manifest.format} {manifest.precision}",
            kind="bundle",
            description=manifest.name,
            top1=bundle.top1,
            size_bytes=bundle.model_bytes,
            latency_ms=latencies.get(manifest.name),
            source=source,
            bundle=manifest.name,
            format=manifest.format,
        )
        if manifest.precision == FULL:
            full[manifest.format] = step
        steps.append(step)
    return steps


def _order(bundle: Exported) -> tuple[str, int, str]:
    is_listed = bundle.manifest.precision in _PRECISIONS
    place = _PRECISIONS.index(bundle.manifest.precision) if is_listed else len(_PRECISIONS)
    return bundle.manifest.format, place, bundle.manifest.name


def _stage_description(metrics: Mapping[str, Any], pruning: Mapping[str, Any] | None) -> str:
    words = [f"{metrics['last']['epoch']} epochs"]
    if pruning:
        before, after = (pruning[when]["parameters"] for when in ("before", "after"))
        words.insert(0, f"pruned from {before:,} to {after:,} parameters")
    quantize = metrics["stage"].get("quantize", "none")
    if quantize != "none":
        words.append(f"trained, and judged here, in {quantize}")
    return ", ".join(words)


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator and denominator else None
