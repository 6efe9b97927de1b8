from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import ModelMismatchError, UnknownNameError
from smskd.signals import Signals
from smskd.taps import (
    MAX_TAPS,
    TappedModel,
    dry_pass,
    evaluating,
    find_taps,
    keeping_modes,
    match_taps,
    pair_shapes,
)

IMAGES = torch.randn(2, 1, 32, 32)


def halving(steps: int, width: int = 3, classes: int = 5) -> nn.Sequential:
    """A plain network that halves the resolution so many times."""
    parts: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU()]
    for _ in range(steps):
        parts += [nn.Conv2d(width, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


class Sharing(nn.Module):
    """One activation and one pooling for all layers, as tutorials write it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)
        self.relu, self.pool, self.head = nn.ReLU(), nn.MaxPool2d(2), nn.Linear(4 * 64, 5)

    def forward(self, images: Tensor) -> Tensor:
        halved = self.pool(self.relu(self.first(images)))
        return self.head(self.pool(self.relu(self.second(halved))).flatten(1))


class Says(nn.Module):
    """Says the same, whatever it is shown."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output
        self.idle, self.flat = nn.Identity(), nn.Flatten()

    def forward(self, images: Tensor) -> object:
        self.flat(images)
        return self.output


def hooks_in(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_a_tap_is_the_last_feature_map_of_each_resolution() -> None:
    """Places 1, 4 and 7 are the activations at 32, 16 and 8 pixels."""
    assert find_taps(halving(2), IMAGES) == ["1", "4", "7"]


def test_only_the_deepest_taps_are_kept() -> None:
    taps = find_taps(halving(4), IMAGES)
    assert MAX_TAPS == 4
    assert taps == ["4", "7", "10", "13"]


def test_taps_stand_in_the_order_in_which_they_are_run() -> None:
    """Down from 32 pixels to 16 and up again: the last feature map of 32 comes last."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Upsample(scale_factor=2),
        nn.Flatten(),
        nn.Linear(2 * 32 * 32, 5),
    )
    assert find_taps(model, IMAGES) == ["1", "2"]


def test_a_network_without_feature_maps_has_no_taps() -> None:
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(1024, 8), nn.ReLU(), nn.Linear(8, 5))
    assert find_taps(mlp, IMAGES) == []


def test_a_submodule_that_runs_several_times_stands_where_it_runs_last() -> None:
    model = Sharing()
    taps = find_taps(model, IMAGES)
    assert taps == ["first", "relu", "pool"]
    shapes = [tuple(feature.shape) for feature in TappedModel(model, taps)(IMAGES).features]
    assert shapes == [(2, 2, 32, 32), (2, 4, 16, 16), (2, 4, 8, 8)]


def test_what_a_tap_reads_is_what_the_submodule_gave() -> None:
    model = halving(2).eval()
    said = TappedModel(model, ["4", "7"])(IMAGES)
    assert torch.equal(said.features[0], model[:5](IMAGES))
    assert torch.equal(said.features[1], model[:8](IMAGES))
    assert torch.equal(said.logits, model(IMAGES))


def test_the_features_stand_in_the_order_of_the_taps() -> None:
    said = TappedModel(halving(2), ["7", "1"])(IMAGES)
    assert [tuple(feature.shape[2:]) for feature in said.features] == [(8, 8), (32, 32)]


def test_a_feature_carries_the_gradient_back_into_the_network() -> None:
    model = halving(1)
    TappedModel(model, ["1"])(IMAGES).features[0].sum().backward()
    assert model[0].weight.grad.abs().sum() > 0
    assert model[2].weight.grad is None


def test_no_hook_is_left_behind() -> None:
    model = halving(2)
    TappedModel(model, find_taps(model, IMAGES))(IMAGES)
    assert hooks_in(model) == 0


def test_no_hook_is_left_behind_by_a_pass_that_fails() -> None:
    model, wrong = halving(2), torch.randn(2, 3, 32, 32)
    with pytest.raises(RuntimeError):
        find_taps(model, wrong)
    with pytest.raises(RuntimeError):
        TappedModel(model, ["1"])(wrong)
    assert hooks_in(model) == 0


def test_an_unknown_tap_brings_up_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown tap 'secund', did you mean 'second'"):
        TappedModel(Sharing(), ["secund"])


def test_a_tap_that_is_not_run_is_found_out() -> None:
    with pytest.raises(ModelMismatchError, match=r"tap 'idle' of Says .* but gave None"):
        TappedModel(Says(torch.zeros(2, 5)), ["idle"])(IMAGES)


def test_a_tap_that_gives_no_feature_map_is_found_out() -> None:
    with pytest.raises(ModelMismatchError, match=r"tap 'flat' .* but gave shape \(2, 1024\)"):
        TappedModel(Says(torch.zeros(2, 5)), ["flat"])(IMAGES)


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (torch.zeros(2, 7, 5), r"shape \(2, 7, 5\)"),
        (torch.zeros(5), r"shape \(5,\)"),
        ((torch.zeros(2, 5), None), "tuple"),
    ],
)
def test_an_output_that_is_no_batch_of_logits_is_found_out(output: object, shown: str) -> None:
    expected = rf"Says must give logits of shape \(N, classes\), but gave {shown}"
    for run in (dry_pass, lambda model, images: TappedModel(model, [])(images)):
        with pytest.raises(ModelMismatchError, match=expected):
            run(Says(output), IMAGES)


def test_taps_are_paired_by_depth_and_the_deepest_are_always_a_pair() -> None:
    student, teacher = match_taps(halving(1), halving(3), IMAGES)
    assert student == ["1", "4"]
    assert teacher == ["4", "10"]
    teacher, student = match_taps(halving(3), halving(2), IMAGES)
    assert student == ["1", "4", "7"]
    assert len(teacher) == 3
    assert teacher[-1] == "10"


def test_a_network_without_taps_leaves_its_partner_without() -> None:
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(1024, 5))
    assert match_taps(mlp, halving(2), IMAGES) == ([], [])


def test_the_pairs_shapes_are_those_of_what_both_say() -> None:
    student, teacher = halving(1, width=3), halving(2, width=4)
    pair = [TappedModel(student, ["1", "4"]), TappedModel(teacher, ["4", "7"])]
    shapes = pair_shapes(*pair, IMAGES)
    assert shapes.student_logits == shapes.teacher_logits == (5,)
    assert shapes.student_features == ((3, 32, 32), (3, 16, 16))
    assert shapes.teacher_features == ((4, 16, 16), (4, 8, 8))


def test_different_class_counts_are_told_with_both_shapes() -> None:
    pair = [TappedModel(halving(1, classes=classes), []) for classes in (5, 10)]
    with pytest.raises(ModelMismatchError, match=r"shape \(5,\), the teacher's \(10,\)"):
        pair_shapes(*pair, IMAGES)


def test_taps_that_are_not_as_many_are_told_by_name() -> None:
    student, teacher = TappedModel(halving(1), ["1"]), TappedModel(halving(1), ["1", "4"])
    with pytest.raises(ModelMismatchError, match=r"\['1'\], the teacher \['1', '4'\]"):
        pair_shapes(student, teacher, IMAGES)


def test_looking_changes_nothing_in_the_network() -> None:
    model = halving(2).train()
    model[3].eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    match_taps(model, model, IMAGES)
    pair_shapes(TappedModel(model, ["1"]), TappedModel(model, ["1"]), IMAGES)
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


def test_the_embedding_is_the_last_feature_averaged_over_its_positions() -> None:
    features = torch.zeros(1, 9, 1, 1), torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0] * 2] * 2]])
    assert Signals(torch.zeros(1, 2), features).embedding.tolist() == [[3.0, 0.0]]
