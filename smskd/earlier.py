"""What a stage has of the stages before it beside the student: their methods, as they left them.

A method can hold the reference (`Stage.reference_methods`), or be kept at a fraction of its weight
(`Stage.carry`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from torch import Tensor

from foundation.errors import ModelMismatchError
from smskd.checkpoints.files import content_sha256, load_tensors
from smskd.methods import METHODS
from smskd.objective import METHODS_STATE, EarlierMethod, spelled_out
from smskd.stage import PREVIOUS, MethodSpec, Stage


@dataclass(frozen=True)
class EarlierMethods:
    """The methods of earlier stages that one stage has.

    Attributes:
        carried: kept beside its own, at a fraction of their weight.
        held: by which it holds on to the reference.
    """

    carried: tuple[EarlierMethod, ...] = ()
    held: tuple[EarlierMethod, ...] = ()

    def facts(self) -> list[object]:
        """Plain values that change with them."""
        return [
            [method.spec.name, method.spec.weight, dict(method.spec.settings), _digest(method)]
            for method in (*self.carried, *self.held)
        ]


def _digest(method: EarlierMethod) -> str | None:
    return content_sha256(method.learned) if method.learned is not None else None


def carried_specs(stages: Sequence[Stage], place: int) -> list[MethodSpec]:
    """The methods of all stages before one that it keeps, with what is left of their weights.

    Args:
        stages: in order.
        place: of the stage, from 0.
    """
    stage = stages[place]
    if not stage.carry:
        return []
    own = {spec.name for spec in stage.method_specs}
    earlier = {spec.name: spec for before in stages[:place] for spec in _specs(before)}
    return [
        replace(spec, weight=stage.carry * cast(float, spec.weight))
        for name, spec in earlier.items()
        if name not in own
    ]


def held_specs(stages: Sequence[Stage], place: int) -> list[MethodSpec]:
    """The methods by which a stage holds on to the reference; none where the logits do.

    Each has the weight and the settings of the last stage before that has it, or else its own
    defaults.
    """
    stage = stages[place]
    if place == 0 or not stage.anchored or not stage.reference_methods:
        return []
    if stage.reference_methods == PREVIOUS:
        return list(_specs(stages[place - 1]))
    earlier = {spec.name: spec for before in stages[:place] for spec in _specs(before)}
    return [earlier.get(name) or _specs(Stage(name))[0] for name in stage.reference_methods]


def check_held(stages: Sequence[Stage]) -> None:
    """Make sure that the methods by which stages hold on to a reference can do so.

    Raises:
        UnknownNameError: when there is no such method.
        ModelMismatchError: when there are none, one gives no loss for each sample, or one has to
            learn first what it compares.
    """
    for place, stage in enumerate(stages):
        if stage.reference_methods == PREVIOUS and place and not stages[place - 1].methods:
            raise ModelMismatchError(
                f"stage {place + 1} ({stage.name}) is to hold its reference by the methods of the "
                "stage before, which has none; leave reference_methods out"
            )
        before = {spec.name for earlier in stages[:place] for spec in earlier.method_specs}
        for spec in held_specs(stages, place):
            kind = METHODS.get(spec.name)
            where = f"stage {place + 1} ({stage.name}) cannot hold its reference by {spec.name!r}"
            if not kind.holds:
                able = [name for name, other in METHODS.items() if other.holds]
                raise ModelMismatchError(
                    f"{where}, which gives no loss for each sample between two students; leave "
                    f"reference_methods out, or name some of {', '.join(able)}"
                )
            if kind.learns_what_it_holds and spec.name not in before:
                raise ModelMismatchError(
                    f"{where}, which compares what it learnt, and no stage before has it; name "
                    "another method"
                )


def earlier_methods(
    stages: Sequence[Stage], place: int, learned_in: Callable[[int], Mapping[str, Tensor]]
) -> EarlierMethods:
    """What the stages before one left of their methods.

    Args:
        stages: in order.
        place: of the stage, from 0.
        learned_in: gives the learnt parts of an earlier stage's methods, see `Objective.learned`.
    """

    def as_left(spec: MethodSpec) -> EarlierMethod:
        trained_in = _last_trained(spec.name, stages, place)
        learned = {} if trained_in is None else learned_in(trained_in)
        return EarlierMethod(spec, _of_method(learned, spec.name))

    return EarlierMethods(
        tuple(map(as_left, carried_specs(stages, place))),
        tuple(map(as_left, held_specs(stages, place))),
    )


def learned_in_file(path: Path) -> Mapping[str, Tensor]:
    """The learnt parts that a stage left; none where there is no file.

    Raises:
        CorruptFileError: when they cannot be read.
    """
    return load_tensors(path)[0] if path.exists() else {}


def _last_trained(name: str, stages: Sequence[Stage], place: int) -> int | None:
    """The last stage before one that trained a method; None when none did."""
    for earlier in range(place - 1, -1, -1):
        trained = [*stages[earlier].method_specs, *carried_specs(stages, earlier)]
        if name in {spec.name for spec in trained}:
            return earlier
    return None


def _of_method(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{METHODS_STATE}{name}."
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in tensors.items()
        if key.startswith(prefix)
    }


def _specs(stage: Stage) -> tuple[MethodSpec, ...]:
    return spelled_out(stage).method_specs


def needs_taps(specs: Sequence[MethodSpec]) -> bool:
    """Whether any of the methods looks at more of a reference than its logits."""
    needs = {need for spec in specs for need in METHODS.get(spec.name).needs}
    return bool(needs & {"features", "embedding"})
