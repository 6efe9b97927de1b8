"""Student and teacher side by side: what a method may know of them before it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foundation.errors import ModelMismatchError
from smskd.features.signals import Shapes
from smskd.features.tap_search import match_taps
from smskd.features.taps import TappedModel, evaluating, find_classifier

Taps = tuple[Sequence[str], Sequence[str]]


@dataclass(frozen=True)
class Pair:
    """Student and teacher with their taps, and the shapes of what they say.

    Attributes:
        student, teacher: the networks with their taps.
        student_shapes, teacher_shapes: found by one dry pass.
        samples: how many samples the training set has; None when nobody tells.
    """

    student: TappedModel
    teacher: TappedModel
    student_shapes: Shapes
    teacher_shapes: Shapes
    samples: int | None = None

    @property
    def feature_shapes(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """(C, H, W) of the student's and of the teacher's feature, tap by tap."""
        return list(zip(self.student_shapes.features, self.teacher_shapes.features, strict=True))


def make_pair(
    student: nn.Module,
    teacher: nn.Module,
    example: Tensor,
    *,
    teacher_example: Tensor | None = None,
    taps: Taps | None = None,
    samples: int | None = None,
) -> Pair:
    """Tap both networks and look at what they say.

    Args:
        student, teacher: map images to logits (N, classes).
        example: a batch of the student's images.
        teacher_example: the teacher's, where it takes another size.
        taps: names of the student's and the teacher's taps; found if not given.
        samples: how many samples the training set has.

    Raises:
        ModelMismatchError: when the two do not give logits for the same classes, or their taps
            are not as many.
        UnknownNameError: when a network has no such tap.
    """
    teacher_images = example if teacher_example is None else teacher_example
    student_taps, teacher_taps = taps or match_taps(student, teacher, example, teacher_images)
    if len(student_taps) != len(teacher_taps):
        raise ModelMismatchError(
            f"the student has taps {list(student_taps)}, the teacher {list(teacher_taps)}; "
            "features are compared pair by pair, so name as many for both"
        )
    tapped_student = TappedModel(student, student_taps, find_classifier(student, example))
    tapped_teacher = TappedModel(teacher, teacher_taps, find_classifier(teacher, teacher_images))
    student_shapes = _shapes(tapped_student, example)
    teacher_shapes = _shapes(tapped_teacher, teacher_images)
    if student_shapes.logits != teacher_shapes.logits:
        raise ModelMismatchError(
            f"the student's logits have shape {student_shapes.logits}, the teacher's "
            f"{teacher_shapes.logits}; both must know the same classes"
        )
    return Pair(tapped_student, tapped_teacher, student_shapes, teacher_shapes, samples)


def _shapes(tapped: TappedModel, example: Tensor) -> Shapes:
    with evaluating(tapped.model), torch.no_grad():
        return Shapes.of(tapped(example))
