"""A device asked over its link: one call of ssh, at whose other end `agent` answers."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from deploy_targets.hosts._process import DeviceProcess
from deploy_targets.hosts.answers import build_answer, content_of, error_of, not_understood
from deploy_targets.hosts.host_names import Address
from deploy_targets.remote import onboard
from deploy_targets.remote.link import SSH_FAILED, explain, ssh_command
from foundation.files import sha256_of
from foundation.sense import at_least, named
from foundation.words import without_password

logger = logging.getLogger(__name__)

T = TypeVar("T")
Say = Callable[[str], None]

_WORD = re.compile(r"\w{1,40}")
_LIBC = re.compile(r"\w{1,20}( \d{1,3}(\.\d{1,3}){0,3})?")
_VERSION = re.compile(r"\d{1,3}\.\d{1,3}(\.\d{1,5})?[\w.+-]{0,20}")

OLDEST_PYTHON = (3, 11)
_PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")
_NO_PYTHON = 77
_ANSWER_SECONDS = 600.0
_INSTALL_SECONDS = 3600.0

# Takes the program's modules from standard input, so that nothing has to be there before.
_BOOT = (
    "import sys,json,types;i=sys.stdin.buffer;m=json.loads(i.readline())['modules'];"
    "[exec(compile(s,n,'exec'),sys.modules.setdefault(n,types.ModuleType(n)).__dict__)"
    " for n,s in m];sys.modules[m[-1][0]].serve(i,sys.stdout.buffer)"
)


@dataclass(frozen=True)
class Environment:
    """What lies in a runtime's environment: versions by package, how they came and of what."""

    versions: dict[str, str]
    via: str
    pins: dict[str, str]
    python: str
    from_: str

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(via=self.via, python=self.python, **{"from": self.from_})
        for name, version in self.versions.items():
            yield from named(package=name, version=version)


@dataclass(frozen=True)
class Device:
    """What a device's agent says of it.

    Attributes:
        folder: where all of ours lies there.
        machine: the same for all ways to reach the same machine, until its next start.
        arch: "aarch64", ...
        libc: such as "glibc 2.36".
        python: version of the Python that is used there, and `executable` its path.
        bits: 64 or 32: a 64-bit kernel may carry a 32-bit system.
        has_pip: whether that Python has pip.
        free_mb: of its disk, in MiB.
        clock: its time of day, in seconds.
        envs: what lies in each runtime's environment, by the runtime's name.
        code, bundles: what was brought.
    """

    folder: str
    machine: str
    arch: str
    libc: str
    python: str
    executable: str
    bits: int
    has_pip: bool
    free_mb: float
    clock: float
    envs: dict[str, Environment]
    code: list[str]
    bundles: list[str]

    def version_of(self, runtime: str) -> str | None:
        """The installed release of a runtime; None where there is none."""
        versions = self.envs[runtime].versions if runtime in self.envs else {}
        release = next((version for name, version in versions.items() if name != "numpy"), None)
        return None if release is None else release.partition("-")[0]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(folder=self.folder, machine=self.machine, executable=self.executable)
        if not self.folder.startswith("/"):
            yield f"folder must be an absolute path, but got {self.folder[:80]!r}"
        if not _WORD.fullmatch(self.arch):
            yield f"arch must be such as aarch64, but got {self.arch[:80]!r}"
        if self.libc and not _LIBC.fullmatch(self.libc):
            yield f"libc must be such as 'glibc 2.36', but got {self.libc[:80]!r}"
        if not _VERSION.fullmatch(self.python):
            yield f"python must be such as 3.11.2, but got {self.python[:80]!r}"
        if self.bits not in {32, 64}:
            yield f"bits must be 32 or 64, but got {self.bits}"
        yield from at_least(0, free_mb=self.free_mb)


@dataclass(frozen=True)
class Installed:
    """What came of an installation, as an `Environment`; and whether it was made now."""

    made: bool
    versions: dict[str, str]
    via: str
    pins: dict[str, str]
    python: str
    from_: str


@dataclass(frozen=True)
class _Begun:
    """Which files of a folder are wanted, and whether all are there."""

    wanted: list[str]
    there: bool


@dataclass(frozen=True)
class Cleaned:
    """MiB that were freed in a folder."""

    freed_mb: float
    folder: str


@dataclass(frozen=True)
class Used:
    """MiB that all of ours takes."""

    used_mb: float


@dataclass(frozen=True)
class Printed:
    """What a command printed."""

    output: str


@dataclass(frozen=True)
class Tried:
    """How a runtime's one inference ended, and the last that it said.

    Attributes:
        code: the exit code, below 0 the signal that it died of; None where it did not end.
    """

    code: int | None
    said: str


