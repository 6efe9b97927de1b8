"""A machine's conditions, read from trees laid out as Linux and a Raspberry Pi lay them out."""

import os
from pathlib import Path

import pytest

from deploy_targets.device.conditions import Watch, worst_of
from deploy_targets.device.messages import Conditions

FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
HERTZ = os.sysconf("SC_CLK_TCK")


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def stat(root: Path, busy_s: float, idle_s: float) -> None:
    busy, idle = int(busy_s * HERTZ), int(idle_s * HERTZ)
    write(root, "proc/stat", f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1 1 1 0 0 0 0 0 0\n")


@pytest.fixture
def pi(tmp_path):
    """A Raspberry Pi 4 at work, and well."""
    for core in range(4):
        folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
        write(tmp_path, f"{folder}/scaling_governor", "ondemand\n")
        write(tmp_path, f"{folder}/scaling_cur_freq", "600000\n" if core == 3 else "1800000\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "62310\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/trip_point_0_type", "passive\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/trip_point_0_temp", "80000\n")
    write(tmp_path, FIRMWARE, "0\n")
    write(tmp_path, "proc/loadavg", "1.50 0.10 0.05 1/100 1234\n")
    write(tmp_path, "proc/meminfo", "SwapTotal: 102400 kB\nSwapFree: 51200 kB\n")
    stat(tmp_path, 100, 1000)
    return tmp_path


def test_a_pi_is_read_as_it_is(pi):
    now = Watch(root=pi).now("before")
    assert (now.at, now.governor, now.frequency_mhz) == ("before", "ondemand", 600)
    assert (now.temperature_c, now.throttled) == (62.31, False)
    assert (now.load_average, now.swap_mb) == (1.5, 50)
    assert now.other_cpu is None


def test_only_the_cores_that_are_used_count_for_clock_and_governor(pi):
    write(pi, "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave\n")
    used, every = Watch([0, 1], pi).now("before"), Watch(None, pi).now("before")
    assert (used.frequency_mhz, used.governor) == (1800, "ondemand")
    assert (every.frequency_mhz, every.governor) == (600, "ondemand, powersave")


@pytest.mark.parametrize("flags", ["1", "2", "4", "8", "50005"])
def test_a_flag_that_is_set_now_is_throttling(pi, flags):
    write(pi, FIRMWARE, flags)
    assert Watch(root=pi).now("during").throttled is True


def test_what_happened_before_is_no_throttling_but_what_happens_between_two_looks_is(pi):
    write(pi, FIRMWARE, "10000")
    watch = Watch(root=pi)
    assert watch.now("before").throttled is False
    write(pi, FIRMWARE, "50000")
    assert watch.now("during").throttled is True
    assert watch.now("after").throttled is False


def test_a_machine_as_hot_as_its_kernel_lets_it_be_is_throttled(pi):
    write(pi, "sys/class/thermal/thermal_zone0/temp", "80100\n")
    assert Watch(root=pi).now("during").throttled is True


def test_counts_of_throttling_on_x86_are_looked_at_for_what_is_new(tmp_path):
    count = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    write(tmp_path, count, "17")
    watch = Watch(root=tmp_path)
    assert watch.now("before").throttled is False
    write(tmp_path, count, "18")
    assert watch.now("during").throttled is True


def test_the_share_of_others_is_that_of_all_cores_since_the_last_look(pi):
    watch = Watch(root=pi)
    stat(pi, 130, 1070)
    # 100 s of all cores: 30 s of them busy, and this process did next to nothing.
    assert watch.now("during").other_cpu == pytest.approx(0.3, abs=0.02)
    stat(pi, 130, 1170)
    assert watch.now("after").other_cpu == 0


def test_a_share_of_next_to_no_time_is_unavailable(pi):
    watch = Watch(root=pi)
    stat(pi, 100.05, 1000)
    assert watch.now("during").other_cpu is None


def test_what_a_machine_does_not_tell_is_none_and_never_zero(tmp_path):
    now = Watch(root=tmp_path).now("before")
    assert now == Conditions(at="before")


def test_this_machine_can_be_looked_at():
    watch = Watch()
    assert watch.now("before").load_average is not None
    assert watch.now("after").swap_mb is not None


def test_the_worst_of_several_looks_is_kept():
    looks = [
        Conditions("during", "a", 1800, 60, False, 1.0, 0.1, 0.0),
        Conditions("during", "a", 600, 70, True, 2.0, None, 8.0),
        Conditions("during", "a", 1700, 65, False, 1.5, 0.3, 4.0),
    ]
    assert worst_of(looks) == Conditions("during", "a", 600, 70, True, 2.0, 0.2, 8.0)
    assert worst_of([Conditions("during")] * 2) == Conditions("during")
