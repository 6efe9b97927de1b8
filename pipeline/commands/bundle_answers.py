"""What a bundle's model answers to its probe images; asked in a process of its own, for anybody can
make a bundle. See `foundation.confinement`."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy_targets.device.messages import Parity
from deploy_targets.device.runtimes import RUNTIMES
from foundation.bundle import AnyBundle, Bundle
from foundation.confinement import ProcessLimits, run_confined
from foundation.digests import CheckedFiles
from foundation.errors import HostError, ModelMismatchError
from foundation.graph_bundle import GraphBundle
from foundation.records import as_dict, build


@dataclass(frozen=True, eq=False)
class BundleAnswers:
    """Logits (N, classes) of the probe images, and what gave them.

    Attributes:
        version: of the runtime.
        alone: asked one by one.
        together: asked all at once; None where the model takes a fixed number.
    """

    version: str
    alone: NDArray[np.float32]
    together: NDArray[np.float32] | None


def answers_of(bundle: Bundle, runtime: str, name: str) -> BundleAnswers:
    """Ask a bundle's model.

    Args:
        bundle: whole and unchanged.
        runtime: that runs it.
        name: the bundle's, for messages.

    Raises:
        HostError: when the runtime is not here, or is another release than the bundle is for.
        ModelMismatchError: when it cannot load or run the model, or not within the limits.
    """
    reply = _asked(bundle, runtime, name)
    together = reply["together"]
    return BundleAnswers(
        str(reply["version"]),
        np.asarray(reply["alone"], np.float32),
        None if together is None else np.asarray(together, np.float32),
    )


def graph_parity(bundle: GraphBundle, runtime: str, name: str) -> tuple[str, Parity]:
    """Ask the model of a graph that is no classifier; arguments and errors as `answers_of`.

    Returns:
        The version of the runtime, and how each output agrees with the original's.
    """
    reply = _asked(bundle, runtime, name)
    return str(reply["version"]), build(Parity, reply["parity"])


def _asked(bundle: AnyBundle, runtime: str, name: str) -> dict[str, Any]:
    package = RUNTIMES.get(runtime).package
    if not _is_installed(package):
        raise HostError(
            f"runtime {runtime!r} is not on this host; install it with `pip install {package}`"
        )
    checked = as_dict(bundle.checked())
    job = {"bundle": str(bundle.folder.resolve()), "runtime": runtime, "checked": checked}
    limits = ProcessLimits.for_model(bundle.model_bytes)
    return run_confined(__name__, job, limits, name, ModelMismatchError)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """What `answers_of` and `graph_parity` ask of the other process."""
    from deploy_targets.device.engine import load_engine  # noqa: PLC0415
    from deploy_targets.device.jobs import EngineJob  # noqa: PLC0415

    folder, checked = str(Path(job["bundle"])), build(CheckedFiles, job["checked"])
    engine = load_engine(
        EngineJob(bundle=folder, runtime=job["runtime"], threads=1, checked=checked)
    )
    if isinstance(engine.bundle, GraphBundle):
        return {"version": engine.version, "parity": as_dict(engine.parity())}
    probe = engine.images
    images, fixed = probe.images, probe.bundle.manifest.input.batch
    alone = np.concatenate([engine.run(images[at : at + 1]) for at in range(len(images))])
    together = engine.run(images) if fixed is None else None
    # Each float32 has a float of its own, so nothing is lost on the way.
    return {
        "version": engine.version,
        "alone": alone.astype(float).tolist(),
        "together": None if together is None else together.astype(float).tolist(),
    }
