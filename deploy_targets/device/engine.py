"""One bundle loaded in one runtime: what every process on the device begins with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from deploy_targets.device import facts
from deploy_targets.device.jobs import EngineJob
from deploy_targets.device.messages import Memory, Parity, RuntimeUsed, Startup
from deploy_targets.device.pinning import pin
from deploy_targets.device.questions import ImageQuestions, Questions, questions_of
from deploy_targets.device.runtimes import (
    Model,
    Session,
    check_version,
    load_session,
    one_line,
    open_runtime,
)
from foundation.bundle import AnyBundle, open_any_bundle
from foundation.errors import ModelMismatchError, UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class InferenceEngine:
    """A bundle in a runtime that has answered once.

    Attributes:
        questions: the bundle's probe.
        version: of the runtime's library.
        precision_hint: that the runtime was given.
        pinned: cores that it is kept on; None where it is not.
        before_load_mb: resident memory before the runtime was imported.
    """

    bundle: AnyBundle
    runtime: str
    version: str
    threads: int
    precision_hint: str
    pinned: list[int] | None
    session: Session
    questions: Questions
    startup: Startup
    before_load_mb: float | None

    @property
    def images(self) -> ImageQuestions:
        """The probe of a classifier.

        Raises:
            UsageError: when it is another graph.
        """
        if not isinstance(self.questions, ImageQuestions):
            raise UsageError(f"{self.bundle.folder}: is no classifier, and this is for classifiers")
        return self.questions

    def run(self, query: Any) -> Any:
        """What the model answers to a query; see `runtimes.Run`.

        Raises:
            ModelMismatchError: when the model does not run on it.
        """
        return _run(self.session, self.bundle, query)

    def parity(self) -> Parity:
        """How its answers to the probe agree with the original's.

        Raises:
            ModelMismatchError: when they are none of this graph, or it does not run.
        """
        return self.questions.parity(self.run)

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
    bundle = open_any_bundle(Path(job.bundle), job.checked)
    questions = questions_of(bundle)
    # Before the runtime is there: it looks at the cores when it makes its threads.
    threads = job.threads or facts.usable_cores() or 1
    pinned = pin(job.pin, threads)
    before_load = facts.resident_mb("VmRSS")
    runtime, import_ms = _timed(lambda: open_runtime(job.runtime))
    check_version(bundle, job.runtime, runtime.version)
    model = Model(
        path=bundle.model_path,
        **questions.names,
        threads=min(threads, len(pinned)) if pinned and job.threads is None else threads,
        precision_hint=_hint(job.precision_hint, bundle.manifest.precision),
        streams=streams,
        batch=batch,
        options=job,
    )
    session, load_ms = _timed(lambda: load_session(runtime, model))
    _, first_ms = _timed(lambda: _run(session, bundle, questions.query(batch)))
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
        questions=questions,
        startup=Startup(import_=import_ms, load=load_ms, first_inference=first_ms),
        before_load_mb=before_load,
    )


def _hint(precision_hint: str, precision: str) -> str:
    """What the runtime is told: "f32" means "as the bundle says", and it may say 16 bits."""
    said = {"bf16": "bf16", "fp16": "f16"}.get(precision, "f32")
    return said if precision_hint == "f32" else precision_hint


def _run(session: Session, bundle: AnyBundle, query: Any) -> Any:
    """Run, with failures that say which model and which input it was."""
    try:
        return session.run(query)
    # Each runtime has exceptions of its own, with nothing in common but this.
    except Exception as error:
        raise ModelMismatchError(
            f"{bundle.model_path}: does not run on input {_words(query)} ({one_line(error)}); "
            "export it with a free batch size and the size of its preprocessing"
        ) from error


def _words(query: Any) -> str:
    """Type and shape of what was asked."""
    if isinstance(query, dict):
        return ", ".join(f"{name!r} {_words(value)}" for name, value in query.items())
    return f"{query.dtype} {query.shape}"


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter_ns()
    value = call()
    return value, (time.perf_counter_ns() - started) / 1e6
