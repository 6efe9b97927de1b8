"""Which of several bundles is faster on a host, and how sure that is.

**Interleaved.** A machine is never the same for long: clocks rise and fall, other work
comes and goes. Bundles measured one after the other are measured on different machines;
taking turns, all of them see the same changes. A round goes through the bundles and back
again (A B B A), so that a steady drift falls on each alike, and the difference of two
bundles is taken within the round.

**A process each.** Runtimes keep pools of threads that spin for work; two of them in one
process have cost up to 1.6 times the latency. Each bundle has a process that keeps it
loaded, and all but the one whose turn it is wait for their input.

**Rounds are what is counted.** Queries of one turn are alike because they share a moment,
so thousands of them are not thousands of witnesses. A round gives one ratio for a pair,
and the interval comes from the rounds.

**Fresh processes each round.** Where a process happens to have its memory stays with it
for life: a resnet20 of 0.4 ms, in 14 processes, had latencies that differed by 2 %
(standard deviation), while turns of one process differed by 1 %. Rounds that share their
processes share that luck, and are sure of a difference that is not the bundles'.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from deploy_targets.comparison import (
    CONFIDENCE,
    KIND,
    Candidate,
    Comparison,
    Ratio,
    ratio_to_baseline,
    read_comparison,
    write_comparison,
)
from deploy_targets.device.jobs import ServerJob, Turn
from deploy_targets.device.messages import Message, Ready, Samples
from deploy_targets.device.options import Queries, RuntimeOptions, Seconds, check_options
from deploy_targets.device.percentiles import fewest_queries, nearest_rank
from deploy_targets.device.runtimes import runtime_for
from deploy_targets.device.timing import MIN_QUERIES, summarise
from deploy_targets.hosts import Host, Server, open_host
from deploy_targets.hosts.answers import build_answer, content_of, error_of, not_understood
from deploy_targets.intervals import fewest_differences
from deploy_targets.measurement import HostMeasured, describe
from deploy_targets.measuring.journal import ROUNDS, Journal
from foundation.bundle import AnyBundle, open_any_bundle
from foundation.errors import HostError, UsageError
from foundation.limits import Within
from foundation.records import RecordError, as_dict, build, part_of
from foundation.words import without_password

logger = logging.getLogger(__name__)

__all__ = [
    "CompareOptions", "Comparison", "Ratio", "compare", "ratio_to_baseline", "read_comparison",
    "write_comparison",
]  # fmt: skip

Progress = Callable[[dict[str, Any]], None]
T = TypeVar("T")

# Beyond the median, of each round; where its queries are too few, there is none.
_PERCENTILES = (90.0, 95.0, 99.0)
_TURNS_A_ROUND = 2
_WARMUP_SHARE = 0.25
# On top of the time that a server was given: a slow device may load for long, and has to time
# two queries whatever they take.
_PATIENCE_S = 300.0
_NS_PER_MS = 1e6


@dataclass(frozen=True, kw_only=True)
class CompareOptions(RuntimeOptions):
    """How to compare; the runtime's options are the same for all.

    Attributes:
        rounds: in each of which every bundle has two turns; more make the interval narrower.
        fresh: start the processes anew for each round. Without it, all rounds share one process
            a bundle: sooner done, by the time of all loads but one, and good for differences
            well above 5 %, but a smaller one may be the processes' and not the bundles'.
        queries: single-image queries to time in a turn, at most.
        max_seconds: for all turns of all bundles together; warm-ups take up to a quarter more
            and loading what it takes, and each turn times two queries at least.

    Raises:
        UsageError: when a value makes no sense.
    """

    rounds: Annotated[int, Within(fewest_differences(CONFIDENCE), 100_000)] = 10
    fresh: bool = True
    queries: Queries = 200
    max_seconds: Seconds = 20.0

    def __post_init__(self) -> None:
        check_options(self)


@dataclass
class _Contestant:
    """A bundle, what its first server said of itself, and its samples of each turn (ns)."""

    bundle: AnyBundle
    turns: list[list[int]] = field(default_factory=list)
    ready: Ready | None = None


_Served = tuple[_Contestant, Server]


def compare(
    bundles: Sequence[Path | AnyBundle],
    host: str = "local",
    options: CompareOptions | None = None,
    on_progress: Progress | None = None,
    journal: Path | None = None,
    *,
    remark: Callable[[str], None] | None = None,
) -> Comparison:
    """Time bundles in turns on a host, each in a process of its own.

    Args:
        bundles: at least two, or their folders, on this machine; the first is the baseline.
        host: URL of the host, such as "local".
        options: how to compare; None for the defaults.
        on_progress: called as each step begins, with `step` ("loading" or "round"), `number`
            and `of`, and `bundle` (its name) while loading.
        journal: a file in which to keep rounds as they are done. Where it holds some of the same
            comparison, because the link or a process was cut, those are not timed again. It stays;
            the caller deletes it when the comparison is safe.
        remark: told what was decided by looking, or left out, a line each.

    Raises:
        UsageError: when there is nothing to compare.
        MissingFileError, CorruptFileError: when a bundle is not as it must be, or was changed
            while it was timed.
        UnknownNameError: when no runtime takes a bundle's format, or no transport knows the host.
        HostError: when the host cannot be reached, lacks a runtime, or a process failed. No
            process is left then.
        ModelMismatchError: when a runtime refuses a model or its outputs are no logits.
    """
    options = options or CompareOptions()
    if len(bundles) < 2:
        raise UsageError(f"a comparison needs at least two bundles, but got {len(bundles)}")
    tell = on_progress or (lambda _: None)
    start = time.monotonic()
    contestants = [
        _Contestant(bundle if isinstance(bundle, AnyBundle) else open_any_bundle(bundle))
        for bundle in bundles
    ]
    machine = open_host(host)
    measured_on = HostMeasured(name=machine.name, facts=machine.facts())
    open_journal = Journal.open(journal, _identity(contestants, machine, options))
    logger.info(
        "%s in turns on %s: %s, %d launches of it kept before",
        [str(contestant.bundle.folder) for contestant in contestants],
        without_password(machine.name), options, len(open_journal.messages),
    )  # fmt: skip
    try:
        try:
            _restore(contestants, open_journal, options)
        except RecordError as error:
            say = remark or (lambda _: None)
            say(f"{journal}: what was kept of an earlier comparison is left out ({error})")
            open_journal.begin_anew()
        with open_journal.of_unchanged([contestant.bundle for contestant in contestants]):
            _play_all(contestants, machine, options, open_journal, tell)
    finally:
        open_journal.close()
    logger.info("timing in turns took %.1f s", time.monotonic() - start)
    return Comparison(
        host=measured_on,
        rounds=options.rounds,
        fresh=options.fresh,
        candidates=_candidates(contestants),
        seconds=round(time.monotonic() - start, 3),
        started_at=open_journal.begun_at,
    )


def _identity(
    contestants: Sequence[_Contestant], machine: Host, options: CompareOptions
) -> dict[str, Any]:
    """What makes it the same comparison when it is asked for again."""
    manifests = [contestant.bundle.manifest_sha256 for contestant in contestants]
    return {"kind": KIND, "host": machine.name, "files": manifests, **asdict(options)}


def _play_all(
    contestants: Sequence[_Contestant],
    machine: Host,
    options: CompareOptions,
    journal: Journal,
    tell: Progress,
) -> None:
    """All rounds, or those that are not kept from an earlier call."""
    launches = options.rounds if options.fresh else 1
    rounds = options.rounds // launches
    try:
        for launch in range(len(journal.messages), launches):
            with ExitStack() as stack:
                order = _from_either_end(contestants, launch)
                row = _load_all(order, machine, options, stack, tell)
                for index in range(rounds):
                    tell({"step": "round", "number": launch + index + 1, "of": options.rounds})
                    _play_round(_from_either_end(row, index), options, machine)
            journal.add(_played(contestants, _TURNS_A_ROUND * rounds))
            logger.debug("launch %d of %d is played", launch + 1, launches)
    except HostError as error:
        if journal.path is None or not journal.messages:
            raise
        raise HostError(
            f"{error}; the {len(journal.messages)} rounds timed until then are kept, the same call "
            "goes on"
        ) from error


def _played(contestants: Sequence[_Contestant], turns: int) -> Message:
    """The last turns of each, and what its server said of itself."""
    return {
        "kind": ROUNDS,
        "turns": [contestant.turns[-turns:] for contestant in contestants],
        "ready": [as_dict(contestant.ready) for contestant in contestants],
    }


@dataclass(frozen=True)
class _Played:
    """What a journal keeps of a launch: of each bundle its turns, and what its server said."""

    turns: list[list[list[int]]]
    ready: list[Ready]


def _restore(contestants: Sequence[_Contestant], journal: Journal, options: CompareOptions) -> None:
    """Give back what was played before.

    Raises:
        RecordError: when it is not what an earlier call played; nothing is given back then.
    """
    turns = _TURNS_A_ROUND * (1 if options.fresh else options.rounds)
    launches = [build(_Played, content_of(message)) for message in journal.messages]
    for played in launches:
        if not len(played.turns) == len(played.ready) == len(contestants):
            raise RecordError(f"it has rounds of {len(played.turns)} bundles")
        for own in played.turns:
            if len(own) != turns or any(min(turn, default=0) <= 0 for turn in own):
                raise RecordError(f"it has rounds of other than {turns} turns")
    for played in launches:
        for contestant, own, ready in zip(contestants, played.turns, played.ready, strict=True):
            contestant.turns += own
            contestant.ready = contestant.ready or ready


def _load_all(
    contestants: Sequence[_Contestant],
    machine: Host,
    options: CompareOptions,
    stack: ExitStack,
    tell: Progress,
) -> list[_Served]:
    """Start a server for each, one after the other: a warm-up wants the machine alone."""
    row = []
    launches, of = options.rounds if options.fresh else 1, len(contestants)
    for number, contestant in enumerate(contestants, start=1):
        name = contestant.bundle.manifest.name
        if contestant.ready is None:
            tell({"step": "loading", "bundle": name, "number": number, "of": of})
        job = part_of(
            ServerJob,
            options,
            bundle=str(contestant.bundle.folder.resolve()),
            checked=contestant.bundle.checked(),
            runtime=runtime_for(contestant.bundle.manifest.format, options.runtime),
            warmup_seconds=options.max_seconds * _WARMUP_SHARE / (of * launches),
        )
        server = stack.enter_context(machine.serve(job))
        answer = _answer(server, "ready", job.warmup_seconds, machine)
        ready = build_answer(Ready, answer, machine.name, "ready")
        if ready.runtime.name != job.runtime:
            raise not_understood(machine.name, f"ready: it runs in {ready.runtime.name}")
        contestant.ready = contestant.ready or ready
        row.append((contestant, server))
    return row


def _play_round(row: Sequence[_Served], options: CompareOptions, machine: Host) -> None:
    """Through the bundles and back again."""
    turns = _TURNS_A_ROUND * len(row) * options.rounds
    turn = Turn(queries=options.queries, max_seconds=options.max_seconds / turns)
    for contestant, server in (*row, *reversed(row)):
        server.send(turn)
        answer = _answer(server, "samples", turn.max_seconds, machine)
        samples = build_answer(Samples, answer, machine.name, "samples").ns
        if not MIN_QUERIES <= len(samples) <= options.queries:
            raise not_understood(
                machine.name, f"samples: {len(samples)} queries, but {options.queries} were asked"
            )
        contestant.turns.append(samples)


def _from_either_end(row: Sequence[T], index: int) -> Sequence[T]:
    """In the order given, and every other time the other way round."""
    return row[::-1] if index % 2 else row


def _answer(server: Server, kind: str, seconds: float, machine: Host) -> Message:
    """The content of the server's next message, which must be of that kind."""
    message = server.receive(seconds + _PATIENCE_S)
    if message["kind"] == "error":
        raise error_of(message, machine.name)
    if message["kind"] != kind:
        raise not_understood(machine.name, f"{kind!r} was due, not {message['kind'][:80]!r}")
    return content_of(message)


