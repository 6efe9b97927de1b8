"""INT8 by ONNX Runtime's quantiser: static as a QDQ graph, dynamic for matrix products."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export._libraries import quiet
from export.formats import Calibration
from export.formats._graph import MAIN, Graph, name_of
from export.graphs.batches import fixed_batch, image_input
from export.quantization import QuantizationScheme
from export.samples import GraphSamples
from foundation.errors import ExportError
from foundation.graph_bundle import Feed
from foundation.memory import at_once

_LARGEST_BATCH = 32
# In a transformer LayerNorm, Softmax, GELU and the residual sums stay in floating point: 7 dB
# better on a small ViT than all that can be quantised, and no slower.
_ATTENTION_TYPES = ("Conv", "Gemm", "MatMul")
# The runtime has kernels that take integers and give floats for both. Rounding what they give
# cost a small ViT 4 dB and a seventh of its time, and a head's logits are left with 256 values.
_FLOAT_RESULTS = ("Gemm", "MatMul")
# ConvInteger ran 10 to 50 times slower than the FP32 convolution, so dynamic is for products.
_DYNAMIC_TYPES = ("MatMul", "Gemm")


class Quantizer:
    """An FP32 ONNX file, ready to be quantised in several ways on one calibration."""

    def __init__(
        self,
        source: Path,
        calibration: Calibration,
        scheme: QuantizationScheme,
        scratch: Path,
    ) -> None:
        """Prepare the graph as ONNX Runtime asks for.

        Args:
            source: FP32 ONNX file.
            calibration: prepared images, shape (N, C, H, W), or samples.
            scheme: types and ranges.
            scratch: an empty folder that outlives this.
        """
        model = _with_node_names(onnx.load(source))
        self.source = Graph(model)
        if isinstance(calibration, GraphSamples):
            self._reader = partial(_reader_of, calibration.feeds)
        else:
            image = image_input(model)
            self._reader = partial(_calibration_reader, image.name, calibration, fixed_batch(image))
        self._scheme = scheme
        self._scratch = scratch
        self._prepared = scratch / "prepared.onnx"
        _write_prepared(model, self._prepared)
        self._graph = Graph(onnx.load(self._prepared, load_external_data=False))

    def candidates(self) -> list[str]:
        """Operators of the source that this scheme quantises and that do arithmetic."""
        kinds = self._quantized_kinds()
        return [
            operator.name for operator in self.source.operators.values() if operator.kind in kinds
        ]

    def quantized(self, excluded: tuple[str, ...] = ()) -> onnx.ModelProto:
        """The model in INT8, but for `excluded`.

        Raises:
            ExportError: when there is no such operator, or nothing that can be quantised.
        """
        self.source.check(excluded)
        model = self._quantized_model(excluded=excluded)
        if model is None:
            raise ExportError(
                "ONNX Runtime found nothing to quantise in this model; export it as fp32 instead"
            )
        return model

    def quantized_alone(self, operator: str) -> onnx.ModelProto | None:
        """The model with nothing in INT8 but one operator; None where it cannot be alone."""
        return self._quantized_model(only=(operator,))

    def _quantized_model(
        self, excluded: tuple[str, ...] = (), only: tuple[str, ...] = ()
    ) -> onnx.ModelProto | None:
        target = self._scratch / "quantized.onnx"
        names = {
            "nodes_to_exclude": self._prepared_names(excluded),
            "nodes_to_quantize": self._prepared_names(only),
        }
        with quiet():
            if self._scheme.method == "dynamic":
                self._quantize_dynamic(target, names)
            else:
                self._quantize_static(target, names)
        model = onnx.load(target)
        if not any(
            node.op_type.startswith(("Quantize", "DynamicQuantize")) for node in model.graph.node
        ):
            return None
        _drop_unused_opsets(model)
        onnx.checker.check_model(model)
        return model

    def _quantize_static(self, target: Path, names: dict[str, list[str]]) -> None:
        from onnxruntime.quantization import (  # noqa: PLC0415 (half a second)
            CalibrationMethod,
            QuantFormat,
            quantize_static,
        )

        methods = {
            "minmax": CalibrationMethod.MinMax,
            "percentile": CalibrationMethod.Percentile,
            "entropy": CalibrationMethod.Entropy,
        }
        types = _quant_types()
        # One calibration serves all the models of a ranking.
        ranges = {"calibration_cache_path": self._scratch / "ranges.json"}
        quantize_static(
            self._prepared,
            target,
            self._reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=self._op_types(),
            per_channel=self._scheme.per_channel,
            reduce_range=self._scheme.reduce_range,
            activation_type=types[self._scheme.activation_type],
            weight_type=types[self._scheme.weight_type],
            calibrate_method=methods[self._scheme.calibration],
            extra_options={
                "ActivationSymmetric": self._scheme.activation_type == "s8",
                "WeightSymmetric": True,
                "OpTypesToExcludeOutputQuantization": list(_FLOAT_RESULTS),
            },
            **names,
            **(ranges if names["nodes_to_quantize"] else {}),
        )

    def _quantize_dynamic(self, target: Path, names: dict[str, list[str]]) -> None:
        from onnxruntime.quantization import quantize_dynamic  # noqa: PLC0415

        quantize_dynamic(
            self._prepared,
            target,
            op_types_to_quantize=list(_DYNAMIC_TYPES),
            per_channel=self._scheme.per_channel,
            reduce_range=self._scheme.reduce_range,
            weight_type=_quant_types()[self._scheme.weight_type],
            **names,
        )

    def _op_types(self) -> list[str] | None:
        return list(_ATTENTION_TYPES) if self.source.has_attention() else None

    def _quantized_kinds(self) -> set[str]:
        from onnxruntime.quantization.registry import QLinearOpsRegistry  # noqa: PLC0415

        if self._scheme.method == "dynamic":
            return set(_DYNAMIC_TYPES)
        known = set(self._op_types() or QLinearOpsRegistry)
        return (known & (MAIN | _OTHER_ARITHMETIC)) | (known & MAIN)

    def _prepared_names(self, names: tuple[str, ...]) -> list[str]:
        """The prepared graph's nodes for operators of the source; fusing may have renamed them."""
        prepared_names = []
        for name in names:
            if name in self._graph.operators:
                prepared_names.append(name)
                continue
            tensor = self.source.surviving(name, self._graph.producers)
            if tensor is not None:
                prepared_names.append(self._graph.producers[tensor])
        return prepared_names


