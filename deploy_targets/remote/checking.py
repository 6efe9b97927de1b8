"""Is all on a device that a measurement needs, and is it in a state for one?"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deploy_targets.device.facts import Facts
from deploy_targets.device.runtimes import RUNTIMES
from deploy_targets.hosts.host_names import parse_address
from deploy_targets.remote.session import DeviceSession, Tried, Used, open_session
from deploy_targets.remote.sources import device_sources
from deploy_targets.remote.state import conditions_of, facts_of
from foundation.manifest import RuntimeRange

_CLOCK_S = 60.0
_LITTLE_MB = 200
_BUSY = 0.5


State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: "ok"; "note" for something to know; "problem" for something that will not work.
        what: what was looked at.
        detail: what was found, and what to do about a problem.
    """

    state: State
    what: str
    detail: str


@dataclass(frozen=True)
class DeviceCheck:
    """What a check of a device found."""

    host: str
    facts: Facts
    findings: list[Finding]

    @property
    def good(self) -> bool:
        """Whether it can measure."""
        return all(finding.state != "problem" for finding in self.findings)


def check(url: str, needs: Sequence[RuntimeRange] = (), arch: str | None = None) -> DeviceCheck:
    """Look at a device: is all there that a measurement needs, and is it in a state for one.

    Args:
        url: of the device.
        needs: runtimes, with the releases that will do, such as those of a target or a bundle.
        arch: that it must be of.

    Raises:
        HostError: when it cannot be reached.
    """
    with open_session(parse_address(url)) as session:
        device, asked_at = session.device, time.time()
        tree, files = device_sources()
        session.bring(tree, files)
        facts, state = facts_of(session, tree, url), conditions_of(session, tree, url)
        used_mb = session.ask_for(Used, "size").used_mb
        tried = {name: _try(session, tree, name) for name in device.envs}
    findings = [
        Finding("ok", "link", f"reached; {device.folder} holds {used_mb:,.0f} MB"),
        Finding("ok", "Python", f"{device.python} ({device.executable}), {device.libc}"),
        _architecture(facts, arch),
        *_runtimes(url, tried, device.version_of, needs),
        _disk(device.free_mb),
        _clock(device.clock - asked_at),
        _governor(state.governor),
        _heat(state.temperature_c, state.throttled),
        _load(state.load_average, facts.usable_cores),
    ]
    return DeviceCheck(url, facts, findings)


def _architecture(facts: Facts, arch: str | None) -> Finding:
    cpu = f"{facts.arch}, {facts.cpu or 'unknown'}, {facts.usable_cores} cores"
    if arch and arch != facts.arch:
        return Finding("problem", "processor", f"{cpu}, but the target is {arch}")
    return Finding("ok", "processor", f"{facts.board + ': ' if facts.board else ''}{cpu}")


def _try(session: DeviceSession, tree: str, package: str) -> str | None:
    """Let a runtime compute something; why it does not, None where it does."""
    of_package = (name for name, kind in RUNTIMES.items() if kind.package == package)
    name = next(of_package, None)
    if name is None:
        return None
    ended = session.ask_for(Tried, "try", package=package, runtime=name, tree=tree)
    if ended.code == 0:
        return None
    if ended.code is not None and ended.code < 0:
        return f"it died of {_signal(-ended.code)}"
    return ended.said


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    is_illegal = name == "SIGILL"
    return f"{name}, an instruction that this processor does not have" if is_illegal else name


def _runtimes(
    url: str,
    tried: Mapping[str, str | None],
    version_of: Callable[[str], str | None],
    needs: Sequence[RuntimeRange],
) -> list[Finding]:
    if not tried and not needs:
        advice = f"none; run `compress device setup --host {url}`"
        return [Finding("problem", "runtime", advice)]
    findings = {
        name: Finding("ok", name, f"{version_of(name)}, answers")
        if why is None
        else Finding(
            "problem", name,
            f"{version_of(name)} does not compute here: {why}; take another release: `compress "
            f"device setup --host {url} --runtime {name}==VERSION`",
        )
        for name, why in tried.items()
    }  # fmt: skip
    for need in needs:
        package = RUNTIMES.get(need.name).package
        version = version_of(package)
        command = f"`compress device setup --host {url} --runtime {package}`"
        if version is None:
            findings[package] = Finding("problem", package, f"not there; run {command}")
        elif not need.allows(version):
            detail = f"{version}, but {need} is wanted; run {command}, with ==VERSION if need be"
            findings[package] = Finding("problem", package, detail)
    return list(findings.values())


def _disk(free_mb: float) -> Finding:
    if free_mb < _LITTLE_MB:
        detail = f"{free_mb:,.0f} MB free; free some, or `compress device clean --cache`"
        return Finding("problem", "disk", detail)
    return Finding("ok", "disk", f"{free_mb:,.0f} MB free")


def _clock(ahead_s: float) -> Finding:
    if abs(ahead_s) > _CLOCK_S:
        direction = "ahead of" if ahead_s > 0 else "behind"
        detail = f"{abs(ahead_s):,.0f} s {direction} this machine's; times of day there mean little"
        return Finding("note", "clock", detail)
    return Finding("ok", "clock", "as here")


def _governor(governor: str | None) -> Finding:
    if governor is None:
        return Finding("note", "governor", "unavailable: changes of the clock would not be seen")
    if governor != "performance":
        return Finding(
            "note",
            "governor",
            f"{governor}; for steady figures: `echo performance | sudo tee "
            "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor`",
        )
    return Finding("ok", "governor", governor)


def _heat(celsius: float | None, throttled: bool | None) -> Finding:
    heat = "temperature unavailable" if celsius is None else f"{celsius:.0f} °C"
    if throttled:
        detail = f"{heat}, and throttled now; cool it, or give it a stronger power supply"
        return Finding("problem", "throttling", detail)
    flag = "not throttled" if throttled is False else "throttle flags unavailable"
    return Finding("note" if throttled is None else "ok", "throttling", f"{heat}, {flag}")


def _load(load: float | None, cores: int | None) -> Finding:
    if load is None:
        return Finding("note", "load", "unavailable")
    if cores and load > _BUSY * cores:
        detail = f"{load:.1f} on {cores} cores: something else is at work there"
        return Finding("note", "load", detail)
    return Finding("ok", "load", f"{load:.1f}")
