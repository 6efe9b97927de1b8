"""Networks that `torch.compile` makes faster; what is learned stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from smskd import Engine, Stage, distill
from smskd.features.taps import TappedModel
from smskd.training.compiling import runnable

Net = Callable[..., nn.Module]

STAGES = [
    Stage("kd", epochs=2),
    Stage("at", epochs=1, lr=0.01, reference_feature_weight=0.1),
    Stage("rkd", epochs=1, lr=0.01, ema_decay=0.9),
]
needs_compiler = pytest.mark.skipif(
    shutil.which("c++") is None, reason="torch.compile needs a C++ compiler, and there is no c++"
)


def hooks_in(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.slow
@needs_compiler
def test_compiled_training_learns_the_same_and_leaves_no_hook(
    plain: Net, data: Any, tmp_path: Path
) -> None:
    torch.compiler.reset()
    losses, students = [], []
    for compiled in (False, True):
        teacher, student = plain(width=6, seed=1), plain()
        engine = Engine(accelerator="cpu", compile=compiled)
        folder = tmp_path / str(compiled)
        results = distill(teacher, student, data, STAGES, folder, validation=data, engine=engine)
        losses.append([record["losses"] for one in results for record in one["history"]])
        students.append(student)
        assert hooks_in(teacher) == hooks_in(student) == 0
        assert not any("_orig_mod" in name for name in student.state_dict())
    for found, expected in zip(losses[1], losses[0], strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    for found, expected in zip(*(one.parameters() for one in students), strict=True):
        assert torch.allclose(found, expected, atol=1e-4)


def test_what_is_not_compiled_is_the_network_itself(net: Net) -> None:
    tapped = TappedModel(net(), ["stem"], "head")
    with runnable(tapped, compiled=False) as run:
        assert run is tapped
        assert hooks_in(tapped.model) == 0


def test_a_compiled_network_is_as_it_was_after_a_block_that_fails(net: Net) -> None:
    """Nothing is compiled before the first call."""
    tapped = TappedModel(net(), ["stem"], "head")
    with pytest.raises(ZeroDivisionError), runnable(tapped, compiled=True):
        assert hooks_in(tapped.model) == 2
        raise ZeroDivisionError
    assert hooks_in(tapped.model) == 0
