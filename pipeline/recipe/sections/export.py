"""The section of the export."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from foundation.limits import Within
from pipeline.recipe.sections.values import Few, Names, Section

AUTO = "auto"
AUTO_MAX_DROP = 1.0


class ExportRecipe(Section):
    """Which bundles are made: every target × format × precision that the target takes.

    Attributes:
        targets: device class, or path of a target profile.
        formats: export format: onnx, openvino, ncnn, executorch; if unset what the target prefers.
        precisions: number format: fp32, fp16, bf16, int8; auto: try them, time them against each
            other and say which ships. If unset what the target prefers.
        max_drop: points of validation accuracy that lower precision may cost, or without labels
            percent of the images that it may name otherwise than FP32; operators stay in floating
            point until it holds. If unset 1 with auto, and otherwise no matter.
        max_trials: bundles of a format tried for that at most.
        tolerated_drop: points of test accuracy beyond which a bundle of lower precision is
            refused: it fails where all of the loss's 95 % interval is above.
        embed_preprocessing: what models do themselves of the preparation: none; normalise, for
            uint8 images, NHWC; resize, for uint8 pictures of any size too; true is normalise.
        teacher: also make an FP32 bundle of the teacher, to measure what was gained.
        scorer: of an ONNX graph that is no classifier: what says its worth, a function of Python,
            package.module:function; called with outputs by name and sample ids, it gives a score or
            several by name, the first of which max_drop is about, in hundredths.
    """

    targets: Names = ["local"]
    formats: list[str] | None = None
    precisions: list[str] | None = None
    max_drop: Annotated[float, Within(0, 100)] | None = None
    max_trials: Few = 12
    tolerated_drop: Annotated[float, Within(0, 100)] = 5.0
    embed_preprocessing: Literal["none", "normalise", "resize"] = "none"
    teacher: bool = True
    scorer: Annotated[str | None, Field(pattern=r"^[\w.]+:\w+$")] = None

    @field_validator("embed_preprocessing", mode="before")
    @classmethod
    def _yes_or_no(cls, value: object) -> object:
        if isinstance(value, bool):
            return "normalise" if value else "none"
        return value

    @property
    def limit(self) -> float | None:
        """Percentage points that the one that ships may lose; None where none is chosen."""
        if self.max_drop is None and self.precisions == [AUTO]:
            return AUTO_MAX_DROP
        return self.max_drop

    @property
    def tolerated(self) -> float:
        """Percentage points beyond which a bundle has failed: whoever allows more, tolerates it."""
        return max(self.tolerated_drop, self.limit or 0.0)

    @model_validator(mode="after")
    def _auto_stands_alone(self) -> Self:
        if AUTO in (self.precisions or []) and self.precisions != [AUTO]:
            raise ValueError(f'"{AUTO}" tries every precision; leave out the others')
        if self.limit is not None and len(self.targets) > 1:
            raise ValueError(
                f"what ships is chosen for one target, but got targets = {self.targets}; "
                "export for one at a time"
            )
        return self
