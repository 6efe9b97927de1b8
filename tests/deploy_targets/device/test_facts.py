"""Facts read from files laid out as Linux lays them out."""

import json
import subprocess
import sys
from pathlib import Path

from deploy_targets.device.facts import collect, resident_mb

PI5 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

processor\t: 1
CPU part\t: 0xd03
"""


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_a_raspberry_pi_is_read_as_what_it_is(tmp_path):
    write(tmp_path, "proc/cpuinfo", PI5)
    write(tmp_path, "proc/meminfo", "MemTotal:        4147200 kB\nMemFree: 1 kB\n")
    write(tmp_path, "proc/loadavg", "0.25 0.10 0.05 1/100 1234\n")
    write(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "ondemand\n")
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2400000\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48250\n")
    write(tmp_path, "sys/class/thermal/thermal_zone1/temp", "51500\n")
    facts = collect(tmp_path)
    assert facts.cpu == "Cortex-A76"
    assert facts.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert facts.features == ["asimd", "fphp", "asimdhp", "asimddp"]
    assert facts.memory_mb == 4050
    assert facts.governor == "ondemand"
    assert facts.frequency_mhz == 2400
    assert facts.temperature_c == 51.5
    assert facts.load_average == 0.25


def test_x86_features_that_int8_depends_on_are_found(tmp_path):
    write(tmp_path, "proc/cpuinfo", "model name\t: Some CPU\nflags\t: fpu avx2 avx512_vnni sse2\n")
    facts = collect(tmp_path)
    assert (facts.cpu, facts.features) == ("Some CPU", ["avx2", "avx512_vnni"])


def test_what_a_machine_does_not_tell_is_none_and_never_zero(tmp_path):
    facts = collect(tmp_path)
    for name in (
        "cpu", "board", "memory_mb", "features",
        "governor", "frequency_mhz", "temperature_c", "load_average",
    ):  # fmt: skip
        assert getattr(facts, name) is None, name
    assert resident_mb("VmHWM", tmp_path) is None


def test_unreadable_numbers_are_none(tmp_path):
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "N/A\n")
    write(tmp_path, "proc/meminfo", "MemTotal: lots kB\n")
    facts = collect(tmp_path)
    assert facts.temperature_c is None
    assert facts.memory_mb is None


def test_this_machine_has_cores_memory_and_a_resident_process():
    facts = collect()
    assert facts.logical_cores >= facts.usable_cores >= 1
    assert facts.memory_mb > 0
    assert 0 < resident_mb("VmRSS") <= resident_mb("VmHWM")


def test_the_module_prints_the_facts_as_json():
    done = subprocess.run(
        [sys.executable, "-m", "deploy_targets.device.facts"], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["arch"] == collect().arch
