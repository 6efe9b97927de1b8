"""Profile a bundle on a host: where the time of an inference goes, as the runtime tells it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deploy_targets.device.facts import Facts
from deploy_targets.device.jobs import ProfileJob
from deploy_targets.device.messages import WorkerStep
from deploy_targets.device.operator_times import Profiled
from deploy_targets.device.options import RuntimeOptions, Seconds, check_options
from deploy_targets.device.runtimes import runtime_for
from deploy_targets.hosts import open_host
from deploy_targets.hosts.answers import build_answer, content_of, error_of, not_understood
from deploy_targets.measurement import HostMeasured, describe
from deploy_targets.operator_profile import OperatorProfile
from foundation.bundle import AnyBundle
from foundation.errors import HostError
from foundation.records import as_dict, part_of

_RECORDS: dict[str, type] = {"facts": Facts, "progress": WorkerStep, "profiled": Profiled}


@dataclass(frozen=True, kw_only=True)
class ProfileOptions(RuntimeOptions):
    """How to profile.

    Attributes:
        max_seconds: for all inferences.

    Raises:
        UsageError: when a value makes no sense.
    """

    max_seconds: Seconds = 20.0

    def __post_init__(self) -> None:
        check_options(self)


def profile_operators(
    bundle: AnyBundle,
    host: str = "local",
    options: ProfileOptions | None = None,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> OperatorProfile:
    """Have a bundle profiled on a host, in a process of its own, one sample after another.

    Args:
        bundle: to profile.
        host: URL of the host.
        options: how; None for the defaults.
        on_progress: called with each progress message: `step`, `number`, `of`.

    Raises:
        MissingFileError, CorruptFileError: when the bundle is not as it must be, or was changed.
        UnknownNameError: when no runtime takes the bundle's format, or no transport knows the host.
        UsageError: when the runtime that was asked for takes another format.
        HostError: when the host cannot be reached, lacks the runtime, or the process failed.
        ModelMismatchError: when the runtime refuses the model.
    """
    machine, started = open_host(host), time.monotonic()
    begun_at = datetime.now(UTC).isoformat(timespec="seconds")
    job = part_of(
        ProfileJob,
        options or ProfileOptions(),
        bundle=str(bundle.folder.resolve()),
        checked=bundle.checked(),
        runtime=runtime_for(bundle.manifest.format, options.runtime if options else None),
    )
    told: dict[str, Any] = {}
    for message in machine.stream(job):
        kind = message["kind"]
        if kind == "error":
            raise error_of(message, machine.name)
        if kind not in _RECORDS:
            raise not_understood(machine.name, f"{kind[:80]!r} is no message of its")
        told[kind] = build_answer(_RECORDS[kind], content_of(message), machine.name, kind)
        if kind == "progress" and on_progress is not None:
            on_progress(as_dict(told[kind]))
    if not {"facts", "profiled"} <= told.keys():
        raise HostError(f"{machine.name}: the profiling process ended without a result; try again")
    if told["profiled"].runtime.name != job.runtime:
        ran = told["profiled"].runtime.name
        raise not_understood(machine.name, f"profiled: it runs in {ran[:80]}")
    bundle.check_unchanged()
    return OperatorProfile(
        bundle=describe(bundle),
        host=HostMeasured(name=machine.name, facts=told["facts"]),
        profiled=told["profiled"],
        seconds=round(time.monotonic() - started, 3),
        started_at=begun_at,
    )
