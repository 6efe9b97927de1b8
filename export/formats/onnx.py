"""ONNX for ONNX Runtime: FP32 as exported, FP16, INT8 static (QDQ) or dynamic.

Its libraries are imported where they are used: what a format can do is asked without them.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from export.formats import (
    FORMATS,
    Calibration,
    ExportFormat,
    Predictor,
    Written,
    quantization_facts,
)
from export.formats._profile import repeat, typical
from export.quantization import QuantizationScheme
from export.samples import GraphPredictor
from foundation.files import write_bytes
from foundation.graph_bundle import Feed

MODEL_FILE = "model.onnx"
_ERRORS_ONLY = 3
# 8-bit products by 16 bits where the processor has none of its own: slower, and never saturated.
_EXACT_PRODUCTS = ("session.x64quantprecision", "1")
_CPU = ["CPUExecutionProvider"]
_PROCESSOR = Path("/proc/cpuinfo")
_SATURATES_NOTHING = re.compile(r"\b(avx512_vnni|avx_vnni)\b")
_KERNEL = "_kernel_time"
_DEQUANTIZED = "{}_DequantizeLinear_Output"


@FORMATS.register("onnx")
class OnnxFormat(ExportFormat):
    name: ClassVar[str] = "onnx"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")

    def write(
        self,
        source: Path,
        precision: str,
        folder: Path,
        calibration: Calibration,
        scheme: QuantizationScheme,
    ) -> Written:
        import onnx  # noqa: PLC0415
        import onnxruntime  # noqa: PLC0415

        target = folder / MODEL_FILE
        facts: dict[str, Any] = {"onnxruntime": onnxruntime.__version__}
        if precision == "int8":
            facts["quantization"] = quantize(source, target, calibration, scheme)
        elif precision == "fp16":
            facts |= _write_half(source, target, computes=isinstance(calibration, np.ndarray))
        else:
            shutil.copyfile(source, target)
        model = onnx.load(target)
        facts |= {
            "ir_version": model.ir_version,
            "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        }
        return Written(MODEL_FILE, model.graph.input[0].name, model.graph.output[0].name, facts)

    def load(self, model_file: Path) -> Predictor:
        session = _rounding_session(model_file) or _exact_session(model_file)
        input_name = session.get_inputs()[0].name

        def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            logits: NDArray[np.float32] = session.run(None, {input_name: batch})[0]
            return logits

        return predict

    def load_graph(self, model_file: Path, outputs: Sequence[str]) -> GraphPredictor:
        session, names = _exact_session(model_file), list(outputs)

        def predict(feed: Feed) -> list[NDArray[Any]]:
            values: list[NDArray[Any]] = session.run(names, feed)
            return values

        return predict

    def precision_of(self, model_file: Path) -> str:
        import onnx  # noqa: PLC0415

        model = onnx.load(model_file, load_external_data=False)
        kinds = {node.op_type for node in model.graph.node}
        if kinds & {"QuantizeLinear", "DynamicQuantizeLinear"}:
            return "int8"
        types = {entry.data_type for entry in model.graph.initializer}
        return "fp16" if onnx.TensorProto.FLOAT16 in types else "fp32"

    def read_tensors(
        self, model_file: Path, names: Sequence[str], images: NDArray[Any]
    ) -> dict[str, NDArray[np.float32]]:
        import onnx  # noqa: PLC0415
        import onnxruntime  # noqa: PLC0415

        model = onnx.load(model_file)
        made = {tensor for node in model.graph.node for tensor in node.output}
        # A quantised tensor is what those who read it get: rounded to its 256 steps.
        places = {
            name: place
            for name in names
            for place in (name, _DEQUANTIZED.format(name))
            if place in made
        }
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=place) for place in places.values())
        if not places:
            return {}
        options = _options()
        # What an optimiser fuses has no tensors in between.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = _session(model.SerializeToString(), options)
        values = session.run(list(places.values()), {session.get_inputs()[0].name: images})
        floats = (np.asarray(value, np.float32) for value in values)
        return dict(zip(places, floats, strict=True))

    def operator_times(
        self, model_file: Path, images: NDArray[Any], runs: int
    ) -> dict[tuple[str, ...], float]:
        with tempfile.TemporaryDirectory() as scratch:
            options = _options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(scratch, "profile"))
            options.intra_op_num_threads = 1
            session = _session(model_file, options)
            feed = {session.get_inputs()[0].name: images}
            repeat(lambda: session.run(None, feed), runs)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        durations = defaultdict(list)
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
                durations[event["name"].removesuffix(_KERNEL)].append(event["dur"] / 1000)
        return {(name,): typical(times) for name, times in durations.items()}


def quantize(
    source: Path, target: Path, calibration: Calibration, scheme: QuantizationScheme
) -> dict[str, Any]:
    """Write `source` (FP32 ONNX) as INT8 ONNX.

    Args:
        source: FP32 ONNX file.
        target: the file to write.
        calibration: prepared images, shape (N, C, H, W), or samples; may be empty for a dynamic
            scheme.
        scheme: types and ranges.

    Returns:
        The facts of the quantisation.

    Raises:
        ExportError: when there is nothing in the graph that can be quantised, or an excluded
            operator does not exist.
    """
    from export.formats._onnx_int8 import kept_operators, quantizer  # noqa: PLC0415

    with quantizer(source, calibration, scheme) as prepared:
        model = prepared.quantized(excluded=scheme.excluded)
        graph = prepared.source
    write_bytes(target, model.SerializeToString(deterministic=True))
    lacking = ["bias_correction"] * bool(scheme.bias_correction)
    lacking += ["smooth_quant"] * bool(scheme.smooth_quant)
    lacking += ["preset"] * (scheme.preset != "auto")
    images = len(calibration) if scheme.needs_images() else 0
    return quantization_facts(scheme, images, graph, kept_operators(graph, model), lacking)


def _write_half(source: Path, target: Path, *, computes: bool) -> dict[str, Any]:
    """Write `source` in float16, in what it computes too or in its weights alone; gives facts.

    Coordinates of a detector's boxes have no room in float16: from 1024 on it counts by ones.
    """
    import onnx  # noqa: PLC0415

    from export.formats import _half  # noqa: PLC0415

    model = onnx.load(source)
    if computes:
        model = _half.with_half_arithmetic(model)
    else:
        _half.with_half_weights(model)
    onnx.checker.check_model(model)
    write_bytes(target, model.SerializeToString(deterministic=True))
    return {
        "half_weights": _half.half_weights(model),
        "computes_in": "fp16 where the core has arithmetic for it" if computes else "fp32",
    }


def _options() -> Any:
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    return options


def _exact_session(model_file: Path) -> Any:
    """A model that answers as its numbers say, whatever this machine's processor.

    On x86 without VNNI the fast products of u8 and s8 saturate, and a bundle of 8-bit weights for a
    target that has it would be judged by arithmetic that its target does not do. With VNNI they are
    the same numbers, in 0.4 of the time.
    """
    import onnxruntime  # noqa: PLC0415
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail  # noqa: PLC0415

    from export.graphs.running import IDLE_WHILE_WAITING  # noqa: PLC0415

    exact = _options()
    exact.add_session_config_entry(*IDLE_WHILE_WAITING)
    if not _has_vnni():
        exact.add_session_config_entry(*_EXACT_PRODUCTS)
    try:
        return _session(model_file, exact)
    except Fail:
        # ONNX Runtime cannot change weights that share a zero point. What fails as a device would
        # load it fails here too; the rounding is then done step by step, as the graph has it.
        _session(model_file, _options())
        exact = _options()
        exact.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return _session(model_file, exact)


def _rounding_session(model_file: Path) -> Any | None:
    """A float16 model whose tensors are as coarse as on a core that computes in float16, whatever
    this machine's processor; None of any other model."""
    import onnx  # noqa: PLC0415

    from export.formats import _half  # noqa: PLC0415
    from export.graphs.running import IDLE_WHILE_WAITING  # noqa: PLC0415

    model = onnx.load(model_file)
    if not _half.half_weights(model):
        return None
    _half.with_roundings(model)
    options = _options()
    options.add_session_config_entry(*IDLE_WHILE_WAITING)
    return _session(model.SerializeToString(), options, without=_half.ROUNDS)


@cache
def _has_vnni() -> bool:
    """Whether this processor is known to add products of 8 bits in 32, so that none saturates."""
    try:
        return bool(_SATURATES_NOTHING.search(_PROCESSOR.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return False


def _session(model: Path | bytes, options: Any, without: str | None = None) -> Any:
    """A session on the CPU; `without` is an optimiser that it does not use."""
    import onnxruntime  # noqa: PLC0415

    off = None if without is None else [without]
    return onnxruntime.InferenceSession(model, options, providers=_CPU, disabled_optimizers=off)
