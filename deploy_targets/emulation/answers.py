"""The probe images of a bundle, answered under emulation."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy_targets.device.jobs import EngineJob
from deploy_targets.device.probing import WORKER, Probed
from deploy_targets.device.runtimes import RUNTIMES, extended_by, runtime_for
from deploy_targets.emulation.processors import processor_for
from deploy_targets.emulation.userland import (
    PYTHON,
    Say,
    cache_folder,
    find_qemu,
    site_of,
    tree_of,
)
from deploy_targets.hosts._process import DeviceProcess
from deploy_targets.hosts.answers import build_answer, content_of, error_of
from deploy_targets.targets import Target
from foundation.bundle import Bundle
from foundation.errors import HostError, UsageError

_ARCH = "aarch64"
_SOURCES = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, eq=False)
class Emulated:
    """What came back; no time is among it.

    Attributes:
        processor: QEMU's name of the processor.
        logits: of the probe images, (N, classes).
        runtime: name and version.
        executed_precision: the number format that most of the work ran in.
    """

    processor: str
    logits: NDArray[np.float32]
    runtime: str
    executed_precision: str


def emulate(bundle: Bundle, target: Target, say: Say) -> Emulated:
    """Answer a bundle's probe images as an emulated device of a target.

    The runtime is the release that is installed here where the bundle allows it, else the oldest
    that it allows.

    Args:
        bundle: any bundle, made for this target or not.
        target: an ARM64 one.
        say: told what is being fetched.

    Raises:
        UsageError: when the target is no ARM64 device.
        HostError: when QEMU or what it runs is missing and cannot be fetched, or the process
            failed.
        ModelMismatchError: when the runtime refuses the model there.
    """
    if target.arch != _ARCH:
        raise UsageError(
            f"only {_ARCH} is emulated, but target {target.name} is {target.arch}; "
            "name one such as rpi4"
        )
    name = runtime_for(bundle.manifest.format)
    qemu, cache, processor = find_qemu(), cache_folder(), processor_for(target)
    package = RUNTIMES.get(name).package
    tree = tree_of(processor, cache, say)
    site = site_of(package, _version(package, bundle), cache, say, _extended(name))
    command = [
        qemu, "-cpu", processor.model, "-L", str(tree),
        str(tree / f"usr/bin/python{PYTHON}"), "-P", "-m", WORKER,
    ]  # fmt: skip
    host = f"emulated {processor.model}"
    # One thread: what is asked for is the right answer, and QEMU's threads are no device's.
    folder, checked = str(bundle.folder.resolve()), bundle.checked()
    job = EngineJob(bundle=folder, runtime=name, threads=1, checked=checked)
    with contextlib.closing(DeviceProcess(command, host, _environment(site))) as process:
        process.send(job)
        process.end_input()
        message = process.receive()
    if message["kind"] == "error":
        raise error_of(message, host)
    probed = build_answer(Probed, content_of(message), host)
    return Emulated(
        processor=processor.model,
        logits=np.asarray(probed.logits, np.float32),
        runtime=f"{probed.runtime.name} {probed.runtime.version}",
        executed_precision=probed.runtime.executed_precision.summary,
    )


def _version(package: str, bundle: Bundle) -> str:
    allowed = bundle.manifest.runtime
    try:
        installed = version(package).partition("+")[0]
    except PackageNotFoundError:
        return f"{allowed.min_version}.*"
    return installed if allowed.allows(installed) else f"{allowed.min_version}.*"


def _extended(runtime: str) -> str | None:
    """What a runtime's package is an extension of, in the release that is installed here: the two
    are of one build."""
    package = extended_by(runtime)
    if not package:
        return None
    try:
        return f"{package}=={version(package).partition('+')[0]}"
    except PackageNotFoundError as error:
        raise HostError(
            f"runtime {runtime} is an extension of {package}, which is not installed here, so that "
            "it is not known which release of it to emulate; install the one that you export with"
        ) from error


def _environment(site: Path) -> dict[str, str]:
    """Little of ours: libraries and settings of this machine are not that one's."""
    inherited = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
    return {
        **inherited,
        "PATH": "/usr/bin",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join([str(site), str(_SOURCES)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
