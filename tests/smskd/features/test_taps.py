"""Reading a network at its taps."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import Sharing, halving
from torch import Tensor, nn

from foundation.errors import ModelMismatchError, UnknownNameError
from smskd.features.signals import Shapes
from smskd.features.tap_search import find_taps, match_taps
from smskd.features.taps import TappedModel, dry_pass, evaluating, find_classifier, keeping_modes
from smskd.pair import make_pair

IMAGES = torch.randn(2, 1, 32, 32)


class Says(nn.Module):
    """Says the same, whatever it is shown."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output
        self.idle, self.flat = nn.Identity(), nn.Unflatten(1, (1, 1))

    def forward(self, images: Tensor) -> object:
        self.flat(images)
        return self.output


class TwoHeads(nn.Module):
    """Gives the second of two heads' logits, of the same shape as the first's."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1024, 5), nn.Linear(1024, 5)

    def forward(self, images: Tensor) -> Tensor:
        self.first(images.flatten(1))
        return self.second(images.flatten(1))


def hooks_in(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_what_a_tap_reads_is_what_the_submodule_gave() -> None:
    model = halving(2).eval()
    said = TappedModel(model, ["4", "7"])(IMAGES)
    assert torch.equal(said.features[0], model[:5](IMAGES))
    assert torch.equal(said.features[1], model[:8](IMAGES))
    assert torch.equal(said.logits, model(IMAGES))


def test_the_features_stand_in_the_order_of_the_taps() -> None:
    said = TappedModel(halving(2), ["7", "1"])(IMAGES)
    assert [tuple(feature.shape[2:]) for feature in said.features] == [(8, 8), (32, 32)]


def test_a_submodule_that_runs_several_times_gives_its_last_output() -> None:
    model = Sharing()
    (feature,) = TappedModel(model, ["relu"])(IMAGES).features
    halved = model.pool(model.first(IMAGES).relu())
    assert torch.equal(feature, model.second(halved).relu())


class Joining(nn.Module):
    """A residual sum, and a ReLU behind it that works in place, as library networks have it."""

    def __init__(self, *, inplace: bool) -> None:
        super().__init__()
        self.first, self.relu = nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(inplace=inplace)
        self.second, self.head = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(2, 5)

    def joined(self, images: Tensor) -> Tensor:
        opened = self.relu(self.first(images))
        return opened + self.second(opened)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.relu(self.joined(images)).mean((2, 3)))


@pytest.mark.parametrize("inplace", [False, True])
def test_a_tap_can_read_what_goes_into_a_submodule(inplace: bool) -> None:
    """Of one that runs several times, what went into it last: here the sum in front of the ReLU."""
    model = Joining(inplace=inplace)
    before, after = TappedModel(model, ["relu:input", "relu"])(IMAGES).features
    assert torch.equal(before, model.joined(IMAGES))
    assert before.min() < 0
    assert torch.equal(after, before.relu())
    assert all(not module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("inplace", [False, True])
def test_what_a_tap_reads_outlasts_a_submodule_that_works_in_place(inplace: bool) -> None:
    """Torchvision's VGG has a ReLU in place behind each batch-norm."""
    norm = nn.BatchNorm2d(2)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), norm, nn.ReLU(inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(2, 3),
    ).eval()  # fmt: skip
    with torch.inference_mode():
        (feature,) = TappedModel(model, ["1"])(IMAGES).features
        assert torch.equal(feature, norm(model[0](IMAGES)))


def test_what_goes_into_a_submodule_carries_the_gradient_back_too() -> None:
    model = Joining(inplace=True)
    TappedModel(model, ["relu:input"])(IMAGES).features[0].sum().backward()
    assert model.second.weight.grad is not None
    assert model.second.weight.grad.abs().sum() > 0


def test_an_unknown_submodule_is_told_of_where_its_input_is_asked_for() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown tap 'rulu', did you mean 'relu'"):
        TappedModel(Joining(inplace=False), ["rulu:input"])


