"""Teachers that are no networks of torch: they are asked, and nothing in them learns.

One kind a file. A recipe names a teacher as "kind:argument"; an ONNX file needs no kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from foundation.bundle import Preprocessing
from foundation.registry import Registry
from pipeline.models.preparation import GRAPH_SUFFIX, Preparation

if TYPE_CHECKING:
    from pipeline.models.teachers.asking import AskedTeacher


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


class TeacherKind(ABC):
    """A kind of teacher that is asked; stateless.

    Attributes:
        by_number: whether it is shown an image's number in what is stored, and not the image.
        exported: name of the file in its folder that a bundle of it is made of; None where none
            can be.
    """

    exported: ClassVar[str | None] = None
    by_number: ClassVar[bool] = False

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

    def class_count(self, argument: str) -> int | None:
        """How many classes it answers, where that shows before it is asked."""
        del argument
        return None


TEACHERS: Registry[TeacherKind] = Registry("kind of teacher", "pipeline.models.teachers")


GRAPH, STORED = "onnx", "stored"
KINDS_OF_FILES = {GRAPH_SUFFIX: GRAPH, ".npz": STORED, ".safetensors": STORED, ".csv": STORED}
"""The kinds that files are of, which their names tell."""


class NamedTeacher(NamedTuple):
    """A teacher's kind, and what stands behind it in the recipe."""

    kind: TeacherKind
    argument: str


def asked_teacher(model: str) -> NamedTeacher | None:
    """The kind of a teacher that is asked; None of a network of torch.

    Args:
        model: as a recipe names it: an ONNX file, stored logits, or "kind:argument".
    """
    kind, colon, argument = model.partition(":")
    named = colon and kind not in KINDS_OF_FILES.values() and kind in TEACHERS.names()
    of_file = KINDS_OF_FILES.get(Path(model).suffix.lower())
    if of_file is not None and not named:
        return NamedTeacher(TEACHERS.get(of_file), model)
    return NamedTeacher(TEACHERS.get(kind), argument) if named else None
