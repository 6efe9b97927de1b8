"""An ONNX file that somebody else made: made sure of, and brought into this room's own form."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from export._libraries import failing_as, first_line, quiet
from export.formats import Predictor
from export.graphs.adapting import adapt
from export.graphs.batches import fixed_batch, image_input, in_batches_of
from export.graphs.cleaning import cleaned, opset_of
from export.graphs.free_batch import with_free_batch
from export.graphs.inspecting import real_inputs, sizes_of
from export.graphs.running import session_predictor
from foundation.bundle import Preprocessing
from foundation.errors import CorruptFileError, ExportError, MissingFileError
from foundation.files import write_bytes

_LARGEST = (1 << 31) - 1  # what a protocol buffer can hold
_OLDEST_QUANTISED = 13  # the first operator set with a scale a channel
_KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")


def import_onnx(source: Path, preprocessing: Preprocessing, path: Path, opset: int) -> list[str]:
    """Write a user's ONNX classifier as one checked file, for any batch size where that can be.

    The names of its input and output stay. Weights in files beside it are taken in.

    Args:
        source: the user's file; left as it is.
        preprocessing: of the images that the model takes.
        path: the file to write, atomically.
        opset: the newest operator set that may be used; a newer one is converted.

    Returns:
        What was done that its user may not expect, a line each; see `export.graphs.adapting`.

    Raises:
        MissingFileError: when the file, or one that its weights are in, is not there.
        CorruptFileError: when it is not ONNX.
        ExportError: when it is no classifier of such images, or cannot be converted.
        NoSpaceError: when the disk is full.
    """
    with failing(source):
        model, remarks = _adapted(source)
        remarks += _check_contract(model, source, preprocessing)
        model = converted(model, source, opset)
        model = with_free_batch(model, source)
        write_bytes(path, cleaned(model).SerializeToString(deterministic=True))
    return remarks


def classifier_in(source: Path, preprocessing: Preprocessing) -> onnx.ModelProto:
    """A user's ONNX classifier of such images, adapted, for any batch size where that can be.

    Raises:
        MissingFileError, CorruptFileError, ExportError: as `import_onnx`.
    """
    with failing(source):
        model, _ = _adapted(source)
        _check_contract(model, source, preprocessing)
        return with_free_batch(model, source)


def as_one_file(source: Path, path: Path) -> int:
    """Write a user's ONNX model, adapted to the contract, as one file with all its weights.

    Args:
        source: the user's file; left as it is.
        path: the file to write, atomically.

    Returns:
        How many numbers its weights are.

    Raises:
        MissingFileError, CorruptFileError: as `import_onnx`.
        ExportError: when it is larger than one file can be.
        NoSpaceError: when the disk is full.
    """
    with failing(source):
        model, _ = _adapted(source)
        write_bytes(path, model.SerializeToString(deterministic=True))
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer)


def check_classifier(source: Path, preprocessing: Preprocessing) -> list[str]:
    """Make sure that a user's ONNX file is a classifier of such images, before any work is begun.

    Returns:
        What will be done with it that its user may not expect, a line each.

    Raises:
        MissingFileError, CorruptFileError, ExportError: as `import_onnx`.
    """
    with failing(source):
        model, remarks = _adapted(source)
        remarks += _check_contract(model, source, preprocessing)
        with_free_batch(model, source)
    return remarks


def onnx_predictor(path: Path) -> Predictor:
    """An ONNX file as a function from float32 NCHW images to logits, computed as it is written
    once it is adapted to that.

    Raises:
        MissingFileError, CorruptFileError: as `import_onnx`.
        ExportError: when ONNX Runtime cannot run it; so does the function.
    """
    with failing(path):
        model, _ = _adapted(path)
        # Not from the file: there the runtime infers shapes before it reads weights beside it.
        run = in_batches_of(
            session_predictor(model.SerializeToString()), fixed_batch(image_input(model))
        )

    def predict(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with failing(path):
            return run(images)

    return predict


def failing(source: Path) -> AbstractContextManager[None]:
    """Whatever a library says of a user's file becomes an `ExportError` about it."""
    return failing_as(f"{source}: cannot be used", "export it anew from where it was trained")


