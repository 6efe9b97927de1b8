"""function:package.module:name as teacher: a Python function that answers batches of pictures.

It is called with uint8 pixels (N, H, W, C), red, green and blue from 0 to 255, and gives a number a
class for each, (N, classes): logits or probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foundation.bundle import Preprocessing
from foundation.errors import ModelMismatchError
from pipeline.models import find_factory
from pipeline.models.teachers import TEACHERS, TeacherKind, TeacherRequest
from pipeline.models.teachers.asking import AskedTeacher, pixels_of
from pipeline.recipe.code import code_identity

Function = Callable[..., Any]


class FunctionTeacher(AskedTeacher):
    """A function that answers pictures.

    Args:
        name: "package.module:name".
        function: it.
        preprocessing: by which the pictures are normalised that it is to see unnormalised.
    """

    def __init__(self, name: str, function: Function, preprocessing: Preprocessing) -> None:
        super().__init__(name, f"{name} {code_identity(name)}".encode())
        self._function, self._preprocessing = function, preprocessing

    def answer(self, images: Tensor) -> Tensor:
        pixels = pixels_of(images, self._preprocessing).cpu().numpy()
        try:
            answers = self._function(pixels)
            array = np.ascontiguousarray(_as_array(answers), dtype=np.float32)
        except (Exception, SystemExit) as error:  # a user's function may fail in any way
            words = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise ModelMismatchError(
                f"{self.name} failed when asked about pixels of shape {pixels.shape}: {words}"
            ) from error
        return torch.from_numpy(array).to(images.device)


def _as_array(answers: Any) -> Any:
    return answers.detach().cpu().numpy() if isinstance(answers, Tensor) else answers


class FunctionKind(TeacherKind):
    """A function of the user's."""

    def check(self, argument: str, where: str) -> None:
        if ":" not in argument:
            raise ModelMismatchError(
                f"{where}: {argument!r} names no function; write function:package.module:name"
            )
        find_factory(argument, where)

    def open(self, request: TeacherRequest) -> FunctionTeacher:
        function = find_factory(request.argument)
        return FunctionTeacher(request.argument, function, request.preprocessing)

    def code(self, argument: str) -> str | None:
        return argument


TEACHERS.register("function")(FunctionKind())
