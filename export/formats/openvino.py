"""OpenVINO IR: FP32, FP16 weights, the same to be run in BF16, or INT8 by NNCF."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from export._libraries import quiet, writing
from export.formats import (
    FORMATS,
    Calibration,
    ExportFormat,
    Predictor,
    Written,
    quantization_facts,
)
from export.formats._answers_kept import Judge
from export.formats._layer_names import count_anew
from export.formats._profile import repeat, typical
from export.formats._smoothing import Smoothing, better_of
from export.formats._tuning import Tuning, is_open, tuned
from export.quantization import QuantizationScheme
from export.samples import GraphPredictor, GraphSamples
from foundation.errors import ExportError
from foundation.graph_bundle import Feed

if TYPE_CHECKING:
    from export.formats._graph import Graph

MODEL_FILE = "model.xml"
# What its converter says of operators that it does not know; others fail for want of those.
_LACKING = re.compile(r"No conversion rule found for operations: (.+)")
# Where the IR itself says in which precision it is to be run.
_RUN_IN = ["export", "inference_precision"]


@FORMATS.register("openvino")
class OpenVinoFormat(ExportFormat):
    name: ClassVar[str] = "openvino"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "bf16", "int8")

    def write(
        self,
        source: Path,
        precision: str,
        folder: Path,
        calibration: Calibration,
        scheme: QuantizationScheme,
    ) -> Written:
        import openvino  # noqa: PLC0415 (a third of a second)

        facts: dict[str, Any] = {"openvino": openvino.__version__}
        model, remark = _converted(source), None
        if precision == "int8":
            model, facts["quantization"], remark = quantize(model, source, calibration, scheme)
        if precision == "bf16":
            model.set_rt_info("bf16", _RUN_IN)
            facts["inference_precision_hint"] = "bf16"
        count_anew(model, _onnx_names(source))
        with writing(folder / MODEL_FILE, source.stat().st_size):
            openvino.save_model(
                model, folder / MODEL_FILE, compress_to_fp16=precision in {"fp16", "bf16"}
            )
        input_name, output_name = (
            model.inputs[0].get_any_name(),
            model.outputs[0].get_any_name(),
        )
        remarks = () if remark is None else (remark,)
        return Written(MODEL_FILE, input_name, output_name, facts, remarks)

    def load(self, model_file: Path) -> Predictor:
        return _predictor(_read_model(model_file))

    def load_for_one(self, model_file: Path) -> Predictor:
        # As the device side loads it: a free batch is compiled for one image.
        model = _read_model(model_file)
        first, *others = list(model.input().partial_shape)
        if first.is_static or not all(size.is_static for size in others):
            return self.load(model_file)
        model.reshape([1, *(size.get_length() for size in others)])
        return _predictor(model)

    def load_graph(self, model_file: Path, outputs: Sequence[str]) -> GraphPredictor:
        request = _compiled(_read_model(model_file)).create_infer_request()

        def predict(feed: Feed) -> list[NDArray[Any]]:
            values = request.infer(feed)
            return [np.array(values[name]) for name in outputs]

        return predict

    def precision_of(self, model_file: Path) -> str:
        model = _read_model(model_file)
        if any(node.get_type_name() == "FakeQuantize" for node in model.get_ops()):
            return "int8"
        if model.has_rt_info(_RUN_IN):
            return str(model.get_rt_info(_RUN_IN).value)
        types = {
            node.get_output_element_type(0).get_type_name()
            for node in model.get_ops()
            if node.get_type_name() == "Constant"
        }
        return "fp16" if "f16" in types else "fp32"

    def read_tensors(
        self, model_file: Path, names: Sequence[str], images: NDArray[Any]
    ) -> dict[str, NDArray[np.float32]]:
        model = _read_model(model_file)
        requested = set(names)
        model.add_outputs(
            [
                output
                for node in model.get_ordered_ops()
                if node.get_type_name() != "Result"
                for output in node.outputs()
                if output.get_names() & requested
            ]
        )
        values = _compiled(model)(images)
        return {
            name: np.array(value)
            for output, value in values.items()
            for name in output.get_names() & requested
        }

    def operator_times(
        self, model_file: Path, images: NDArray[Any], runs: int
    ) -> dict[tuple[str, ...], float]:
        compiled = _compiled(_read_model(model_file), PERF_COUNT=True, INFERENCE_NUM_THREADS=1)
        request = compiled.create_infer_request()
        durations = defaultdict(list)

        def run() -> None:
            request.infer([images])
            for entry in request.profiling_info:
                durations[entry.node_name].append(entry.real_time.total_seconds() * 1000)

        repeat(run, runs)
        originals = {
            node.get_friendly_name(): node.get_rt_info()["originalLayersNames"].value
            for node in compiled.get_runtime_model().get_ordered_ops()
        }
        times: dict[tuple[str, ...], float] = defaultdict(float)
        for name, milliseconds in durations.items():
            parts = originals.get(name) or name
            times[tuple(filter(None, parts.split(",")))] += typical(milliseconds)
        return dict(times)


def quantize(
    model: Any, source: Path, calibration: Calibration, scheme: QuantizationScheme
) -> tuple[Any, dict[str, Any], str | None]:
    """Quantise an OpenVINO model that was converted from `source` (FP32 ONNX).

    Returns:
        The quantised `openvino.Model`, the facts of its quantisation, and what was decided by
        measuring, in a line.

    Raises:
        ExportError: when NNCF has no such scheme, or finds nothing to quantise.
    """
    import onnx  # noqa: PLC0415

    from export.formats import _openvino_int8 as int8  # noqa: PLC0415
    from export.formats._graph import Graph  # noqa: PLC0415

    graph = Graph(onnx.load(source, load_external_data=False))

    def quantized_as(form: QuantizationScheme, smooth: bool) -> Any:
        return int8.quantized(model.clone(), graph, calibration, form, smooth=smooth)

    tuning, smoothing = _settled(model, graph, calibration, scheme, quantized_as)
    quantized = smoothing.model
    floating_operators = int8.kept_operators(quantized, graph)
    with quiet():
        import nncf  # noqa: PLC0415
    facts = quantization_facts(scheme, len(calibration), graph, floating_operators, [])
    facts |= tuning.as_facts() | {"preset": int8.preset_of(tuning.scheme)}
    facts |= {"nncf": nncf.__version__}
    return quantized, facts | smoothing.as_facts(), smoothing.remark or tuning.remark


def _settled(
    model: Any,
    graph: Graph,
    calibration: Calibration,
    scheme: QuantizationScheme,
    quantized_as: Callable[[QuantizationScheme, bool], Any],
) -> tuple[Tuning, Smoothing]:
    """What a scheme leaves open, decided by what forms of the model keep of a classifier's answers;
    of another graph, nobody here can say which of its outputs matters."""
    tuning = Tuning(scheme)
    if isinstance(calibration, GraphSamples):
        smooth = bool(scheme.smooth_quant)
        return tuning, Smoothing(quantized_as(scheme, smooth), helps=smooth)
    batch = model.input().partial_shape[0]
    size = batch.get_length() if batch.is_static else None
    attention = graph.has_attention()
    if is_open(scheme) and not attention and not scheme.smooth_quant:
        judge = Judge(model, _predictor, calibration, size)
        tuning = tuned(scheme, lambda form: quantized_as(form, False), judge)

    quantized_by = partial(quantized_as, tuning.scheme)
    if scheme.smooth_quant is None and attention:
        return tuning, better_of(model, quantized_by, _predictor, calibration, size)
    smooth = bool(scheme.smooth_quant)
    chosen = quantized_by(smooth) if tuning.model is None else tuning.model
    return tuning, Smoothing(chosen, helps=smooth)


def _onnx_names(source: Path) -> set[str]:
    """Names of an ONNX graph's nodes and tensors, which the converter keeps."""
    import onnx  # noqa: PLC0415

    graph = onnx.load(source, load_external_data=False).graph
    nodes = {name for node in graph.node for name in (node.name, *node.input, *node.output)}
    return nodes | {entry.name for entry in graph.initializer}


