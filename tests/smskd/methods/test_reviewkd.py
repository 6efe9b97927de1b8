from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress
from smskd.methods.reviewkd import Fusion, ReviewKD, hierarchical_context_loss
from smskd.pair import Pair

OURS, THEIRS = [(2, 8, 8), (3, 4, 4), (4, 2, 2)], [(5, 8, 8), (6, 4, 4), (7, 2, 2)]
MIDDLE = Progress(20.0, 100)


def features(shapes: list[tuple[int, int, int]]) -> list[Tensor]:
    return [torch.randn(4, *shape) for shape in shapes]


def exact_levels(method: ReviewKD, leaves: list[Tensor]) -> list[Tensor]:
    """What each level of the student comes to, the pooled one last: a teacher that says just that
    has nothing to teach."""
    pooled = leaves[-1].mean((2, 3), keepdim=True)
    out, passed_on = method.fusions[3](pooled, None, 1, 1)
    levels = [out]
    for place, size in ((2, 2), (1, 4), (0, 8)):
        out, passed_on = method.fusions[place](leaves[place], passed_on, size, size)
        levels.insert(0, out)
    return [level.detach() for level in levels]


def telling(levels: list[Tensor]) -> Signals:
    """A teacher that says this at its taps, and in the end as its embedding."""
    return Signals(torch.zeros(4, 5), tuple(levels[:-1]), levels[-1].flatten(1))


@pytest.fixture
def method(pair_with: Callable[..., Pair]) -> ReviewKD:
    torch.manual_seed(0)
    review = ReviewKD()
    review.build(pair_with(OURS, THEIRS))
    return review


def test_the_context_loss_is_what_is_worked_out_by_hand() -> None:
    """2×2 differences 1, 1, 1, 5: squares' mean 7, then with half the weight the mean 2 squared."""
    teacher = torch.randn(1, 1, 2, 2)
    student = teacher + torch.tensor([[[[1.0, 1.0], [1.0, 5.0]]]])
    expected = (7 * 1 + 2**2 * 0.5) / 1.5
    assert hierarchical_context_loss(student, teacher).tolist() == pytest.approx([expected])


def test_a_large_feature_is_compared_at_four_sizes_with_halving_weights() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    gap = student - teacher
    total = torch.zeros(2)
    for size, weight in ((8, 1), (4, 1 / 2), (2, 1 / 4), (1, 1 / 8)):
        blocks = gap.unflatten(3, (size, -1)).unflatten(2, (size, -1)).mean((3, 5))
        total += weight * blocks.square().mean((1, 2, 3))
    losses = hierarchical_context_loss(student, teacher)
    assert losses.tolist() == pytest.approx((total / 1.875).tolist(), rel=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (7, 7), (13, 1)])
def test_a_gap_that_is_the_same_everywhere_costs_the_same_at_any_size(
    size: tuple[int, int],
) -> None:
    teacher = torch.randn(2, 3, *size)
    losses = hierarchical_context_loss(teacher + 3, teacher)
    assert losses.tolist() == pytest.approx([9.0, 9.0], rel=1e-5)
    assert hierarchical_context_loss(teacher, teacher).tolist() == [0.0, 0.0]


def test_a_level_is_fused_with_the_deeper_one_by_attention() -> None:
    torch.manual_seed(0)
    fusion = Fusion(2, 3, 5, deepest=False).eval()
    feature, deeper = torch.randn(2, 2, 4, 4), torch.randn(2, 3, 2, 2)
    out, passed_on = fusion(feature, deeper, 4, 4)
    ours = fusion.enter(feature)
    review = deeper.repeat_interleave(2, 2).repeat_interleave(2, 3)
    attention = fusion.attend(torch.cat([ours, review], 1)).sigmoid()
    expected = ours * attention[:, 0:1] + review * attention[:, 1:2]
    assert torch.allclose(passed_on, expected, atol=1e-6)
    assert torch.allclose(out, fusion.leave(expected), atol=1e-6)


def test_a_level_takes_the_teachers_channels_and_size() -> None:
    fusion = Fusion(2, 3, 5, deepest=False)
    out, passed_on = fusion(torch.randn(2, 2, 7, 7), torch.randn(2, 3, 3, 3), 13, 5)
    assert out.shape == (2, 5, 13, 5)
    assert passed_on.shape == (2, 3, 13, 5)


