"""INT8 for OpenVINO, by NNCF's post-training quantisation."""

from __future__ import annotations

from typing import Any

from export._libraries import quiet
from export.formats import Calibration
from export.formats._graph import Graph
from export.quantization import QuantizationScheme
from export.samples import GraphSamples
from foundation.errors import ExportError

_PRODUCTS = {
    "Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul",
    "ScaledDotProductAttention",
}  # fmt: skip
# What only passes values on: rounded before it, they are rounded behind it.
_MOVES = {
    "Convert", "MaxPool", "Pad", "Reshape", "Slice", "Squeeze", "StridedSlice", "Transpose",
    "Unsqueeze",
}  # fmt: skip
# Smoothing by 0.95 lost the least of 0.5, 0.95 and none on a small ViT; it is NNCF's own choice.
_SMOOTHING = 0.95
_NO_SMOOTHING = -1.0


def quantized(
    model: Any,
    graph: Graph,
    calibration: Calibration,
    scheme: QuantizationScheme,
    *,
    smooth: bool,
) -> Any:
    """Quantise an OpenVINO model to INT8.

    NNCF chooses the sign of an activation by its values. What the scheme decides is the
    preset: with "auto", "s8" activations are symmetric around zero, "u8" ones may be asymmetric;
    `export.formats._tuning` settles it where the latter cost time and keep no more.

    Args:
        model: FP32 `openvino.Model`.
        graph: the ONNX graph that it was made from.
        calibration: prepared images, shape (N, C, H, W), or samples.
        scheme: types and ranges.
        smooth: even out activations' channels first.

    Returns:
        The quantised `openvino.Model`.

    Raises:
        ExportError: when NNCF has no such scheme, there is no such operator to exclude, or NNCF
            finds nothing to quantise.
    """
    _check_scheme(scheme)
    graph.check(scheme.excluded)
    attention = graph.has_attention()
    with quiet():
        import nncf  # noqa: PLC0415 (three seconds)

        result = nncf.quantize(
            model,
            nncf.Dataset(_queries(calibration)),
            preset=nncf.QuantizationPreset[preset_of(scheme).upper()],
            subset_size=len(calibration),
            # NNCF's fast correction feeds mean activations through padded layers: on maps as
            # small as CIFAR's that cost 18 dB, where the full one kept what there was. Of a graph
            # with branches it knows the fast one alone.
            fast_bias_correction=any(node.get_type_name() == "If" for node in model.get_ops()),
            model_type=nncf.ModelType.TRANSFORMER if attention else None,
            ignored_scope=nncf.IgnoredScope(
                names=friendly_names(model, graph, scheme.excluded), validate=False
            ),
            advanced_parameters=_advanced_parameters(scheme, smooth=smooth),
        )
    if not any(node.get_type_name() == "FakeQuantize" for node in result.get_ops()):
        raise ExportError("NNCF found nothing to quantise in this model; export it as fp32 instead")
    return result


def _queries(calibration: Calibration) -> list[Any]:
    """One image or one sample after another, as a model takes it."""
    if isinstance(calibration, GraphSamples):
        return list(calibration.feeds())
    return [calibration[i : i + 1] for i in range(len(calibration))]


def preset_of(scheme: QuantizationScheme) -> str:
    """NNCF's preset for a scheme: "performance" or "mixed"."""
    if scheme.preset != "auto":
        return scheme.preset
    return "performance" if scheme.activation_type == "s8" else "mixed"


def friendly_names(model: Any, graph: Graph, operators: tuple[str, ...]) -> list[str]:
    """OpenVINO's names for operators of the ONNX graph that the model was converted from.

    A node goes by the ONNX node's name, or by "NAME/PART" where it was taken apart. The last
    one goes by the output's name, and a fused one by that of another part: for those, the node
    that makes the first tensor that is still there, with what feeds it.
    """
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() != "Result"]
    made_by = {
        tensor: node for node in nodes for output in node.outputs() for tensor in output.get_names()
    }
    names: set[str] = set()
    for operator in operators:
        own = {
            name
            for node in nodes
            if (name := node.get_friendly_name()) == operator or name.startswith(f"{operator}/")
        }
        if not own and (tensor := graph.surviving(operator, made_by)):
            own = _with_unnamed_feeders(made_by[tensor])
        names |= own
    return sorted(names)