def _converted(source: Path) -> Any:
    """An `openvino.Model` of an ONNX file.

    Raises:
        ExportError: when OpenVINO lacks an operator; it names it.
    """
    import openvino  # noqa: PLC0415
    from openvino.frontend import OpConversionFailure  # noqa: PLC0415

    try:
        # Core.read_model would leave grouped weights behind a Reshape, where NNCF takes the
        # wrong axis for the channels; the converter folds it.
        with quiet():
            return openvino.convert_model(source)
    except OpConversionFailure as error:
        lacking = _LACKING.findall(str(error))
        if not lacking:
            raise
        raise ExportError(
            f"OpenVINO cannot take {', '.join(lacking)} (operator and ONNX opset); use format "
            "onnx, or a network without it"
        ) from error


def _read_model(model_file: Path) -> Any:
    import openvino  # noqa: PLC0415

    return openvino.Core().read_model(model_file)


def _predictor(model: Any) -> Predictor:
    compiled = _compiled(model)

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(compiled(batch)[0], np.float32)

    return predict


def _compiled(model: Any, **options: Any) -> Any:
    import openvino  # noqa: PLC0415

    # Without the hint, OpenVINO computes in bf16 where the CPU can, and says nothing.
    precision = model.get_rt_info(_RUN_IN).value if model.has_rt_info(_RUN_IN) else "f32"
    return openvino.Core().compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": precision} | options
    )
