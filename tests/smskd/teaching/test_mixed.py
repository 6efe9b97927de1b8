"""Several teachers as one, against figures worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from foundation.errors import ModelMismatchError, UnknownNameError
from smskd.checkpoints.files import content_sha256
from smskd.distillation import StageTeacher, distill
from smskd.features.tap_search import find_taps
from smskd.stage import Stage
from smskd.teaching.mixed import MIXES, MixedTeacher, MixMember, mixed_logits

# Two teachers, two samples: (3/4, 1/4) and (1/2, 1/2); (1/4, 3/4) and (9/10, 1/10).
SAID = torch.tensor([[[3 / 4, 1 / 4], [1 / 2, 1 / 2]], [[1 / 4, 3 / 4], [9 / 10, 1 / 10]]]).log()


def mixed(mix: str, *weights: float) -> list[float]:
    """Probabilities of the first class, sample by sample."""
    logits = mixed_logits(SAID, torch.tensor(weights), MIXES.get(mix))
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(2))
    return logits.exp()[:, 0].tolist()


def spread(*shares: float) -> float:
    return -sum(share * math.log(share) for share in shares) / math.log(2)


def test_an_average_is_that_of_the_probabilities_by_their_weights() -> None:
    assert mixed("average", 1, 1) == pytest.approx([1 / 2, 7 / 10])
    assert mixed("average", 3, 1) == pytest.approx([(3 * 3 / 4 + 1 / 4) / 4, (3 / 2 + 9 / 10) / 4])


def test_who_is_surer_of_its_answer_counts_for_more_of_that_sample() -> None:
    # sample 0: both are sure by 3/4; sample 1: by 1/2 and 9/10
    expected = (1 / 2 * 1 / 2 + 9 / 10 * 9 / 10) / (1 / 2 + 9 / 10)
    assert mixed("confidence", 1, 1) == pytest.approx([1 / 2, expected])


def test_who_knows_nothing_of_a_sample_does_not_count_by_entropy() -> None:
    assert mixed("entropy", 1, 1) == pytest.approx([1 / 2, 9 / 10], abs=1e-6)
    first, second = 2 * (1 - spread(3 / 4, 1 / 4)), 1 - spread(1 / 4, 3 / 4)
    expected = (first * 3 / 4 + second * 1 / 4) / (first + second)
    assert mixed("entropy", 2, 1)[0] == pytest.approx(expected)


def test_where_none_counts_the_weights_alone_do() -> None:
    nothing = torch.zeros(2, 1, 2)
    found = mixed_logits(nothing, torch.tensor([1.0, 3.0]), MIXES.get("entropy"))
    torch.testing.assert_close(found.exp(), torch.full((1, 2), 0.5))


def test_a_class_that_is_out_of_the_question_stays_so() -> None:
    sure = torch.tensor([[[0.0, -math.inf]], [[0.0, -math.inf]]])
    for mix in MIXES.names():
        found = mixed_logits(sure, torch.ones(2), MIXES.get(mix))
        assert found[0, 0].item() == pytest.approx(0) and found[0, 1].item() == -math.inf


@pytest.fixture
def networks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 3)).eval()
        for _ in range(2)
    ]


def test_a_mix_has_nothing_to_tap_and_is_known_by_all_that_decides_it(networks) -> None:
    def mix(weight: float, kind: str = "average") -> MixedTeacher:
        return MixedTeacher(
            {"a": MixMember(networks[0], weight), "b": MixMember(networks[1])}, kind
        )

    images = torch.rand(2, 1, 6, 6)
    assert find_taps(mix(1.0), images) == []
    digests = {
        content_sha256(each.state_dict()) for each in (mix(1.0), mix(2.0), mix(1, "entropy"))
    }
    assert len(digests) == 3 and content_sha256(mix(1.0).state_dict()) in digests
    networks[1][3].bias.data += 1
    assert content_sha256(mix(1.0).state_dict()) not in digests


def test_training_mode_never_reaches_its_teachers(networks) -> None:
    teacher = MixedTeacher({"a": MixMember(networks[0]), "b": MixMember(networks[1])})
    teacher.train()
    before = networks[0][1].running_mean.clone()
    teacher(torch.rand(4, 1, 6, 6))
    assert networks[0][1].running_mean.equal(before)


def test_what_cannot_be_mixed_is_refused(networks) -> None:
    with pytest.raises(ValueError, match="two or more"):
        MixedTeacher({"a": MixMember(networks[0])})
    with pytest.raises(ValueError, match="above 0, but got 0"):
        MixedTeacher({"a": MixMember(networks[0], 0), "b": MixMember(networks[1])})
    with pytest.raises(UnknownNameError, match="mix of teachers 'avarage'"):
        MixedTeacher({"a": MixMember(networks[0]), "b": MixMember(networks[1])}, "avarage")
    other = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    mix = MixedTeacher({"a": MixMember(networks[0]), "b": MixMember(other)})
    with pytest.raises(ModelMismatchError, match=r"3 logits \(a\), 4 logits \(b\)"):
        mix(torch.rand(2, 1, 6, 6))


def test_each_stage_has_the_teacher_that_it_names(networks, tmp_path: Path) -> None:
    images, labels = torch.rand(8, 1, 6, 6), torch.zeros(8, dtype=torch.int64)
    train = [(images, labels, torch.arange(8))]
    both = MixedTeacher({"a": MixMember(networks[0]), "b": MixMember(networks[1])})

    def losses(stages: list[Stage], teacher: nn.Module, folder: str) -> list[float]:
        torch.manual_seed(1)
        student = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
        named = {"a": StageTeacher(networks[0]), "b": StageTeacher(networks[1])}
        done = distill(teacher, student, train, stages, tmp_path / folder, teachers=named)
        return [epoch["losses"]["loss"] for stage in done for epoch in stage["history"]]

    def stage(name: str | None, method: str = "kd") -> Stage:
        return Stage(method, epochs=1, ce_weight=0.0, teacher=name)

    by_name = losses([stage("a", "at"), stage("b"), stage(None)], both, "named")
    assert by_name[:1] == losses([stage(None, "at")], networks[0], "first")
    assert losses([stage("b")], both, "b") == losses([stage(None)], networks[1], "other")
    again = losses([stage("a", "at"), stage("b"), stage(None)], both, "named")
    assert again == by_name
    with pytest.raises(UnknownNameError, match="teacher of stage kd 'c'"):
        losses([stage("c")], both, "unknown")
