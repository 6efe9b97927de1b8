"""What is loaded is what the bundle vouches for."""

from dataclasses import replace

import pytest

from deploy_targets.device.engine import load_engine
from deploy_targets.device.jobs import EngineJob
from deploy_targets.device.questions import ImageQuestions
from foundation.bundle import read_manifest
from foundation.errors import CorruptFileError


def job(folder, runtime):
    return EngineJob(bundle=str(folder), runtime=runtime, threads=1)


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
        load_engine(job(folder, "openvino"))


def test_weights_that_an_onnx_file_names_have_to_be_listed(onnx_bundle, reseal):
    # As external data stands in such a file: a key and a value.
    folder = reseal(onnx_bundle, "model.onnx", lambda model: model + b"location weights.data")
    (folder / "weights.data").write_bytes(b"1234")
    with pytest.raises(CorruptFileError, match=r"the model would load 'weights\.data', which"):
        load_engine(job(folder, "onnxruntime"))


def test_a_file_that_no_runtime_looks_for_is_left_alone(onnx_bundle, copy_of):
    folder = copy_of(onnx_bundle)
    (folder / "notes.txt").write_text("mine")
    assert load_engine(job(folder, "onnxruntime")).parity().top1_agreement == 1.0


class WrongInBatches:
    """A session of which a batch gets other answers than an image alone."""

    def __init__(self, session):
        self._session, self.sizes = session, []

    def run(self, batch):
        self.sizes.append(len(batch))
        return self._session.run(batch) * (1 if len(batch) == 1 else -1)


def engine_that_errs_in_batches(bundle):
    engine = load_engine(job(bundle, "onnxruntime"))
    session = WrongInBatches(engine.session)
    return replace(engine, session=session), session


def test_answers_that_are_wrong_in_a_batch_alone_are_found(onnx_bundle):
    engine, session = engine_that_errs_in_batches(onnx_bundle)
    parity = engine.parity()
    assert parity.relative_error == pytest.approx(2, rel=1e-3)
    assert parity.top1_agreement < 1
    assert session.sizes == [5, 1, 1, 1, 1, 1]


def test_a_model_of_a_fixed_batch_is_asked_as_it_can_be(fixed_batch_bundle):
    engine, session = engine_that_errs_in_batches(fixed_batch_bundle)
    assert engine.parity().top1_agreement == 1.0
    assert set(session.sizes) == {1}


def test_more_images_than_a_small_device_bears_at_once_come_in_several_batches(onnx_bundle):
    engine, session = engine_that_errs_in_batches(onnx_bundle)
    probe = engine.images
    seven_times = [array.repeat(7, axis=0) for array in (probe.images, probe.reference)]
    replace(engine, questions=ImageQuestions(probe.bundle, *seven_times)).parity()
    assert session.sizes == [16, 16, 3] + [1] * 35
