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
        nobody had tapped it.
        """
        features: list[Tensor] = [images] * len(self.taps)

        def keep(place: int, _module: nn.Module, _args: Any, output: Tensor) -> None:
            features[place] = output

        hooks = [
            module.register_forward_hook(partial(keep, place))
            for place, module in enumerate(self._modules_of)
        ]
        try:
            logits = self.model(images)
        finally:
            for hook in hooks:
                hook.remove()
        return Signals(logits, tuple(features))


def find_taps(model: nn.Module, example: Tensor) -> list[str]:
    """Places that stand for the network's depth: the last feature map of each resolution.

    Args:
        model: the network.
        example: a batch of images, shape (N, C, H, W).

    Returns:
        Names of submodules, from input to output, at most `MAX_TAPS` (the deepest).
        Empty when the network has no feature maps of shape (N, C, H, W).
    """
    last_of: dict[tuple[int, ...], str] = {}

    def note(name: str, _module: nn.Module, _args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[-2:].numel() > 1:
            resolution = tuple(output.shape[-2:])
            last_of.pop(resolution, None)
            last_of[resolution] = name

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
        ModelMismatchError: when the two do not give logits for the same classes.
    """
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
    """One pass without gradients or change of batch-norm statistics; gives the logits."""
    with evaluating(model), torch.no_grad():
        logits = model(example)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelMismatchError(
            f"{type(model).__name__} must give logits of shape (N, classes), but gave {got}"
        )
    return logits


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the time of the block; each submodule's own mode comes back after it."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _thin_out(taps: list[str], count: int) -> list[str]:
    if count == 0:
        return []
    step = len(taps) / count
    return [taps[round((place + 1) * step) - 1] for place in range(count)]
