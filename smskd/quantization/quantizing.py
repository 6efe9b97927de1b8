"""From a network to the same network with 8-bit numbers in it, to be trained and to be exported.

The network is traced once. Rounded are the images, what convolutions and linear layers read, what
convolutions and sums of feature maps give (behind the ReLU, where one follows), and the weights,
with the batch norm folded in: where the INT8 kernels of ONNX Runtime and OpenVINO read and write
integers, so that whole residual blocks run in them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from foundation.errors import ModelMismatchError, WeightsMismatchError
from smskd.features.taps import evaluating
from smskd.methods import METHODS
from smskd.quantization.fake_quantization import FakeQuantize, FoldedWeights
from smskd.stage import Stage

RANGES, WEIGHTS = "activation_ranges", "folded_weights"
_OUT_OF_REACH = ("features", "embedding", "classifier")
_ATEN = torch.ops.aten
_CONVOLUTIONS = {_ATEN.conv1d.default, _ATEN.conv2d.default, _ATEN.conv2d.padding}
_LAYERS = _CONVOLUTIONS | {_ATEN.linear.default}
_COMBINING = {_ATEN.add.Tensor, _ATEN.mul.Tensor}
_CLIPPING = {_ATEN.relu.default, _ATEN.hardtanh.default}
_PASSING = {
    _ATEN.max_pool2d.default, _ATEN.flatten.using_ints, _ATEN.view.default, _ATEN.reshape.default,
    _ATEN.transpose.int, _ATEN.permute.default, _ATEN.dropout.default, _ATEN.contiguous.default,
    _ATEN.clone.default, _ATEN.chunk.default, _ATEN.split.Tensor, _ATEN.split_with_sizes.default,
    _ATEN.slice.Tensor, _ATEN.channel_shuffle.default, operator.getitem,
}  # fmt: skip
"""What moves values without changing them: its output lies on the grid of its input."""


def fake_quantized(network: nn.Module, example: Tensor) -> fx.GraphModule:
    """The network's graph in evaluation mode, with fake quantisation in it.

    It holds the network's own parameters and buffers, by their own names: training it trains the
    network, batch-norm statistics aside, which stand still. Dropout is off.

    Args:
        network: maps images to logits (N, classes).
        example: images, shape (1 or more, C, H, W).

    Raises:
        ModelMismatchError: when the network cannot be traced.
    """
    # torch.export takes a batch of one for a constant.
    graph = _traced(network, torch.cat([example[:1], example[:1]]))
    _drop_guards(graph)
    _without_in_place(graph)
    quantized = fx.GraphModule(network, graph)
    for layer in _nodes(graph, _LAYERS):
        _fold(quantized, layer)
    _round_activations(quantized)
    graph.eliminate_dead_code()
    quantized.delete_all_unused_submodules()
    graph.lint()
    quantized.recompile()
    return quantized


def _traced(network: nn.Module, example: Tensor) -> fx.Graph:
    try:
        with evaluating(network), torch.no_grad():
            batch = {0: torch.export.Dim("batch")}
            program = torch.export.export(network, (example,), dynamic_shapes=(batch,))
        return program.module().graph
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelMismatchError(
            f"{type(network).__name__} cannot be quantised in training: torch.export does not "
            f"take it for any batch size ({reason}); leave out `quantize`"
        ) from error


def _nodes(graph: fx.Graph, targets: set[Any]) -> list[fx.Node]:
    return [node for node in graph.nodes if node.target in targets]


def _drop_guards(graph: fx.Graph) -> None:
    """The traced module's own check of its input, which refuses a batch of one."""
    for node in list(graph.nodes):
        if node.op == "call_module":
            graph.erase_node(node)


def _without_in_place(graph: fx.Graph) -> None:
    """Changing a tensor in place would change what its other readers get to see rounded."""
    for node in graph.nodes:
        name = getattr(node.target, "_opname", "")
        if node.op == "call_function" and name.endswith("_") and not name.startswith("_"):
            plain = getattr(_ATEN, name.removesuffix("_"), None)
            if plain is not None:
                node.target = getattr(plain, node.target._overloadname)


def _fold(quantized: fx.GraphModule, layer: fx.Node) -> None:
    """Let a layer read rounded weights, with the batch norm behind it folded in."""
    norm = _norm_behind(layer)
    source, weight, bias, *rest = [*layer.args, None][: max(len(layer.args), 3)]
    if not (isinstance(weight, fx.Node) and weight.op == "get_attr"):
        return  # weights that are computed are no weights
    name = f"{WEIGHTS}.{layer.name}"
    epsilon = cast(float, norm.args[7]) if norm is not None else None
    quantized.add_submodule(name, FoldedWeights(epsilon))
    with quantized.graph.inserting_before(layer):
        arguments = (weight, bias, *(norm.args[1:5] if norm is not None else ()))
        folded = quantized.graph.call_module(name, arguments)
        rounded = quantized.graph.call_function(operator.getitem, (folded, 0))
        moved = quantized.graph.call_function(operator.getitem, (folded, 1))
    layer.args = (source, rounded, moved, *rest)
    if norm is not None:
        norm.replace_all_uses_with(layer)
        quantized.graph.erase_node(norm)


