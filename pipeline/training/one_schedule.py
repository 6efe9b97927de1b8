"""All epochs of several stages on one schedule: how what they are compared with is trained.

It trains as the first stage says (optimizer, learning rate, ...), but never at a rate that does not
fall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from smskd.curve import curves_of, with_schedules
from smskd.stage import MethodSpec, Stage

_ANNEALING = "cosine"


def library_stage(stage: Stage) -> Stage:
    """A stage of the recipe as the library's, which may be without methods."""
    return Stage(**{field.name: getattr(stage, field.name) for field in fields(Stage)})


def annealed(stage: Stage) -> Stage:
    """The stage at a rate that falls to its end; that of a stage before others need not."""
    (stage,) = with_schedules([stage])
    (curve,) = curves_of([stage])
    return stage if curve.anneals else replace(stage, schedule=_ANNEALING, hold_epochs=0.0)


def one_schedule(
    stages: Sequence[Stage], methods: Sequence[MethodSpec], ce_weight: float | None
) -> Stage:
    """One stage with the epochs of all.

    Args:
        stages: whose epochs it has; the first says how it trains.
        methods: its own.
        ce_weight: of the labels beside them.
    """
    budget = sum(stage.epochs for stage in stages)
    first = library_stage(stages[0])
    if not methods:  # nobody teaches
        first = replace(first, teacher=None, label_correction=0.0)
    return annealed(replace(first, methods=tuple(methods), epochs=budget, ce_weight=ce_weight))


def alone_stage(stages: Sequence[Stage]) -> Stage:
    """The labels alone, for the epochs of all stages."""
    return one_schedule(stages, (), 1.0)
