"""ONNX Runtime, on its CPU provider."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from deploy_targets.device.messages import ExecutedPrecision
from deploy_targets.device.operator_times import NotedTimes, calm_half
from deploy_targets.device.runtimes import RUNTIMES, Model, Run, _sample, summarise_precision
from deploy_targets.device.runtimes._ort_profile import RunsNoted, events_in, mean_times

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from foundation.graph_bundle import Feed

_COMPUTE = ("Conv", "Gemm", "MatMul")
_FORMATS = {
    "float": "f32", "float16": "f16", "bfloat16": "bf16", "double": "f64",
    "uint8": "u8", "int8": "i8",
}  # fmt: skip
_INPUTS = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
_CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 3


@RUNTIMES.register("onnxruntime")
class OnnxRuntime:
    """ONNX Runtime computes in the graph's own precision, so the hint changes nothing."""

    format: ClassVar[str] = "onnx"
    package: ClassVar[str] = "onnxruntime"
    sample: ClassVar[Mapping[str, bytes]] = {"sample.onnx": _sample.ONNX}

    def __init__(self) -> None:
        import onnxruntime  # noqa: PLC0415 - only when it is used

        self._library: Any = onnxruntime
        self.version = str(onnxruntime.__version__)

    def load(self, model: Model) -> OrtSession:
        return session_of(self._library, model, [_CPU])


class OrtSession:
    """A model in ONNX Runtime.

    Args:
        library: the runtime's module.
        model: to load.
        providers: names of those that may compute, the preferred first, or with its settings.
        pool: threads of ONNX Runtime's own pool; None for the model's.
        profile: where its profile begins to be written; None for no profile.
    """

    def __init__(
        self,
        library: Any,
        model: Model,
        providers: Sequence[Any],
        pool: int | None = None,
        profile: Path | None = None,
    ) -> None:
        self._library = library
        self._model = model
        self._providers, self._pool = list(providers), pool or model.threads
        self._output_names = list(model.output_names) or [model.output_name]
        self._input_name = model.input_name
        self._session = self._open(self._options(profile))

    @property
    def provider(self) -> str:
        """The first that the session really has: one that it cannot use it drops."""
        return str(self._session.get_providers()[0])

    def lanes(self) -> list[Run]:
        """A session takes calls of several threads at once, and its pool works on all of them."""
        return [self.run] * self._model.streams

    def run(self, batch: Any) -> Any:
        logits: NDArray[np.float32] = self._session.run(
            self._output_names, {self._input_name: batch}
        )[0]
        return logits

    def executed_precision(self) -> ExecutedPrecision:
        """Profile one inference, in a session of its own: profiling slows the one it is on for."""
        with tempfile.TemporaryDirectory() as folder:
            session = self._open(self._options(Path(folder)))
            session.run(self._output_names, self._example(session))
            events = events_in(Path(session.end_profiling()))
            return summarise_precision(_compute_formats(events))

    def profiler(self) -> OrtProfiler:
        """A session of its own that writes a profile: a file with a line for each operator of each
        inference."""
        folder = tempfile.TemporaryDirectory()
        session = type(self)(
            self._library, self._model, self._providers, self._pool, Path(folder.name)
        )
        return OrtProfiler(session, folder)

    def end_profile(self) -> Path:
        """Write the profile to its end, for a session that has one."""
        return Path(self._session.end_profiling())

    def _open(self, options: Any) -> Any:
        return self._library.InferenceSession(
            str(self._model.path), options, providers=self._providers
        )

    def _options(self, profile: Path | None = None) -> Any:
        options = self._library.SessionOptions()
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile / "profile")
        options.intra_op_num_threads = self._pool
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        return options

    def _example(self, session: Any) -> Feed:
        """A query that the model takes: its free sizes are 1."""
        import numpy as np  # noqa: PLC0415

        (model_input,) = (i for i in session.get_inputs() if i.name == self._input_name)
        sizes = [size if isinstance(size, int) else 1 for size in model_input.shape]
        return {self._input_name: np.zeros(sizes, _INPUTS[model_input.type])}


class OrtGraphSession(OrtSession):
    """A graph that is no classifier: it takes arrays by name, and gives all its outputs."""

    def run(self, batch: Feed) -> list[NDArray[Any]]:
        outputs: list[NDArray[Any]] = self._session.run(self._output_names, batch)
        return outputs

    def _example(self, session: Any) -> Feed:
        del session
        assert self._model.example is not None
        return self._model.example


class OrtProfiler:
    """A session that writes a profile of all that it runs.

    Args:
        session: it.
        folder: where the profile lies; it goes when it has been read.
    """

    def __init__(self, session: OrtSession, folder: tempfile.TemporaryDirectory[str]) -> None:
        self._session, self._folder, self._warmup_n = session, folder, 0
        self.run: Run = session.run

    def begin(self, warmup_n: int) -> None:
        self._warmup_n = warmup_n

    def operator_times(self, taken_ns: Sequence[int]) -> NotedTimes:
        """The mean of each kernel's time; what was fused away leaves no trace in the profile."""
        with self._folder:
            events = events_in(self._session.end_profile())
            runs = RunsNoted(self._warmup_n, len(taken_ns), calm_half(taken_ns))
            return NotedTimes(mean_times(events, runs, _format_of), runs.counted)


def session_of(
    library: Any, model: Model, providers: Sequence[Any], pool: int | None = None
) -> OrtSession:
    """The session that a model needs; arguments as `OrtSession`."""
    kind = OrtSession if model.example is None else OrtGraphSession
    return kind(library, model, providers, pool)


def _compute_formats(events: Iterator[dict[str, Any]]) -> Iterator[str]:
    """The format in which each convolution or matrix product of a profile ran."""
    for event in events:
        arguments = event.get("args", {})
        # Older releases (1.20 does) tell of fences around the kernel too, without shapes.
        if event.get("cat") != "Node" or "input_type_shape" not in arguments:
            continue
        if any(name in arguments["op_name"] for name in _COMPUTE):
            yield _format(arguments["op_name"], _types_of(arguments))


def _format_of(arguments: Mapping[str, Any]) -> str | None:
    """The format of what a kernel works on; None where it is no number format to compute in."""
    inputs = _types_of(arguments)
    found = _format(arguments["op_name"], inputs) if inputs else None
    return found if found in _FORMATS.values() else None


def _types_of(arguments: Mapping[str, Any]) -> list[str]:
    return [kind for entry in arguments["input_type_shape"] for kind in entry]


def _format(operator: str, inputs: list[str]) -> str:
    # A dynamically quantised product takes floats and quantises them itself: its weights tell.
    if operator.startswith("Dynamic"):
        inputs = [kind for kind in inputs if kind.endswith("int8")] or inputs
    return _FORMATS.get(inputs[0], inputs[0])
