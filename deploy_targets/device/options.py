"""How a bundle is run, and how a measurement of it is taken: each option is said here and nowhere
else. The recipe holds these records, the command line takes its options from them, and a job
carries them to the device as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from deploy_targets.device.messages import (
    MULTI_STREAM,
    OFFLINE,
    SCENARIOS,
    Scenario,
    ScenarioName,
)
from deploy_targets.device.percentiles import LARGEST, SMALLEST, fewest_queries
from deploy_targets.device.pinning import check_cores
from deploy_targets.device.timing import MIN_QUERIES, PERCENTS
from foundation.durations import seconds_in
from foundation.errors import UsageError, unknown_name
from foundation.limits import NotEmpty, Passing, Within, problems_in
from foundation.records import problems_of

PrecisionHint = Literal["f32", "auto"]
Threads = Annotated[int, Within(1, 1024)]
Batch = Annotated[int, Within(1, 65_536)]
Queries = Annotated[int, Within(MIN_QUERIES, 10_000_000)]
Seconds = Annotated[float, Within(0, 1e6, above=True)]
# Of a bundle that is kept at work: what tells anything, and a week.
_SHORTEST_S, _LONGEST_S = 2.0, 604_800.0
SustainedSeconds = Annotated[float, Within(_SHORTEST_S, _LONGEST_S)]
Percent = Annotated[float, Within(SMALLEST, LARGEST)]


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """How a runtime runs a bundle.

    Attributes:
        threads: threads of the runtime; if unset the target's, or one for every core that it may
            use.
        precision_hint: how to compute: f32, as the bundle says; or auto, the runtime's choice. What
            really ran is recorded either way.
        runtime: which one: onnxruntime, openvino, ncnn, executorch, or xnnpack where ONNX Runtime
            has it; if unset the first for the bundle's format.
        pin: cores to run on: 0,1 or 0-3; auto: the fastest, one for each thread; any. If unset
            the target's.
    """

    threads: Threads | None = None
    precision_hint: PrecisionHint = "f32"
    runtime: str | None = None
    pin: Annotated[str | None, Passing(check_cores)] = None


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How a measurement is taken.

    Attributes:
        scenario: how queries come: single-stream (one after another), multi-stream (several at
            once), offline (all at once), server (at random, at rate).
        batch: images in a query; if unset 1, and offline those of the throughput.
        streams: queries at once; if unset 1, and multi-stream 2.
        rate: queries a second on average, for server.
        seed: seed of the times at which they come, for server.
        percentiles: a percentile to tell of, with as many queries as it needs; if unset 50, 90, 95
            and 99, as far as the queries carry them.
        queries: queries to time; more where they take less than min_seconds.
        min_seconds: at least so long a bundle.
        max_seconds: at most so long a bundle; warm-up and throughput take up to a quarter of it
            each.
        throughput_batch: images a batch for the throughput.
    """

    scenario: ScenarioName = "single-stream"
    batch: Batch | None = None
    streams: Annotated[int, Within(1, 1024)] | None = None
    rate: Annotated[float, Within(0, 1e6, above=True)] | None = None
    seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    percentiles: Annotated[list[Percent] | None, NotEmpty()] = None
    queries: Queries = 1000
    min_seconds: Annotated[float, Within(0, 1e6)] = 1.0
    max_seconds: Seconds = 20.0
    throughput_batch: Batch = 16

    def problems(self) -> Iterator[str]:
        """What of it cannot be together."""
        yield from self.full_scenario().problems()

    def full_scenario(self) -> Scenario:
        """The scenario with all its figures."""
        streams = self.streams or (2 if self.scenario == MULTI_STREAM else None)
        batch = self.batch or (self.throughput_batch if self.scenario == OFFLINE else 1)
        return Scenario(self.scenario, batch, streams, self.rate)

    @property
    def percents(self) -> list[float]:
        """The percentiles to tell of."""
        return list(PERCENTS) if self.percentiles is None else self.percentiles

    @property
    def needed_queries(self) -> int:
        """How many to time: more than was said where a percentile that was asked for needs it."""
        return max([self.queries, *map(fewest_queries, self.percentiles or [])])


def sustained_seconds(text: str) -> float:
    """The seconds of a span that a bundle can be kept at work for.

    Raises:
        ValueError: when it is none, or too short or too long: "must be …".
    """
    seconds = seconds_in(text)
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise ValueError(f"must be from {_SHORTEST_S:.0f}s to {_LONGEST_S / 3600:.0f}h")
    return seconds


def check_options(options: RuntimeOptions | SamplingOptions) -> None:
    """Make sure that options make sense, each by itself and together.

    Raises:
        UsageError, UnknownNameError: when they do not; with the option and its value.
    """
    if isinstance(options, SamplingOptions) and options.scenario not in SCENARIOS:
        raise unknown_name("scenario", options.scenario, SCENARIOS)
    for problem in (*problems_in(options), *problems_of(options)):
        raise UsageError(problem)
