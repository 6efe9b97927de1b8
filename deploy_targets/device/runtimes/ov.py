"""OpenVINO, on its CPU plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from deploy_targets.device.messages import ExecutedPrecision
from deploy_targets.device.operator_times import NotedTimes, ProfiledOperator
from deploy_targets.device.runtimes import RUNTIMES, Model, Run, _sample, summarise_precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from foundation.graph_bundle import Feed

_COMPUTE = {"Convolution", "Deconvolution", "FullyConnected", "MatMul"}
_EXECUTED, _ENDS = "EXECUTED", {"Parameter", "Result", "Constant"}
_FORMATS = {"f32", "f16", "bf16", "f64", "u8", "i8"}


@RUNTIMES.register("openvino")
class OpenVino:
    """OpenVINO computes an FP32 model in BF16 where that is faster, unless it is told not to.

    Asked for BF16 on a CPU without it, it computes in FP32 and raises nothing: what ran is
    read back.
    """

    format: ClassVar[str] = "openvino"
    package: ClassVar[str] = "openvino"
    sample: ClassVar[Mapping[str, bytes]] = {"sample.onnx": _sample.ONNX}

    def __init__(self) -> None:
        import openvino  # noqa: PLC0415 - only when it is used

        self._library: Any = openvino
        # The release alone: the rest names a commit of theirs.
        self.version = str(openvino.__version__).partition("-")[0]

    def load(self, model: Model) -> _Compiled:
        kind = OpenVinoSession if model.example is None else OpenVinoGraphSession
        return kind(self._library, model)


class _Compiled:
    """A model in OpenVINO, compiled for the queries that it will mostly be given.

    Args:
        library: the runtime's module.
        model: to load.
        profiled: whether OpenVINO notes how long each operator takes.
    """

    provider = "CPU"

    def __init__(self, library: Any, model: Model, *, profiled: bool = False) -> None:
        self._library, self._model, self._profiled = library, model, profiled
        self._core = library.Core()
        self._requests: list[Any] = []
        self._compiled = self._compile(model.batch)
        self.run: Run = self._lane()

    def lanes(self) -> list[Run]:
        """A request each: one request takes one call at a time."""
        return [self.run, *(self._lane() for _ in range(self._model.streams - 1))]

    def executed_precision(self) -> ExecutedPrecision:
        """Read the compiled graph: each operator carries the precision that was chosen for it."""
        return summarise_precision(
            _precision(node)
            for node in self._compiled.get_runtime_model().get_ops()
            if node.get_rt_info()["layerType"].astype(str) in _COMPUTE
        )

    def profiler(self) -> OpenVinoProfiler:
        """The model compiled once more, with PERF_COUNT."""
        return OpenVinoProfiler(type(self)(self._library, self._model, profiled=True))

    def profile(self) -> list[Any]:
        """OpenVINO's ProfilingInfo of every operator, for a session that is profiled: of the
        request that was made last, which runs where all queries are alike."""
        infos: list[Any] = self._requests[-1].get_profiling_info()
        return infos

    def formats(self) -> dict[str, str]:
        """What each operator of the compiled graph computes in, by its name."""
        graph = self._requests[-1].get_compiled_model().get_runtime_model()
        return {
            node.get_friendly_name(): _precision(node) for node in graph.get_ops() if node.inputs()
        }

    def _new_request(self, compiled: Any) -> Any:
        self._requests.append(compiled.create_infer_request())
        return self._requests[-1]

    def _compile(self, batch: int | None) -> Any:
        """The model for a batch size, or for any that it takes."""
        graph = self._core.read_model(str(self._model.path))
        self._fix(graph, batch)
        settings: dict[str, Any] = {
            "NUM_STREAMS": self._model.streams,
            "INFERENCE_NUM_THREADS": self._model.threads,
        }
        if self._profiled:
            settings["PERF_COUNT"] = True
        if self._model.precision_hint != "auto":
            settings["INFERENCE_PRECISION_HINT"] = self._model.precision_hint
        return self._core.compile_model(graph, "CPU", settings)

    def _fix(self, graph: Any, batch: int | None) -> None:
        """Fix what free sizes of a graph a batch size tells."""

    def _lane(self) -> Run:
        raise NotImplementedError


class OpenVinoGraphSession(_Compiled):
    """A graph that is no classifier: it takes arrays by name, and gives all its outputs."""

    def _lane(self) -> Run:
        request, names = self._new_request(self._compiled), self._model.output_names

        def run(feed: Feed) -> list[NDArray[Any]]:
            results = request.infer(feed, share_inputs=True)
            return [results[name] for name in names]

        return run


class OpenVinoSession(_Compiled):
    """A classifier that OpenVINO has compiled.

    It is compiled for the batch size that it will mostly be given, which has been 5 % faster than
    for any; for batches of another size it is compiled once more, for all of them, when one comes.
    """

    def __init__(self, library: Any, model: Model, *, profiled: bool = False) -> None:
        self._for_any: Any = None
        super().__init__(library, model, profiled=profiled)

    def _fix(self, graph: Any, batch: int | None) -> None:
        model_input = graph.input(self._model.input_name)
        first, *others = list(model_input.partial_shape)
        if batch is not None and first.is_dynamic and all(axis.is_static for axis in others):
            graph.reshape({model_input: [batch, *(axis.get_length() for axis in others)]})

    def _lane(self) -> Run:
        """A request with its own input in memory, which is less work than to bind another."""
        import numpy as np  # noqa: PLC0415

        model_input = self._compiled.input(self._model.input_name)
        of_any_size = self._lane_for_any()
        if not model_input.partial_shape.is_static:
            return of_any_size
        shape = tuple(model_input.shape)
        request = self._new_request(self._compiled)
        output = self._compiled.output(self._model.output_name)
        buffer = np.empty(shape, model_input.element_type.to_dtype())
        request.set_tensor(model_input, self._library.Tensor(buffer, shared_memory=True))

        def run(batch: NDArray[Any]) -> Any:
            if batch.shape != shape:
                return of_any_size(batch)
            np.copyto(buffer, batch)
            request.infer(share_outputs=True)
            # The next inference writes over it.
            logits: NDArray[np.float32] = request.get_tensor(output).data.copy()
            return logits

        return run

    def _lane_for_any(self) -> Run:
        request: Any = None

        def run(batch: NDArray[Any]) -> NDArray[np.float32]:
            nonlocal request
            if request is None:
                self._for_any = self._for_any or self._compile(None)
                request = self._new_request(self._for_any)
            inputs = {self._model.input_name: batch}
            results = request.infer(inputs, share_inputs=True)
            logits: NDArray[np.float32] = results[self._model.output_name]
            return logits

        return run


class OpenVinoProfiler:
    """A session in which OpenVINO notes how long each operator takes.

    It tells of each operator the mean of all runs since it was compiled, in whole microseconds, so
    that of the runs that count is worked out from two looks, a microsecond more or less.

    Args:
        session: it.
    """

    def __init__(self, session: _Compiled) -> None:
        self._session, self._warmup_n = session, 0
        self._before: dict[str, float] = {}
        self.run: Run = session.run

    def begin(self, warmup_n: int) -> None:
        self._warmup_n = warmup_n
        self._before = {
            info.node_name: _milliseconds(info) * warmup_n for info in self._session.profile()
        }

    def operator_times(self, taken_ns: Sequence[int]) -> NotedTimes:
        """The mean of each operator that ran; fused ones stand under the name of the last."""
        runs = len(taken_ns)
        infos, formats = self._session.profile(), self._session.formats()
        ran = [info for info in infos if info.status.name == _EXECUTED]
        times = [
            ProfiledOperator(
                name=info.node_name,
                kind=info.node_type,
                ms=self._mean_ms(info, runs),
                precision=_known(formats.get(info.node_name)),
                implementation=_known_kernel(info.exec_type),
            )
            for info in ran
        ]
        ends = sum(info.node_type in _ENDS for info in infos)
        return NotedTimes(times, list(range(runs)), len(infos) - len(ran) - ends)

    def _mean_ms(self, info: Any, runs: int) -> float:
        total = _milliseconds(info) * (self._warmup_n + runs)
        return max(0.0, total - self._before.get(info.node_name, 0.0)) / runs


def _milliseconds(info: Any) -> float:
    return float(info.real_time.total_seconds() * 1e3)


def _known(precision: str | None) -> str | None:
    return precision if precision in _FORMATS else None


def _known_kernel(name: str) -> str | None:
    """OpenVINO's name of a kernel; "undef" and "unknown_f32" name none."""
    return None if not name or name == "undef" or name.startswith("unknown") else name


def _precision(node: Any) -> str:
    """What an operator computes in.

    With weights that are stored in halves it says "f16" of itself, though it widens them and
    computes in what its features come in.
    """
    precision = str(node.get_rt_info()["runtimePrecision"].astype(str)).lower()
    features = node.input(0).get_element_type().get_type_name()
    return "f32" if precision == "f16" and features == "f32" else precision
