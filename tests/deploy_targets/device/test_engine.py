"""What is loaded is what the bundle vouches for."""

import pytest

from deploy_targets.device.engine import load_engine
from deploy_targets.device.messages import EngineJob
from foundation.bundle import read_manifest
from foundation.errors import CorruptFileError


def without(folder, name):
    """The bundle's manifest no longer lists a file that lies there."""
    path = folder / "bundle.json"
    line = f'"{name}": "{read_manifest(folder).files[name]}"'
    text = path.read_text()
    assert line in text
    path.write_text(text.replace(f"{line},", "", 1).replace(line, "", 1))
    return folder


def test_weights_that_openvino_would_find_beside_the_model_have_to_be_listed(
    openvino_bundle, copy_of
):
    folder = without(copy_of(openvino_bundle), "model.bin")
    with pytest.raises(CorruptFileError, match=r"the model would load 'model\.bin', which"):
        load_engine(EngineJob(str(folder), "openvino", 1))


def test_weights_that_an_onnx_file_names_have_to_be_listed(onnx_bundle, reseal):
    # As external data stands in such a file: a key and a value.
    folder = reseal(onnx_bundle, "model.onnx", lambda model: model + b"location weights.data")
    (folder / "weights.data").write_bytes(b"1234")
    with pytest.raises(CorruptFileError, match=r"the model would load 'weights\.data', which"):
        load_engine(EngineJob(str(folder), "onnxruntime", 1))


def test_a_file_that_no_runtime_looks_for_is_left_alone(onnx_bundle, copy_of):
    folder = copy_of(onnx_bundle)
    (folder / "notes.txt").write_text("mine")
    assert load_engine(EngineJob(str(folder), "onnxruntime", 1)).parity().top1_agreement == 1.0
