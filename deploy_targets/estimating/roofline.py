"""How long a model must take at least: each operator waits for arithmetic or for memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deploy_targets.targets import Target
from foundation.errors import UsageError

_NOMINAL_MHZ = 1000.0


@dataclass(frozen=True)
class Work:
    """What one operator has to do for one image.

    Attributes:
        kind: of operator, such as "Convolution".
        macs: multiply-accumulates, two operations each.
        bytes: of weights and features that are read or written.
        precision: "fp32" or "int8": what it computes in.
    """

    kind: str
    macs: int
    bytes: int
    precision: str


@dataclass(frozen=True)
class Roofline:
    """The least time of a model, and what it is spent on.

    Attributes:
        ms: of all operators, one after another, at the target's peak rates; at a clock of 1 GHz
            where the target's is not known.
        compute_share: of that time, the part of operators that wait for arithmetic (0..1).
        operators: how many there are.
    """

    ms: float
    compute_share: float
    operators: int


def roofline(work: Sequence[Work], target: Target, threads: int) -> Roofline:
    """The least time of a model on a target.

    Where the profile says nothing of memory, arithmetic alone counts.

    Raises:
        UsageError: when the profile does not say how much a core does in a cycle.
    """
    least = least_times(work, target, threads)
    total = sum(max(operator) for operator in least)
    by_compute = sum(compute for compute, memory in least if compute >= memory)
    return Roofline(total, by_compute / total if total else 0.0, len(work))


def least_times(work: Sequence[Work], target: Target, threads: int) -> list[tuple[float, float]]:
    """Of each operator the milliseconds that its arithmetic and its memory take at least, of which
    it waits for the longer; errors as `roofline`."""
    cycles = (target.clock_mhz or _NOMINAL_MHZ) * 1e3 * threads  # in a millisecond
    rates = {name: rate * cycles for name, rate in target.per_cycle().items()}
    lacking = sorted({operator.precision for operator in work if operator.macs} - set(rates))
    if lacking:
        raise UsageError(
            f"target {target.name}: nothing can be estimated, for it does not say "
            f"{lacking[0]}_per_cycle, nor a cpu whose rates are documented here; write a profile "
            "that does (docs/targets.md)"
        )
    memory_rate = target.memory_gb_s and target.memory_gb_s * 1e6  # bytes in a millisecond
    return [
        (
            2 * operator.macs / rates[operator.precision] if operator.macs else 0.0,
            operator.bytes / memory_rate if memory_rate else 0.0,
        )
        for operator in work
    ]
