"""An ONNX file as teacher: asked through ONNX Runtime, its inner tensors there to be tapped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from foundation.bundle import Preprocessing
from foundation.errors import MissingFileError, ModelMismatchError
from foundation.files import user_path
from pipeline.models.preparation import Preparation, preparation_of_graph
from pipeline.models.teachers import GRAPH, TEACHERS, TeacherKind, TeacherRequest
from pipeline.models.teachers.asking import AskedTeacher
from smskd.features.taps import BEFORE

_FILE = "teacher.onnx"


class GraphTeacher(AskedTeacher):
    """An ONNX classifier.

    A submodule stands for each tensor that can be tapped, under its name: the last feature map of
    every resolution, and those that are asked for. What nobody listens to is not fetched.

    Args:
        path: the file.
        preprocessing: of the images that it takes.
        taps: further tensors that can be tapped.

    Raises:
        MissingFileError, CorruptFileError: when the file cannot be read.
        ExportError: when it is no classifier of such images.
        UnknownNameError: when it computes no tensor of such a name.
    """

    def __init__(self, path: Path, preprocessing: Preprocessing, taps: Sequence[str] = ()) -> None:
        from export.graphs.asking import AskedGraph  # noqa: PLC0415 - onnx

        super().__init__(path.name, path.read_bytes())
        self._graph = AskedGraph(path, preprocessing, torch.get_num_threads())
        named = [tap.removesuffix(BEFORE) for tap in taps]
        self._graph.check_tensors(named)
        names = dict.fromkeys([*self._graph.maps, *named])
        self._places = {name: _placed(self, name) for name in names}

    @property
    def activation(self) -> str | None:
        """The softmax or sigmoid at its end, in front of which its logits are taken."""
        return self._graph.activation

    def answer(self, images: Tensor) -> Tensor:
        heard = [name for name, place in self._places.items() if _is_heard(place)]
        arrays = self._graph(images.detach().float().cpu().contiguous().numpy(), heard)
        logits, *features = (torch.from_numpy(array).to(images.device) for array in arrays)
        for name, feature in zip(heard, features, strict=True):
            self._places[name](feature)
        return logits


def _placed(root: nn.Module, name: str) -> nn.Module:
    """A submodule under a tensor's name, in which a point is a level, as in all names of torch."""
    module = root
    for part in name.split("."):
        if part not in dict(module.named_children()):
            try:
                module.add_module(part, nn.Identity())
            except KeyError as error:
                raise ModelMismatchError(
                    f"tensor {name!r} cannot be tapped under that name; rename it in the file"
                ) from error
        module = module.get_submodule(part)
    return module


def _is_heard(place: nn.Module) -> bool:
    return bool(place._forward_hooks or place._forward_pre_hooks)


class GraphKind(TeacherKind):
    """An ONNX file."""

    exported = _FILE

    def check(self, argument: str, where: str) -> None:
        if not user_path(argument).is_file():
            raise MissingFileError(f"{where}: {argument}: no such file; check the path")

    def open(self, request: TeacherRequest) -> GraphTeacher:
        return GraphTeacher(request.folder / _FILE, request.preprocessing, request.taps)

    def adopt(self, request: TeacherRequest, say: Callable[[str], None]) -> GraphTeacher:
        """Try a copy out in a process of its own, then open that."""
        from export.graphs.adopting import adopt_onnx  # noqa: PLC0415 - onnx

        source = user_path(request.argument)
        request.folder.mkdir(parents=True, exist_ok=True)
        adopted = adopt_onnx(source, request.preprocessing, request.folder / _FILE)
        for line in adopted.remarks:
            say(line)
        teacher = self.open(request)
        teacher.name, teacher.parameters_known = source.name, adopted.parameters
        if teacher.activation is not None:
            say(f"{source.name}: its logits are taken before the {teacher.activation} at its end")
        return teacher

    def preparation(self, argument: str) -> Preparation | None:
        """What the file notes, as ours do; or else what its input tells."""
        from export.graphs.inputs import image_input_of  # noqa: PLC0415 - onnx

        path = user_path(argument)
        noted, image = preparation_of_graph(path), image_input_of(path)
        if noted is not None or image is None:
            return noted
        known = Preparation(
            size=(image.height, image.width) if image.height and image.width else None,
            channels=image.channels if image.channels in {1, 3} else None,
        )
        if image.takes_pixels and image.channels:
            count = image.channels
            known = replace(known, mean=(0.0,) * count, std=(1 / 255,) * count)
        return known

    def classes(self, argument: str) -> tuple[str, ...] | None:
        from export.graphs.recorded_classes import recorded_classes  # noqa: PLC0415 - onnx

        return recorded_classes(user_path(argument))

    def class_count(self, argument: str) -> int | None:
        from export.graphs.recorded_classes import logit_count_of  # noqa: PLC0415 - onnx

        return logit_count_of(user_path(argument))


TEACHERS.register(GRAPH)(GraphKind())