def _norm_behind(layer: fx.Node) -> fx.Node | None:
    if layer.target not in _CONVOLUTIONS or len(layer.users) != 1:
        return None
    user = next(iter(layer.users))
    return user if user.target == _ATEN.batch_norm.default else None


def _round_activations(quantized: fx.GraphModule) -> None:
    graph = quantized.graph
    grids: dict[fx.Node, str] = {}
    for node in _to_round(graph):
        root = _root(node)
        if root not in grids:
            grids[root] = f"{RANGES}.{root.name}"
            quantized.add_submodule(grids[root], FakeQuantize())
        with graph.inserting_after(node):
            rounded = graph.call_module(grids[root], (node,))
        node.replace_all_uses_with(rounded)
        rounded.args = (node,)


def _to_round(graph: fx.Graph) -> list[fx.Node]:
    """The nodes whose output is rounded, in the order of the graph."""
    rounded: set[fx.Node] = set()
    for node in graph.nodes:
        if node.target in _LAYERS:
            rounded |= {node.args[0], _root(node.args[0])}
        if _combines_maps(node):
            rounded |= set(node.args[:2])
        if node.target in _CONVOLUTIONS or _combines_maps(node):
            rounded.add(_behind_clipping(node))
    (logits,) = next(iter(reversed(graph.nodes))).args[0]
    return [node for node in graph.nodes if node in rounded and node is not logits]


def _combines_maps(node: fx.Node) -> bool:
    """Whether feature maps are added or multiplied, which runtimes do in integers."""
    return node.target in _COMBINING and all(
        isinstance(argument, fx.Node) and _dimensions(argument) == 4 for argument in node.args[:2]
    )


def _dimensions(node: fx.Node) -> int:
    value = node.meta.get("val")
    return value.dim() if isinstance(value, Tensor) else 0


def _behind_clipping(node: fx.Node) -> fx.Node:
    """The ReLU behind a node, if that alone reads it: an integer's own range does its work."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].target in _CLIPPING else node


def _root(node: fx.Node) -> fx.Node:
    while node.target in _PASSING and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def put_back(quantized: nn.Module, network: nn.Module) -> nn.Module:
    """Put what a quantised form of a network holds of its weights back into the network.

    The two share them unless the form is a copy, such as a running mean. Returns the network.
    """
    state = quantized.state_dict()
    own_state = network.state_dict()
    network.load_state_dict(own_state | {name: state[name] for name in own_state if name in state})
    return network


def ranges_in(quantized: nn.Module) -> dict[str, Tensor]:
    """The activations' ranges of a quantised network, by name."""
    state = quantized.state_dict()
    return {name: value for name, value in state.items() if name.startswith(f"{RANGES}.")}


def quantized_with(
    network: nn.Module, example: Tensor, ranges: Mapping[str, Tensor], source: str
) -> fx.GraphModule:
    """The form that `fake_quantized` makes, with ranges that were learnt.

    Args:
        network: with the weights that were trained with them.
        example: images, shape (1 or more, C, H, W).
        ranges: what `ranges_in` gave.
        source: where they came from, for messages.

    Raises:
        ModelMismatchError: when the network cannot be traced.
        WeightsMismatchError: when the ranges are of another network.
    """
    quantized = fake_quantized(network, example)
    if set(ranges) != set(ranges_in(quantized)):
        raise WeightsMismatchError(
            f"{source}: the activation ranges of another network, or traced by another torch than "
            f"{torch.__version__}; run the stage that quantises again"
        )
    quantized.load_state_dict(dict(ranges), strict=False)
    return quantized.eval()


def check_quantizable(stage: Stage) -> None:
    """Make sure that a stage that quantises asks for logits alone; other stages may ask for more.

    Raises:
        UnknownNameError: when there is no such method.
        ModelMismatchError: when a method needs features, embeddings or the classifier.
    """
    for spec in stage.method_specs if stage.quantized else ():
        more = [need for need in METHODS.get(spec.name).needs if need in _OUT_OF_REACH]
        if more:
            raise ModelMismatchError(
                f"method {spec.name!r} needs {', '.join(more)}, and a stage that quantises hears "
                "logits alone; choose a method of responses there, such as 'kd'"
            )
