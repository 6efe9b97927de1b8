"""A device behind ssh: ssh://user@host:port/folder, through the system's OpenSSH client.

`compress device setup` has put Python packages there; bundles and the device side of this program
are brought when they are needed, once. The process there ends when the link does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from deploy_targets.device.facts import Facts
from deploy_targets.device.jobs import EngineJob, ServerJob
from deploy_targets.device.messages import Message
from deploy_targets.device.runtimes import RUNTIMES
from deploy_targets.device.tethered import ONE_LINE
from deploy_targets.hosts import HOSTS, Server
from deploy_targets.hosts._process import serve_from, server_name, stream_from
from deploy_targets.hosts.host_names import SCHEME, parse_address
from deploy_targets.remote.session import DeviceSession, connect, open_session
from deploy_targets.remote.sources import device_sources
from deploy_targets.remote.state import facts_of
from foundation.bundle import MANIFEST, read_manifest
from foundation.errors import HostError
from foundation.files import sha256_of
from foundation.telemetry import SWITCHES

J = TypeVar("J", bound=EngineJob)

_TETHER = "deploy_targets.device.tethered"


@HOSTS.register(SCHEME)
class SshHost:
    """A machine that the user can log in to without being asked for anything."""

    def __init__(self, url: str) -> None:
        self.name = url
        self._address = parse_address(url)
        # Of jobs that differ in nothing but their figures, such as fresh processes of one bundle.
        self._prepared: dict[tuple[str | None, ...], tuple[list[str], dict[str, str]]] = {}

    def facts(self) -> Facts:
        with open_session(self._address) as session:
            tree, files = device_sources()
            session.bring(tree, files)
            return facts_of(session, tree, self.name)

    def stream(self, job: EngineJob) -> Iterator[Message]:
        command, moved = self._prepare(job, ONE_LINE)
        yield from stream_from(connect(self._address, command), moved, tethered=True)

    @contextlib.contextmanager
    def serve(self, job: ServerJob) -> Iterator[Server]:
        command, moved = self._prepare(job)
        process = connect(self._address, command, server_name(self.name, job))
        with serve_from(process, moved) as server:
            yield server

    def _prepare(self, job: J, *words: str) -> tuple[list[str], J]:
        """Bring over what a job needs, once.

        Returns:
            The command that does it there, and the job with the device's paths.
        """
        key = (job.runtime, job.bundle, getattr(job, "evaluation", None), job.process)
        if key not in self._prepared:
            self._prepared[key] = self._bring(job, *words)
        command, paths = self._prepared[key]
        # What this machine's file system says, says nothing there: the device looks for itself.
        checked = replace(job.checked, digests={}) if job.checked else None
        return command, replace(job, checked=checked, **cast("dict[str, Any]", paths))

    def _bring(self, job: EngineJob, *words: str) -> tuple[list[str], dict[str, str]]:
        with open_session(self._address) as session:
            self._check_runtime(session, job)
            tree, files = device_sources()
            code = session.bring(tree, files)
            paths = _brought(session, job)
            package = RUNTIMES.get(job.runtime).package
            python = f"{session.device.folder}/envs/{package}/bin/python"
        # Runtimes keep files of their own in a user's cache; there, they go with the rest.
        settings = [f"PYTHONPATH={code}", f"XDG_CACHE_HOME={session.device.folder}/cache"]
        settings += [f"{name}={value}" for name, value in SWITCHES.items()]
        command = ["exec", "env", *settings, python, "-P", "-m", _TETHER, job.process, *words]
        return command, paths

    def _check_runtime(self, session: DeviceSession, job: EngineJob) -> None:
        package = RUNTIMES.get(job.runtime).package
        version = session.device.version_of(package)
        again = f"`compress device setup --host {self.name} --runtime"
        if version is None:
            raise HostError(f"{self.name}: has no {package} yet; run {again} {package}`")
        manifest = read_manifest(Path(job.bundle))
        if manifest.runtime.name == job.runtime and not manifest.runtime.allows(version):
            raise HostError(
                f"{self.name}: has {package} {version}, but {manifest.name} is for "
                f"{manifest.runtime}; put one of these there with {again} {package}==VERSION`, or "
                "export for a target that allows it"
            )


def _brought(session: DeviceSession, job: EngineJob) -> dict[str, str]:
    """The job's files on the device, by the job's fields."""
    folder = Path(job.bundle)
    names = [MANIFEST, *read_manifest(folder).files]
    bundle = {name: folder / name for name in names}
    paths = {"bundle": session.bring(f"bundles/{_short(folder / MANIFEST)}", bundle)}
    if evaluation := getattr(job, "evaluation", None):
        tree = f"evaluation/{_short(Path(evaluation))}"
        remote_folder = session.bring(tree, {"images.npz": Path(evaluation)})
        paths["evaluation"] = f"{remote_folder}/images.npz"
    return paths


def _short(path: Path) -> str:
    return sha256_of(path)[:32]
