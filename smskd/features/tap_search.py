"""Finding taps: places that stand for a network's depth, in any architecture."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor, nn

from smskd.features.maps import as_map
from smskd.features.taps import MAX_TAPS, dry_pass

Size = tuple[int, ...]


def find_taps(model: nn.Module, example: Tensor) -> list[str]:
    """Places that stand for the network's depth.

    Where the resolution falls on the way, as in most convolutional networks, the last feature map
    of each resolution. Where it does not, as in most transformers, the last block of each quarter
    of the depth.

    Args:
        model: the network.
        example: a batch of images, shape (N, C, H, W).

    Returns:
        Names of submodules, from input to output, at most `MAX_TAPS` (the deepest).
        Empty when no submodule but the whole network gives a feature for each image.
    """
    size_of = _sizes(model, example)
    maps = {name: size for name, size in size_of.items() if size[0] * size[1] > 1}
    if len(set(maps.values())) > 1:
        return _last_of_each(maps)[-MAX_TAPS:]
    return _last_of_each_quarter(model, list(maps or size_of))


def match_taps(
    student: nn.Module, teacher: nn.Module, example: Tensor, teacher_example: Tensor | None = None
) -> tuple[list[str], list[str]]:
    """Taps of student and teacher, found and paired by depth.

    Where one network has more taps than the other, its taps are thinned out evenly;
    the deepest ones are always a pair.

    Args:
        student, teacher: the networks.
        example: a batch of the student's images.
        teacher_example: the teacher's, where it takes another size.
    """
    teacher_images = example if teacher_example is None else teacher_example
    student_taps, teacher_taps = find_taps(student, example), find_taps(teacher, teacher_images)
    count = min(len(student_taps), len(teacher_taps))
    return _thin_out(student_taps, count), _thin_out(teacher_taps, count)


def _sizes(model: nn.Module, example: Tensor) -> dict[str, Size]:
    """Height and width of what each submodule gives, in the order in which they run last."""
    sizes: dict[str, Size] = {}
    outputs: dict[str, Tensor] = {}

    def note(name: str, _module: nn.Module, _args: Any, output: Any) -> None:
        # A submodule that runs several times stands where it runs last, as its tap will.
        sizes.pop(name, None)
        feature = as_map(output) if isinstance(output, Tensor) else None
        if feature is not None and len(feature) == len(example):
            sizes[name] = tuple(feature.shape[2:])
            outputs[name] = output

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if name:
                hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        logits = dry_pass(model, example)
    return {
        name: size for name, size in sizes.items() if outputs[name].data_ptr() != logits.data_ptr()
    }


def _last_of_each(maps: dict[str, Size]) -> list[str]:
    """The last name of each size; of whole groups of layers rather than of what is inside them."""
    depths: dict[Size, int] = {}
    for name, size in maps.items():
        depths[size] = min(depths.get(size, name.count(".")), name.count("."))
    last: dict[Size, str] = {}
    for name, size in maps.items():
        if name.count(".") == depths[size]:
            last.pop(size, None)
            last[size] = name
    return list(last.values())


def _last_of_each_quarter(model: nn.Module, names: list[str]) -> list[str]:
    """Of the blocks of the longest stack, or else of all submodules without children."""
    stacks: dict[str, list[str]] = {}
    for name in names:
        stacks.setdefault(name.rpartition(".")[0], []).append(name)
    modules = dict(model.named_modules())
    counted = {
        parent: blocks
        for parent, blocks in stacks.items()
        if isinstance(modules[parent], nn.Sequential | nn.ModuleList) and len(blocks) > 1
    }
    if counted:
        depth = {parent: parent.count(".") for parent in counted}
        blocks = min(counted.items(), key=lambda item: (-len(item[1]), depth[item[0]]))[1]
    else:
        blocks = [name for name in names if not any(modules[name].children())] or names
    return _thin_out(blocks, min(MAX_TAPS, len(blocks)))


def _thin_out(taps: Sequence[str], count: int) -> list[str]:
    if count == 0:
        return []
    step = len(taps) / count
    return [taps[round((place + 1) * step) - 1] for place in range(count)]
