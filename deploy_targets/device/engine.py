"""One bundle loaded in one runtime: what every process on the device begins with."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from deploy_targets.device import checks, facts
from deploy_targets.device.jobs import EngineJob
from deploy_targets.device.messages import Memory, Parity, RuntimeUsed, Startup
from deploy_targets.device.pinning import pin
from deploy_targets.device.runtimes import (
    Model,
    Session,
    check_version,
    load_session,
    one_line,
    open_runtime,
)
from foundation.bundle import Bundle, open_bundle
from foundation.errors import ModelMismatchError

T = TypeVar("T")

# Probe images that are asked at once: a small device has to have the memory for them.
_TOGETHER = 16


@dataclass(frozen=True)
class InferenceEngine:
    """A bundle in a runtime that has answered once.

    Attributes:
        images: the probe images as the model takes them, at least one.
        reference: the original's logits for them.
        version: of the runtime's library.
        precision_hint: that the runtime was given.
        pinned: cores that it is kept on; None where it is not.
        before_load_mb: resident memory before the runtime was imported.
    """

    bundle: Bundle
    runtime: str
    version: str
    threads: int
    precision_hint: str
    pinned: list[int] | None
    session: Session
    images: NDArray[Any]
    reference: NDArray[np.float32]
    startup: Startup
    before_load_mb: float | None

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Logits of prepared images.

        Raises:
            ModelMismatchError: when the model does not run on them.
        """
        return _run(self.session, self.bundle, batch)

    def parity(self) -> Parity:
        """How its answers to the probe images agree with the original's.

        A runtime computes a batch by other kernels than an image alone, and fusions have been wrong
        for some sizes: a model of a free batch size is asked in both ways, and the worse of each
        figure counts. Last comes an image alone, which is how most queries are.

        Raises:
            ModelMismatchError: when they are no logits, or it does not run on them.
        """
        takes_any = self.bundle.manifest.input.batch is None and len(self.images) > 1
        sizes = [_TOGETHER, 1] if takes_any else [1]
        parities = [checks.parity(self._answers(size), self.reference) for size in sizes]
        return functools.reduce(checks.worst_parity, parities)

    def _answers(self, size: int) -> NDArray[np.float32]:
        """Logits (N, classes) of the probe images, so many asked at once."""
        starts = range(0, len(self.images), size)
        return np.concatenate([self.run(self.images[at : at + size]) for at in starts])

    def used(self) -> RuntimeUsed:
        """The runtime and its settings, with the precision that it really runs in."""
        return RuntimeUsed(
            name=self.runtime,
            version=self.version,
            threads=self.threads,
            precision_hint=self.precision_hint,
            executed_precision=self.session.executed_precision(),
            pinned=self.pinned,
            provider=self.session.provider,
        )

    def memory(self) -> Memory:
        """Peak until now, and what the process had before the runtime came."""
        return Memory(
            before_load=self.before_load_mb,
            steady=facts.resident_mb("VmRSS"),
            peak=facts.resident_mb("VmHWM"),
        )


def load_engine(job: EngineJob, streams: int = 1, batch: int = 1) -> InferenceEngine:
    """Open the bundle, import the runtime, load the model and let it answer once.

    Args:
        job: what to load, and how.
        streams: inferences that will be wanted at once.
        batch: images that each will mostly have.

    Raises:
        CompressError: of the kind that fits, when bundle or runtime is at fault.
    """
    bundle = open_bundle(Path(job.bundle), job.checked)
    images, reference = checks.load_probe(bundle)
    # Before the runtime is there: it looks at the cores when it makes its threads.
    threads = job.threads or facts.usable_cores() or 1
    pinned = pin(job.pin, threads)
    before_load = facts.resident_mb("VmRSS")
    runtime, import_ms = _timed(lambda: open_runtime(job.runtime))
    check_version(bundle, job.runtime, runtime.version)
    model = Model(
        path=bundle.model_path,
        input_name=bundle.manifest.input.name,
        output_name=bundle.manifest.output.name,
        threads=min(threads, len(pinned)) if pinned and job.threads is None else threads,
        precision_hint=_hint(job.precision_hint, bundle.manifest.precision),
        streams=streams,
        batch=batch,
        options=job,
    )
    session, load_ms = _timed(lambda: load_session(runtime, model))
    _, first_ms = _timed(lambda: _run(session, bundle, filled(images, batch)))
    # What the runtime has read meanwhile is what was checked.
    bundle.check_unchanged()
    return InferenceEngine(
        bundle=bundle,
        runtime=job.runtime,
        version=runtime.version,
        threads=model.threads,
        precision_hint=model.precision_hint,
        pinned=pinned,
        session=session,
        images=images,
        reference=reference,
        startup=Startup(import_=import_ms, load=load_ms, first_inference=first_ms),
        before_load_mb=before_load,
    )


def filled(images: NDArray[Any], batch: int, first: int = 0) -> NDArray[Any]:
    """A batch of that size, images repeated as needed."""
    return np.ascontiguousarray(images[(first + np.arange(batch)) % len(images)])


def _hint(precision_hint: str, precision: str) -> str:
    """What the runtime is told: "f32" means "as the bundle says", and it may say 16 bits."""
    said = {"bf16": "bf16", "fp16": "f16"}.get(precision, "f32")
    return said if precision_hint == "f32" else precision_hint


def _run(session: Session, bundle: Bundle, batch: NDArray[Any]) -> NDArray[np.float32]:
    """Run, with failures that say which model and which input it was."""
    try:
        return session.run(batch)
    # Each runtime has exceptions of its own, with nothing in common but this.
    except Exception as error:
        raise ModelMismatchError(
            f"{bundle.model_path}: does not run on input {batch.dtype} {batch.shape} "
            f"({one_line(error)}); "
            "export it with a free batch size and the size of its preprocessing"
        ) from error


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter_ns()
    value = call()
    return value, (time.perf_counter_ns() - started) / 1e6
