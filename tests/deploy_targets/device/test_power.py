"""Energy from trees of counters and sensors."""

from pathlib import Path

from deploy_targets.device.power import Meter

RAPL = "sys/class/powercap/intel-rapl:0"


def write(root: Path, path: str, text: object) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(str(text))


def test_rapl_counts_joules_of_packages_and_not_of_what_lies_within_them(tmp_path):
    for name, zone in [("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"),
                       ("intel-rapl:0:0", "core"), ("intel-rapl:2", "psys")]:  # fmt: skip
        write(tmp_path, f"sys/class/powercap/{name}/name", zone)
        write(tmp_path, f"sys/class/powercap/{name}/energy_uj", 1_000_000)
    meter = Meter(tmp_path)
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "intel-rapl:2"):
        write(tmp_path, f"sys/class/powercap/{name}/energy_uj", 3_000_000)
    meter.read()
    assert meter.source == "RAPL package-0, package-1"
    assert meter.joules(10) == 4.0


def test_a_counter_that_begins_anew_goes_on(tmp_path):
    write(tmp_path, f"{RAPL}/name", "package-0")
    write(tmp_path, f"{RAPL}/energy_uj", 9_000_000)
    write(tmp_path, f"{RAPL}/max_energy_range_uj", 10_000_000)
    meter = Meter(tmp_path)
    write(tmp_path, f"{RAPL}/energy_uj", 500_000)
    meter.read()
    assert meter.joules(1) == 1.5


def test_a_counter_that_may_not_be_read_tells_nothing(tmp_path):
    write(tmp_path, f"{RAPL}/name", "package-0")
    meter = Meter(tmp_path)
    meter.read()
    assert (meter.joules(1), meter.source) == (None, None)


def test_sensors_tell_watts_which_are_averaged_over_the_time(tmp_path):
    chip = "sys/class/hwmon/hwmon2"
    write(tmp_path, f"{chip}/name", "ina226")
    write(tmp_path, f"{chip}/power1_input", 4_000_000)
    write(tmp_path, "sys/class/hwmon/hwmon0/name", "nvme")
    write(tmp_path, "sys/class/hwmon/hwmon0/power1_input", 9_000_000)
    meter = Meter(tmp_path)
    meter.read()
    write(tmp_path, f"{chip}/power1_input", 6_000_000)
    meter.read()
    assert meter.source == "sensor ina226"
    assert meter.joules(10) == 50


def test_where_there_is_no_watt_it_is_volt_times_ampere(tmp_path):
    chip = "sys/class/hwmon/hwmon1"
    write(tmp_path, f"{chip}/name", "ina3221")
    write(tmp_path, f"{chip}/in1_input", 5000)
    write(tmp_path, f"{chip}/curr1_input", 800)
    meter = Meter(tmp_path)
    meter.read()
    assert meter.joules(2) == 8


def test_without_any_of_them_energy_is_none(tmp_path):
    meter = Meter(tmp_path)
    meter.read()
    assert (meter.joules(1), meter.source) == (None, None)