def test_each_level_of_the_teacher_teaches_all_deeper_ones_of_the_student(
    method: ReviewKD, said: Callable[..., Signals], batch: Batch
) -> None:
    """Where the teacher's deeper features are what comes out, only its first still teaches."""
    leaves = [feature.requires_grad_() for feature in features(OURS)]
    exact = exact_levels(method.eval(), leaves)
    teacher = telling([features(THEIRS)[0], *exact[1:]])
    method(said(*leaves), teacher, batch, MIDDLE).backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves)


def test_a_level_of_the_teacher_teaches_no_shallower_one_of_the_student(
    method: ReviewKD, said: Callable[..., Signals], batch: Batch
) -> None:
    leaves = [feature.requires_grad_() for feature in features(OURS)]
    exact = exact_levels(method.eval(), leaves)
    assert method(said(*leaves), telling(exact), batch, MIDDLE).item() == 0.0
    exact[2] = exact[2] + 1
    method(said(*leaves), telling(exact), batch, MIDDLE).backward()
    assert [leaf.grad is not None and leaf.grad.abs().sum().item() > 0 for leaf in leaves] == [
        False, False, True,
    ]  # fmt: skip


def test_the_deepest_level_is_what_the_classifiers_see(
    method: ReviewKD, said: Callable[..., Signals], batch: Batch
) -> None:
    """An embedding that is off by 3 in each of its numbers costs 9, and no level else."""
    leaves = features(OURS)
    exact = exact_levels(method.eval(), leaves)
    exact[3] = exact[3] + 3
    assert len(method.fusions) == 4
    assert method.fusions[3].attend is None
    assert method(said(*leaves), telling(exact), batch, MIDDLE).item() == pytest.approx(9, rel=1e-5)


@pytest.mark.parametrize(
    ("warmup_epochs", "epoch", "epochs", "share"),
    [
        (20, 0.0, 100, 0.0),
        (20, 5.0, 100, 0.25),
        (20, 20.0, 100, 1.0),
        (20, 99.0, 100, 1.0),
        (20, 2.0, 4, 0.5),
        (20, 4.0, 4, 1.0),
        (0, 0.0, 100, 1.0),
    ],
)
def test_the_loss_grows_from_the_stages_start_and_never_longer_than_the_stage(
    pair_with: Callable[..., Pair],
    said: Callable[..., Signals],
    *,
    warmup_epochs: int,
    epoch: float,
    epochs: int,
    share: float,
) -> None:
    method = ReviewKD(warmup_epochs=warmup_epochs)
    method.build(pair_with(OURS, THEIRS))
    student, teacher = said(*features(OURS)), said(*features(THEIRS))
    batch = Batch(torch.zeros(4), torch.zeros(4))
    full = method(student, teacher, batch, Progress(100.0, 100)).item()
    assert full > 0
    loss = method(student, teacher, batch, Progress(epoch, epochs)).item()
    assert loss == pytest.approx(share * full, rel=1e-5)


def test_a_single_tap_of_one_position_is_compared_without_fusion(
    pair_with: Callable[..., Pair], said: Callable[..., Signals], batch: Batch
) -> None:
    """It is what the classifier sees, and is not compared twice."""
    method = ReviewKD()
    ours, theirs = [(2, 1, 1)], [(5, 1, 1)]
    method.build(pair_with(ours, theirs))
    student, teacher = said(*features(ours)), said(*features(theirs))
    method(student, teacher, batch, MIDDLE).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.parameters())
    assert len(method.fusions) == 1
    assert method.fusions[0].attend is None


def test_what_goes_from_level_to_level_has_a_bound(pair_with: Callable[..., Pair]) -> None:
    method = ReviewKD()
    method.build(pair_with([(2, 2, 2), (600, 1, 1)], [(3, 2, 2), (4, 1, 1)]))
    widths = {m.out_channels for m in method.modules() if isinstance(m, nn.Conv2d)}
    assert widths == {512, 2, 3, 4}


def test_a_negative_warm_up_is_quoted() -> None:
    with pytest.raises(ValueError, match="must not be negative, but got warmup_epochs=-1"):
        ReviewKD(warmup_epochs=-1)