_OTHER_ARITHMETIC = {
    "Add", "AveragePool", "Concat", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid", "Softmax",
}  # fmt: skip


@contextmanager
def quantizer(
    source: Path, calibration: Calibration, scheme: QuantizationScheme
) -> Iterator[Quantizer]:
    """A `Quantizer` with a scratch folder of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        yield Quantizer(source, calibration, scheme, Path(scratch))


def kept_operators(source: Graph, model: onnx.ModelProto) -> list[str]:
    """The convolutions and products of the source that compute in floating point in `model`."""
    made_by = {tensor: node.op_type for node in model.graph.node for tensor in node.output}
    floating_operators = []
    for node in model.graph.node:
        if node.op_type not in MAIN or node.name not in source.operators:
            continue
        activations = source.operators[node.name].inputs
        quantised = sum(made_by.get(name) == "DequantizeLinear" for name in node.input[:2])
        if quantised < min(2, len(activations) + 1):
            floating_operators.append(node.name)
    return floating_operators


def _quant_types() -> dict[str, Any]:
    from onnxruntime.quantization import QuantType  # noqa: PLC0415

    return {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}


def _with_node_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX Runtime's quantiser leaves operators in or out by name, so each must have one."""
    for node in model.graph.node:
        node.name = name_of(node)
    return model


def _write_prepared(model: onnx.ModelProto, target: Path) -> None:
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    # From a file: of a model in memory it takes the weights away when it skips a step.
    source = target.with_stem("named")
    onnx.save(model, source)
    with quiet():
        try:
            quant_pre_process(source, target)
        except Exception:
            # Symbolic shape inference knows fewer operators than ONNX's own, which is enough
            # where the exporter has written the shapes.
            quant_pre_process(source, target, skip_symbolic_shape=True)


def _calibration_reader(input_name: str, images: NDArray[np.float32], batch: int | None) -> Any:
    """A calibration reader over batches of one size: the histogram methods stack them.

    A model that takes `batch` images at once gets as many; of those that are too few for a last
    batch, the images before fill it.
    """
    # Nothing is optimised while it is calibrated: an image takes several times what it does later.
    most = max(1, at_once(images, 4 * _LARGEST_BATCH) // 4)
    size = batch or max(s for s in range(1, most + 1) if len(images) % s == 0)
    if lacking := -len(images) % size:
        images = np.concatenate([images, np.resize(images, (lacking, *images.shape[1:]))])
    starts = range(0, len(images), size)
    return _reader_of(lambda: ({input_name: images[at : at + size]} for at in starts))


def _reader_of(make_feeds: Callable[[], Iterator[Feed]]) -> Any:
    """A calibration reader over what a model is fed, one query after another."""
    from onnxruntime.quantization import CalibrationDataReader  # noqa: PLC0415

    feeds = make_feeds()

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Feed | None:
            return next(feeds, None)

    return Reader()


def _drop_unused_opsets(model: onnx.ModelProto) -> None:
    """ONNX Runtime declares every operator set that it knows; other readers may know fewer."""
    used_domains = {node.domain for node in model.graph.node} | {""}
    used_opsets = [entry for entry in model.opset_import if entry.domain in used_domains]
    del model.opset_import[:]
    model.opset_import.extend(used_opsets)