def test_a_submodule_that_is_not_run_has_no_input() -> None:
    model = Joining(inplace=False)
    model.idle = nn.Identity()
    with pytest.raises(ModelMismatchError, match=r"tap 'idle:input' .* but gave nothing"):
        TappedModel(model, ["idle:input"])(IMAGES)


def test_tokens_and_vectors_are_read_as_maps() -> None:
    tokens = nn.Sequential(nn.Flatten(2), nn.Unflatten(2, (16, 64)), nn.Flatten(1, 2))
    model = nn.Sequential(tokens, nn.Flatten(), nn.Linear(1024, 5))
    said = TappedModel(model, ["0", "1"])(IMAGES)
    assert [tuple(feature.shape) for feature in said.features] == [(2, 64, 4, 4), (2, 1024, 1, 1)]


def test_a_feature_carries_the_gradient_back_into_the_network() -> None:
    model = halving(1)
    TappedModel(model, ["1"])(IMAGES).features[0].sum().backward()
    assert model[0].weight.grad.abs().sum() > 0
    assert model[2].weight.grad is None


def test_no_hook_is_left_behind() -> None:
    model = halving(2)
    TappedModel(model, find_taps(model, IMAGES), find_classifier(model, IMAGES))(IMAGES)
    assert hooks_in(model) == 0


def test_no_hook_is_left_behind_by_a_pass_that_fails() -> None:
    model, wrong = halving(2), torch.randn(2, 3, 32, 32)
    for fails in (TappedModel(model, ["1"], "10"), lambda images: find_classifier(model, images)):
        with pytest.raises(RuntimeError):
            fails(wrong)
        assert hooks_in(model) == 0


def test_hooks_live_as_long_as_somebody_listens() -> None:
    model = halving(1)
    with TappedModel(model, ["1", "4"], "7").listening() as run:
        assert hooks_in(model) == 3
        first, second = run(IMAGES), run(IMAGES[:1])
        assert (len(first.features[0]), len(second.features[0])) == (2, 1)
        assert len(first.embedding) == 2
    assert hooks_in(model) == 0


def test_an_unknown_tap_brings_up_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown tap 'secund', did you mean 'second'"):
        TappedModel(Sharing(), ["secund"])


def test_a_tap_that_is_not_run_is_found_out() -> None:
    with pytest.raises(ModelMismatchError, match=r"tap 'idle' of Says .* but gave nothing"):
        TappedModel(Says(torch.zeros(2, 5)), ["idle"])(IMAGES)


def test_a_tap_that_is_not_run_again_does_not_give_what_it_gave_before() -> None:
    model = Says(torch.zeros(2, 5))
    with TappedModel(model, ["idle"]).listening() as run:
        model.idle(IMAGES)
        with pytest.raises(ModelMismatchError, match="but gave nothing"):
            run(IMAGES)


def test_a_tap_that_gives_no_feature_is_found_out() -> None:
    expected = r"tap 'flat' .* but gave shape \(2, 1, 1, 32, 32\); name another tap"
    with pytest.raises(ModelMismatchError, match=expected):
        TappedModel(Says(torch.zeros(2, 5)), ["flat"])(IMAGES)


def test_a_tap_that_gives_another_number_of_features_is_found_out() -> None:
    model = nn.Sequential(nn.Flatten(0, 1), nn.Unflatten(0, (1, -1)), nn.Flatten(0, 1))
    model = nn.Sequential(model, nn.Flatten(), nn.Linear(1024, 5))
    with pytest.raises(ModelMismatchError, match=r"tap '0.1' .* gave shape \(1, 2, 32, 32\)"):
        TappedModel(model, ["0.1"])(IMAGES)


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (torch.zeros(2, 7, 5), r"shape \(2, 7, 5\)"),
        (torch.zeros(5), r"shape \(5,\)"),
        ((torch.zeros(2, 5), None), "tuple"),
        (None, "nothing"),
    ],
)
def test_an_output_that_is_no_batch_of_logits_is_found_out(output: object, shown: str) -> None:
    expected = rf"Says must give logits of shape \(N, classes\), but gave {shown}"
    for run in (dry_pass, lambda model, images: TappedModel(model, [])(images)):
        with pytest.raises(ModelMismatchError, match=expected):
            run(Says(output), IMAGES)


