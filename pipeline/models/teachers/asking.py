"""What all teachers that are asked have in common: they take a network's place."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

from foundation.bundle import Preprocessing
from foundation.errors import ModelMismatchError

_SMALLEST = 1e-12
# Probabilities that were rounded, to eight bits or to two digits, sum to nearly 1.
_ROUNDED = 0.02


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
