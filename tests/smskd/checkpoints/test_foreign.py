"""Weights as other programs write them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import CorruptFileError, WeightsMismatchError
from smskd.checkpoints.files import load_model
from smskd.checkpoints.foreign import Loaded, load_checkpoint, load_state

Net = Callable[..., nn.Module]
Tensors = dict[str, Tensor]


def written(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def same(first: Tensors, second: Tensors) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("name", ["state_dict", "model", "model_ema", "some_name"])
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


def test_weights_are_found_two_levels_down(net: Net) -> None:
    model, other = net(seed=0), net(seed=1)
    content = {"model": {"epoch": 1, "state_dict": OrderedDict(model.state_dict())}}
    loaded = load_checkpoint(other, content, "x.pth")
    assert same(other.state_dict(), model.state_dict())
    assert loaded.remarks == ("x.pth: took model.state_dict",)


def test_an_optimizers_state_is_not_taken_for_weights(net: Net) -> None:
    content = {"optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}}, "epoch": 1}
    with pytest.raises(CorruptFileError, match="not a state dict"):
        load_checkpoint(net(), content, "x.pth")


def test_a_dictionary_that_holds_itself_ends_in_one_line(tmp_path: Path, net: Net) -> None:
    content: dict[str, Any] = {"epoch": 1}
    content["model"] = content
    with pytest.raises(CorruptFileError, match="not a state dict"):
        load_model(written(tmp_path / "net.pth", content), net())


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.module.", "module._orig_mod.", "model.net.", "student.encoder."],
)
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


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda name: name.replace("stem.", "stem._orig_mod."),
        lambda name: name.replace("body.", "_fsdp_wrapped_module.body._checkpoint_wrapped_module."),
        lambda name: f"module.{name}" if "stem" in name else name,
    ],
)
def test_what_wrappers_put_into_some_of_the_names_is_taken_away(
    net: Net, wrapped: Callable[[str], str]
) -> None:
    model, other = net(seed=0), net(seed=1)
    load_state(other, {wrapped(n): t for n, t in model.state_dict().items()}, "here")
    assert same(other.state_dict(), model.state_dict())


def lightning(model: nn.Module, **others: Tensor) -> dict[str, Any]:
    return {"state_dict": {**prefixed("model.", model.state_dict()), **others}, "epoch": 1}


def test_what_a_network_does_not_need_is_passed_over_and_listed(net: Net) -> None:
    model, other = net(seed=0), net(seed=1)
    stray = {"criterion.weight": torch.ones(3), "model.stem.total_ops": torch.ones(1)}
    loaded = load_checkpoint(other, lightning(model, **stray), "x.ckpt")
    assert same(other.state_dict(), model.state_dict())
    assert loaded.remarks == (
        "x.ckpt: took state_dict, model. taken away from the names; "
        "passed over: criterion.weight, model.stem.total_ops",
    )


def test_many_names_that_are_passed_over_are_listed_by_what_they_are_of(net: Net) -> None:
    model, other = net(seed=0), net(seed=1)
    stray = prefixed("teacher.", net(seed=2, width=6).state_dict())
    counters = {f"{n}.total_ops": torch.ones(1) for n, _ in model.named_modules() if n}
    loaded = load_state(other, {**model.state_dict(), **stray, **counters}, "x.pth")
    assert loaded.remarks == (
        f"x.pth: took the weights; passed over: *.total_ops ({len(counters)}), "
        f"teacher.* ({len(stray)})",
    )


def test_a_deeper_network_does_not_pass_for_a_shallow_one(net: Net) -> None:
    model = net()
    deeper = {**model.state_dict(), "body.9.weight": torch.ones(4, 4, 3, 3)}
    for tensors in (deeper, prefixed("module.", deeper)):
        with pytest.raises(WeightsMismatchError, match=r"unknown here: body\.9\.weight"):
            load_state(net(), tensors, "x.pth")


def test_no_part_of_a_network_is_left_with_fresh_weights(net: Net) -> None:
    tensors = net().state_dict()
    del tensors["head.bias"]
    with pytest.raises(WeightsMismatchError, match=r"missing there: head\.bias"):
        load_checkpoint(net(), {"model": tensors, "criterion.weight": torch.ones(3)}, "x.pth")


@pytest.mark.parametrize(
    ("plain", "averaged"),
    [
        ("model", "model_ema"), ("state_dict", "state_dict_ema"), ("net", "swa_model"),
        ("state_dict", "averaged_model"), ("params", "params_ema"),
    ],
)  # fmt: skip
def test_the_running_mean_is_taken_and_told(net: Net, plain: str, averaged: str) -> None:
    mean, other = net(seed=0), net(seed=1)
    content = {plain: net(seed=2).state_dict(), averaged: mean.state_dict()}
    loaded = load_checkpoint(other, content, "x.pth")
    assert same(other.state_dict(), mean.state_dict())
    assert loaded.remarks == (f"x.pth: took {averaged}, the running mean; not taken: {plain}",)


def test_the_running_mean_of_torchs_own_class_is_taken(net: Net) -> None:
    model, other = net(seed=0), net(seed=1)
    averaged = torch.optim.swa_utils.AveragedModel(net(seed=2))
    content = {"model": model.state_dict(), "second": averaged.state_dict()}
    loaded = load_checkpoint(other, content, "x.pth")
    assert same(other.state_dict(), averaged.module.state_dict())
    assert "took second, the running mean, module. taken away" in loaded.remarks[0]
    assert "passed over: n_averaged" in loaded.remarks[0]


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (lambda a, b: {"student": a, "teacher": b}, "student, teacher"),
        (lambda a, b: {**prefixed("student.", a), **prefixed("teacher.", b)}, "student, teacher"),
        (lambda a, b: {"ema": a, "swa": b}, "ema, swa"),
        (lambda a, b: [a, b], "0, 1"),
    ],
)
def test_which_of_several_is_meant_is_asked_and_can_be_said(
    net: Net, content: Callable[[Tensors, Tensors], Any], labels: str
) -> None:
    first, second, other = net(seed=0), net(seed=1), net(seed=2)
    both = content(first.state_dict(), second.state_dict())
    with pytest.raises(WeightsMismatchError, match=f"2 sets of weights in it fit: {labels}; say"):
        load_checkpoint(other, both, "x.pth")
    for model, label in zip((first, second), labels.split(", "), strict=True):
        load_checkpoint(other, both, "x.pth", key=label)
        assert same(other.state_dict(), model.state_dict())
    with pytest.raises(WeightsMismatchError, match="no set of weights 'third' in it; there are"):
        load_checkpoint(other, both, "x.pth", key="third")


def test_the_same_weights_under_two_names_are_no_question(net: Net) -> None:
    model, other = net(seed=0), net(seed=1)
    content = {"model": model.state_dict(), "copy": net(seed=0).state_dict()}
    load_checkpoint(other, content, "x.pth")
    assert same(other.state_dict(), model.state_dict())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_taken_in_the_networks_own_and_told(net: Net, kind: torch.dtype) -> None:
    model, other = net(seed=0), net(seed=1)
    tensors = {n: t.to(kind) if t.is_floating_point() else t for n, t in model.state_dict().items()}
    loaded = load_state(other, tensors, "x.pt")
    assert other.head.weight.dtype == torch.float32
    assert torch.equal(other.head.weight, tensors["head.weight"].float())
    assert loaded.remarks[0].endswith(f"in {str(kind)[6:]} are taken in float32")


@pytest.mark.parametrize(
    ("spoilt", "error", "words"),
    [
        (lambda t: t * float("nan"), CorruptFileError, "head.weight holds 24 values that are NaN"),
        (lambda t: t.index_fill(0, torch.tensor(0), torch.inf), CorruptFileError, "8 values"),
        (lambda t: t.double() + 1e300, CorruptFileError, "beyond float32"),
        (lambda t: t > 0, WeightsMismatchError, "is of type bool"),
        (lambda t: t.to(torch.complex64), WeightsMismatchError, "is of type complex64"),
        (lambda t: t.long(), WeightsMismatchError, "is of type int64, not float32"),
        (lambda t: t.to(torch.float8_e5m2), WeightsMismatchError, "is of type float8_e5m2"),
        (lambda t: t.to_sparse(), WeightsMismatchError, "is sparse"),
        (lambda t: t.to("meta"), WeightsMismatchError, "is without values"),
        (
            lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
            WeightsMismatchError,
            "is quantised",
        ),
        (lambda t: t[:0], WeightsMismatchError, r"head.weight is \(0, 8\) there"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_no_weights_are_refused_by_name(
    tmp_path: Path, net: Net, spoilt: Callable[[Tensor], Tensor], error: type, words: str
) -> None:
    tensors, other = net(seed=0).state_dict(), net(seed=1)
    tensors["head.weight"] = spoilt(tensors["head.weight"])
    with pytest.raises(error, match=words):
        load_model(written(tmp_path / "x.pt", tensors), other)
    assert same(other.state_dict(), net(seed=1).state_dict())


def test_views_and_tensors_that_share_memory_are_taken_by_their_values(net: Net) -> None:
    other, wanted = net(seed=1), net(seed=0).state_dict()
    whole = torch.randn(sum(t.numel() for t in wanted.values()))
    shared = {n: whole[: t.numel()].view(t.shape) for n, t in wanted.items() if t.ndim}
    shared["stem.0.weight"] = torch.ones(1).expand_as(wanted["stem.0.weight"])
    load_state(other, shared, "x.pt")
    assert all(torch.equal(other.state_dict()[n], t) for n, t in shared.items())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = self.first


def test_a_part_with_two_names_is_filled_from_either_and_never_from_two(net: Net) -> None:
    tensors = {f"first.{n}": torch.full_like(t, 7) for n, t in Tied().first.state_dict().items()}
    tied = Tied()
    load_state(tied, tensors, "x.safetensors")
    assert tied.second.bias.tolist() == [7, 7]
    both = {**tensors, "second.bias": torch.zeros(2), "second.weight": tensors["first.weight"]}
    with pytest.raises(WeightsMismatchError, match="differ there, but are one and the same"):
        load_state(Tied(), both, "x.pt")


@pytest.mark.parametrize(
    ("noted", "accuracy"),
    [
        ({"best_acc": 91.2}, ("best_acc", 91.2)),
        ({"best_acc1": torch.tensor(91.5)}, ("best_acc1", 91.5)),
        ({"acc1": 88.0, "best_acc1": 91.0}, ("acc1", 88.0)),
        ({"val_acc": 0.5}, ("val_acc", 50.0)),
        ({"metric": 0.5}, None),
        ({"metric": 75.0}, ("metric", 75.0)),
        ({"acc": float("nan")}, None),
        ({"acc": True}, None),
        ({"acc": "91"}, None),
        (
            {"callbacks": {"M": {"monitor": "val_acc", "best_model_score": torch.tensor(0.75)}}},
            ("val_acc", 75.0),
        ),
    ],
)
def test_the_accuracy_that_a_training_noted_is_read_in_percent(
    net: Net, noted: dict[str, Any], accuracy: tuple[str, float] | None
) -> None:
    loaded = load_checkpoint(net(), {"model": net().state_dict(), **noted}, "x.pt")
    assert loaded.accuracy == accuracy


def test_weights_as_they_are_give_no_remark(net: Net) -> None:
    assert load_state(net(), net().state_dict(), "x.pt") == Loaded()


@pytest.mark.parametrize(
    ("noted", "classes"),
    [
        ({"class_to_idx": {"dog": 1, "cat": 0}}, ("cat", "dog")),
        ({"classes": ["a", "b"]}, ("a", "b")),
        ({"idx_to_class": {1: "b", 0: "a"}}, ("a", "b")),
        ({"classes": 10}, None),
        ({"names": []}, None),
    ],
)
def test_the_classes_that_a_training_noted_are_read_in_order(
    net: Net, noted: dict[str, Any], classes: tuple[str, ...] | None
) -> None:
    assert load_checkpoint(net(), {"model": net().state_dict(), **noted}, "x").classes == classes


def test_a_running_mean_that_cannot_be_taken_is_told(net: Net) -> None:
    parameters = {n: t for n, t in net(seed=1).state_dict().items() if "stem.1" not in n}
    for mean, why in (
        ({"shadow_params": [torch.ones(1)], "decay": 0.9}, "its tensors have no names"),
        (parameters, "it does not fit"),
    ):
        loaded = load_checkpoint(net(), {"model": net().state_dict(), "ema": mean}, "x.pt")
        assert loaded.remarks == (f"x.pt: took model; not taken: ema ({why})",)


def test_networks_that_look_at_the_version_of_their_parts_are_filled() -> None:
    models = pytest.importorskip("torchvision.models")
    first, second = models.mnasnet0_5(num_classes=3), models.mnasnet0_5(num_classes=3)
    load_state(second, dict(first.state_dict()), "x.safetensors")
    assert same(second.state_dict(), first.state_dict())


def test_what_is_passed_over_is_told_by_where_its_names_part(net: Net) -> None:
    keys = net(seed=2).state_dict()
    other = {**prefixed("module.q.", keys), **prefixed("module.k.", net(width=6).state_dict())}
    loaded = load_state(net(), {**other, "module.queue": torch.ones(1)}, "x.pth")
    assert loaded.remarks[0].endswith(f"passed over: module.k.* ({len(keys)}), module.queue")
