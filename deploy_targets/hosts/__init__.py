"""Machines on which a bundle can be measured. A new way to reach one is a new file here.

A host is written as a URL; its scheme chooses the entry. `local` alone is this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from deploy_targets.hosts.host_names import scheme_of
from foundation.registry import Registry

if TYPE_CHECKING:
    from deploy_targets.device.facts import Facts
    from deploy_targets.device.jobs import EngineJob, ServerJob
    from deploy_targets.device.messages import Message


class Server(Protocol):
    """A process on a host that keeps one engine loaded; `deploy_targets.device.server` is it."""

    def send(self, record: Any) -> None:
        """Pass a record on to it, as one line of JSON."""
        ...

    def receive(self, seconds: float = ...) -> Message:
        """Its next message.

        Args:
            seconds: to wait at most.

        Raises:
            HostError: when it has ended, the link is cut or the time is over.
        """
        ...


class Host(Protocol):
    """A machine that can be asked for its facts and given jobs.

    Attributes:
        name: what it is called in a measurement.
    """

    @property
    def name(self) -> str: ...

    def facts(self) -> Facts:
        """What the machine says of itself.

        Raises:
            HostError: when it cannot be reached.
        """
        ...

    def stream(self, job: EngineJob) -> Iterator[Message]:
        """Do a job in a fresh process there and pass on its messages as they come.

        Args:
            job: names the process; its paths are this machine's. Bringing the files over, and
                telling the process where they are there, is the host's part.

        Yields:
            Messages as `deploy_targets.device.messages` describes; the last is one that
            ends such a job, or an "error". Closing the iterator early ends the process.

        Raises:
            HostError: when the host cannot be reached or the process ends without either.
        """
        ...

    def serve(self, job: ServerJob) -> AbstractContextManager[Server]:
        """Start a process there that loads a bundle and waits for turns.

        Several may be open at once; each is a process of its own.

        Args:
            job: its paths are this machine's, as with `stream`.

        Returns:
            The server, whose first message is a "ready" or an "error". Leaving the context
            ends the process, whatever it is doing.

        Raises:
            HostError: on entering, when the host cannot be reached.
        """
        ...


HOSTS: Registry[Callable[[str], Host]] = Registry("host", __name__)


def open_host(url: str) -> Host:
    """The host that a URL names, such as "local".

    Raises:
        UnknownNameError: when no entry knows the scheme.
        HostError: when the URL does not say what its scheme needs.
    """
    return HOSTS.get(scheme_of(url), where=f"host {url!r}")(url)
