"""Weights as other programs write them."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import CorruptFileError, MissingFileError, WeightsMismatchError
from smskd.checkpoint import load_model
from smskd.foreign import NESTED_UNDER, PREFIXES, load_state, read_torch

Net = Callable[..., nn.Module]
Tensors = dict[str, Tensor]


def written(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def same(first: Tensors, second: Tensors) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("name", [*NESTED_UNDER, "some_name"])
def test_weights_are_found_beside_an_optimizers_state(tmp_path: Path, net: Net, name: str) -> None:
    model, other = net(seed=0), net(seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(4, 1, 8, 8)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 3, "arch": "toy", "optimizer": optimizer.state_dict(), "best": 0.5,
        name: model.state_dict(),
    }  # fmt: skip
    load_model(written(tmp_path / "net.pth", content), other)
    assert same(other.state_dict(), model.state_dict())


def test_of_several_the_documented_order_decides(tmp_path: Path) -> None:
    for place, name in enumerate(NESTED_UNDER):
        content = {
            other: {"weight": torch.tensor(float(i))} for i, other in enumerate(NESTED_UNDER)
        }
        for earlier in NESTED_UNDER[:place]:
            del content[earlier]
        shuffled = dict(reversed(content.items()))
        found = read_torch(written(tmp_path / "net.pth", shuffled))
        assert found["weight"] == place, name


def test_weights_are_found_two_levels_down(tmp_path: Path) -> None:
    content = {"model": {"epoch": 1, "state_dict": OrderedDict(weight=torch.ones(2))}}
    assert read_torch(written(tmp_path / "net.pth", content))["weight"].tolist() == [1, 1]


def test_an_optimizers_state_is_not_taken_for_weights(tmp_path: Path) -> None:
    content = {"optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}}, "epoch": 1}
    with pytest.raises(CorruptFileError, match="not a state dict"):
        read_torch(written(tmp_path / "net.pth", content))


def test_a_dictionary_that_holds_itself_ends_in_one_line(tmp_path: Path) -> None:
    content: dict[str, Any] = {"epoch": 1}
    content["model"] = content
    with pytest.raises(CorruptFileError, match="not a state dict"):
        read_torch(written(tmp_path / "net.pth", content))


@pytest.mark.parametrize("prefix", [*PREFIXES, "module._orig_mod.", "model.net.", "model.model."])
def test_what_wrappers_put_before_the_names_is_taken_away(
    tmp_path: Path, net: Net, prefix: str
) -> None:
    model, other = net(seed=0), net(seed=1)
    path = written(tmp_path / "net.pth", {"state_dict": prefixed(prefix, model.state_dict())})
    load_model(path, other)
    assert same(other.state_dict(), model.state_dict())


def test_the_weights_of_real_wrappers_are_taken(net: Net) -> None:
    model, other = net(seed=0), net(seed=1)
    load_state(other, torch.compile(nn.DataParallel(model)).state_dict(), "here")
    assert same(other.state_dict(), model.state_dict())


def test_a_prefix_that_is_part_of_the_names_stays(net: Net) -> None:
    class Holder(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

    held, other = Holder(net(seed=0)), Holder(net(seed=1))
    load_state(other, held.state_dict(), "here")
    assert same(other.state_dict(), held.state_dict())
    again = Holder(net(seed=2))
    load_state(again, prefixed("module.", held.state_dict()), "here")
    assert same(again.state_dict(), held.state_dict())


def test_missing_batch_norm_counters_stay_as_they_are(net: Net) -> None:
    model, other = net(seed=0), net(seed=1)
    other(torch.randn(4, 1, 8, 8))
    tensors = {n: t for n, t in model.state_dict().items() if "num_batches" not in n}
    load_state(other, prefixed("module.", tensors), "here")
    assert torch.equal(other.head.weight, model.head.weight)
    assert other.stem[1].num_batches_tracked == 1


def test_what_does_not_fit_is_told_in_groups_with_the_first_few_of_each(net: Net) -> None:
    model = net()
    tensors = prefixed("module.", model.state_dict())
    for name in ("stem.0.weight", "stem.0.bias", "body.0.weight", "body.0.bias"):
        del tensors[f"module.{name}"]
    tensors |= {f"module.extra{i}": torch.zeros(1) for i in range(5)}
    tensors["module.head.weight"] = torch.zeros(3, 9)
    with pytest.raises(WeightsMismatchError) as refused:
        load_state(model, tensors, "x.pth")
    assert str(refused.value) == (
        "x.pth: these weights do not fit ToyNet: head.weight is (3, 9) there, (3, 8) here; "
        "missing there: stem.0.weight, stem.0.bias, body.0.weight and 1 more; "
        "unknown here: extra0, extra1, extra2 and 2 more. "
        "Name the architecture and the number of classes they were trained for"
    )


def test_another_class_count_is_told_with_both(net: Net) -> None:
    with pytest.raises(WeightsMismatchError, match="know 10 classes, the ToyNet here has 3: head"):
        load_state(net(classes=3), net(classes=10).state_dict(), "x.pth")


def test_another_width_is_not_taken_for_another_class_count(net: Net) -> None:
    with pytest.raises(WeightsMismatchError, match="do not fit ToyNet: stem"):
        load_state(net(width=4), net(width=6).state_dict(), "x.pth")


def test_the_objects_in_a_checkpoint_are_named_and_what_to_do(tmp_path: Path, net: Net) -> None:
    content = {"args": argparse.Namespace(lr=0.1), "state_dict": net().state_dict()}
    with pytest.raises(CorruptFileError) as refused:
        read_torch(written(tmp_path / "net.pth", content))
    assert "holds argparse.Namespace" in str(refused.value)
    assert "save `model.state_dict()` alone" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_whole_pickled_network_is_refused_with_its_class(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"holds torch\.nn\.modules\.linear\.Linear"):
        read_torch(written(tmp_path / "net.pth", nn.Linear(2, 2)))


def test_a_torchscript_archive_is_refused_in_one_line(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "net.pt")
    with pytest.raises(CorruptFileError, match="not a torch checkpoint") as refused:
        read_torch(tmp_path / "net.pt")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"net\.pth: no such file"):
        read_torch(tmp_path / "net.pth")
