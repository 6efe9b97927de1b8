"""Student and teacher side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from foundation.errors import ModelMismatchError, UnknownNameError
from smskd.batch import Batch
from smskd.distillation import pair_on
from smskd.features.signals import Shapes
from smskd.pair import make_pair

Net = Callable[..., nn.Module]

IMAGES = torch.randn(2, 1, 8, 8)
LARGER = torch.randn(2, 1, 16, 16)


def of_one_size(side: int, classes: int = 3) -> nn.Module:
    """A network that takes images of one size alone."""
    layers = [nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(2 * (side // 2) ** 2, classes))


def test_a_pair_knows_the_shapes_of_what_both_say(net: Net) -> None:
    pair = make_pair(net(width=4), net(width=6), IMAGES, samples=50)
    assert pair.student_shapes == Shapes((3,), ((4, 8, 8), (8, 4, 4)), 8)
    assert pair.teacher_shapes == Shapes((3,), ((6, 8, 8), (12, 4, 4)), 12)
    assert pair.feature_shapes == [((4, 8, 8), (6, 8, 8)), ((8, 4, 4), (12, 4, 4))]
    assert pair.samples == 50
    assert (pair.student.classifier_name, pair.teacher.classifier_name) == ("head", "head")


def test_taps_can_be_named(net: Net) -> None:
    pair = make_pair(net(), net(width=6), IMAGES, taps=(["body"], ["stem"]))
    assert (pair.student.taps, pair.teacher.taps) == (("body",), ("stem",))
    assert pair.feature_shapes == [((8, 4, 4), (6, 8, 8))]


def test_taps_can_be_declined(net: Net) -> None:
    pair = make_pair(net(), net(width=6), IMAGES, taps=([], []))
    assert pair.feature_shapes == []
    assert pair.student_shapes.embedding == 8


def test_a_convolutional_network_and_a_transformer_make_a_pair(net: Net, vit: Net) -> None:
    pair = make_pair(net(), vit(), IMAGES)
    assert pair.feature_shapes == [((4, 8, 8), (8, 4, 4)), ((8, 4, 4), (8, 4, 4))]


def test_a_network_of_vectors_is_paired_with_maps(net: Net) -> None:
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU(), nn.Linear(7, 3))
    pair = make_pair(mlp, net(), IMAGES)
    assert pair.feature_shapes[-1] == ((7, 1, 1), (8, 4, 4))
    assert len(pair.feature_shapes) == 2


def test_different_class_counts_are_told_with_both_shapes(net: Net) -> None:
    with pytest.raises(ModelMismatchError, match=r"shape \(5,\), the teacher's \(3,\)") as caught:
        make_pair(net(classes=5), net(), IMAGES)
    assert "\n" not in str(caught.value)


def test_taps_that_are_not_as_many_are_told_by_name(net: Net) -> None:
    expected = r"student has taps \['body'\], the teacher \['stem', 'body'\]; .* as many for both"
    with pytest.raises(ModelMismatchError, match=expected) as caught:
        make_pair(net(), net(), IMAGES, taps=(["body"], ["stem", "body"]))
    assert "\n" not in str(caught.value)


def test_a_tap_that_is_not_there_brings_up_the_nearest(net: Net) -> None:
    with pytest.raises(UnknownNameError, match="unknown tap 'boddy', did you mean 'body'"):
        make_pair(net(), net(), IMAGES, taps=(["body"], ["boddy"]))


def test_the_teacher_is_looked_at_with_images_of_its_own_size() -> None:
    pair = make_pair(of_one_size(8), of_one_size(16), IMAGES, teacher_example=LARGER)
    assert pair.student_shapes == Shapes((3,), ((2, 8, 8), (2, 4, 4)), 32)
    assert pair.teacher_shapes == Shapes((3,), ((2, 16, 16), (2, 8, 8)), 128)


def test_a_loaders_first_batch_is_looked_at(net: Net) -> None:
    labels = torch.tensor([0, 1])
    pair = pair_on(of_one_size(16), of_one_size(8), [Batch(IMAGES, labels, teacher_images=LARGER)])
    assert pair.teacher_shapes.embedding == 128
    assert pair.samples is None


def test_a_loader_that_counts_its_samples_tells_the_pair(net: Net, data: Any) -> None:
    dataset = torch.utils.data.TensorDataset(data.images, data.labels)
    loader = torch.utils.data.DataLoader(dataset, batch_size=5, shuffle=True)
    before = torch.random.get_rng_state()
    assert pair_on(net(), net(), loader).samples == 32
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_networks_come_out_as_they_went_in(net: Net) -> None:
    student, teacher = net(), net(width=6)
    before = {n: t.clone() for one in (student, teacher) for n, t in one.state_dict().items()}
    make_pair(student, teacher, IMAGES)
    after = {n: t for one in (student, teacher) for n, t in one.state_dict().items()}
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert student.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in student.modules())