def _candidates(contestants: Sequence[_Contestant]) -> list[Candidate]:
    baseline_ms = _round_ms(contestants[0].turns)
    return [
        _candidate(contestant, baseline_ms if index else None)
        for index, contestant in enumerate(contestants)
    ]


def _candidate(contestant: _Contestant, baseline_ms: Sequence[float] | None) -> Candidate:
    assert contestant.ready is not None
    round_ms = _round_ms(contestant.turns)
    return Candidate(
        bundle=describe(contestant.bundle),
        runtime=contestant.ready.runtime,
        latency_ms=summarise(
            [ns for turn in contestant.turns for ns in turn], contestant.ready.warmup_n
        ),
        round_ms=round_ms,
        parity=contestant.ready.parity,
        against_baseline=ratio_to_baseline(round_ms, baseline_ms) if baseline_ms else None,
        round_percentiles_ms=_round_percentiles_ms(contestant.turns),
    )


def _round_ms(turns: Sequence[Sequence[int]]) -> list[float]:
    """A round's typical latency: the geometric mean of its two turns' medians."""
    medians = [statistics.median(turn) / _NS_PER_MS for turn in turns]
    return [
        statistics.geometric_mean(medians[i : i + _TURNS_A_ROUND])
        for i in range(0, len(medians), _TURNS_A_ROUND)
    ]


def _round_percentiles_ms(turns: Sequence[Sequence[int]]) -> dict[str, list[float]]:
    rounds = [
        sorted(ns / _NS_PER_MS for turn in turns[i : i + _TURNS_A_ROUND] for ns in turn)
        for i in range(0, len(turns), _TURNS_A_ROUND)
    ]
    fewest = min(map(len, rounds))
    return {
        f"p{percent:g}": [nearest_rank(samples, percent) for samples in rounds]
        for percent in _PERCENTILES
        if fewest >= fewest_queries(percent)
    }
