"""Devices behind ssh: set up, listed, checked, cleared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.markup import escape

from deploy_targets.remote import checking, provisioning
from deploy_targets.remote.address import EXAMPLE
from deploy_targets.remote.checking import Checked
from deploy_targets.remote.provisioning import packages_for
from deploy_targets.remote.register import known_devices
from deploy_targets.targets import load_target
from foundation.errors import CompressError, HostError, UsageError
from foundation.manifest import RuntimeRange
from foundation.packing import opened
from pipeline.display import Outcome, table_of
from pipeline.fleet import FleetHost, failed_with

T = TypeVar("T")


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

    def one(host: FleetHost) -> dict[str, Any]:
        name = host.target or target
        packages = packages_for(load_target(name) if name else None, runtimes)
        say = _sayer(console)
        done = provisioning.set_up(host.url, packages, say, wheels, from_here=from_here)
        return asdict(done)

    def row(done: dict[str, Any]) -> list[str]:
        there = ", ".join(f"{name} {version}" for name, version in done["runtimes"].items())
        return [there, ", ".join(done["made"]) or "nothing to do", done["folder"]]

    return _each(hosts, one, row, "Set up", ["runtimes", "made now", "folder there"])


def list_known() -> Outcome:
    """The devices that were set up from here."""
    known = known_devices()
    rows = [
        [
            one.board or one.cpu or "–",
            one.arch,
            one.python,
            ", ".join(f"{name} {version}" for name, version in one.runtimes.items()),
            one.set_up_at[:10],
            one.url,
        ]
        for one in known
    ]
    columns = ["machine", "arch", "Python", "runtimes", "set up", "host"]
    empty = f"no device yet; set one up with `compress device setup --host {EXAMPLE}`"
    content = {"kind": "devices", "schema_version": 1, "devices": [asdict(one) for one in known]}
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

    def one(host: FleetHost) -> Checked:
        needs, arch = _needs(host.target or target, bundle)
        return checking.check(host.url, needs, arch)

    found, failures = _collect(hosts, one)
    tables: list[RenderableType] = [
        table_of(name, ["", "what", "found"], [[f.state, f.what, f.detail] for f in each.findings])
        for name, each in found.items()
    ]
    lines = [f"{name}: {error}" for name, error in failures.items() if len(hosts) > 1]
    error = next(iter(failures.values()), None)
    for name, each in found.items():
        problem = next((f for f in each.findings if f.state == "problem"), None)
        if problem and error is None:
            error = HostError(f"{name}: {problem.what}: {problem.detail}")
    content = {
        "kind": "device-check",
        "schema_version": 1,
        "hosts": [
            *({"host": name, "good": each.good, **asdict(each)} for name, each in found.items()),
            *(failed_with(name, failure) for name, failure in failures.items()),
        ],
    }
    return Outcome(content, [*tables, *map(escape, lines)]), error


def clean(hosts: Sequence[FleetHost], *, cache_only: bool) -> tuple[Outcome, CompressError | None]:
    """Take away what was put on devices; see `deploy_targets.remote.provisioning.clean`."""

    def one(host: FleetHost) -> dict[str, Any]:
        return {"freed_mb": provisioning.clean(host.url, cache_only=cache_only)}

    return _each(hosts, one, lambda done: [f"{done['freed_mb']:,.1f}"], "Cleared", ["MB freed"])


def named_or_known(hosts: Sequence[FleetHost]) -> Sequence[FleetHost]:
    """The hosts that were named, or all that were set up from here.

    Raises:
        UsageError: when there are none of either.
    """
    hosts = hosts or [FleetHost(one.url, one.url) for one in known_devices()]
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


def _sayer(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(f"  {escape(line)}", soft_wrap=True)


def _collect(
    hosts: Sequence[FleetHost], work: Callable[[FleetHost], T]
) -> tuple[dict[str, T], dict[str, CompressError]]:
    found, failures = {}, {}
    for host in hosts:
        try:
            found[host.name] = work(host)
        except CompressError as error:
            failures[host.name] = error
    return found, failures


def _each(
    hosts: Sequence[FleetHost],
    work: Callable[[FleetHost], dict[str, Any]],
    row: Callable[[dict[str, Any]], list[str]],
    title: str,
    columns: Sequence[str],
) -> tuple[Outcome, CompressError | None]:
    """Do it for each, and show a row each; errors come after, the first of them as the result."""
    found, failures = _collect(hosts, work)
    table = table_of(title, ["host", *columns], [[name, *row(one)] for name, one in found.items()])
    content = {
        "kind": f"device-{title.lower().replace(' ', '-')}",
        "schema_version": 1,
        "hosts": [
            *({"host": name, "ok": True, **one} for name, one in found.items()),
            *(failed_with(name, failure) for name, failure in failures.items()),
        ],
    }
    lines = [escape(f"{name}: {error}") for name, error in failures.items() if len(hosts) > 1]
    shown: list[RenderableType] = [*([table] if found else []), *lines]
    return Outcome(content, shown), next(iter(failures.values()), None)
