"""Teachers that are no networks of torch: they are asked, and nothing in them learns.

One kind a file. A recipe names a teacher as "kind:argument"; an ONNX file needs no kind.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from foundation.bundle import Preprocessing
from foundation.errors import ModelMismatchError
from foundation.registry import Registry
from pipeline.models.preparation import GRAPH_SUFFIX, Preparation

_SMALLEST = 1e-12
# Probabilities that were rounded, to eight bits or to two digits, sum to nearly 1.
_ROUNDED = 0.02


@dataclass(frozen=True)
class TeacherRequest:
    """A teacher that is asked for.

    Attributes:
        argument: what stands behind its kind in the recipe.
        preprocessing: of the images that it is shown.
        taps: features of it that the recipe names.
        folder: a run's, for what must outlast the user's own files.
    """

    argument: str
    preprocessing: Preprocessing
    taps: Sequence[str]
    folder: Path


class AskedTeacher(nn.Module):
    """A teacher without weights: it takes a network's place wherever one only answers.

    Its state is what its answers are known by, so that whoever compares weights compares these.

    Attributes:
        name: what it is called in messages and reports.
        parameters_known: how many numbers it has learned; None where it does not tell.
        gives_probabilities: whether it answers with probabilities; their logarithms are taken as
            logits, which they are but for a number that all classes share.

    Args:
        name: as the attribute.
        identity: whatever decides its answers, in words or bytes.
    """

    digest: Tensor

    def __init__(self, name: str, identity: bytes) -> None:
        super().__init__()
        self.name = name
        self.parameters_known: int | None = None
        self.gives_probabilities = False
        digest = bytearray(hashlib.sha256(identity).digest())
        self.register_buffer("digest", torch.frombuffer(digest, dtype=torch.uint8).clone())

    def __deepcopy__(self, _memo: object) -> Self:
        # Nothing in it learns, and what it talks with cannot be had twice.
        return self

    @abstractmethod
    def answer(self, images: Tensor) -> Tensor:
        """What it says, shape (N, classes), of images (N, C, H, W) that are prepared for it."""

    def forward(self, images: Tensor) -> Tensor:
        """Its logits (N, classes).

        Raises:
            ModelMismatchError: when it does not answer a row of numbers an image.
        """
        answers = self.answer(images)
        if answers.dim() != 2 or len(answers) != len(images):
            raise ModelMismatchError(
                f"{self.name} answered {len(images)} images with numbers of shape "
                f"{tuple(answers.shape)}; it must give one row an image, and in it one number a "
                "class"
            )
        return answers.clamp_min(_SMALLEST).log() if self.gives_probabilities else answers


class TeacherKind(ABC):
    """A kind of teacher that is asked; stateless.

    Attributes:
        exported: name of the file in its folder that a bundle of it is made of; None where none
            can be.
    """

    exported: ClassVar[str | None] = None

    @abstractmethod
    def check(self, argument: str, where: str) -> None:
        """Make sure that there is such a teacher, before any work is begun.

        Args:
            argument: what stands behind the kind.
            where: its place in the recipe, for messages.

        Raises:
            CompressError: when there is not.
        """

    @abstractmethod
    def open(self, request: TeacherRequest) -> AskedTeacher:
        """The teacher, to be asked.

        Raises:
            CompressError: when it cannot be.
        """

    def adopt(self, request: TeacherRequest, say: Callable[[str], None]) -> AskedTeacher:
        """The teacher, seen for the first time: what must outlast the user's files is kept.

        Args:
            request: the teacher.
            say: told what its user may not expect.
        """
        del say
        return self.open(request)

    def code(self, argument: str) -> str | None:
        """The code that is run, in words, where that is somebody's own; None where none is."""
        del argument
        return None

    def preparation(self, argument: str) -> Preparation | None:
        """What is known of the preparation of its images."""
        del argument
        return None

    def classes(self, argument: str) -> tuple[str, ...] | None:
        """Its classes in the order of its answers, where it tells."""
        del argument
        return None


TEACHERS: Registry[TeacherKind] = Registry("kind of teacher", "pipeline.models.teachers")


class Asked(NamedTuple):
    """A teacher's kind, and what stands behind it in the recipe."""

    kind: TeacherKind
    argument: str


def asked_teacher(model: str) -> Asked | None:
    """The kind of a teacher that is asked; None of a network of torch.

    Args:
        model: as a recipe names it: an ONNX file, or "kind:argument".
    """
    if Path(model).suffix.lower() == GRAPH_SUFFIX:
        return Asked(TEACHERS.get(GRAPH), model)
    kind, colon, argument = model.partition(":")
    known = colon and kind != GRAPH and kind in TEACHERS.names()
    return Asked(TEACHERS.get(kind), argument) if known else None


GRAPH = "onnx"
"""The kind that ONNX files are of, which their names tell."""


def notice_probabilities(teacher: AskedTeacher, images: Tensor) -> str | None:
    """Find out whether a teacher answers with probabilities, and say so.

    Args:
        teacher: told what was found.
        images: a few.
    """
    if not are_probabilities(teacher.answer(images)):
        return None
    teacher.gives_probabilities = True
    return (
        f"{teacher.name} answers with probabilities, which sum to 1: their logarithms are taken as "
        "its logits"
    )


def are_probabilities(answers: Tensor) -> bool:
    """Whether all rows of numbers, shape (N, classes), are probabilities of the classes."""
    sums = answers.double().sum(1)
    return bool(len(answers) and (answers >= 0).all() and ((sums - 1).abs() <= _ROUNDED).all())


def pixels_of(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The pixels that normalised images (N, C, H, W) were made from: uint8, shape (N, H, W, C)."""
    shape = (1, -1, 1, 1)
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=images.device).view(shape)
        for values in (preprocessing.mean, preprocessing.std)
    )
    pixels = (images.float() * std + mean).mul(255).round().clamp(0, 255)
    return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
