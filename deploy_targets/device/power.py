"""Energy, where the machine can tell: a counter of joules, or a sensor of watts."""

from __future__ import annotations

from pathlib import Path

from deploy_targets.device.linux import ROOT, number_in, text

_SHUNTED = ("ina2", "ina3")


class Meter:
    """Counts the energy from when it is made. `read` it now and then: sensors say only the power
    of the moment, and a counter begins anew when it is full.

    It is that of the whole package or board, so of all that runs there.

    Args:
        root: of the file system.

    Attributes:
        source: what tells it; None when nothing does.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._counters = _counters(root)
        self._last = [number_in(path / "energy_uj") for path in self._counters]
        # Counters of the kernel may be there and closed to all but root.
        self._counters = [] if None in self._last else self._counters
        self._sensors = [] if self._counters else _sensors(root)
        self._joules = 0.0
        self._watts: list[float] = []
        self.source = self._name()

    def read(self) -> None:
        """Take note of what the counters and sensors say now."""
        for index, path in enumerate(self._counters):
            now, before = number_in(path / "energy_uj"), self._last[index]
            if now is None or before is None:
                continue
            grown = now - before
            if grown < 0:
                grown += number_in(path / "max_energy_range_uj") or 0.0
            self._joules += max(0.0, grown) / 1e6
            self._last[index] = now
        watts = [value for sensor in self._sensors if (value := _watts(sensor)) is not None]
        if watts:
            self._watts.append(sum(watts))

    def joules(self, seconds: float) -> float | None:
        """What was used since the last time, or the beginning; None when nothing tells it.

        Args:
            seconds: since then.
        """
        joules, watts = self._joules, self._watts
        self._joules, self._watts = 0.0, []
        if self._counters:
            return joules or None
        return sum(watts) / len(watts) * seconds or None if watts else None

    def _name(self) -> str | None:
        if self._counters:
            names = [text(path / "name") or path.name for path in self._counters]
            return "RAPL " + ", ".join(names)
        if self._sensors:
            return "sensor " + ", ".join(text(path / "name") or path.name for path in self._sensors)
        return None


def _counters(root: Path) -> list[Path]:
    """A package each; what lies within a package (cores, memory) is part of it."""
    zones = (root / "sys/class/powercap").glob("*-rapl:*")
    return sorted(
        zone
        for zone in zones
        if zone.name.count(":") == 1 and (text(zone / "name") or "").startswith("package")
    )


def _sensors(root: Path) -> list[Path]:
    """Chips that measure the board's supply."""
    chips = (root / "sys/class/hwmon").glob("hwmon*")
    return sorted(
        chip
        for chip in chips
        if (text(chip / "name") or "").startswith(_SHUNTED) and _watts(chip) is not None
    )


def _watts(chip: Path) -> float | None:
    """Of its first channel, which on boards with several is the whole supply."""
    microwatts = number_in(chip / "power1_input")
    if microwatts is not None:
        return microwatts / 1e6
    millivolts = number_in(chip / "in1_input")
    milliamperes = number_in(chip / "curr1_input")
    if millivolts is None or milliamperes is None:
        return None
    return millivolts * milliamperes / 1e6
