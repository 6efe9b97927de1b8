"""Whatever a user's network does in training ends in one line that names it and the stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import ModelMismatchError, NoSpaceError
from smskd import Stage, distill
from smskd.blame import blamed
from smskd.distillation import train_alone
from smskd.evaluation import evaluate


class Misbehaving(nn.Module):
    """Sound in evaluation, and not in training."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Any:
        logits = self.head(self.body(images).mean((2, 3)))
        if not self.training:
            return logits
        if self.how == "raises":
            raise KeyError("a key of\nmine")
        if self.how == "gradients":
            exp = logits.exp()
            result = exp * 1
            exp.add_(1)  # needed for the gradient of exp
            return result
        return {"tuple": (logits, logits), "dict": {"logits": logits}, "none": None}[self.how]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raises", r"failed while training in stage kd, on images of shape \(8, 1, 8, 8\): "
         r"KeyError: 'a key of\\nmine' \(test_blame\.py line \d+\)"),
        ("gradients", r"failed while learning in stage kd \(gradients\): RuntimeError: one of the "
         "variables needed for gradient"),
        ("tuple", "but gave tuple of 2 in training mode; have its forward return the logits alone"),
        ("dict", "but gave dict with logits in training mode"),
        ("none", "but gave nothing in training mode"),
    ],
)  # fmt: skip
def test_a_network_that_fails_in_training_is_named(
    how: str, words: str, net: Any, data: Any, tmp_path: Path
) -> None:
    with pytest.raises(ModelMismatchError, match=f"^Misbehaving .*{words}") as refused:
        distill(net(width=8), Misbehaving(how), data, [Stage("kd", epochs=1)], tmp_path)
    assert "\n" not in str(refused.value)


def test_a_teacher_that_is_trained_is_named_too(data: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelMismatchError, match="Misbehaving failed while training in stage labe"):
        train_alone(Misbehaving("raises"), data, Stage(epochs=1), tmp_path)


def test_a_single_value_for_each_channel_is_told_in_our_words(data: Any, tmp_path: Path) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3)
    )  # one pixel is left
    with pytest.raises(ModelMismatchError, match="a batch of one image whose features are one pix"):
        train_alone(network, type(data)(9, 8), Stage(epochs=1), tmp_path)


def test_a_network_that_fails_on_some_images_is_named(data: Any) -> None:
    class Picky(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) < 8:
                raise ValueError("too few")
            return images.flatten(1)[:, :3]

    with pytest.raises(ModelMismatchError, match=r"Picky .*answering images of shape \(1, 1, 8, 8"):
        evaluate(Picky(), type(data)(9, 8))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        OSError(28, "No space left on device"),
        NoSpaceError("full"),
        KeyboardInterrupt(),
    ],
)
def test_what_is_no_fault_of_the_networks_passes_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, blamed(nn.Identity(), "running"):
        raise error
    assert raised.value is error
