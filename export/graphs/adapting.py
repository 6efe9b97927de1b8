"""An ONNX file as others write it, brought to this house's contract.

Float32 images (N, C, H, W) go in, float32 logits (N, classes) come out, weights are FP32.

Where that is a matter of a transpose, a cast or a name, it is done, and said. Where it is not, one
line says what is there and what to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import helper

from export.graphs.inputs import with_float_images
from export.graphs.inspecting import nodes_within, tensors_read
from export.graphs.outputs import with_logits
from export.graphs.refusing import check_answers_as_trained, check_weights
from export.graphs.widening import widened_to_fp32
from foundation.errors import ExportError

_STANDARD = {"", "ai.onnx"}


def adapt(model: onnx.ModelProto, source: Path) -> list[str]:
    """Bring a classifier to the contract, as far as that changes none of its answers.

    Args:
        model: changed in place; with its weights.
        source: its file, for messages.

    Returns:
        What was done that its user may not expect, a line each.

    Raises:
        ExportError: when it is quantised, random or in training mode, its weights are not numbers,
            or its inputs and outputs are none of an image classifier.
    """
    remarks = adapt_form(model, source)
    remarks += with_float_images(model, source)
    remarks += with_logits(model, source)
    return remarks


def adapt_form(model: onnx.ModelProto, source: Path) -> list[str]:
    """Bring any model to FP32 and to one way of writing it; arguments and errors as `adapt`, but
    that its inputs and outputs are not looked at."""
    _one_name_for_the_standard_domain(model, source)
    _inline(model)
    check_answers_as_trained(model, source)
    remarks = [
        *_named_apart(model),
        *_without_unread_inputs(model),
        *widened_to_fp32(model, source),
    ]
    check_weights(model, source)
    return remarks


def _one_name_for_the_standard_domain(model: onnx.ModelProto, source: Path) -> None:
    """ "ai.onnx" is another name of the domain whose name is empty."""
    versions = {entry.version for entry in model.opset_import if entry.domain in _STANDARD}
    if len(versions) > 1:
        raise ExportError(
            f"{source}: declares two versions of the standard operators "
            f"({', '.join(map(str, sorted(versions)))}); export it anew with one"
        )
    others = [entry for entry in model.opset_import if entry.domain not in _STANDARD]
    standard = [helper.make_opsetid("", version) for version in versions]
    del model.opset_import[:]
    model.opset_import.extend([*standard, *others])
    bodies = [node for function in model.functions for node in function.node]
    for node in [*nodes_within(model.graph), *bodies]:
        if node.domain == "ai.onnx":
            node.domain = ""


def _inline(model: onnx.ModelProto) -> None:
    if not model.functions:
        return
    from onnx import inliner  # noqa: PLC0415

    model.CopyFrom(inliner.inline_local_functions(model))


def _named_apart(model: onnx.ModelProto) -> Iterator[str]:
    """Nodes that share a name get names of their own."""
    seen: Counter[str] = Counter()
    used_names = {node.name for node in nodes_within(model.graph)}
    renamed = 0
    for node in nodes_within(model.graph):
        seen[node.name] += 1
        if node.name and seen[node.name] > 1:
            while (name := f"{node.name}_{seen[node.name]}") in used_names:
                seen[node.name] += 1
            node.name = name
            used_names.add(name)
            renamed += 1
    if renamed:
        yield f"{renamed} of its operators had names of others; they were renamed"


def _without_unread_inputs(model: onnx.ModelProto) -> Iterator[str]:
    read = set(tensors_read(model.graph))
    unread = [entry for entry in model.graph.input if entry.name not in read]
    weights = {entry.name for entry in model.graph.initializer}
    for entry in unread:
        model.graph.input.remove(entry)
    if names := [entry.name for entry in unread if entry.name not in weights]:
        yield f"nothing in it reads {', '.join(map(repr, names))}; left out"
