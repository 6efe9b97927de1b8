"""What an emulated processor says of itself, besides what QEMU's `-cpu` makes it do.

Runtimes ask the system which processor they are on, and end in a segmentation fault where
nothing answers: ONNX Runtime reads /proc/cpuinfo, OpenVINO the identification register in sysfs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy_targets.targets import Target

_BASE = "fp asimd evtstrm crc32 cpuid"
_CORES = 4


@dataclass(frozen=True)
class Processor:
    """A processor that QEMU emulates.

    Attributes:
        model: QEMU's name for it.
        midr: its main identification register (Arm technical reference manuals).
        features: as Linux lists them.
    """

    model: str
    midr: int
    features: str

    def describe(self, tree: Path) -> None:
        """Write what Linux would say of it into a file system."""
        cpus = tree / "sys/devices/system/cpu"
        cpus.mkdir(parents=True)
        for name in ("possible", "present", "online"):
            (cpus / name).write_text(f"0-{_CORES - 1}\n")
        for number in range(_CORES):
            register = cpus / f"cpu{number}/regs/identification"
            register.mkdir(parents=True)
            (register / "midr_el1").write_text(f"0x{self.midr:016x}\n")
        (tree / "proc").mkdir()
        (tree / "proc/cpuinfo").write_text("\n".join(map(self._cpuinfo, range(_CORES))))

    def _cpuinfo(self, number: int) -> str:
        fields = {
            "processor": number,
            "BogoMIPS": "108.00",
            "Features": self.features,
            "CPU implementer": f"0x{self.midr >> 24:02x}",
            "CPU architecture": 8,
            "CPU variant": f"0x{self.midr >> 20 & 0xF:x}",
            "CPU part": f"0x{self.midr >> 4 & 0xFFF:03x}",
            "CPU revision": self.midr & 0xF,
        }
        return "".join(f"{key}\t: {value}\n" for key, value in fields.items())


CORTEX_A53 = Processor("cortex-a53", 0x410FD034, _BASE)
CORTEX_A72 = Processor("cortex-a72", 0x410FD083, _BASE)
CORTEX_A76 = Processor(
    "cortex-a76", 0x414FD0B1, f"{_BASE} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
)


def processor_for(target: Target) -> Processor:
    """The processor to emulate for an ARM target: its own, or one with its instruction sets."""
    by_cpu = {"Cortex-A53": CORTEX_A53, "Cortex-A72": CORTEX_A72, "Cortex-A76": CORTEX_A76}
    if target.cpu in by_cpu:
        return by_cpu[target.cpu]
    # "max" is none of these: under it, products of signed 8-bit numbers have come out wrong.
    return CORTEX_A76 if "asimddp" in target.features else CORTEX_A53
