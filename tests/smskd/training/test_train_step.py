"""Student and objective as one module, and the running mean of what is handed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from smskd import Stage
from smskd.distillation import pair_on
from smskd.objective import Objective
from smskd.training.train_step import TrainStep

Net = Callable[..., nn.Module]

DECAY = 0.75


def test_what_is_folded_into_the_mean_is_the_projectors_mean(
    net: Net, teacher: nn.Module, data: Any
) -> None:
    student = net()
    pair = pair_on(teacher, student, data)
    step = TrainStep(pair.student, Objective(Stage("simkd"), pair), DECAY)
    projector = step.objective.methods["simkd"].projector
    weight, bias = torch.zeros(()), torch.zeros(())
    first = True
    for _epoch in range(2):
        for _step in range(3):
            with torch.no_grad():
                for parameter in (*student.parameters(), *projector.parameters()):
                    parameter.add_(torch.randn_like(parameter))
                kept = 0.0 if first else DECAY
                weight = kept * weight + (1 - kept) * projector.weight
                bias = kept * bias + (1 - kept) * projector.bias
            step.after_step()
            first = False
        step.after_epoch()
    theirs = teacher.head
    for head, folded_weight, folded_bias in (
        (student.head, projector.weight, projector.bias),
        (step.handed_on.head, weight, bias),
    ):
        assert torch.allclose(head.weight, theirs.weight @ folded_weight, atol=1e-4)
        assert torch.allclose(head.bias, theirs.weight @ folded_bias + theirs.bias, atol=1e-4)


def test_a_method_that_does_not_fold_has_no_part_in_the_mean(
    net: Net, teacher: nn.Module, data: Any
) -> None:
    data.numbered = True
    pair = pair_on(teacher, net(), data)
    counts = [
        sum(
            1
            for name in TrainStep(pair.student, objective, DECAY).state_dict()
            if name.startswith("mean.")
        )
        for objective in (Objective(Stage(name), pair) for name in ("kd", "crd", "fitnet"))
    ]
    assert len(set(counts)) == 1


def test_nothing_in_the_mean_is_learnt_and_nothing_is_saved_twice(
    net: Net, teacher: nn.Module, data: Any
) -> None:
    pair = pair_on(teacher, net(), data)
    plain, averaged = (
        TrainStep(pair.student, Objective(Stage("simkd"), pair), decay) for decay in (None, DECAY)
    )
    learnt = [name for name, one in averaged.named_parameters() if one.requires_grad]
    assert learnt == [name for name, _ in plain.named_parameters()]
    counter = 1
    assert len(averaged.state_dict()) == 2 * len(plain.state_dict()) + counter
