"""The course of the learning rate, over one stage or over several that share it. No torch here.

A schedule is a function that gives the share of the peak at a point of the curve, behind the rise
at its beginning; a new one is one more registered function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from foundation.registry import Registry

if TYPE_CHECKING:
    from smskd.stage import Stage

SHARED = "shared"
"""The schedule of a stage that goes on where the one before it stood, on the same curve."""
CURVE_KEYS = ("schedule", "lr", "warmup_epochs", "hold_epochs", "step_epochs", "warm_lr")
"""What a stage says of its curve."""
_OWN = "cosine"
AnyStage = TypeVar("AnyStage", bound="Stage")


@dataclass(frozen=True)
class Curve:
    """A learning rate over epochs.

    Attributes:
        schedule: a registered one.
        lr: its peak.
        epochs: of all stages that share it.
        warmup_epochs: of linear rise, at its beginning.
        hold_epochs: at the peak behind that, before the schedule begins.
        step_epochs: see `step`.
        begin: how many of its epochs earlier stages took.
    """

    schedule: str
    lr: float
    epochs: int
    warmup_epochs: float = 0.0
    hold_epochs: float = 0.0
    step_epochs: int = 30
    begin: int = 0

    def rate(self, epoch: float) -> float:
        """The learning rate at a point of the stage.

        A pure function of the position, so there is no scheduler state to save.

        Args:
            epoch: epochs of the stage that are finished, with the fraction of the running one.
        """
        place = self.begin + epoch
        if place < self.warmup_epochs:
            return self.lr * place / self.warmup_epochs
        at_peak_until = self.warmup_epochs + self.hold_epochs
        if place < at_peak_until or at_peak_until >= self.epochs:
            return self.lr
        return self.lr * SCHEDULES.get(self.schedule)(self, place)

    def progress(self, place: float) -> float:
        """How far the curve has come behind rise and hold, 0..1.

        Args:
            place: in epochs from its beginning.
        """
        begin = self.warmup_epochs + self.hold_epochs
        return min((place - begin) / (self.epochs - begin), 1.0)

    @property
    def anneals(self) -> bool:
        """Whether its last epoch is trained at a tenth of the peak, or ends at nought."""
        return self.rate(self.epochs - self.begin - 1e-6) <= 0.1001 * self.lr


Schedule = Callable[[Curve, float], float]
SCHEDULES: Registry[Schedule] = Registry("schedule", "smskd.curve")


@SCHEDULES.register("cosine")
def cosine(curve: Curve, place: float) -> float:
    """Half a wave, from the peak to nought."""
    return 0.5 * (1 + math.cos(math.pi * curve.progress(place)))


@SCHEDULES.register("linear")
def linear(curve: Curve, place: float) -> float:
    """A straight line from the peak to nought."""
    return 1 - curve.progress(place)


@SCHEDULES.register("step")
def step(curve: Curve, place: float) -> float:
    """A tenth after each `step_epochs`, counted from the curve's beginning, or the hold's end."""
    return math.pow(0.1, (place - curve.hold_epochs) // curve.step_epochs)


@SCHEDULES.register("constant")
def constant(_curve: Curve, _place: float) -> float:
    """The peak throughout."""
    return 1.0


def schedule_names() -> list[str]:
    """What `schedule` of a stage may be."""
    return [*SCHEDULES.names(), SHARED]


def with_schedules(stages: Sequence[AnyStage], apart: Collection[int] = ()) -> list[AnyStage]:
    """Stages that all name a schedule: one that names none goes on where the one before it stood.

    It begins a cosine of its own where it is the first, quantises, says something of the curve
    itself (lr, warm_lr, or epochs of its parts), or comes after one that keeps its best epoch.

    Args:
        stages: in order.
        apart: places, counted from 0, of further stages that cannot go on.
    """

    def with_schedule(place: int, stage: AnyStage) -> AnyStage:
        if stage.schedule is not None:
            return stage
        begins = place == 0 or place in apart or stages[place - 1].keep == "best"
        own = begins or stage.quantized or stage.says_something_of_its_curve
        return replace(stage, schedule=_OWN if own else SHARED)

    return [with_schedule(place, stage) for place, stage in enumerate(stages)]


def leader_of(stages: Sequence[Stage], place: int) -> int:
    """Which stage named the curve that a stage is on, both counted from 0.

    Raises:
        ValueError: when none did.
    """
    for leader in range(place, -1, -1):
        if stages[leader].schedule != SHARED:
            return leader
    raise ValueError(
        f'a stage of schedule = "{SHARED}" goes on where the stage before it stood, but the first '
        f"has none before it; name its schedule: {', '.join(SCHEDULES.names())}"
    )


def own_curve(leader: Stage) -> dict[str, Any]:
    """What a stage says of a curve for itself that is like the one it shares; nothing is held at
    the peak, for that may be as long as the stage."""
    return {key: getattr(leader, key) for key in CURVE_KEYS} | {"hold_epochs": 0.0}


def curves_of(stages: Sequence[Stage]) -> list[Curve]:
    """The curve of each stage.

    Args:
        stages: in order. From the second on a stage with `warm_lr` begins at that share of its lr.

    Raises:
        ValueError: when the first stage names no schedule.
    """
    stages = with_schedules(stages)
    leaders = [leader_of(stages, place) for place in range(len(stages))]
    return [_curve(stages, leaders, place) for place in range(len(stages))]


def _curve(stages: Sequence[Stage], leaders: Sequence[int], place: int) -> Curve:
    leader = stages[leaders[place]]
    together = [number for number, other in enumerate(leaders) if other == leaders[place]]
    share = 1.0 if leaders[place] == 0 or leader.warm_lr is None else leader.warm_lr
    return Curve(
        schedule=cast(str, leader.schedule),
        lr=cast(float, leader.lr) * share,
        epochs=sum(stages[number].epochs for number in together),
        warmup_epochs=cast(float, leader.warmup_epochs),
        hold_epochs=cast(float, leader.hold_epochs),
        step_epochs=cast(int, leader.step_epochs),
        begin=sum(stages[number].epochs for number in together if number < place),
    )
