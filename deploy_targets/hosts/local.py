"""This machine, written "local": the worker runs in a fresh process of the same Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from deploy_targets.device.facts import Facts, collect
from deploy_targets.device.jobs import EngineJob, ServerJob
from deploy_targets.device.messages import Message
from deploy_targets.hosts import HOSTS, Server
from deploy_targets.hosts._process import serve_job, stream_job
from deploy_targets.hosts.host_names import LOCAL
from foundation.errors import HostError

_SOURCES = Path(__file__).resolve().parents[2]


@HOSTS.register(LOCAL)
class LocalHost:
    """The machine that this program runs on."""

    def __init__(self, url: str) -> None:
        if url != LOCAL:
            raise HostError(f"host {url!r}: this machine is written 'local', with nothing after it")
        self.name = url

    def facts(self) -> Facts:
        return collect()

    def stream(self, job: EngineJob) -> Iterator[Message]:
        yield from stream_job(_command(job.process), job, self.name, environment=_environment())

    def serve(self, job: ServerJob) -> AbstractContextManager[Server]:
        return serve_job(_command(job.process), job, self.name, environment=_environment())


def _command(module: str) -> list[str]:
    # -P keeps the current folder off the import path: a file there may be called numpy.py.
    return [sys.executable, "-P", "-m", module]


def _environment() -> dict[str, str]:
    """Our own, with these sources findable even where they are not installed."""
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*([path] if path else []), str(_SOURCES)])}
