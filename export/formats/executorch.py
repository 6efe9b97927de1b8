"""ExecuTorch: a program for XNNPACK in FP32, or in INT8 by PyTorch's own quantiser (PT2E).

It is made of the network in PyTorch, for there is no way to it from an ONNX file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from export.formats import FORMATS, Calibration, ExportFormat, Predictor, Written
from export.quantization import QuantizationScheme
from foundation.errors import ExportError
from foundation.files import write_bytes

if TYPE_CHECKING:
    from torch import fx, nn

MODEL_FILE = "model.pte"
INPUT_NAME, OUTPUT_NAME = "input", "logits"
# As torch's operators are called once they are exported, less namespace and overload.
_COMPUTE = {"conv1d", "conv2d", "convolution", "linear", "addmm", "mm", "bmm", "matmul"}


@FORMATS.register("executorch")
class ExecutorchFormat(ExportFormat):
    name: ClassVar[str] = "executorch"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8")
    from_network: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("executorch", "torchao")

    def write(
        self,
        source: Path,
        precision: str,
        folder: Path,
        calibration: Calibration,
        scheme: QuantizationScheme,
    ) -> Written:
        del precision, folder, calibration, scheme
        raise ExportError(
            f"{source.name}: format executorch is made of a network in PyTorch, and not of an ONNX "
            "file; use onnx, openvino or ncnn"
        )

    def write_network(
        self,
        network: nn.Module,
        precision: str,
        folder: Path,
        calibration: NDArray[np.float32],
        scheme: QuantizationScheme,
    ) -> Written:
        import torch  # noqa: PLC0415 - slow

        from export._libraries import failing_as, quiet  # noqa: PLC0415
        from export.checking.reference import frozen_copy, full_float32  # noqa: PLC0415

        facts: dict[str, Any] = {name: metadata.version(name) for name in self.packages}
        example = torch.zeros(1, *calibration.shape[1:])
        kind = type(network).__name__
        with (
            failing_as(f"{kind} cannot be exported to ExecuTorch", "use onnx or openvino"),
            quiet(),
            torch.no_grad(),
            full_float32(),
        ):
            graph = torch.export.export(frozen_copy(network), (example,)).module()
            if precision == "int8":
                _check_scheme(scheme)
                graph = _quantized(graph, calibration, scheme)
                facts["quantization"] = _facts(graph, len(calibration), scheme)
            content, outside = _lowered(graph, example)
        facts["outside_xnnpack"] = dict(sorted(outside.items()))
        write_bytes(folder / MODEL_FILE, content)
        return Written(MODEL_FILE, INPUT_NAME, OUTPUT_NAME, facts, tuple(_remarks(outside)))

    def load(self, model_file: Path) -> Predictor:
        import torch  # noqa: PLC0415 - slow, and before the extension, which is linked against it

        # What `executorch.runtime` wraps, without twelve seconds of imports.
        from executorch.extension.pybindings import _C  # noqa: PLC0415 - an extra

        from export._libraries import silent  # noqa: PLC0415

        try:
            with silent():  # it tells what it finds out of the processor
                method = _C._load_program(str(model_file)).load_method("forward")
        except RuntimeError as error:
            release = metadata.version("executorch")
            raise ExportError(
                f"{model_file}: executorch {release} cannot load it ({error}); export again"
            ) from error

        def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            # It reads memory in order, whatever the strides say, and takes images one by one.
            images = torch.from_numpy(np.ascontiguousarray(batch, np.float32))
            answers = [method.call((images[i : i + 1],))[0].numpy() for i in range(len(images))]
            return np.concatenate(answers)

        return predict


def _check_scheme(scheme: QuantizationScheme) -> None:
    """Raise an ExportError for what XNNPACK's quantiser cannot do, and what would be missed."""
    if scheme.excluded:
        raise ExportError(
            "format executorch keeps no single operators in floating point; ask for fp32, or for "
            "onnx or openvino"
        )
    if scheme.method != "static":
        raise ExportError("format executorch has static INT8 alone; use onnx for dynamic")


def _quantized(
    graph: fx.GraphModule, calibration: NDArray[np.float32], scheme: QuantizationScheme
) -> fx.GraphModule:
    """The graph with quantisers in it, whose ranges are those of the calibration images."""
    import torch  # noqa: PLC0415
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack  # noqa: PLC0415
    from torchao.quantization.pt2e.quantize_pt2e import (  # noqa: PLC0415
        convert_pt2e,
        prepare_pt2e,
    )

    how = xnnpack.get_symmetric_quantization_config(is_per_channel=scheme.per_channel)
    prepared = prepare_pt2e(graph, xnnpack.XNNPACKQuantizer().set_global(how))
    images = torch.from_numpy(np.ascontiguousarray(calibration))
    for number in range(len(images)):
        prepared(images[number : number + 1])
    converted: fx.GraphModule = convert_pt2e(prepared)
    return converted


def _lowered(graph: fx.GraphModule, example: Any) -> tuple[bytes, Counter[str]]:
    """A program's bytes, and the operators in it that XNNPACK does not compute."""
    import torch  # noqa: PLC0415
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (  # noqa: PLC0415
        XnnpackPartitioner,
    )
    from executorch.exir import to_edge_transform_and_lower  # noqa: PLC0415

    exported = torch.export.export(graph, (example,))
    edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    outside = Counter(name for name, _ in _operators(edge.exported_program().graph))
    return bytes(edge.to_executorch().buffer), outside


def _operators(graph: fx.Graph) -> Iterator[tuple[str, fx.Node]]:
    """The operators of a graph by their plain names, such as "conv2d"."""
    for node in graph.nodes:
        name = str(getattr(node.target, "__name__", node.target))
        if node.op == "call_function" and name not in {"executorch_call_delegate", "getitem"}:
            yield name.removeprefix("aten.").partition(".")[0], node


def _facts(graph: fx.GraphModule, images: int, scheme: QuantizationScheme) -> dict[str, Any]:
    """What a bundle records of its quantisation.

    Raises:
        ExportError: when nothing was quantised.
    """
    compute = [(name, node) for name, node in _operators(graph.graph) if name in _COMPUTE]
    quantized = {node.name: name for name, node in compute if _is_quantized(node)}
    if not quantized:
        raise ExportError("format executorch finds nothing that it could quantise; ask for fp32")
    # Its own, whatever a target asks for: XNNPACK's kernels take no others.
    differing = {"activation_type": "s8", "weight_type": "s8", "reduce_range": False}
    asked = asdict(scheme)
    lacking = [name for name, own in differing.items() if asked[name] != own]
    lacking += [name for name in ("bias_correction", "smooth_quant") if asked[name]]
    return (
        asked
        | differing
        | {
            "excluded": [],
            "calibration": "histogram",
            "reason": "XNNPACK computes s8 (asymmetric) by s8, with ranges from PT2E's histograms",
            "calibration_images": images,
            "operators_quantized": dict(sorted(Counter(quantized.values()).items())),
            "operators_kept": [node.name for _, node in compute if node.name not in quantized],
            "not_applied": [*lacking, "calibration"],
        }
    )


def _is_quantized(node: fx.Node) -> bool:
    """Whether both factors of a product come out of integers."""
    factors = [str(entry.target) for entry in node.all_input_nodes[:2]]
    return all("dequantize" in target for target in factors)


def _remarks(outside: Counter[str]) -> Iterator[str]:
    heavy = sorted(name for name in outside if name in _COMPUTE)
    if heavy:
        yield f"XNNPACK takes no {', '.join(heavy)} of it: plain kernels compute that, slowly"
