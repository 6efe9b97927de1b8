"""Where the time of an inference goes, operator by operator, as a runtime tells it of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from deploy_targets.device.messages import RuntimeUsed
from foundation.sense import above_zero, at_least, named


@dataclass(frozen=True)
class ProfiledOperator:
    """An operator of the graph that a runtime really runs: after it fused, folded and converted.

    Attributes:
        name: as the runtime calls it; of one that others were fused into, its own or the last's.
        kind: such as "Conv" or "Convolution": each runtime has words of its own.
        ms: milliseconds of an inference, the mean of all that were profiled.
        precision: "f32", "f16", "u8", "i8", ...; None where the runtime does not tell.
        implementation: which of its kernels ran; None where it does not tell.
    """

    name: str
    kind: str
    ms: float
    precision: str | None = None
    implementation: str | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(name=self.name, kind=self.kind)
        yield from named(precision=self.precision, implementation=self.implementation)
        yield from at_least(0, ms=self.ms)


@dataclass(frozen=True)
class NotedTimes:
    """What a profiler noted.

    Attributes:
        operators: that took time, in the order in which they run, each the mean of those runs.
        counted: which runs since it began they are means of, by their places from 0 on.
        not_run: as of `Profiled`.
    """

    operators: list[ProfiledOperator]
    counted: list[int]
    not_run: int | None = None


def calm_half(taken_ns: Sequence[int]) -> list[int]:
    """Places of the faster half of runs, in order: where the system let another process go first,
    one run can be more than all others together, and its operators with it."""
    fastest = sorted(range(len(taken_ns)), key=lambda place: taken_ns[place])
    return sorted(fastest[: (len(taken_ns) + 1) // 2])


@dataclass(frozen=True)
class Untold:
    """A runtime cannot say where the time goes.

    Attributes:
        reason: why, a line.
    """

    reason: str


@dataclass(frozen=True)
class Profiled:
    """What a runtime's own profile says of one inference: "profiled", the profiler's last message.

    Attributes:
        runtime: the runtime and its settings.
        operators: that took time, in the order in which they run.
        runs: inferences that the figures are means of: the faster half where the runtime tells of
            each, else all.
        warmup_n: profiled ones before them, which do not count.
        rounds: fresh sessions that were profiled; the figures are those of the fastest, which was
            disturbed least.
        whole_ms: mean of these inferences from outside, the image in and the logits out.
        whole_median_ms: median of the faster half of all rounds' inferences.
        unprofiled_ms: the same of inferences that nobody profiles, timed in turns with those.
        not_run: operators of the graph that take no time of their own, for the runtime merged them
            into others or left them out; None where it does not tell.
        untold: why there is nothing of all this; None where there is.
    """

    runtime: RuntimeUsed
    operators: list[ProfiledOperator] = field(default_factory=list)
    runs: int = 0
    warmup_n: int = 0
    rounds: int = 0
    whole_ms: float | None = None
    whole_median_ms: float | None = None
    unprofiled_ms: float | None = None
    not_run: int | None = None
    untold: str | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(untold=self.untold)
        yield from at_least(0, runs=self.runs, warmup_n=self.warmup_n, rounds=self.rounds)
        yield from at_least(0, not_run=self.not_run)
        wholes = {
            "whole_ms": self.whole_ms,
            "whole_median_ms": self.whole_median_ms,
            "unprofiled_ms": self.unprofiled_ms,
        }
        yield from above_zero(**wholes)
        if self.untold is not None:
            if self.operators:
                yield f"it says why it has no operators, and has {len(self.operators)}"
            return
        if self.runs < 1 or None in wholes.values():
            yield "it has times of operators, and none of the whole"

    @property
    def operators_ms(self) -> float:
        """Milliseconds of all operators together."""
        return sum(operator.ms for operator in self.operators)

    @property
    def outside_ms(self) -> float:
        """Milliseconds of the whole that are in no operator: images in and logits out, what the
        runtime does between operators, and noting times. Below zero where operators overlapped, or
        are so short that whole microseconds are too coarse for them."""
        return (self.whole_ms or 0.0) - self.operators_ms

    @property
    def slowdown(self) -> float | None:
        """How many times as long an inference takes because it is profiled."""
        if self.whole_median_ms is None or self.unprofiled_ms is None:
            return None
        return self.whole_median_ms / self.unprofiled_ms
