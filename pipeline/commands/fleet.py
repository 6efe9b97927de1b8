"""Several hosts at once: a file that names them, and a run's bundles measured on all of them.

Hosts work in parallel, but a machine measures one bundle at a time, by however many URLs it is
named. A host that fails does not keep the others from their work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from deploy_targets.comparison import Comparison
from deploy_targets.hosts.host_names import EXAMPLE, refuse_password
from deploy_targets.measurement import Measurement, read_measurement
from deploy_targets.remote.provisioning import machine_of
from foundation.bundle import read_manifest
from foundation.errors import CompressError, HostError, RecipeError, UsageError
from foundation.records import RecordError, as_dict, build
from foundation.sense import named
from pipeline.benching.bench import bench
from pipeline.commands.bench import HeldAgainst, check_against, held_against
from pipeline.gating.ratios import RatioShown
from pipeline.recipe.file import read_toml
from pipeline.run_folder.folder import RunFolder, open_run
from pipeline.shown.console import Activity, at_work, progress_console
from pipeline.shown.measurement_tables import measurement_table
from pipeline.shown.outcome import Outcome, table_of
from pipeline.shown.verdicts import ratio_table
from pipeline.shown.words import safe

Say = Callable[[str], None]
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class FleetHost:
    """A host of a fleet.

    Attributes:
        name: for people.
        url: how it is reached; "local" is this machine.
        target: device class; only bundles for it are measured there. None: all that it can run.
        bench: keys of the recipe's bench section that are other for it.
    """

    name: str
    url: str
    target: str | None = None
    bench: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HostDone:
    """What came of a host.

    Attributes:
        host: its name.
        url: how it was reached.
        measured: names of the bundles of which there is a measurement.
        error: a line, where it failed.
        exit_code: of that error; 0 if there is none.
    """

    host: str
    url: str
    measured: list[str]
    error: str | None
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class FleetOutcome:
    """What `compress bench --json` prints for several hosts.

    Attributes:
        run: the run folder.
        hosts: every one that was asked for.
        measurements: of all hosts.
        ratios: to what `--against` named, of all hosts.
        comparisons: the turns that they come from, where there were some.
    """

    schema_version: int = 1
    kind: str = "fleet-bench"
    run: str
    hosts: list[HostDone]
    measurements: list[Measurement]
    ratios: list[RatioShown]
    comparisons: list[Comparison]


@dataclass(frozen=True)
class _HostBench:
    """What was measured on a host."""

    measurements: list[Measurement]
    held: HeldAgainst


@dataclass(frozen=True)
class _Entry:
    url: str
    target: str | None = None
    bench: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    hosts: dict[str, _Entry]

    def problems(self) -> Iterator[str]:
        for name in self.hosts:
            yield from named(hosts=name)


def read_fleet(path: Path) -> list[FleetHost]:
    """The hosts of a fleet file, in its order.

    Raises:
        MissingFileError: when there is no such file.
        RecipeError: when it is none.
    """
    raw, _ = read_toml(path, "fleet")
    try:
        entries = build(_File, raw).hosts
    except RecordError as error:
        raise RecipeError(
            f'{path}: {error}; a host is [hosts.NAME] with url = "{EXAMPLE}"'
        ) from error
    if not entries:
        raise RecipeError(f"{path}: names no host")
    return [
        FleetHost(name, entry.url, entry.target, entry.bench) for name, entry in entries.items()
    ]


def chosen_hosts(urls: Sequence[str], fleet: Path | None) -> list[FleetHost]:
    """Hosts of a file and of the command line, each URL and each name once.

    Raises:
        UsageError: when two entries have the same URL, or the same name.
        HostError: when one has a password in it.
    """
    hosts = [*(read_fleet(fleet) if fleet else []), *(FleetHost(url, url) for url in urls)]
    for host in hosts:
        refuse_password(host.url)
    for host in hosts:
        twice = [entry.name for entry in hosts if entry.url == host.url]
        if len(twice) > 1:
            raise UsageError(
                f"{host.url}: named {len(twice)} times ({', '.join(twice)}); once will do"
            )
        # What comes of a host is known by its name.
        if sum(entry.name == host.name for entry in hosts) > 1:
            raise UsageError(
                f"{host.name}: the name of two hosts, {host.url} among them; "
                f"give the host in {fleet} another name"
            )
    return hosts


def bench_fleet(
    path: Path | None,
    hosts: Sequence[FleetHost],
    changes: Mapping[str, Any],
    only: Sequence[str] | None,
) -> tuple[Outcome, CompressError | None]:
    """Measure a run's bundles on several hosts at once.

    Args:
        path: the run folder; None takes the one used last.
        hosts: where.
        changes: what the command line gave of the recipe, by place; a host's own go before it.
        only: names of bundles; None takes all that a host can run.

    Returns:
        What came of it, and the first host's error, if any failed.
    """
    run, console = open_run(path), progress_console()

    def say(line: str) -> None:
        console.print(f"  {safe(line)}", soft_wrap=True)

    def work(host: FleetHost) -> _HostBench:
        with at_work(console, host.name) as under_way:
            return _bench_one(run, host, changes, only, say, under_way=under_way)

    with run.locked():
        results = in_parallel(hosts, work, say)
    done = [_done(host, results[host.name]) for host in hosts]
    benched = [result for host in hosts if isinstance(result := results[host.name], _HostBench)]
    measurements = [measurement for result in benched for measurement in result.measurements]
    ratios = [ratio for result in benched for ratio in result.held.ratios]
    rows = [
        [
            host_done.host,
            "failed" if host_done.error else "done",
            str(len(host_done.measured)),
            host_done.error or "",
        ]
        for host_done in done
    ]
    summary = table_of("Hosts", ["host", "", "bundles", "error"], rows)
    outcome = FleetOutcome(
        run=str(run.path),
        hosts=done,
        measurements=measurements,
        ratios=ratios,
        comparisons=[comparison for result in benched for comparison in result.held.comparisons],
    )
    tables = [
        *([measurement_table(measurements)] if measurements else []),
        *([ratio_table(ratios)] if ratios else []),
    ]
    shown = [*tables, summary]
    failures = [result for result in results.values() if isinstance(result, CompressError)]
    return Outcome(as_dict(outcome), shown), next(iter(failures), None)


def in_parallel(
    hosts: Sequence[FleetHost], work: Callable[[FleetHost], A], say: Say
) -> dict[str, A | CompressError]:
    """Do it on all hosts at once, but on the same machine one after the other.

    Returns:
        By the host's name, what came of the work or the error that it ended in.
    """
    results: dict[str, A | CompressError] = {}

    def ask(host: FleetHost) -> str | CompressError:
        try:
            return machine_of(host.url)
        except CompressError as error:
            return error

    def queue(group: list[FleetHost]) -> None:
        for host in group:
            try:
                results[host.name] = work(host)
            except CompressError as error:
                results[host.name] = error
                say(f"{host.name}: {error}")

    groups: dict[str, list[FleetHost]] = {}
    for host, machine in zip(hosts, _at_once(ask, hosts), strict=True):
        if isinstance(machine, CompressError):
            results[host.name] = machine
            say(f"{host.name}: {machine}")
        else:
            groups.setdefault(machine, []).append(host)
    for group in groups.values():
        if len(group) > 1:
            names = ", ".join(host.name for host in group)
            say(f"the same machine, so one after the other: {names}")
    _at_once(queue, list(groups.values()))
    return results


def _at_once(work: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """Do it for each in a thread of its own; threads that do not keep an interrupted program."""
    done: dict[int, B] = {}
    failures: list[BaseException] = []

    def carry_out(number: int, item: A) -> None:
        try:
            done[number] = work(item)
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=carry_out, args=(number, item), daemon=True)
        for number, item in enumerate(items)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure
    return [done[number] for number in range(len(items))]


def _bench_one(
    run: RunFolder,
    host: FleetHost,
    changes: Mapping[str, Any],
    only: Sequence[str] | None,
    say: Say,
    *,
    under_way: Activity,
) -> _HostBench:
    own = {f"bench.{key}": value for key, value in {**host.bench, "host": host.url}.items()}
    settings = run.recipe_with({**changes, **own}).bench
    if settings.per_layer or settings.sustain:
        raise UsageError(
            f"{host.name}: --per-layer and --sustain (bench.per_layer, bench.sustain) look at one "
            "host; name one with --host"
        )
    check_against(settings)
    names = only
    if host.target and not only:
        folders = run.bundle_folders()
        names = [folder.name for folder in folders if read_manifest(folder).target == host.target]
        if not names:
            raise HostError(
                f"{host.name}: the run has no bundle for target {host.target!r}; make one with "
                f"`compress export {run.path} --target {host.target}`"
            )
    seen: set[str] = set()

    def show(bundle: str, facts: dict[str, Any]) -> None:
        under_way.now = f"{host.name}: measuring {bundle}: {facts['step']}"
        if bundle not in seen:
            seen.add(bundle)
            say(f"{host.name}: measuring {bundle}")

    paths = bench(run, settings, show, lambda line: say(f"{host.name}: {line}"), names)
    measurements = [read_measurement(path) for path in paths]
    if not settings.against:
        return _HostBench(measurements, HeldAgainst())

    def turns(bundle: str, facts: dict[str, Any]) -> None:
        step = f"{facts['step']} {facts['number']} of {facts['of']}"
        under_way.now = f"{host.name}: {bundle} in turns: {step}"
        if facts["step"] == "round" and facts["number"] == 1:
            say(f"{host.name}: {bundle} in turns with {settings.against}")

    return _HostBench(measurements, held_against(run, settings, turns, only, measurements))


def _done(host: FleetHost, result: _HostBench | CompressError) -> HostDone:
    if isinstance(result, CompressError):
        return HostDone(host.name, host.url, [], str(result), result.exit_code)
    names = [measurement.bundle.name for measurement in result.measurements]
    return HostDone(host.name, host.url, names, None, 0)