def kept_operators(model: Any, graph: Graph) -> list[str]:
    """The convolutions and products of the ONNX graph that compute in floating point."""
    products = {
        node.get_friendly_name(): node
        for node in model.get_ordered_ops()
        if node.get_type_name() in _PRODUCTS
    }
    floating_operators = []
    for operator in graph.main():
        own = [products[n] for n in friendly_names(model, graph, (operator,)) if n in products]
        if own and not any(_reads_quantized(node) for node in own):
            floating_operators.append(operator)
    return floating_operators


def _with_unnamed_feeders(node: Any) -> set[str]:
    """A node and the nameless nodes that a converter put in front of it."""
    names, queue = {node.get_friendly_name()}, [node]
    for current in queue:
        if current.get_type_name() in _PRODUCTS:
            continue
        for value in current.input_values():
            feeder = value.get_node()
            unnamed = not any(output.get_names() for output in feeder.outputs())
            if feeder.get_type_name() != "Constant" and unnamed:
                names.add(feeder.get_friendly_name())
                queue.append(feeder)
    return names


def _reads_quantized(node: Any) -> bool:
    source = node.input_value(0).get_node()
    while source.get_type_name() in _MOVES:
        source = source.input_value(0).get_node()
    return bool(source.get_type_name() == "FakeQuantize")


def _check_scheme(scheme: QuantizationScheme) -> None:
    if scheme.method == "dynamic":
        raise ExportError("OpenVINO has no dynamic INT8 here; use method 'static', or format onnx")
    if scheme.weight_type != "s8":
        raise ExportError(
            f"OpenVINO has s8 weights only, but got weight_type={scheme.weight_type!r}; use 's8'"
        )
    if scheme.calibration == "entropy":
        raise ExportError(
            "NNCF has no entropy calibration; use calibration 'minmax' or 'percentile'"
        )


def _advanced_parameters(scheme: QuantizationScheme, *, smooth: bool) -> Any:
    from nncf.quantization import advanced_parameters as advanced  # noqa: PLC0415

    return advanced.AdvancedQuantizationParameters(
        # NNCF's remedy for overflowing 8-bit products is the 7-bit weight range.
        overflow_fix=(
            advanced.OverflowFix.ENABLE if scheme.reduce_range else advanced.OverflowFix.DISABLE
        ),
        disable_bias_correction=not scheme.bias_correction,
        weights_quantization_params=advanced.QuantizationParameters(per_channel=scheme.per_channel),
        activations_range_estimator_params=_ranges(scheme.calibration),
        smooth_quant_alphas=advanced.AdvancedSmoothQuantParameters(
            matmul=_SMOOTHING if smooth else _NO_SMOOTHING
        ),
    )


def _ranges(calibration: str) -> Any:
    from nncf.quantization import range_estimator as ranges  # noqa: PLC0415

    if calibration == "minmax":
        return ranges.RangeEstimatorParametersSet.MINMAX
    # The widest of the images' quantiles. NNCF's own set takes their mean, which clips every
    # image that is brighter than most: a MobileNetV2 fell from 29 to 3 dB.
    return ranges.RangeEstimatorParameters(
        min=ranges.StatisticsCollectorParameters(
            statistics_type=ranges.StatisticsType.QUANTILE,
            aggregator_type=ranges.AggregatorType.MIN,
        ),
        max=ranges.StatisticsCollectorParameters(
            statistics_type=ranges.StatisticsType.QUANTILE,
            aggregator_type=ranges.AggregatorType.MAX,
        ),
    )
