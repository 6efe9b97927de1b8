"""What the device says of itself, from Linux's own files. What it does not tell is None, never 0.

Every function takes the root of the file system, so that another machine's files can be read too.
Run as a module it prints the facts as one line of JSON.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy_targets.device.cgroups import cpu_quota
from deploy_targets.device.linux import ROOT, fields, mib, number, number_in, text
from foundation.sense import above_zero, at_least, named

# The instruction sets on which the speed of INT8 and of 16-bit floats depends.
_FEATURES = {
    "x86_64": (
        "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
        "amx_int8", "amx_bf16",
    ),
    "aarch64": ("asimd", "fphp", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
}  # fmt: skip

# ARM's kernels give a part number, not a name; from the Arm technical reference manuals.
_ARM_PARTS = {
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72", "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1", "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse-N2",
}  # fmt: skip

_LONGEST_NAME = 200


@dataclass(frozen=True)
class Facts:
    """A device as it was when it was asked.

    Attributes:
        cpu: model name of the processor.
        board: name of the board, where the firmware gives one.
        arch: "x86_64", "aarch64", ...
        logical_cores: cores that the system has.
        usable_cores: that this process may keep busy: those that it may run on, or as many whole
            ones as its quota is worth.
        memory_mb: memory of the machine, in MiB.
        features: instruction sets that matter for INT8 and 16-bit floats.
        governor: the frequency policy of the first core.
        frequency_mhz: its clock at that moment.
        temperature_c: of the hottest thermal zone.
        load_average: over the last minute.
        python, os: versions.
        cpu_quota: cores' worth of time that a container may take; None where nothing limits it.
    """

    cpu: str | None
    board: str | None
    arch: str
    logical_cores: int | None
    usable_cores: int | None
    memory_mb: int | None
    features: list[str] | None
    governor: str | None
    frequency_mhz: float | None
    temperature_c: float | None
    load_average: float | None
    python: str
    os: str
    cpu_quota: float | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(cpu=self.cpu, board=self.board, arch=self.arch, governor=self.governor)
        yield from named(python=self.python, os=self.os)
        yield from at_least(1, logical_cores=self.logical_cores, usable_cores=self.usable_cores)
        yield from above_zero(memory_mb=self.memory_mb, cpu_quota=self.cpu_quota)
        yield from at_least(0, frequency_mhz=self.frequency_mhz, load_average=self.load_average)


def collect(root: Path = ROOT) -> Facts:
    """Ask this device."""
    cpuinfo = _cpuinfo(root)
    return Facts(
        cpu=name_of(_cpu(cpuinfo)),
        board=name_of(text(root / "proc/device-tree/model")),
        arch=architecture(),
        logical_cores=os.cpu_count(),
        usable_cores=usable_cores(root),
        memory_mb=_memory_mb(root),
        features=_features(cpuinfo),
        governor=name_of(text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        frequency_mhz=_frequency_mhz(root, cpuinfo),
        temperature_c=_temperature_c(root),
        load_average=_load_average(root),
        python=platform.python_version(),
        os=f"{platform.system()} {platform.release()}",
        cpu_quota=cpu_quota(root),
    )


def architecture() -> str:
    """The machine's architecture, by Linux's name for it."""
    machine = platform.machine()
    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def usable_cores(root: Path = ROOT) -> int | None:
    """How many cores this process may keep busy without being held back."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = cpu_quota(root)
    # A thread more than the quota is worth would have all of them wait for the next period.
    return allowed if allowed is None or quota is None else max(1, min(allowed, int(quota)))


def resident_mb(field: str, root: Path = ROOT) -> float | None:
    """Resident memory of this process in MiB: "VmRSS" for now, "VmHWM" for the peak.

    `getrusage` will not do: what it calls the peak is inherited from the process that started us.
    """
    return mib(fields(root / "proc/self/status").get(field))


def name_of(raw_name: str | None) -> str | None:
    """A name as firmware has it, without what cannot be shown."""
    shown = "".join(letter if letter.isprintable() else " " for letter in raw_name or "")
    return " ".join(shown.split())[:_LONGEST_NAME] or None


def _cpuinfo(root: Path) -> dict[str, str]:
    return fields(root / "proc/cpuinfo")


def _cpu(cpuinfo: dict[str, str]) -> str | None:
    part = cpuinfo.get("CPU part")
    return cpuinfo.get("model name") or (_ARM_PARTS.get(part, part) if part else None)


def _features(cpuinfo: dict[str, str]) -> list[str] | None:
    flags = cpuinfo.get("flags") or cpuinfo.get("Features")
    if not flags:
        return None
    present = set(flags.split())
    return [name for names in _FEATURES.values() for name in names if name in present]


def _memory_mb(root: Path) -> int | None:
    total = mib(fields(root / "proc/meminfo").get("MemTotal"))
    return None if total is None else int(total)


def _frequency_mhz(root: Path, cpuinfo: dict[str, str]) -> float | None:
    khz = number_in(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    return khz / 1000 if khz else number(cpuinfo.get("cpu MHz"))


def _temperature_c(root: Path) -> float | None:
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*/temp"))
    readings = [value for zone in zones if (value := number_in(zone)) is not None]
    return max(readings) / 1000 if readings else None


def _load_average(root: Path) -> float | None:
    loadavg = text(root / "proc/loadavg")
    return number(loadavg.split()[0]) if loadavg else None


if __name__ == "__main__":
    json.dump(asdict(collect()), sys.stdout)
