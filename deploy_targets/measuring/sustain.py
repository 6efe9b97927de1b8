"""Keep a bundle at work on a host, and say whether it holds its speed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from deploy_targets.device.conditions import worst_of
from deploy_targets.device.facts import Facts
from deploy_targets.device.jobs import SustainJob
from deploy_targets.device.messages import (
    BEFORE,
    SUSPECT,
    VALID,
    Conditions,
    Message,
    Ready,
    Validity,
    WorkerStep,
)
from deploy_targets.device.options import (
    RuntimeOptions,
    SamplingOptions,
    SustainedSeconds,
    check_options,
)
from deploy_targets.device.runtimes import runtime_for
from deploy_targets.device.stretches import Stretch, opening_of
from deploy_targets.hosts import Host, open_host
from deploy_targets.hosts.answers import build_answer, content_of, error_of, not_understood
from deploy_targets.measurement import HostMeasured, describe
from deploy_targets.measuring.holding import holding_of
from deploy_targets.measuring.validity import doubts_of_machine, wrong_precision
from deploy_targets.sustained import Sustained
from foundation.bundle import AnyBundle, GraphManifest
from foundation.durations import span_words
from foundation.errors import CompressError, HostError
from foundation.records import as_dict, part_of
from foundation.words import without_password

logger = logging.getLogger(__name__)

Progress = Callable[[dict[str, Any]], None]
Stop = KeyboardInterrupt | HostError
"""What may stop a series without spoiling what came before it."""

_RECORDS: dict[str, type] = {
    "facts": Facts, "progress": WorkerStep, "ready": Ready, "stretch": Stretch,
}  # fmt: skip
_END = "sustained"
_TELLS = ("frequency_mhz", "temperature_c", "throttled", "other_cpu", "held_back")


@dataclass(frozen=True, kw_only=True)
class SustainOptions(SamplingOptions, RuntimeOptions):
    """How to keep a bundle at work.

    Attributes:
        seconds: for how long.
        power: settings that the target's profile asks for, such as {"governor": "performance"}.

    Raises:
        UsageError, UnknownNameError: when a value makes no sense.
    """

    seconds: SustainedSeconds = field()
    power: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_options(self)


class _Told:
    """What the process told until now, each message checked before it is taken."""

    def __init__(self, host: str) -> None:
        self._host = host
        self.facts: Facts | None = None
        self.ready: Ready | None = None
        self.stretches: list[Stretch] = []
        self.is_whole = False

    def add(self, message: Message) -> Any:
        """Take a message, and give its record.

        Raises:
            CompressError: when it is an error, or none that a process of this version sends now.
        """
        kind = message["kind"]
        if kind == "error":
            raise error_of(message, self._host)
        if kind == _END:
            self.is_whole = True
            return None
        if kind not in _RECORDS:
            raise not_understood(self._host, f"{kind[:80]!r} is no message of its")
        record: Any = build_answer(_RECORDS[kind], content_of(message), self._host, kind)
        if isinstance(record, Stretch):
            ended = self.stretches[-1].at_s if self.stretches else 0.0
            if self.ready is None or record.at_s < ended:
                raise not_understood(self._host, f"{kind}: it comes out of turn")
            self.stretches.append(record)
        elif isinstance(record, Facts):
            self.facts = record
        elif isinstance(record, Ready):
            self.ready = record
        return record


def sustain(
    bundle: AnyBundle,
    host: str,
    options: SustainOptions,
    on_progress: Progress | None = None,
) -> tuple[Sustained, Stop | None]:
    """Keep a bundle at work on a host, in a process of its own.

    Args:
        bundle: to run.
        host: URL of the host.
        options: for how long, and how.
        on_progress: told `step`, `number` and `of` of what is happening; while it is at work,
            `number` and `of` are seconds, and `p50_ms` the latency of the last stretch.

    Returns:
        The series, and what stopped it before its time (an interruption, the link), if anything
        did after the first stretch: what came before is worth keeping.

    Raises:
        KeyboardInterrupt, HostError: when that came before any stretch.
        MissingFileError, CorruptFileError: when the bundle is not as it must be, or was changed.
        UnknownNameError: when no runtime takes the bundle's format, or no transport knows the host.
        UsageError: when the runtime that was asked for takes another format.
        ModelMismatchError: when the runtime refuses the model.
    """
    machine, started = open_host(host), time.monotonic()
    begun_at = datetime.now(UTC).isoformat(timespec="seconds")
    if isinstance(bundle.manifest, GraphManifest):
        options = replace(options, batch=1, throughput_batch=1)
    job = part_of(
        SustainJob,
        options,
        bundle=str(bundle.folder.resolve()),
        checked=bundle.checked(),
        runtime=runtime_for(bundle.manifest.format, options.runtime),
    )
    told = _Told(machine.name)
    stop = _listen(machine, job, told, on_progress or _unheard)
    bundle.check_unchanged()
    facts, ready = told.facts, told.ready
    if facts is None or ready is None or not told.stretches:
        raise stop or HostError(f"{machine.name}: the process ended without a result; try again")
    if ready.runtime.name != job.runtime:
        raise not_understood(machine.name, f"ready: it runs in {ready.runtime.name[:80]}")
    opening_s = opening_of(job.seconds)
    holding = holding_of(told.stretches, opening_s)
    sustained = Sustained(
        bundle=describe(bundle),
        host=HostMeasured(name=machine.name, facts=facts),
        runtime=ready.runtime,
        scenario=job.full_scenario(),
        parity=ready.parity,
        asked_s=job.seconds,
        stopped=_why(stop),
        opening_s=opening_s,
        warmup_n=ready.warmup_n,
        stretches=told.stretches,
        holding=holding,
        validity=Validity(VALID, [], []),
        seconds=round(time.monotonic() - started, 3),
        started_at=begun_at,
    )
    return replace(sustained, validity=_validity(sustained, bundle, options.power)), stop


def _listen(machine: Host, job: SustainJob, told: _Told, tell: Progress) -> Stop | None:
    """Take messages until the last; what stopped them, where there is something to keep."""
    try:
        for message in machine.stream(job):
            record = told.add(message)
            if isinstance(record, WorkerStep):
                tell(as_dict(record))
            elif isinstance(record, Stretch):
                logger.debug(
                    "%s: at work for %.1f s, p50 %.3f ms, %s",
                    without_password(machine.name), record.at_s + record.seconds, record.p50_ms,
                    record.conditions,
                )  # fmt: skip
                at = {"number": round(record.at_s + record.seconds), "of": round(job.seconds)}
                tell({"step": "at work", **at, "p50_ms": record.p50_ms})
        if not told.is_whole:
            raise HostError(f"{machine.name}: the process ended before its time; try again")
    except (KeyboardInterrupt, HostError) as stop:
        if not told.stretches:
            raise
        return stop
    return None


def _why(stop: Stop | None) -> str | None:
    if stop is None:
        return None
    return str(stop) if isinstance(stop, CompressError) else "it was interrupted"


def _validity(sustained: Sustained, bundle: AnyBundle, power: dict[str, str]) -> Validity:
    """What spoils a series; that the machine slows itself down is what it is there to show."""
    looks = [stretch.conditions for stretch in sustained.stretches]
    opening = [s.conditions for s in sustained.stretches if s.at_s < sustained.opening_s]
    reasons = []
    if sustained.stopped is not None:
        reasons.append(
            f"it was at work for {span_words(sustained.lasted_s)} of the "
            f"{span_words(sustained.asked_s)} that were asked for: {sustained.stopped}"
        )
    if any(look.throttled for look in opening):
        reasons.append("the machine slowed itself down when it began already; let it cool first")
    before = Conditions(BEFORE, swap_mb=looks[0].swap_mb)
    reasons += doubts_of_machine([before, _but_for_heat(looks)], power)
    reasons += wrong_precision(sustained.runtime, bundle.manifest.precision)
    mute = [name for name in _TELLS if all(getattr(look, name) is None for look in looks)]
    return Validity(SUSPECT if reasons else VALID, reasons, mute)


def _but_for_heat(looks: Sequence[Conditions]) -> Conditions:
    return replace(worst_of(looks), throttled=None, frequency_mhz=None)


def _unheard(_facts: dict[str, Any]) -> None:
    """Nobody asked for progress."""
