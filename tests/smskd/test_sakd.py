"""SAKD: where to distil, decided for each sample and each place."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import UnknownNameError
from smskd import Batch, Engine, MethodSpec, Stage, distill
from smskd.features.signals import Signals
from smskd.methods import Progress
from smskd.methods.at import at_loss
from smskd.methods.kd import kd_loss
from smskd.methods.sakd import SAKD, Adaption, chosen_spots, routing_loss
from smskd.objective import Objective
from smskd.pair import Pair, make_pair
from smskd.training.schedule import make_optimizer, set_rate
from smskd.training.train_step import TrainStep

Net = Callable[..., nn.Module]

CPU = Engine(accelerator="cpu")
NOW = Progress(0, 1)


@pytest.fixture
def batch(data: Any) -> Batch:
    return Batch(data.images, data.labels)


@pytest.fixture
def pair(net: Net, teacher: nn.Module, data: Any) -> Pair:
    return make_pair(net(), teacher.eval(), data.images[:2])


def built(pair: Pair, **settings: Any) -> SAKD:
    method = SAKD(**settings)
    method.build(pair)
    return method


def said(pair: Pair, batch: Batch) -> tuple[Signals, Signals]:
    with torch.no_grad():
        theirs = pair.teacher(batch.images)
    return pair.student(batch.images), theirs


def choosing(method: SAKD, chosen: Tensor) -> SAKD:
    """A method whose policy has decided: a bias that no noise turns over.

    Args:
        chosen: 0 or 1 for each spot, alike for all samples.
    """
    last = method.policy
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.stack([chosen, 1 - chosen], 1).flatten() * 1000)
    return method


def grads(module: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in module.parameters()]


def test_the_student_learns_from_distillation_and_from_nothing_else(
    pair: Pair, batch: Batch
) -> None:
    """The loss's gradient for it is that of the spots' losses alone."""
    method = built(pair).eval()
    pair.student.model.eval()
    ours, theirs = said(pair, batch)
    torch.manual_seed(1)
    chosen = method._choose(ours, theirs)
    assert 0 < chosen.mean() < 1
    distilled = method._distilled(ours, theirs, chosen.detach(), NOW)
    expected = torch.autograd.grad(distilled, list(pair.student.model.parameters()))
    torch.manual_seed(1)
    method(*said(pair, batch), batch, NOW).backward()
    found = grads(pair.student.model)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    assert any(one.abs().sum() > 0 for one in found)
    assert all(one is None for one in grads(pair.teacher.model))


def test_the_policy_learns_from_routing_and_from_nothing_else(pair: Pair, batch: Batch) -> None:
    """Its gradient is the same, however much the distillation weighs."""
    found = []
    pair.student.model.eval()  # or its batch-norm statistics move between the two
    for weight in (0.0, 1000.0):
        torch.manual_seed(0)
        method = built(pair, kd_weight=weight)
        torch.manual_seed(1)
        method(*said(pair, batch), batch, NOW).backward()
        found.append([*grads(method.policy), *grads(method.to_student), *grads(method.to_teacher)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
        assert one.abs().sum() > 0


def test_the_policy_is_one_linear_layer_on_both_embeddings(pair: Pair) -> None:
    policy = built(pair).policy
    shapes = pair.student_shapes.embedding, pair.teacher_shapes.embedding
    assert isinstance(policy, nn.Linear)
    assert (policy.in_features, policy.out_features) == (sum(shapes), 2 * 3)


@pytest.mark.parametrize(("bias", "share"), [(0.0, 0.5), (10.0, 1.0), (-10.0, 0.0)])
def test_a_policy_can_lean_to_the_teacher_at_first(pair: Pair, bias: float, share: float) -> None:
    method = built(pair, teacher_bias=bias)
    with torch.no_grad():
        method.policy.weight.zero_()
        method.policy.bias -= method.policy.bias.detach() - torch.tensor([bias, 0.0] * 3)
    ours = Signals(torch.zeros(400, 3), (), torch.zeros(400, pair.student_shapes.embedding))
    theirs = ours._replace(embedding=torch.zeros(400, pair.teacher_shapes.embedding))
    assert method._choose(ours, theirs).mean().item() == pytest.approx(share, abs=0.06)


def test_policy_and_adaption_layers_learn_at_their_own_pace_and_the_rest_at_the_stages(
    pair: Pair,
) -> None:
    spec = MethodSpec("sakd", settings={"methods": ("fitnet",), "policy_weight_decay": 0.01})
    stage = Stage((spec,), lr=0.2, weight_decay=0.3)
    objective = Objective(stage, pair)
    step = TrainStep(pair.student, objective, None)
    optimizer = make_optimizer(stage, step.parameters(), stage.lr, objective.paces)
    set_rate(optimizer, 0.08)
    names = {parameter: name for name, parameter in step.named_parameters()}
    common, routing = optimizer.param_groups
    paced = {names[parameter].split(".")[3] for parameter in routing["params"]}
    assert paced == {"policy", "to_teacher", "to_student"}
    # The stage stands at 0.4 of its peak, and so does the policy at 0.4 of its own.
    assert routing["lr"] == pytest.approx(0.4 * 0.025)
    assert routing["weight_decay"] == 0.01
    assert (common["lr"], common["weight_decay"]) == (0.08, 0.3)
    assert len(common["params"]) + len(routing["params"]) == len(names)
    assert any("wrapped.fitnet" in names[parameter] for parameter in common["params"])


@pytest.mark.parametrize("lr", [0.05, 0.2])
def test_the_policys_rate_and_decay_are_the_authors_whatever_the_stages(
    lr: float, pair: Pair
) -> None:
    (pace,) = built(pair).paces()
    assert lr * pace.share(lr) == pytest.approx(0.025)
    assert pace.weight_decay == 1e-3
    assert SAKD.default_ce_weight == 2.0


def test_where_everything_is_chosen_the_loss_is_the_methods_own(pair: Pair, batch: Batch) -> None:
    method = built(pair, methods=("at",), kd_weight=0.7, temperature=3.0)
    ours, theirs = said(pair, batch)
    chosen = torch.ones(len(batch.labels), 3)
    found = method._distilled(ours, theirs, chosen, NOW)
    at = method.wrapped["at"]
    expected = at.default_weight * at(ours, theirs, batch, NOW)
    expected = expected + 0.7 * kd_loss(ours.logits, theirs.logits, 3.0).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_chosen_spots_weigh_the_loss_as_a_plain_loop_says(pair: Pair, batch: Batch) -> None:
    method = built(pair, methods=("at", "fitnet"), kd_weight=0.7, temperature=3.0).eval()
    ours, theirs = said(pair, batch)
    count = len(batch.labels)
    chosen = torch.randint(2, (count, 3)).float()
    assert 0 < chosen.sum() < 3 * count
    fitnet = method.wrapped["fitnet"].spot_losses(ours, theirs, NOW)
    expected = 0.0
    for sample in range(count):
        for place in range(2):
            if chosen[sample, place]:
                one = slice(sample, sample + 1)
                at = at_loss(ours.features[place][one], theirs.features[place][one], 2.0)
                expected += method.wrapped["at"].default_weight * at.item()
                expected += method.wrapped["fitnet"].default_weight * fitnet[place, sample].item()
        if chosen[sample, 2]:
            one = slice(sample, sample + 1)
            expected += 0.7 * kd_loss(ours.logits[one], theirs.logits[one], 3.0).item()
    found = method._distilled(ours, theirs, chosen, NOW)
    assert found.item() == pytest.approx(expected / count, rel=1e-4)


def test_where_nothing_is_chosen_nothing_is_distilled(pair: Pair, batch: Batch) -> None:
    method = choosing(built(pair), torch.zeros(3))
    chosen = torch.zeros(len(batch.labels), 3)
    assert method._distilled(*said(pair, batch), chosen, NOW).item() == 0.0
    method(*said(pair, batch), batch, NOW).backward()
    moved = [one for one in grads(pair.student.model) if one is not None and one.abs().sum() > 0]
    assert not moved


def test_the_multi_path_network_is_student_or_teacher_where_nothing_is_mixed(
    pair: Pair, batch: Batch
) -> None:
    """All spots to the student: it alone. The last spot to the teacher, no other: the teacher."""
    method, count = built(pair), len(batch.labels)
    with torch.no_grad():
        ours = pair.student.model.eval()(batch.images)
        theirs = pair.teacher.model.eval()(batch.images)
        found = method._routed(batch, torch.zeros(count, 3))
        assert torch.allclose(found, ours, atol=1e-6)
        last = torch.tensor([0.0, 0.0, 1.0]).expand(count, 3)
        # The teacher's own path goes on with the student's features where a spot is not chosen.
        assert not torch.allclose(method._routed(batch, last), theirs, atol=1e-3)
        assert torch.allclose(method._routed(batch, torch.ones(count, 3)), theirs, atol=1e-6)


def test_each_sample_goes_its_own_way(pair: Pair, batch: Batch) -> None:
    method = built(pair).eval()
    chosen = torch.randint(2, (len(batch.labels), 3)).float()
    with torch.no_grad():
        found = method._routed(batch, chosen)
        for sample in range(len(batch.labels)):
            one = Batch(batch.images[sample : sample + 1], batch.labels[sample : sample + 1])
            single = method._routed(one, chosen[sample : sample + 1])
            assert torch.allclose(found[sample], single[0], atol=1e-5)


def test_choices_are_hard_and_carry_a_gradient() -> None:
    logits = torch.randn(400, 3, 2, requires_grad=True)
    chosen = chosen_spots(logits, 5.0)
    assert chosen.shape == (400, 3)
    assert set(chosen.unique().tolist()) == {0.0, 1.0}
    chosen.sum().backward()
    assert logits.grad[..., 0].min() > 0


def test_choices_are_drawn_as_often_as_the_policy_says() -> None:
    logits = torch.tensor([math.log(0.8), math.log(0.2)]).expand(20_000, 1, 2)
    assert chosen_spots(logits, 5.0).mean().item() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("routed", "chosen", "expected"),
    [
        (3.0, [1.0, 1.0, 1.0, 0.0], 2 * 3.0),  # worse than the student alone: counts twice
        (1.0, [1.0, 1.0, 1.0, 0.0], 1.0 / 2),  # better: half
        (2.0, [1.0, 1.0, 0.0, 0.0], 2.0 / 2),  # as good, and just half of the samples
        (1.0, [1.0, 0.0, 0.0, 0.0], 1.0 / 2 + 1),  # one fewer than half of the samples
    ],
)
def test_the_routing_loss_is_what_is_worked_out_by_hand(
    routed: float, chosen: list[float], expected: float
) -> None:
    found = routing_loss(torch.tensor(routed), torch.tensor(2.0), torch.tensor(chosen), 2.0)
    assert found.item() == pytest.approx(expected)


@pytest.mark.parametrize("to", [(5, 8, 8), (5, 2, 2), (5, 1, 1), (5, 4, 4), (5, 3, 7)])
def test_an_adaption_has_the_channels_and_the_size_of_the_other_side(to: tuple[int, ...]) -> None:
    assert Adaption((3, 4, 4), to)(torch.randn(2, 3, 4, 4)).shape == (2, *to)


def test_the_last_batch_of_an_epoch_may_hold_one_vector() -> None:
    adapted = Adaption((3, 1, 1), (5, 1, 1)).train()(torch.randn(1, 3, 1, 1))
    assert adapted.isfinite().all()


@pytest.mark.parametrize("name", ["atn", "kd", "rkd", "mgd", "sakd"])
def test_what_is_no_feature_method_is_refused_with_those_that_are(name: str) -> None:
    expected = rf"unknown feature method '{name}'.*Known: at, .*fitnet"
    with pytest.raises(UnknownNameError, match=expected):
        SAKD(methods=("at", name))


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"policy_temperature": -1.0},
        {"kd_weight": -0.1},
        {"factor": 0.9},
        {"policy_lr": 0.0},
        {"policy_weight_decay": -0.1},
    ],
)
def test_an_impossible_setting_is_quoted(settings: dict[str, float]) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        SAKD(**settings)


@pytest.mark.parametrize("kinds", [("net", "vit"), ("vit", "net"), ("net", "net")])
def test_it_is_trained_with_several_methods_between_any_networks(
    request: pytest.FixtureRequest, data: Any, tmp_path: Path, kinds: tuple[str, str]
) -> None:
    student, teacher = (request.getfixturevalue(kind)() for kind in kinds)
    teacher(data.images)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    spec = MethodSpec("sakd", settings={"methods": ("at", "fitnet")})
    stages = [Stage((MethodSpec("kd"), spec), epochs=2, lr=0.01, max_grad_norm=5.0)]
    (metrics,) = distill(teacher, student, data, stages, tmp_path, engine=CPU)
    assert math.isfinite(metrics["last"]["epoch"])
    first, last = (record["losses"]["loss"] for record in metrics["history"])
    assert math.isfinite(last)
    assert last < first
    after = teacher.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
