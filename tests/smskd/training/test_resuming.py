"""Where a stage stood, as one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import CorruptFileError, WeightsMismatchError
from smskd.checkpoints.files import load_tensors, save_tensors
from smskd.training.resuming import ResumeState, load_resume, save_resume

Net = Callable[..., nn.Module]

STATE = ResumeState(3, [{"epoch": 1, "val_top1": None}, {"epoch": 2, "lr": 0.1}, {"epoch": 3}])


def stepped(model: nn.Module, kind: str, steps: int = 2) -> torch.optim.Optimizer:
    """An optimizer that has moved a network a little."""
    optimizer = (
        torch.optim.AdamW(model.parameters(), lr=0.01)
        if kind == "adamw"
        else torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    )
    numbers = torch.Generator().manual_seed(0)
    model.eval()
    for _ in range(steps):
        optimizer.zero_grad()
        images = torch.randn(4, 1, 8, 8, generator=numbers)
        model(images).square().sum().backward()
        optimizer.step()
    optimizer.zero_grad()
    return optimizer


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_what_is_taken_up_goes_on_as_if_it_had_not_been_put_down(
    net: Net, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "resume.safetensors"
    whole, resumed = net(), net(seed=5)
    optimizer = stepped(whole, kind)
    save_resume(path, whole, optimizer, STATE, fingerprint="abc")
    other = stepped(resumed, kind, steps=0)
    assert load_resume(path, resumed, other, "abc") == STATE
    assert same(state(resumed), state(whole))
    for model, one in ((whole, optimizer), (resumed, other)):
        model(torch.ones(2, 1, 8, 8)).square().sum().backward()
        one.step()
        model.zero_grad()
    assert same(state(resumed), state(whole))


def test_a_step_that_the_optimizer_has_not_begun_is_taken_up_too(net: Net, tmp_path: Path) -> None:
    path, model = tmp_path / "resume.safetensors", net()
    save_resume(path, model, stepped(model, "sgd", steps=0), STATE, fingerprint="abc")
    optimizer = stepped(net(), "sgd", steps=0)
    assert load_resume(path, net(seed=5), optimizer, "abc") == STATE
    assert not optimizer.state_dict()["state"]


def test_the_rate_is_the_new_optimizers_own(net: Net, tmp_path: Path) -> None:
    """It follows from the position alone."""
    path, model = tmp_path / "resume.safetensors", net()
    save_resume(path, model, stepped(model, "sgd"), STATE, fingerprint="abc")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.7, momentum=0.9)
    load_resume(path, model, optimizer, "abc")
    assert optimizer.param_groups[0]["lr"] == 0.7


def test_nothing_there_is_nothing_to_go_on_from(net: Net, tmp_path: Path) -> None:
    model = net()
    optimizer = stepped(model, "sgd", steps=0)
    assert load_resume(tmp_path / "resume.safetensors", model, optimizer, "abc") is None


def test_the_state_of_other_settings_is_passed_over(net: Net, tmp_path: Path) -> None:
    path, model, other = tmp_path / "resume.safetensors", net(), net(seed=5)
    save_resume(path, model, stepped(model, "sgd"), STATE, fingerprint="abc")
    before = state(other)
    assert load_resume(path, other, stepped(other, "sgd", steps=0), "abd") is None
    assert same(state(other), before)


@pytest.mark.parametrize("change", [{"width": 5}, {"classes": 4}])
def test_the_state_of_another_network_is_told_in_one_line(
    net: Net, tmp_path: Path, change: dict[str, int]
) -> None:
    path, model, other = tmp_path / "resume.safetensors", net(), net(**change)
    save_resume(path, model, stepped(model, "sgd"), STATE, fingerprint="abc")
    with pytest.raises(WeightsMismatchError, match=r"size mismatch for .*delete this") as caught:
        load_resume(path, other, stepped(other, "sgd", steps=0), "abc")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_state_is_told(net: Net, tmp_path: Path) -> None:
    path, model = tmp_path / "resume.safetensors", net()
    save_resume(path, model, stepped(model, "sgd"), STATE, fingerprint="abc")
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"resume\.safetensors: checksum differs"):
        load_resume(path, model, stepped(model, "sgd", steps=0), "abc")


def renamed(tensors: dict[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {name.replace(old, new): tensor for name, tensor in tensors.items()}


REFUSED: dict[str, Any] = {
    "a weight of another shape": lambda t, f: (t | {"step.head.bias": torch.zeros(7)}, f),
    "a weight less": lambda t, f: ({n: v for n, v in t.items() if n != "step.head.bias"}, f),
    "a weight more": lambda t, f: (t | {"step.tail.bias": torch.zeros(3)}, f),
    "a moment of another shape": lambda t, f: (
        t | {"optimizer.0.momentum_buffer": torch.zeros(7)}, f,
    ),
    "a moment of no parameter": lambda t, f: (renamed(t, "optimizer.1.", "optimizer.99."), f),
    "a moment without a number": lambda t, f: (renamed(t, "optimizer.1.", "optimizer.one."), f),
    "no epoch": lambda t, f: (t, {n: v for n, v in f.items() if n != "epoch"}),
    "another scaler": lambda t, f: (t, f | {"scaler": {"scale": 2.0}}),
}  # fmt: skip


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED.keys())
def test_state_that_is_refused_leaves_everything_as_it_was(
    net: Net, tmp_path: Path, change: Callable[..., Any]
) -> None:
    path, model = tmp_path / "resume.safetensors", net()
    save_resume(path, model, stepped(model, "sgd"), STATE, fingerprint="abc")
    tensors, facts = change(*load_tensors(path))
    save_tensors(path, tensors, **facts)
    other, scaler = net(seed=5), scaler_of(512.0)
    optimizer = stepped(other, "sgd")
    weights, scales = state(other), scaler.state_dict()
    moments = {
        index: values["momentum_buffer"].clone()
        for index, values in optimizer.state_dict()["state"].items()
    }
    with pytest.raises((WeightsMismatchError, CorruptFileError), match="delete") as caught:
        load_resume(path, other, optimizer, "abc", scaler)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert same(state(other), weights)
    assert scaler.state_dict() == scales
    found = optimizer.state_dict()["state"]
    assert found.keys() == moments.keys()
    assert all(torch.equal(found[n]["momentum_buffer"], moments[n]) for n in moments)


def scaler_of(scale: float) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=7)


def test_the_gradient_scaler_is_taken_up(net: Net, tmp_path: Path) -> None:
    path, model = tmp_path / "resume.safetensors", net()
    scaler, other = scaler_of(128.0), scaler_of(65536.0)
    optimizer = stepped(model, "sgd")
    scaler.scale(model(torch.ones(2, 1, 8, 8)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    save_resume(path, model, optimizer, STATE, fingerprint="abc", scaler=scaler)
    assert load_resume(path, model, optimizer, "abc", other) == STATE
    assert other.state_dict() == scaler.state_dict()
    assert other.state_dict()["_growth_tracker"] == 1


@pytest.mark.parametrize("saved", [True, False])
def test_a_state_with_or_without_scaler_serves_a_stage_without_or_with_one(
    net: Net, tmp_path: Path, saved: bool
) -> None:
    path, model = tmp_path / "resume.safetensors", net()
    settings: dict[str, Any] = {"scaler": scaler_of(128.0)} if saved else {}
    save_resume(path, model, stepped(model, "sgd"), STATE, fingerprint="abc", **settings)
    other = None if saved else scaler_of(512.0)
    assert load_resume(path, model, stepped(model, "sgd"), "abc", other) == STATE
    assert other is None or other.get_scale() == 512.0
