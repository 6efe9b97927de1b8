"""Which cores to run on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from deploy_targets.device.linux import ROOT, number_in, text
from foundation.errors import UsageError

AUTO, ANY = "auto", "any"
_PART = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")
# Linux is built for 8192 at most.
LAST_CORE = 8191
_LONGEST, _SHOWN = 10_000, 60


def parse_cores(core_list: str) -> list[int]:
    """The cores of "0,2-3", in order and each once.

    Raises:
        ValueError: when it is no list of cores.
    """
    cores: set[int] = set()
    for part in core_list.replace(" ", "").split(",") if len(core_list) <= _LONGEST else [""]:
        match = _PART.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            shown = core_list if len(core_list) <= _SHOWN else f"{core_list[:_SHOWN]}…"
            raise ValueError(f"must be 'auto' or cores such as '0,1' or '0-3', but got {shown!r}")
        if last > LAST_CORE:
            raise ValueError(f"must name cores from 0 to {LAST_CORE}, but got {last}")
        cores.update(range(first, last + 1))
    return sorted(cores)


def check_cores(core_list: str) -> None:
    """Make sure that cores are named as `pin` takes them.

    Raises:
        ValueError: when they are not; the message leaves the text itself out.
    """
    if core_list not in {AUTO, ANY}:
        try:
            parse_cores(core_list)
        except ValueError as error:
            raise ValueError(str(error).partition(", but got")[0]) from error


def pin(core_list: str | None, threads: int | None) -> list[int] | None:
    """Keep this process, and what it starts, on some cores.

    Args:
        core_list: "0,2-3", "auto" or "any", as in a job; None as "any".
        threads: that the runtime will have; None for one for each core.

    Returns:
        The cores' numbers; None when it was not asked for.

    Raises:
        UsageError: when a core is not there, or the system cannot pin.
    """
    if core_list in {None, ANY}:
        return None
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("pin: this system cannot keep a process on cores; leave --pin out")
    usable = sorted(os.sched_getaffinity(0))
    cores = (
        fastest(usable, threads or len(usable))
        if core_list == AUTO
        else parse_cores(core_list or "")
    )
    absent = sorted(set(cores) - set(usable))
    if absent:
        raise UsageError(
            f"pin: core {absent[0]} cannot be used here; those that can are "
            f"{', '.join(map(str, usable))}"
        )
    os.sched_setaffinity(0, cores)
    return cores


def fastest(usable: Iterable[int], count: int, root: Path = ROOT) -> list[int]:
    """The best cores for so many threads: the fastest first, real cores before their second
    threads, and core 0 last of its like, for there the system does most of its own work."""
    base = root / "sys/devices/system/cpu"

    def speed(core: int) -> float:
        folder = base / f"cpu{core}"
        capacity = number_in(folder / "cpu_capacity")
        clock = number_in(folder / "cpufreq/cpuinfo_max_freq")
        return capacity or clock or 0.0

    def is_second(core: int) -> bool:
        siblings = text(base / f"cpu{core}" / "topology/thread_siblings_list")
        return bool(siblings) and core != parse_cores(siblings or "")[0]

    ordered = sorted(usable, key=lambda core: (is_second(core), -speed(core), core == 0, core))
    return sorted(ordered[:count])
