"""Devices behind ssh: set up, listed, checked, cleared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console, RenderableType

from deploy_targets.hosts.host_names import EXAMPLE
from deploy_targets.remote import checking, provisioning
from deploy_targets.remote.checking import DeviceCheck
from deploy_targets.remote.provisioning import SetUp, packages_for
from deploy_targets.remote.register import Known, known_devices
from deploy_targets.targets import load_target
from foundation.errors import CompressError, HostError, UsageError
from foundation.manifest import RuntimeRange
from foundation.packing import opened
from foundation.records import as_dict
from pipeline.commands.fleet import FleetHost
from pipeline.shown.console import at_work, progress_console
from pipeline.shown.outcome import Outcome, table_of
from pipeline.shown.words import safe

T = TypeVar("T")


@dataclass(frozen=True)
class HostSetUp:
    """What came of a host's set-up.

    Attributes:
        done: None where it failed.
        error: a line, where it failed; exit_code: of that error, 0 if there is none.
    """

    host: str
    done: SetUp | None = None
    error: str | None = None
    exit_code: int = 0


@dataclass(frozen=True, kw_only=True)
class DevicesSetUp:
    """What `compress device setup --json` prints."""

    schema_version: int = 1
    kind: str = "device-setup"
    hosts: list[HostSetUp]


@dataclass(frozen=True, kw_only=True)
class DevicesKnown:
    """What `compress device list --json` prints."""

    schema_version: int = 1
    kind: str = "devices"
    devices: list[Known]


@dataclass(frozen=True)
class HostChecked:
    """What a look at a host found.

    Attributes:
        good: whether it can measure.
        found: None where it could not be reached.
        error: a line, where it could not; exit_code: of that error, 0 if there is none.
    """

    host: str
    good: bool
    found: DeviceCheck | None = None
    error: str | None = None
    exit_code: int = 0


@dataclass(frozen=True, kw_only=True)
class DevicesChecked:
    """What `compress device check --json` prints."""

    schema_version: int = 1
    kind: str = "device-check"
    hosts: list[HostChecked]


@dataclass(frozen=True)
class HostCleared:
    """What was taken away from a host.

    Attributes:
        freed_mb: MiB; None where it failed.
        error: a line, where it failed; exit_code: of that error, 0 if there is none.
    """

    host: str
    freed_mb: float | None = None
    error: str | None = None
    exit_code: int = 0


@dataclass(frozen=True, kw_only=True)
class DevicesCleared:
    """What `compress device clean --json` prints."""

    schema_version: int = 1
    kind: str = "device-clean"
    hosts: list[HostCleared]


def set_up(
    hosts: Sequence[FleetHost],
    target: str | None,
    runtimes: Sequence[str],
    wheels: Path | None,
    console: Console,
    *,
    from_here: bool,
) -> tuple[Outcome, CompressError | None]:
    """Set up devices, one after the other; one that fails does not keep the others from it.

    Args:
        hosts: the devices.
        target: device class that says which runtimes; a fleet's own goes before it.
        runtimes: names, with a version or without; they go before a target's.
        wheels: a folder of wheels for the devices; None fetches them.
        console: for what is told meanwhile.
        from_here: send wheels even where a device's own pip could fetch them.

    Returns:
        What came of it, and the first error.
    """

    def set_up_host(host: FleetHost) -> SetUp:
        name = host.target or target
        packages = packages_for(load_target(name) if name else None, runtimes)
        with at_work(console, f"setting up {host.name}") as under_way:

            def say(line: str) -> None:
                under_way.now = f"setting up {host.name}: {line}"
                console.print(f"  {safe(line)}", soft_wrap=True)

            return provisioning.set_up(host.url, packages, say, wheels, from_here=from_here)

    def row(done: SetUp) -> list[str]:
        installed = ", ".join(f"{name} {version}" for name, version in done.runtimes.items())
        return [installed, ", ".join(done.made) or "nothing to do", done.folder]

    done_hosts, failures = _collect(hosts, set_up_host)
    content = DevicesSetUp(
        hosts=[
            *(HostSetUp(name, done) for name, done in done_hosts.items()),
            *(HostSetUp(name, None, *_line_and_code(error)) for name, error in failures.items()),
        ]
    )
    rows = {name: row(done) for name, done in done_hosts.items()}
    shown = _shown("Set up", ["runtimes", "made now", "folder there"], rows, failures)
    return Outcome(as_dict(content), shown), next(iter(failures.values()), None)


def list_known() -> Outcome:
    """The devices that were set up from here."""
    known = known_devices()
    rows = [
        [
            machine.board or machine.cpu or "–",
            machine.arch,
            machine.python,
            ", ".join(f"{name} {version}" for name, version in machine.runtimes.items()),
            machine.set_up_at[:10],
            machine.url,
        ]
        for machine in known
    ]
    columns = ["machine", "arch", "Python", "runtimes", "set up", "host"]
    empty = f"no device yet; set one up with `compress device setup --host {EXAMPLE}`"
    content = as_dict(DevicesKnown(devices=known))
    return Outcome(content, [table_of("Devices", columns, rows) if rows else empty])


def check(
    hosts: Sequence[FleetHost], target: str | None, bundle: Path | None
) -> tuple[Outcome, CompressError | None]:
    """Look at devices; a problem on one is an error at the end.

    Args:
        hosts: the devices.
        target: device class that they should be of; a fleet's own goes before it.
        bundle: a bundle that they should run, a folder or a packed file.
    """
    console = progress_console()

    def check_host(host: FleetHost) -> DeviceCheck:
        needs, arch = _needs(host.target or target, bundle)
        with at_work(console, f"looking at {host.name}"):
            return checking.check(host.url, needs, arch)

    checked_hosts, failures = _collect(hosts, check_host)
    tables: list[RenderableType] = [
        table_of(
            name, ["", "what", "found"], [[f.state, f.what, f.detail] for f in checked.findings]
        )
        for name, checked in checked_hosts.items()
    ]
    lines = [f"{name}: {error}" for name, error in failures.items() if len(hosts) > 1]
    error = next(iter(failures.values()), None)
    for name, checked in checked_hosts.items():
        problem = next((f for f in checked.findings if f.state == "problem"), None)
        if problem and error is None:
            error = HostError(f"{name}: {problem.what}: {problem.detail}")
    content = DevicesChecked(
        hosts=[
            *(HostChecked(name, checked.good, checked) for name, checked in checked_hosts.items()),
            *(
                HostChecked(name, False, None, *_line_and_code(failure))
                for name, failure in failures.items()
            ),
        ]
    )
    return Outcome(as_dict(content), [*tables, *map(safe, lines)]), error


def clean(hosts: Sequence[FleetHost], *, cache_only: bool) -> tuple[Outcome, CompressError | None]:
    """Take away what was put on devices; see `deploy_targets.remote.provisioning.clean`."""

    console = progress_console()

    def clear_host(host: FleetHost) -> float:
        with at_work(console, f"clearing {host.name}"):
            return provisioning.clean(host.url, cache_only=cache_only)

    cleared, failures = _collect(hosts, clear_host)
    content = DevicesCleared(
        hosts=[
            *(HostCleared(name, freed_mb) for name, freed_mb in cleared.items()),
            *(HostCleared(name, None, *_line_and_code(error)) for name, error in failures.items()),
        ]
    )
    rows = {name: [f"{freed_mb:,.1f}"] for name, freed_mb in cleared.items()}
    shown = _shown("Cleared", ["MB freed"], rows, failures)
    return Outcome(as_dict(content), shown), next(iter(failures.values()), None)


def named_or_known(hosts: Sequence[FleetHost]) -> Sequence[FleetHost]:
    """The hosts that were named, or all that were set up from here.

    Raises:
        UsageError: when there are none of either.
    """
    hosts = hosts or [FleetHost(machine.url, machine.url) for machine in known_devices()]
    if not hosts:
        raise UsageError(f"no device is known here; name one with --host {EXAMPLE}")
    return hosts


def _needs(target: str | None, bundle: Path | None) -> tuple[list[RuntimeRange], str | None]:
    """Runtimes and architecture that a target or a bundle asks for."""
    needs: list[RuntimeRange] = []
    profile = load_target(target) if target else None
    if profile:
        needs += [profile.runtimes[0].range]
    if bundle:
        with opened(bundle) as checked:
            needs += [checked.manifest.runtime]
    return needs, profile.arch if profile else None


def _collect(
    hosts: Sequence[FleetHost], work: Callable[[FleetHost], T]
) -> tuple[dict[str, T], dict[str, CompressError]]:
    results, failures = {}, {}
    for host in hosts:
        try:
            results[host.name] = work(host)
        except CompressError as error:
            failures[host.name] = error
    return results, failures


def _line_and_code(error: CompressError) -> tuple[str, int]:
    return str(error), error.exit_code


def _shown(
    title: str,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[str]],
    failures: Mapping[str, CompressError],
) -> list[RenderableType]:
    """A row for each host; of several, a line for each that failed."""
    table = table_of(title, ["host", *columns], [[name, *row] for name, row in rows.items()])
    several = len(rows) + len(failures) > 1
    lines = [safe(f"{name}: {error}") for name, error in failures.items() if several]
    return [*([table] if rows else []), *lines]
