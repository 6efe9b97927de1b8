"""What else goes on in the machine, from Linux's files, a Raspberry Pi's firmware's too.

What it does not tell is None, never 0. All is read beneath a root, so that another machine's
files can be read as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deploy_targets.device import facts
from deploy_targets.device.cgroups import throttled_periods
from deploy_targets.device.linux import ROOT, fields, mib, number, number_in, text
from deploy_targets.device.messages import Conditions

# Bits of a Raspberry Pi's `get_throttled`: too little power, a capped clock, throttled, too hot;
# now, and the same 16 bits higher at any time since it was started.
_NOW, _EVER = 0xF, 0xF0000
_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
_IDLE, _WAITING = 3, 4
_TIMES = 8  # user, nice, system, idle, iowait, irq, softirq, steal; guests are within user


class Watch:
    """Reads conditions one after another, and knows what each of them is counted from.

    Args:
        cpus: numbers of the cores that are used; None for all.
        root: of the file system.
    """

    def __init__(self, cpus: Sequence[int] | None = None, root: Path = ROOT) -> None:
        self._cpus, self._root = cpus, root
        self._before = _cpu_seconds(root)
        self._events = _throttle_events(root)
        self._periods = throttled_periods(root)

    def now(self, at: str) -> Conditions:
        """The machine at this moment; the share of other processes is that since the last call."""
        machine = facts.collect(self._root)
        return Conditions(
            at=at,
            governor=_governor(self._root, self._cpus),
            frequency_mhz=_slowest_mhz(self._root, self._cpus) or machine.frequency_mhz,
            temperature_c=machine.temperature_c,
            throttled=self._throttled(),
            load_average=machine.load_average,
            other_cpu=self._other_cpu(),
            swap_mb=_swap_mb(self._root),
            held_back=self._held_back(),
        )

    def _other_cpu(self) -> float | None:
        before, self._before = self._before, _cpu_seconds(self._root)
        if before is None or self._before is None:
            return None
        total, idle, own = (now - then for now, then in zip(self._before, before, strict=True))
        # The kernel counts in ticks of 10 ms: of less than some of them a share means nothing.
        if total < 0.2:
            return None
        return min(1.0, max(0.0, total - idle - own) / total)

    def _held_back(self) -> int | None:
        before, self._periods = self._periods, throttled_periods(self._root)
        return None if before is None or self._periods is None else max(0, self._periods - before)

    def _throttled(self) -> bool | None:
        before, self._events = self._events, _throttle_events(self._root)
        signs = [_is_too_hot(self._root)]
        flags = _pi_flags(self._root)
        if flags is not None:
            signs.append(bool(flags & _NOW))
        if before is not None and self._events is not None:
            signs.append(self._events != before)
        known = [sign for sign in signs if sign is not None]
        return any(known) if known else None


def worst_of(seen: Sequence[Conditions]) -> Conditions:
    """One for several of the same time: the slowest, the hottest, the busiest, all periods."""

    def over(name: str, choose: object) -> object:
        values = [value for moment in seen if (value := getattr(moment, name)) is not None]
        return choose(values) if values and callable(choose) else None

    shares = [moment.other_cpu for moment in seen if moment.other_cpu is not None]
    worst = {
        "frequency_mhz": over("frequency_mhz", min),
        "temperature_c": over("temperature_c", max),
        "throttled": over("throttled", any),
        "load_average": over("load_average", max),
        # Parts of the time are alike long, so the share of the whole is their mean.
        "other_cpu": sum(shares) / len(shares) if shares else None,
        "swap_mb": over("swap_mb", max),
        "held_back": over("held_back", sum),
    }
    return replace(seen[-1], **worst)  # type: ignore[arg-type]


def _cpu_seconds(root: Path) -> tuple[float, float, float] | None:
    """Seconds of all cores, those of them idle, and those of this process; None if not told."""
    first = (text(root / "proc/stat") or "").partition("\n")[0].split()
    ticks = [value for word in first[1 : 1 + _TIMES] if (value := number(word)) is not None]
    if first[:1] != ["cpu"] or len(ticks) <= _WAITING:
        return None
    hertz = os.sysconf("SC_CLK_TCK")
    return sum(ticks) / hertz, (ticks[_IDLE] + ticks[_WAITING]) / hertz, time.process_time()


def _cpu_folders(root: Path, cpus: Sequence[int] | None) -> list[Path]:
    base = root / "sys/devices/system/cpu"
    if cpus is None:
        return sorted(base.glob("cpu[0-9]*"))
    return [base / f"cpu{number}" for number in cpus]


def _governor(root: Path, cpus: Sequence[int] | None) -> str | None:
    governors = {
        facts.name_of(text(folder / "cpufreq/scaling_governor"))
        for folder in _cpu_folders(root, cpus)
    }
    return ", ".join(sorted(name for name in governors if name)) or None


def _slowest_mhz(root: Path, cpus: Sequence[int] | None) -> float | None:
    clocks = [
        khz
        for folder in _cpu_folders(root, cpus)
        if (khz := number_in(folder / "cpufreq/scaling_cur_freq")) is not None
    ]
    return min(clocks) / 1000 if clocks else None


def _swap_mb(root: Path) -> float | None:
    memory = fields(root / "proc/meminfo")
    total, free = mib(memory.get("SwapTotal")), mib(memory.get("SwapFree"))
    return None if total is None or free is None else total - free


def _is_too_hot(root: Path) -> bool | None:
    """Whether a thermal zone is where the kernel begins to slow the machine down."""
    too_hot: bool | None = None
    for zone in (root / "sys/class/thermal").glob("thermal_zone*"):
        now = number_in(zone / "temp")
        for kind in zone.glob("trip_point_*_type"):
            limit = number_in(zone / kind.name.replace("_type", "_temp"))
            if text(kind) == "passive" and now is not None and limit is not None and limit > 0:
                too_hot = bool(too_hot) or now >= limit
    return too_hot


def _throttle_events(root: Path) -> float | None:
    """A number that changes whenever the machine slowed itself down; None if it does not tell."""
    flags = _pi_flags(root)
    if flags is not None:
        return flags & _EVER
    counts = [
        count
        for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_count")
        if (count := number_in(path)) is not None
    ]
    return sum(counts) if counts else None


def _pi_flags(root: Path) -> int | None:
    reading = text(root / _FIRMWARE)
    if (
        reading is None
        and root == ROOT
        and (text(root / "proc/device-tree/model") or "").startswith("Raspberry Pi")
    ):
        reading = _vcgencmd()
    try:
        return int(reading, 16) if reading else None
    except ValueError:
        return None


def _vcgencmd() -> str | None:
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "get_throttled"], capture_output=True, text=True, timeout=2, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().partition("=")[2] or None