def loaded(source: Path) -> onnx.ModelProto:
    """A user's model with its weights, as it is written.

    Raises:
        MissingFileError: when the file, or one that its weights are in, is not there.
        CorruptFileError: when it is not ONNX.
        ExportError: when it is larger than one file can be.
    """
    if not source.is_file():
        raise MissingFileError(f"{source}: no such file; name an ONNX model")
    try:
        model = onnx.load(source, load_external_data=False)
    except Exception as error:  # the protocol buffers' own, or the text formats'
        raise CorruptFileError(
            f"{source}: not an ONNX file, or a torn one; copy it anew, or export it again"
        ) from error
    try:
        onnx.load_external_data_for_model(model, str(source.parent))
    except Exception as error:  # missing, too short, or outside the folder
        raise MissingFileError(
            f"{source}: its weights lie in a file that cannot be read ({first_line(error)}); "
            "put it beside the model"
        ) from error
    if not model.ir_version or not model.graph.node:
        raise CorruptFileError(f"{source}: not an ONNX file (it holds no graph)")
    if model.ByteSize() > _LARGEST:
        raise ExportError(f"{source}: larger than 2 GiB, which one ONNX file cannot be")
    return model


def _adapted(source: Path) -> tuple[onnx.ModelProto, list[str]]:
    """The model in this house's contract, checked, and what was done for that."""
    model = loaded(source)
    remarks = adapt(model, source)
    check_operators(model, source)
    _drop_weights_from_inputs(model)
    onnx.checker.check_model(model, full_check=True)
    return model, remarks


def _check_contract(
    model: onnx.ModelProto, source: Path, preprocessing: Preprocessing
) -> list[str]:
    """Images of the right size, one 2-D output; free sizes become fixed, which is told."""
    (value,) = real_inputs(model)
    sizes, logits = sizes_of(value), sizes_of(model.graph.output[0])
    image = [preprocessing.channels, preprocessing.height, preprocessing.width]
    if len(logits) != 2:
        raise ExportError(
            f"{source}: its output {model.graph.output[0].name!r} is {logits}, but must be logits "
            "(N, classes); export the classifier with its head"
        )
    pairs = list(zip(sizes[1:], image, strict=True))
    if any(isinstance(size, int) and size != expected for size, expected in pairs):
        raise ExportError(
            f"{source}: takes images {sizes}, but those given are "
            f"(N, {', '.join(map(str, image))}); give images of its size (data.image_size, "
            "[height, width] where they differ) and with as many channels (data.channels)"
        )
    for axis, size in zip(value.type.tensor_type.shape.dim[1:], image, strict=True):
        axis.dim_value = size
    if any(not isinstance(size, int) for size in sizes[2:]):
        del model.graph.value_info[:]
        return [
            f"it takes images of any size; its bundles take {preprocessing.height}×"
            f"{preprocessing.width}"
        ]
    return []


def check_operators(model: onnx.ModelProto, source: Path) -> None:
    """Refuse operators of a domain that the runtime does not know, nor the file itself.

    Raises:
        ExportError: when there are some.
    """
    own = {(function.domain, function.name) for function in model.functions}
    strange = [
        f"{node.domain}.{node.op_type}"
        for node in model.graph.node
        if node.domain not in _KNOWN_DOMAINS and (node.domain, node.op_type) not in own
    ]
    if strange:
        raise ExportError(
            f"{source}: uses {', '.join(dict.fromkeys(strange))}, which ONNX Runtime does not "
            "know; export it with standard operators"
        )


def _drop_weights_from_inputs(model: onnx.ModelProto) -> None:
    """Files of the first three versions list weights among the inputs; later ones need not."""
    inputs = [image_input(model)]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)


def converted(model: onnx.ModelProto, source: Path, opset: int) -> onnx.ModelProto:
    """The model in an operator set of at most `opset`, and new enough to be quantised.

    Raises:
        ExportError: when it is newer and cannot be converted.
    """
    current = opset_of(model)
    if _OLDEST_QUANTISED <= current <= opset:
        return model
    try:
        with quiet():
            return onnx.version_converter.convert_version(model, opset)
    except Exception as error:  # the converter has one kind for everything
        if current < opset:
            return model  # an old operator set runs everywhere; only INT8 may ask for more
        raise ExportError(
            f"{source}: uses ONNX opset {current}, the target's runtime takes {opset} at most, and "
            f"it cannot be converted ({first_line(error)}); export it with opset {opset}"
        ) from error
