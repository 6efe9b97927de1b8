"""Taps: named places in a network where a feature is read. Any `nn.Module` can be tapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from foundation.errors import ModelMismatchError, unknown_name
from smskd.signals import PairShapes, Signals

MAX_TAPS = 4


class TappedModel:
    """A network together with the taps at which its features are read.

    Args:
        model: any network that maps images to logits of shape (N, classes).
        taps: names of submodules, as in `model.named_modules()`.

    Raises:
        UnknownNameError: when there is no submodule of that name.
    """

    def __init__(self, model: nn.Module, taps: Sequence[str]) -> None:
        modules = dict(model.named_modules())
        for tap in taps:
            if tap not in modules:
                raise unknown_name("tap", tap, [name for name in modules if name])
        self.model = model
        self.taps = tuple(taps)
        self._modules_of = [modules[tap] for tap in self.taps]

    def __call__(self, images: Tensor) -> Signals:
        """Run the network on images (N, C, H, W) and collect what it says.

        The hooks live for this one pass, so the network can be copied and saved in between as if
        nobody had tapped it. A submodule that runs several times in it gives its last output.

        Raises:
            ModelMismatchError: when a tap gives no feature map, or the network no logits.
        """
        outputs: list[Any] = [None] * len(self.taps)

        def keep(place: int, _module: nn.Module, _args: Any, output: Any) -> None:
            outputs[place] = output

        hooks = [
            module.register_forward_hook(partial(keep, place))
            for place, module in enumerate(self._modules_of)
        ]
        try:
            logits = self.model(images)
        finally:
            for hook in hooks:
                hook.remove()
        taps = zip(self.taps, outputs, strict=True)
        features = tuple(self._feature(tap, output) for tap, output in taps)
        return Signals(_logits(self.model, logits), features)

    def _feature(self, tap: str, output: Any) -> Tensor:
        who = f"tap {tap!r} of {type(self.model).__name__}"
        return _of_rank(4, output, who, "a feature map of shape (N, C, H, W)")


def find_taps(model: nn.Module, example: Tensor) -> list[str]:
    """Places that stand for the network's depth: the last feature map of each resolution.

    Args:
        model: the network.
        example: a batch of images, shape (N, C, H, W).

    Returns:
        Names of submodules, from input to output, at most `MAX_TAPS` (the deepest).
        Empty when the network has no feature maps of shape (N, C, H, W).
    """
    resolution_of: dict[str, tuple[int, ...]] = {}

    def note(name: str, _module: nn.Module, _args: Any, output: Any) -> None:
        # A submodule that runs several times stands where it runs last, as its tap will.
        resolution_of.pop(name, None)
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[-2:].numel() > 1:
            resolution_of[name] = tuple(output.shape[-2:])

    hooks = [
        module.register_forward_hook(partial(note, name))
        for name, module in model.named_modules()
        if name
    ]
    try:
        dry_pass(model, example)
    finally:
        for hook in hooks:
            hook.remove()
    last_of: dict[tuple[int, ...], str] = {}
    for name, resolution in resolution_of.items():
        last_of.pop(resolution, None)
        last_of[resolution] = name
    return list(last_of.values())[-MAX_TAPS:]


def match_taps(
    student: nn.Module, teacher: nn.Module, example: Tensor
) -> tuple[list[str], list[str]]:
    """Taps of student and teacher, found and paired by depth.

    Where one network has more taps than the other, its taps are thinned out evenly;
    the deepest ones are always a pair.
    """
    student_taps, teacher_taps = find_taps(student, example), find_taps(teacher, example)
    count = min(len(student_taps), len(teacher_taps))
    return _thin_out(student_taps, count), _thin_out(teacher_taps, count)


def pair_shapes(student: TappedModel, teacher: TappedModel, example: Tensor) -> PairShapes:
    """Shapes of all signals, from one dry pass.

    Raises:
        ModelMismatchError: when the two do not give logits for the same classes, or their taps
            are not as many.
    """
    if len(student.taps) != len(teacher.taps):
        raise ModelMismatchError(
            f"the student has taps {list(student.taps)}, the teacher {list(teacher.taps)}; "
            "features are compared pair by pair, so name as many for both"
        )
    said = {}
    for who, tapped in (("student", student), ("teacher", teacher)):
        with evaluating(tapped.model), torch.no_grad():
            said[who] = tapped(example)
    shapes = PairShapes(
        tuple(said["student"].logits.shape[1:]),
        tuple(said["teacher"].logits.shape[1:]),
        tuple(tuple(feature.shape[1:]) for feature in said["student"].features),
        tuple(tuple(feature.shape[1:]) for feature in said["teacher"].features),
    )
    if shapes.student_logits != shapes.teacher_logits:
        raise ModelMismatchError(
            f"the student's logits have shape {shapes.student_logits}, the teacher's "
            f"{shapes.teacher_logits}; both must know the same classes"
        )
    return shapes


def dry_pass(model: nn.Module, example: Tensor) -> Tensor:
    """One pass without gradients or change of batch-norm statistics; gives the logits.

    Raises:
        ModelMismatchError: when the network gives something else.
    """
    with evaluating(model), torch.no_grad():
        return _logits(model, model(example))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the time of the block; each submodule's own mode comes back after it."""
    with keeping_modes(model):
        model.eval()
        yield


@contextmanager
def keeping_modes(model: nn.Module) -> Iterator[None]:
    """Bring each submodule's mode, training or evaluation, back after the block."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _logits(model: nn.Module, output: Any) -> Tensor:
    return _of_rank(2, output, type(model).__name__, "logits of shape (N, classes)")


def _of_rank(rank: int, output: Any, who: str, what: str) -> Tensor:
    if isinstance(output, Tensor) and output.dim() == rank:
        return output
    got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    raise ModelMismatchError(f"{who} must give {what}, but gave {got}")


def _thin_out(taps: list[str], count: int) -> list[str]:
    if count == 0:
        return []
    step = len(taps) / count
    return [taps[round((place + 1) * step) - 1] for place in range(count)]
