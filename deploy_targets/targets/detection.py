"""What this machine says of itself, and what is documented of its core.

Peak rates come from documents alone: a core that `cores.toml` does not list has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from deploy_targets.device import facts
from deploy_targets.targets.profile import Quantization
from foundation.files import read_toml
from foundation.records import as_dict, build

_CORES = Path(__file__).with_name("cores.toml")
_ROOT = Path("/")
_VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}


@dataclass(frozen=True)
class Core:
    """What a core does in a cycle at most: lanes × pipes × 2, a multiply-accumulate being two.

    Attributes:
        fp32_source, int8_source: documents behind the figures.
        cpuid: by which x86 tells it: "vendor family first-model last-model".
    """

    fp32_per_cycle: int
    int8_per_cycle: int
    fp32_source: str
    int8_source: str
    cpuid: list[str] = field(default_factory=list)


@cache
def known_cores() -> dict[str, Core]:
    """All cores whose rates are documented, by name."""
    raw, _ = read_toml(_CORES, "table of cores")
    return {name: build(Core, table, name) for name, table in raw.items()}


def with_rates(raw: dict[str, Any]) -> dict[str, Any]:
    """A profile with the rates of its core, where it names one and says none of its own."""
    core = known_cores().get(str(raw.get("cpu")))
    if core is None:
        return raw
    documented = {
        "fp32_per_cycle": (core.fp32_per_cycle, core.fp32_source),
        "int8_per_cycle": (core.int8_per_cycle, core.int8_source),
    }
    missing = {name: documents for name, documents in documented.items() if name not in raw}
    rates = {name: rate for name, (rate, _) in missing.items()}
    sources = {name: source for name, (_, source) in missing.items()}
    return {**raw, **rates, "sources": {**sources, **raw.get("sources", {})}}


def this_machine(root: Path = _ROOT) -> dict[str, Any]:
    """A profile's facts as this machine tells them, quantisation scheme included."""
    machine = facts.collect(root)
    features = machine.features or []
    cpu = core_name(root) or machine.cpu
    sourced = {
        "arch": (machine.arch, "the kernel (uname)"),
        "cpu": (cpu, "/proc/cpuinfo" if cpu == machine.cpu else "/proc/cpuinfo, family and model"),
        "cores": (machine.logical_cores, "the kernel"),
        "clock_mhz": (clock_mhz(root), "cpuinfo_max_freq (sysfs)"),
        "memory_mb": (machine.memory_mb, "/proc/meminfo"),
        "features": (features, "/proc/cpuinfo"),
        "threads": (machine.usable_cores or 1, "the cores that this process may keep busy"),
    }
    return {
        **{name: value for name, (value, _) in sourced.items()},
        "quantization": as_dict(detected_quantization(machine.arch, features)),
        "sources": {name: source for name, (value, source) in sourced.items() if value is not None},
    }


def core_name(root: Path = _ROOT) -> str | None:
    """The documented core that an x86 family and model stand for; ARM's name is a fact already."""
    fields = _cpuinfo(root)
    vendor, family, model = (fields.get(key) for key in ("vendor_id", "cpu family", "model"))
    if vendor is None or family is None or model is None or not model.isdigit():
        return None
    for name, core in known_cores().items():
        for line in core.cpuid:
            core_vendor, core_family, first, last = line.split()
            is_its_family = (core_vendor, core_family) == (vendor, family)
            if is_its_family and int(first) <= int(model) <= int(last):
                return name
    return None


def clock_mhz(root: Path = _ROOT) -> float | None:
    """The highest clock, where cpufreq names it: what a virtual machine says of its clock is the
    base, and the core may run at nearly twice that."""
    try:
        path = root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"
        return float(path.read_text(encoding="ascii")) / 1000
    except (OSError, ValueError):
        return None


def detected_quantization(arch: str, features: list[str]) -> Quantization:
    """The scheme that suits a CPU, from its architecture and instruction sets."""
    if arch != "x86_64":
        return Quantization(
            "s8", "s8", True, False, "minmax", f"signed by signed suits the kernels for {arch}"
        )
    if _VNNI & set(features):
        return Quantization(
            "u8", "s8", True, False, "minmax",
            "VNNI multiplies unsigned by signed: 3.5× faster than FP32, s8 activations only 1.2×",
        )  # fmt: skip
    return Quantization(
        "u8", "s8", True, True, "minmax",
        "without VNNI, u8 × s8 sums saturate at 16 bits unless the weights keep to 7",
    )  # fmt: skip


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor's fields."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