def test_the_classifier_is_the_linear_layer_that_gives_the_logits() -> None:
    assert find_classifier(halving(1), IMAGES) == "7"
    assert find_classifier(Sharing(), IMAGES) == "head"
    assert find_classifier(TwoHeads(), IMAGES) == "second"


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(1, 5, 32), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.Linear(1024, 5), nn.Hardtanh()),
        nn.Sequential(nn.Flatten(2), nn.Linear(1024, 5), nn.Flatten()),
    ],
    ids=["convolution", "something after it", "of tokens"],
)
def test_a_network_that_ends_in_something_else_has_no_classifier(model: nn.Module) -> None:
    assert find_classifier(model, IMAGES) is None


def test_a_network_that_is_its_classifier_alone_has_none_with_a_name() -> None:
    assert find_classifier(nn.Linear(1024, 5), IMAGES.flatten(1)) is None


def test_the_embedding_is_what_the_classifier_sees() -> None:
    model = halving(2).eval()
    said = TappedModel(model, ["1"], "10")(IMAGES)
    assert torch.equal(said.embedding, model[:10](IMAGES))
    assert torch.equal(model[10](said.embedding), said.logits)


def test_without_a_classifier_the_embedding_is_the_last_features_mean() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 5, 30), nn.Flatten())
    said = TappedModel(model, ["0"])(IMAGES)
    assert torch.equal(said.embedding, model[0](IMAGES).flatten(2).mean(2))
    assert Shapes.of(said) == Shapes((5,), ((3, 30, 30),), 3)


def test_a_network_with_neither_has_no_embedding() -> None:
    said = TappedModel(nn.Sequential(nn.Conv2d(1, 5, 32), nn.Flatten()))(IMAGES)
    assert said.embedding is None
    assert Shapes.of(said) == Shapes((5,))


def test_signals_are_changed_all_together() -> None:
    model = halving(1)
    said = TappedModel(model, ["1", "4"], "7")(IMAGES).map(lambda tensor: tensor[:1].double())
    tensors = [said.logits, *said.features, said.embedding]
    assert [len(tensor) for tensor in tensors] == [1] * 4
    assert {tensor.dtype for tensor in tensors} == {torch.float64}


@pytest.mark.parametrize("with_taps", [True, False])
def test_a_frozen_copy_says_the_same_and_does_not_learn(with_taps: bool) -> None:
    tapped = TappedModel(halving(1).eval(), ["1", "4"], "7")
    copy = tapped.frozen_copy(with_taps=with_taps)
    before = copy(IMAGES)
    with torch.no_grad():
        for tensor in tapped.model.parameters():
            tensor.add_(1)
    after = copy(IMAGES)
    assert torch.equal(after.logits, before.logits)
    assert not torch.equal(after.logits, tapped(IMAGES).logits)
    assert len(after.features) == (2 if with_taps else 0)
    assert not after.logits.requires_grad
    assert not any(module.training for module in copy.model.modules())


def test_looking_changes_nothing_in_the_network() -> None:
    model = halving(2).train()
    model[3].eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    match_taps(model, model, IMAGES)
    make_pair(model, model, IMAGES)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_modes_come_back_after_a_block_that_fails() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    model[0].eval()
    for block in (evaluating, keeping_modes):
        with pytest.raises(RuntimeError), block(model):
            model.train() if block is keeping_modes else None
            assert model[0].training is model[1].training
            raise RuntimeError
        assert [part.training for part in (model, *model)] == [True, False, True]