class DeviceSession:
    """A conversation with a device's agent; see `open_session`.

    Attributes:
        device: what it said when the conversation began.
    """

    def __init__(self, address: Address, process: DeviceProcess) -> None:
        self._address, self._process = address, process
        self.device = self.ask_for(Device, "open", folder=address.folder)

    def ask(
        self,
        op: str,
        *,
        content: bytes | None = None,
        seconds: float = _ANSWER_SECONDS,
        **fields: Any,
    ) -> dict[str, Any]:
        """Have the agent do something; see `deploy_targets.remote.onboard.agent.Agent`.

        Raises:
            CompressError: of the kind that fits, when it cannot.
        """
        began = time.monotonic()
        size = {} if content is None else {"bytes": len(content)}
        self._process.send({"op": op, **fields, **size})
        if content is not None:
            self._process.send_bytes(content)
        message = self._process.receive(seconds)
        logger.debug(
            "%s: %s answered with %s in %.2f s",
            without_password(self._address.url), op, message["kind"], time.monotonic() - began,
        )  # fmt: skip
        if message["kind"] == "error":
            raise error_of(message, self._address.url)
        if message["kind"] != "done":
            raise not_understood(self._address.url, f"{op}: {message['kind'][:80]!r} is no answer")
        return content_of(message)

    def ask_for(self, record: type[T], op: str, **fields: Any) -> T:
        """The same, as a record.

        Raises:
            CompressError: of the kind that fits, when it cannot; HostError when it answers
                something else.
        """
        return build_answer(record, self.ask(op, **fields), self._address.url, op)

    def bring(self, tree: str, files: Mapping[str, Path], say: Say | None = None) -> str:
        """Make sure that a folder of these files is on the device.

        What is there is not sent again; a folder appears only with all of its files.

        Args:
            tree: its name there, which has to change with the content: GROUP/SHA.
            files: by their names in it.
            say: told when something has to be sent.

        Returns:
            The folder there.

        Raises:
            NoSpaceError: when the device's disk is full.
            HostError: when the link is lost.
        """
        offered = {name: (sha256_of(path), path.stat().st_size) for name, path in files.items()}
        answer = self.ask_for(_Begun, "begin", tree=tree, files=offered)
        if unoffered := next((name for name in answer.wanted if name not in offered), None):
            raise not_understood(self._address.url, f"begin: {unoffered[:80]!r} was not offered")
        if not answer.there:
            size = sum(offered[name][1] for name in answer.wanted)
            if say and size:
                say(f"sending {size / 1e6:,.1f} MB to {self._address.url}")
            for name in answer.wanted:
                content = files[name].read_bytes()
                self.ask("put", tree=tree, name=name, sha256=offered[name][0], content=content)
            self.ask("commit", tree=tree, files=offered)
        return f"{self.device.folder}/{tree}"

    def install(self, **fields: Any) -> Installed:
        """As `agent.Agent.install`, which may take its time."""
        return self.ask_for(Installed, "install", seconds=_INSTALL_SECONDS, **fields)


@contextlib.contextmanager
def open_session(address: Address) -> Iterator[DeviceSession]:
    """Talk to a device's agent for as long as the block lasts.

    Raises:
        HostError: when it cannot be reached, has no Python that is new enough, or its folder is not
            ours.
    """
    with contextlib.closing(connect(address, ["sh", "-c", _with_a_python(_BOOT)])) as process:
        process.send({"modules": _program()})
        try:
            yield DeviceSession(address, process)
        finally:
            # Only when it is gone is its lock there free.
            process.end_input()
            process.leave()


def _program() -> list[tuple[str, str]]:
    """Names and sources of the agent's modules; the last of them serves."""
    folder = Path(onboard.__file__).parent
    return [
        (f"{onboard.__name__}.{name}", (folder / f"{name}.py").read_text("utf-8"))
        for name in onboard.SENT
    ]


def connect(address: Address, remote: list[str], name: str | None = None) -> DeviceProcess:
    """Start a process on a device.

    Args:
        address: of the device.
        remote: the command there.
        name: for messages to the user; the device's URL if None.

    Raises:
        HostError: when there is no ssh here.
    """
    command = ssh_command(address, remote)

    def why(code: int, stderr: str, has_answered: bool) -> str | None:
        if code == SSH_FAILED:
            return explain(address, stderr, heard=has_answered)
        if code == _NO_PYTHON:
            oldest = ".".join(map(str, OLDEST_PYTHON))
            return f"has no Python of {oldest} or newer; install python3 there"
        return None

    return DeviceProcess(command, name or address.url, why=why)


def _with_a_python(code: str) -> str:
    """A shell's words that run code in the first Python that is new enough."""
    check = f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    return (
        f"for p in {' '.join(_PYTHONS)}; do "
        f'"$p" -c "{check}" 2>/dev/null && exec "$p" -P -c "{code}"; done; exit {_NO_PYTHON}'
    )
