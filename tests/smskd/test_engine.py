from __future__ import annotations

import torch
from torch import nn

from smskd.engine import Engine, derive_seed

CPU = torch.device("cpu")


def test_a_seed_depends_on_every_part_and_on_nothing_else() -> None:
    seeds = [derive_seed(0, 1, 2), derive_seed(0, 2, 1), derive_seed(1, 1, 2), derive_seed(0, "1")]
    assert len(set(seeds)) == len(seeds)
    assert derive_seed(0, 1, 2) == seeds[0]
    assert derive_seed(0, 1, 2) == 8_462_395_873_746_552_714


def test_a_seed_is_one_that_torch_takes() -> None:
    for part in range(100):
        assert 0 <= derive_seed(part) < 2**63


def test_convolutions_and_images_are_kept_channels_last() -> None:
    engine = Engine(accelerator="cpu")
    model = engine.place(nn.Conv2d(2, 3, 3), CPU)
    images = engine.place_images(torch.randn(2, 3, 4, 4), CPU)
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_the_layout_can_be_left_alone() -> None:
    images = torch.randn(2, 3, 4, 4)
    engine = Engine(accelerator="cpu", channels_last=False)
    assert engine.place_images(images, CPU).is_contiguous()


def test_inputs_that_are_no_images_have_no_layout() -> None:
    inputs = torch.randn(2, 5)
    assert torch.equal(Engine(accelerator="cpu").place_images(inputs, CPU), inputs)


def test_batches_lie_in_pinned_memory_where_a_gpu_takes_them(monkeypatch) -> None:
    for present in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda present=present: present)
        assert Engine(accelerator="auto").takes_pinned is present
        assert Engine(accelerator="cuda").takes_pinned is present
        assert not Engine(accelerator="cpu").takes_pinned
