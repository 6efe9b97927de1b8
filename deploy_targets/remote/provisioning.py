"""What has to lie on a device before it can measure: put there, taken away."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy_targets.device.runtimes import RUNTIMES, installed_by_hand
from deploy_targets.hosts.host_names import LOCAL, SCHEME, parse_address, scheme_of
from deploy_targets.remote.onboard.agent import machine as this_machine
from deploy_targets.remote.register import Known, forget, remember
from deploy_targets.remote.session import Cleaned, DeviceSession, Installed, Say, open_session
from deploy_targets.remote.sources import device_sources
from deploy_targets.remote.state import facts_of
from deploy_targets.remote.wheels import fetch_wheels
from deploy_targets.targets import Target
from foundation.errors import HostError, NoSpaceError, UsageError, unknown_name
from foundation.manifest import RuntimeRange

# Where the device has no network, its pip finds that out at the first of these.
_PIP_PATIENCE_S = 10.0
_REQUIREMENT = re.compile(r"([A-Za-z][\w.-]*?)((?:[=<>!~]=?=?[\w.*]+,?)*)")


@dataclass(frozen=True)
class SetUp:
    """What a set-up came to.

    Attributes:
        folder: on the device.
        made: packages whose environment was made now; that of others was there.
        runtimes: versions by package, numpy aside.
        via: by package: "pip" of the device or "wheels" sent from here.
    """

    host: str
    folder: str
    made: list[str]
    runtimes: dict[str, str]
    via: dict[str, str]


def packages_for(target: Target | None, runtimes: Sequence[str]) -> dict[str, str]:
    """What to install, as versions by package: {"onnxruntime": "==1.32.0"}.

    The release that this machine has is taken where it will do, for its answers were checked here.

    Args:
        target: all of its usual runtimes, if none is named.
        runtimes: "onnxruntime", or with a version: "onnxruntime==1.20.1".

    Raises:
        UnknownNameError: when there is no such runtime.
        UsageError: when what is asked for is no requirement, or has to be installed by hand.
    """
    packages = {}
    for requirement in runtimes or (target.usual_runtimes if target else ["onnxruntime"]):
        match = _REQUIREMENT.fullmatch(requirement.replace(" ", ""))
        if match is None:
            raise UsageError(f"runtime must be like 'onnxruntime==1.20.1', but got {requirement!r}")
        name, version = match.groups()
        if name not in RUNTIMES.names():
            raise unknown_name("runtime", name, RUNTIMES.names())
        if reason := installed_by_hand(name):
            raise UsageError(f"runtime {name} is not put on a device from here: {reason}")
        allowed = next((r for r in target.runtimes if r.name == name), None) if target else None
        package = RUNTIMES.get(name).package
        packages[package] = (
            version
            or _installed_here(package, allowed.range if allowed else None)
            or (allowed.version.replace(" ", "") if allowed else "")
        )
    return packages


def set_up(
    url: str,
    packages: dict[str, str],
    say: Say,
    wheels: Path | None = None,
    *,
    from_here: bool = False,
) -> SetUp:
    """Put environments with these packages, and the device side of this program, on a device.

    Where all is there already, nothing is done; where a set-up was cut short, it is gone on with.

    Args:
        url: of the device.
        packages: as `packages_for` gives them.
        say: told what takes its time.
        wheels: a folder with wheels for the device; None fetches them.
        from_here: send wheels even where the device's own pip could fetch them.

    Raises:
        HostError: when it cannot be reached, or a package cannot be had for it.
        NoSpaceError: when its disk is full.
    """
    address = parse_address(url)
    with open_session(address) as session:
        tree, files = device_sources()
        session.bring(tree, files, say)
        facts = facts_of(session, tree, url)
        made, via = [], {}
        for package, version in packages.items():
            pins = {"numpy": _installed_here("numpy", None) or "", package: version}
            say(f"{url}: {package}{version}")
            installed = _install(session, url, pins, say, wheels=wheels, from_here=from_here)
            made += [package] if installed.made else []
            via[package] = installed.via
    with open_session(address) as session:
        device = session.device
    runtimes = {package: device.version_of(package) or "?" for package in device.envs}
    remember(
        Known(
            url=url,
            board=facts.board,
            cpu=facts.cpu,
            arch=facts.arch,
            python=device.python,
            folder=device.folder,
            runtimes=runtimes,
            set_up_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    )
    return SetUp(url, device.folder, made, runtimes, via)


def clean(url: str, *, cache_only: bool = False) -> float:
    """Take away all that was put on a device, or only the bundles and images on it.

    Returns:
        MiB that were freed.

    Raises:
        HostError: when it cannot be reached.
    """
    with open_session(parse_address(url)) as session:
        freed = session.ask_for(Cleaned, "clean", cache_only=cache_only).freed_mb
    if not cache_only:
        forget(url)
    return freed


def machine_of(url: str) -> str:
    """The same for all URLs of one machine.

    Raises:
        HostError: when it cannot be reached.
    """
    if scheme_of(url) == SCHEME:
        with open_session(parse_address(url)) as session:
            return session.device.machine
    return this_machine() if url == LOCAL else url


def _install(
    session: DeviceSession,
    url: str,
    pins: dict[str, str],
    say: Say,
    *,
    wheels: Path | None,
    from_here: bool,
) -> Installed:
    """By the device's own pip where it has one and a network, else with wheels from here.

    Of the packages in `pins`, the last is the runtime.
    """
    package = list(pins)[-1]
    request = {"runtime": package, "module": package, "pins": pins, "patience": _PIP_PATIENCE_S}
    if session.device.has_pip and wheels is None and not from_here:
        try:
            return session.install(**request, tree=None)
        except NoSpaceError:
            raise
        except HostError as error:
            reason = str(error).removeprefix(f"{url}: ")
            say(f"{url}: {reason[:120]}; sending wheels from here")
    with tempfile.TemporaryDirectory(prefix="wheels-") as scratch:
        files = fetch_wheels(session.device, pins, Path(scratch), wheels)
        tree = _wheel_tree(files)
        session.bring(tree, files, say)
        return session.install(**request, tree=tree)


def _wheel_tree(wheels: dict[str, Path]) -> str:
    """By name and release, so that a set-up that was cut short finds again what it had sent."""
    return f"wheels/{hashlib.sha256(' '.join(sorted(wheels)).encode()).hexdigest()[:16]}"


def _installed_here(package: str, allowed: RuntimeRange | None) -> str | None:
    """The release that this machine has, as a pin; None where it will not do."""
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    return f"=={version}" if allowed is None or allowed.allows(version) else None
