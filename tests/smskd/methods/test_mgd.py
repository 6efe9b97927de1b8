from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress
from smskd.methods.mgd import MGD, Hidden, mgd_loss, random_mask
from smskd.pair import Pair

START = Progress(0, 1)


def test_the_loss_is_what_is_worked_out_by_hand_sample_by_sample() -> None:
    generated = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]], [[[2.0, 2.0]], [[1.0, 7.0]]]])
    teacher = torch.tensor([[[[2.0, 2.0]], [[1.0, 7.0]]]]).expand(2, -1, -1, -1)
    assert mgd_loss(generated, teacher).tolist() == [(1 + 0 + 4 + 9) / 4, 0.0]


def test_the_mask_hides_whole_positions_and_its_share_of_them() -> None:
    torch.manual_seed(0)
    mask = random_mask(torch.randn(50, 3, 20, 20), 0.3, "positions")
    assert mask.shape == (50, 1, 20, 20)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert mask.mean().item() == pytest.approx(0.7, abs=0.02)
    assert mask.flatten(1).mean(1).std() > 0.01  # Each sample has its own.


def test_the_mask_hides_whole_channels_and_its_share_of_them() -> None:
    torch.manual_seed(0)
    mask = random_mask(torch.randn(50, 200, 4, 4), 0.15, "channels")
    assert mask.shape == (50, 200, 1, 1)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert mask.mean().item() == pytest.approx(0.85, abs=0.02)
    assert mask.flatten(1).mean(1).std() > 0.01  # Each sample has its own.


def test_it_hides_what_the_authors_code_for_classification_hides() -> None:
    method = MGD()
    assert (method.hidden, method.mask_ratio) == ("channels", 0.15)


def test_what_cannot_be_hidden_is_quoted() -> None:
    with pytest.raises(ValueError, match="but got hidden='rows'"):
        MGD(hidden="rows")  # type: ignore[arg-type]


def test_a_map_of_one_position_has_channels_hidden() -> None:
    torch.manual_seed(0)
    mask = random_mask(torch.randn(50, 40, 1, 1), 0.3, "positions")
    assert mask.shape == (50, 40, 1, 1)
    assert mask.mean().item() == pytest.approx(0.7, abs=0.05)


def test_without_a_mask_nothing_is_hidden() -> None:
    assert random_mask(torch.randn(2, 3, 20, 20), 0.0, "positions").min() == 1


def test_the_mask_comes_from_the_global_generator() -> None:
    feature = torch.randn(2, 3, 8, 8)
    masks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        masks.append(random_mask(feature, 0.5, "channels"))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("hidden", ["channels", "positions"])
def test_what_is_hidden_does_not_reach_the_loss(
    pair_with: Callable[..., Pair], said: Callable[..., Signals], batch: Batch, hidden: Hidden
) -> None:
    method = MGD(mask_ratio=0.5, hidden=hidden)
    method.build(pair_with([(3, 4, 4)], [(3, 4, 4)]))
    student = torch.randn(2, 3, 4, 4, requires_grad=True)
    teacher = torch.randn(2, 3, 4, 4)
    torch.manual_seed(0)
    method(said(student), said(teacher), batch, START).backward()
    torch.manual_seed(0)
    mask = random_mask(student, 0.5, hidden).bool().expand_as(student)
    assert student.grad[~mask].abs().max() == 0
    assert student.grad[mask].abs().max() > 0


def test_a_student_that_says_what_the_teacher_says_and_hides_nothing_has_nothing_to_learn(
    pair_with: Callable[..., Pair], said: Callable[..., Signals], batch: Batch
) -> None:
    method = MGD(mask_ratio=0.0)
    method.build(pair_with([(3, 4, 4)], [(3, 4, 4)]))
    method.generate = nn.Identity()
    same = said(torch.randn(2, 3, 4, 4))
    assert method(same, same, batch, START).item() == 0.0


def test_only_the_deepest_tap_pair_counts(
    pair_with: Callable[..., Pair], said: Callable[..., Signals], batch: Batch
) -> None:
    method = MGD(mask_ratio=0.0)
    method.build(pair_with([(3, 4, 4), (2, 2, 2)], [(3, 4, 4), (2, 2, 2)]))
    method.generate = nn.Identity()
    last = torch.randn(2, 2, 2, 2)
    student = said(torch.randn(2, 3, 4, 4), last)
    teacher = said(torch.randn(2, 3, 4, 4), last + 2)
    assert method(student, teacher, batch, START).item() == pytest.approx(4.0, rel=1e-5)


def test_the_generation_block_is_two_convolutions_and_channels_are_aligned_where_they_differ(
    pair_with: Callable[..., Pair],
) -> None:
    def convolutions(ours: int, theirs: int) -> list[tuple[int, ...]]:
        method = MGD()
        method.build(pair_with([(ours, 4, 4)], [(theirs, 4, 4)]))
        return [tuple(m.weight.shape) for m in method.modules() if isinstance(m, nn.Conv2d)]

    assert convolutions(2, 5) == [(5, 2, 1, 1), (5, 5, 3, 3), (5, 5, 3, 3)]
    assert convolutions(5, 5) == [(5, 5, 3, 3), (5, 5, 3, 3)]


@pytest.mark.parametrize("mask_ratio", [-0.01, 1.0, 1.5])
def test_an_impossible_share_is_quoted(mask_ratio: float) -> None:
    with pytest.raises(ValueError, match=rf"below 1, but got mask_ratio={mask_ratio}"):
        MGD(mask_ratio=mask_ratio)


@pytest.mark.parametrize("mask_ratio", [0.0, 0.99])
def test_the_shares_at_the_boundary_are_taken(mask_ratio: float) -> None:
    assert MGD(mask_ratio=mask_ratio).mask_ratio == mask_ratio
