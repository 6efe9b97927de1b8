"""A stage that trains with 8-bit numbers, and the networks that it makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundation.errors import CorruptFileError, ModelMismatchError, WeightsMismatchError
from foundation.files import read_json
from smskd import Engine, Listener, MethodSpec, Stage, distill, evaluate, train_alone
from smskd.checkpoints.files import load_model, load_tensors
from smskd.quantization.fake_quantization import FakeQuantize
from smskd.quantization.quantizing import fake_quantized, put_back, quantized_with, ranges_in
from smskd.training.stage_files import RANGES, WEIGHTS

Net = Callable[..., nn.Module]

CPU = Engine(accelerator="cpu")
KD = Stage("kd", epochs=3, lr=0.05)
QUANT = Stage("kd", epochs=3, lr=0.01, quantize="int8")


class Residual(nn.Module):
    """A sum in place, a ReLU6 in place, a pool and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.deep = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.BatchNorm2d(4))
        self.clip = nn.ReLU6(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.clip(self.stem(images))
        y = self.deep(x)
        y += x
        return self.head(F.max_pool2d(y.relu(), 2).mean((2, 3)))


def trained(model: nn.Module, data: Any) -> nn.Module:
    """With batch-norm statistics of the data."""
    with torch.no_grad():
        for images, _ in data:
            model(images)
    return model.eval()


def ranged(model: nn.Module, data: Any) -> Any:
    """Fake-quantised, with ranges of the data."""
    quantized = fake_quantized(model, data.images).train()
    with torch.no_grad():
        quantized(data.images)
    return quantized.eval()


class StoppedError(Exception):
    """Training is stopped from outside."""


class StopIn(Listener):
    """Stops in the second batch of an epoch of the stage that quantises."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.now = epoch, 0

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        self.now = done + 1 if name.endswith("int8") else -9

    def epoch_done(self, record: dict[str, Any]) -> None:
        self.now += 1

    def batch_done(self, batch: int, batches: int | None) -> None:
        if (self.now, batch) == (self.epoch, 2):
            raise StoppedError


def test_a_quantised_network_says_nearly_what_the_network_says(net: Net, data: Any) -> None:
    model = trained(net(width=8), data)
    exact, rounded = model(data.images), ranged(model, data)(data.images)
    error = (exact - rounded).abs().max() / exact.abs().max()
    assert 0 < error < 0.05


def test_it_takes_any_batch_size(net: Net, data: Any) -> None:
    quantized = ranged(trained(net(), data), data)
    alone = torch.cat([quantized(data.images[at : at + 1]) for at in range(5)])
    torch.testing.assert_close(alone, quantized(data.images[:5]))


def test_it_shares_its_weights_with_the_network(net: Net, data: Any) -> None:
    model = trained(net(), data)
    quantized = fake_quantized(model, data.images)
    own = dict(model.named_parameters())
    held = dict(quantized.named_parameters())
    assert held.keys() == own.keys()
    assert all(held[name] is own[name] for name in own)


def test_every_parameter_gets_a_gradient(data: Any) -> None:
    model = trained(Residual(), data)
    quantized = fake_quantized(model, data.images).train()
    F.cross_entropy(quantized(data.images), data.labels).backward()
    assert all(one.grad is not None and one.grad.any() for one in model.parameters())


def test_tensors_are_rounded_where_integer_kernels_read_and_write_them(data: Any) -> None:
    quantized = fake_quantized(trained(Residual(), data), data.images)
    modules = dict(quantized.named_modules())
    rounded = [
        node.args[0].name
        for node in quantized.graph.nodes
        if node.op == "call_module" and isinstance(modules[node.target], FakeQuantize)
    ]
    # The images, both clipped outputs, the bare convolution, and what the head reads.
    assert rounded == ["images", "hardtanh_", "conv2d_1", "relu", "mean"]
    assert not any("batch_norm" in str(node.target) for node in quantized.graph.nodes)


def test_a_sum_in_place_does_not_change_what_others_read(data: Any) -> None:
    model = trained(Residual(), data)
    exact, rounded = model(data.images), ranged(model, data)(data.images)
    assert (exact - rounded).abs().max() / exact.abs().max() < 0.05


def test_a_network_that_looks_at_its_values_is_refused_in_one_line(data: Any) -> None:
    class Choosing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            flat = images.flatten(1)[:, :3]
            return flat if flat.sum() > 0 else -flat

    with pytest.raises(ModelMismatchError, match=r"Choosing cannot be quantised.*leave out") as e:
        fake_quantized(Choosing(), data.images)
    assert "\n" not in str(e.value)


def test_ranges_of_another_network_are_refused(net: Net, data: Any) -> None:
    ranges = ranges_in(ranged(trained(net(), data), data))
    with pytest.raises(WeightsMismatchError, match=r"here: the activation ranges of another"):
        quantized_with(Residual(), data.images, ranges, "here")


def test_a_copy_is_put_back_into_the_network(net: Net, data: Any) -> None:
    model, other = trained(net(), data), trained(net(seed=7), data)
    assert put_back(ranged(other, data), model) is model
    wanted, found = other.state_dict(), model.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name, _ in model.named_parameters())
    assert torch.equal(found["stem.1.running_var"], wanted["stem.1.running_var"])


@pytest.mark.parametrize("settings", [{}, {"ema_decay": 0.5, "keep": "best"}], ids=str)
def test_a_stage_leaves_float_weights_and_the_ranges_that_go_with_them(
    tmp_path: Path, net: Net, teacher: nn.Module, data: Any, settings: dict[str, Any]
) -> None:
    stage = Stage("kd", epochs=2, lr=0.01, quantize="int8", **settings)
    student = net()
    results = distill(teacher, student, data, [KD, stage], tmp_path, validation=data, engine=CPU)
    folder = tmp_path / "2-kd+int8"
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, RANGES, "metrics.json"}
    plain = net(seed=9)
    load_model(folder / WEIGHTS, plain)
    handed_on = student.state_dict()
    assert all(torch.equal(one, handed_on[name]) for name, one in plain.state_dict().items())
    again = quantized_with(plain, data.images, load_tensors(folder / RANGES)[0], "here")
    kept = results[1][stage.keep]
    assert evaluate(again, data)["top1"] == kept["val_top1"]
    record = results[1]["history"][kept["epoch"] - 1]
    assert evaluate(again, data)["loss"] == pytest.approx(record["val_loss"], rel=1e-5)


def test_the_student_of_before_anchors_it_and_batch_norm_rests(
    tmp_path: Path, net: Net, teacher: nn.Module, data: Any
) -> None:
    student = net()
    results = distill(teacher, student, data, [KD, QUANT], tmp_path, engine=CPU)
    assert set(results[1]["history"][0]["losses"]) == {"ce", "kd", "reference", "loss"}
    before, after = (load_tensors(tmp_path / f / WEIGHTS)[0] for f in ("1-kd", "2-kd+int8"))
    for name, tensor in before.items():
        rests = "running" in name or "tracked" in name
        assert torch.equal(tensor, after[name]) == rests, name


def test_a_student_that_was_trained_elsewhere_anchors_it_too(
    tmp_path: Path, net: Net, teacher: nn.Module, data: Any
) -> None:
    results = distill(teacher, trained(net(), data), data, [QUANT], tmp_path, engine=CPU)
    assert "reference" in results[0]["history"][0]["losses"]


def test_training_with_rounding_wins_back_what_rounding_lost(
    tmp_path: Path, net: Net, teacher: nn.Module, data: Any
) -> None:
    """One channel is tiny in front of the head, and large in it: hard to round."""
    student = net(width=8)
    distill(teacher, student, data, [Stage("kd", 8, 1.0)], tmp_path / "float", engine=CPU)
    with torch.no_grad():
        student.head.weight[:, 0] *= 300
        student.body[1].weight[0] /= 300
        student.body[1].bias[0] /= 300
    lost = evaluate(ranged(student.eval(), data), data)["loss"]
    exact = evaluate(student, data)["loss"]
    stage = Stage("kd", epochs=8, ce_weight=1.0, lr=0.01, quantize="int8")
    result = distill(
        teacher, student, data, [stage], tmp_path / "int8", validation=data, engine=CPU
    )
    won = result[0]["history"][-1]["val_loss"]
    assert lost > 1.2 * exact
    assert won < exact + 0.5 * (lost - exact)


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_stage_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, net: Net, teacher: nn.Module, data: Any, epoch: int
) -> None:
    stage = Stage("kd", epochs=3, lr=0.01, quantize="int8", ema_decay=0.7, keep="best")

    def run(folder: Path, listener: Listener) -> None:
        distill(
            teacher, net(), data, [KD, stage], folder,
            validation=data, engine=CPU, listener=listener,
        )  # fmt: skip

    with pytest.raises(StoppedError):
        run(tmp_path / "stopped", StopIn(epoch))
    run(tmp_path / "stopped", Listener())
    run(tmp_path / "whole", Listener())
    for name in (WEIGHTS, RANGES):
        stopped, whole = (
            load_tensors(tmp_path / which / "2-kd+int8" / name)[0] for which in ("stopped", "whole")
        )
        assert stopped.keys() == whole.keys()
        assert all(torch.equal(stopped[key], whole[key]) for key in whole), name


def test_a_finished_stage_is_found_done_and_a_changed_range_is_told_of(
    tmp_path: Path, net: Net, teacher: nn.Module, data: Any
) -> None:
    def run() -> list[dict[str, Any]]:
        return distill(teacher, net(), data, [KD, QUANT], tmp_path, engine=CPU)

    first = run()
    assert run() == first
    ranges = tmp_path / "2-kd+int8" / RANGES
    ranges.write_bytes(ranges.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptFileError, match=RANGES):
        run()


def test_without_a_teacher_it_learns_from_the_labels(tmp_path: Path, net: Net, data: Any) -> None:
    stage = Stage(epochs=2, lr=0.01, quantize="int8")
    result = train_alone(trained(net(), data), data, stage, tmp_path, validation=data, engine=CPU)
    assert set(result["history"][0]["losses"]) == {"ce", "loss"}
    assert (tmp_path / RANGES).exists()


def test_bf16_trains_it_too(tmp_path: Path, net: Net, teacher: nn.Module, data: Any) -> None:
    engine = Engine(accelerator="cpu", precision="bf16")
    result = distill(teacher, net(), data, [KD, QUANT], tmp_path, validation=data, engine=engine)
    assert result[1]["last"]["val_top1"] > 0.5


def test_only_the_last_stage_may_quantise(
    tmp_path: Path, net: Net, teacher: nn.Module, data: Any
) -> None:
    with pytest.raises(ValueError, match=r"only the last stage can quantise, but stage 1 of 2"):
        distill(teacher, net(), data, [QUANT, KD], tmp_path, engine=CPU)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["at", "rkd", "simkd", "sakd"])
def test_methods_that_need_more_than_logits_are_refused_before_anything_is_trained(
    tmp_path: Path, net: Net, teacher: nn.Module, data: Any, method: str
) -> None:
    stage = Stage((MethodSpec("kd"), MethodSpec(method)), quantize="int8")
    with pytest.raises(ModelMismatchError, match=rf"method '{method}' needs .*logits alone"):
        distill(teacher, net(), data, [KD, stage], tmp_path, engine=CPU)
    assert not list(tmp_path.iterdir())


def test_the_features_of_the_reference_are_out_of_reach() -> None:
    with pytest.raises(ValueError, match=r"hears logits alone, but got .*=0.1"):
        Stage("kd", quantize="int8", reference_feature_weight=0.1)


def test_metrics_carry_the_checksum_of_the_ranges(
    tmp_path: Path, net: Net, teacher: nn.Module, data: Any
) -> None:
    distill(teacher, net(), data, [KD, QUANT], tmp_path, engine=CPU)
    assert "ranges_sha256" in read_json(tmp_path / "2-kd+int8" / "metrics.json")
    assert "ranges_sha256" not in read_json(tmp_path / "1-kd" / "metrics.json")
