"""Parity and accuracy against values worked out by hand."""

from dataclasses import asdict

import numpy as np
import pytest

from deploy_targets.device.checks import (
    accuracy_of,
    count_correct,
    load_probe,
    parity,
    worst_parity,
)
from deploy_targets.device.messages import Counted, Parity
from export.checking.parity import compare
from foundation.bundle import Preprocessing, open_bundle
from foundation.errors import (
    CorruptFileError,
    DataLayoutError,
    MissingFileError,
    ModelMismatchError,
)

ONE_PIXEL = Preprocessing(1, 1, 2, mean=[0.0, 0.0], std=[1.0, 1.0])


def accuracy(run, path, prepare, done=0):
    return accuracy_of(count_correct(run, path, prepare, done))


def floats(rows):
    return np.array(rows, np.float32)


def brighter_channel(batch):
    """A classifier: the class is the channel with the higher value."""
    return batch[:, :, 0, 0]


def save_evaluation(path, pixels, labels):
    np.savez(path, images=np.array(pixels, np.uint8).reshape(-1, 1, 1, 2), labels=labels)
    return path


def test_equal_logits_have_no_error():
    result = parity(floats([[1, 2], [4, 3]]), floats([[1, 2], [4, 3]]))
    assert (result.max_abs_error, result.relative_error) == (0.0, 0.0)
    assert (result.top1_agreement, result.n) == (1.0, 2)


def test_errors_are_the_largest_difference_and_its_share_of_the_largest_logit():
    result = parity(floats([[1, 2], [4, 3.5], [0, -2]]), floats([[2.5, 2], [4, 3], [0, -5]]))
    assert result.max_abs_error == 3.0
    assert result.relative_error == pytest.approx(3 / 5)
    assert result.top1_agreement == pytest.approx(2 / 3)


def test_a_device_and_an_export_tell_the_same_of_the_same_logits():
    outputs, reference = floats([[1, 0], [2, 3]]), floats([[0, 0], [0, 0]])
    told = asdict(compare(reference, outputs))
    del told["signal_to_noise_db"]
    assert asdict(parity(outputs, reference)) == told | {"outputs": []}


def test_of_two_ways_to_ask_the_worse_of_each_figure_counts():
    first, second = Parity(0.1, 0.05, 0.9, 8), Parity(0.2, 0.01, 0.7, 8)
    assert worst_parity(first, second) == Parity(0.2, 0.05, 0.7, 8)
    assert worst_parity(first, Parity(0.2, None, 1.0, 8)) == Parity(0.2, 0.05, 0.9, 8)


def test_logits_of_another_shape_are_a_mismatch():
    with pytest.raises(ModelMismatchError, match=r"\(1, 2\).*\(1, 3\)"):
        parity(floats([[1, 2]]), floats([[1, 2, 3]]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_a_mismatch(value):
    with pytest.raises(ModelMismatchError, match="undefined"):
        parity(floats([[1, value]]), floats([[1, 2]]))


def test_accuracy_is_the_share_of_right_first_classes_over_more_than_one_batch(tmp_path):
    # 150 images in batches of 64, 64 and 22; the first 100 of class 1, of which the labels
    # of every fourth are wrong.
    pixels = [[0, 9]] * 100 + [[9, 0]] * 50
    labels = np.array([1] * 100 + [0] * 50)
    labels[:100:4] = 0
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        return brighter_channel(batch)

    result = accuracy(run, save_evaluation(tmp_path / "e.npz", pixels, labels), ONE_PIXEL.prepare)
    assert (result.top1, result.n) == (125 / 150, 150)
    assert sizes == [64, 64, 22]


def test_photos_are_asked_as_many_at_once_as_a_small_device_bears(tmp_path):
    shape = Preprocessing(224, 224, 3, mean=[0.5] * 3, std=[0.5] * 3)
    path = tmp_path / "e.npz"
    np.savez(path, images=np.zeros((20, 224, 224, 3), np.uint8), labels=np.zeros(20, np.int64))
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        return np.eye(2, dtype=np.float32)[[0] * len(batch)]

    result = accuracy(run, path, shape.prepare)
    assert (sizes, result.top1, result.n) == ([8, 8, 4], 1.0, 20)


def test_counting_goes_on_after_images_that_were_counted_before(tmp_path):
    pixels, labels = [[0, 9]] * 100, np.array([0] * 70 + [1] * 30)
    path = save_evaluation(tmp_path / "e.npz", pixels, labels)
    first, second = count_correct(brighter_channel, path, ONE_PIXEL.prepare)
    assert (first, second) == (
        Counted("00" * 8, 64, " ".join(["1"] * 64)),
        Counted("03fffffff0", 36, " ".join(["1"] * 36)),
    )
    assert [*count_correct(brighter_channel, path, ONE_PIXEL.prepare, done=64)] == [second]
    found = accuracy_of([first, second], "digest")
    assert (found.top1, found.n, found.labels_sha256) == (0.3, 100, "digest")
    assert found.right == "00" * 8 + "03fffffff0"
    assert found.low < 0.3 < found.high


def test_a_missing_evaluation_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.npz"):
        accuracy(brighter_channel, tmp_path / "none.npz", ONE_PIXEL.prepare)


def test_an_evaluation_file_that_is_no_archive_is_corrupt(tmp_path):
    (tmp_path / "e.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(CorruptFileError, match=r"e\.npz"):
        accuracy(brighter_channel, tmp_path / "e.npz", ONE_PIXEL.prepare)


def test_an_evaluation_file_without_labels_is_corrupt(tmp_path):
    np.savez(tmp_path / "e.npz", images=np.zeros((1, 1, 1, 2), np.uint8))
    with pytest.raises(CorruptFileError, match="labels"):
        accuracy(brighter_channel, tmp_path / "e.npz", ONE_PIXEL.prepare)


def test_a_pickle_in_an_evaluation_file_is_not_opened(tmp_path):
    np.savez(tmp_path / "e.npz", images=np.array([{}], object), labels=np.array([0]))
    with pytest.raises(CorruptFileError, match="pickle"):
        accuracy(brighter_channel, tmp_path / "e.npz", ONE_PIXEL.prepare)


@pytest.mark.parametrize("labels", [np.array([0, 1]), np.array([0.5]), np.array([[0]])])
def test_labels_that_do_not_fit_the_images_are_refused(tmp_path, labels):
    path = save_evaluation(tmp_path / "e.npz", [[1, 2]], labels)
    with pytest.raises(DataLayoutError, match="labels"):
        accuracy(brighter_channel, path, ONE_PIXEL.prepare)


def test_images_of_another_size_are_refused(tmp_path):
    np.savez(tmp_path / "e.npz", images=np.zeros((1, 2, 2, 2), np.uint8), labels=np.array([0]))
    with pytest.raises(DataLayoutError, match=r"\(1, 2, 2, 2\)"):
        accuracy(brighter_channel, tmp_path / "e.npz", ONE_PIXEL.prepare)


def test_an_evaluation_file_without_images_is_refused(tmp_path):
    path = save_evaluation(tmp_path / "e.npz", [], np.zeros(0, int))
    with pytest.raises(DataLayoutError, match="no image"):
        accuracy(brighter_channel, path, ONE_PIXEL.prepare)


def test_a_probe_is_prepared_as_the_manifest_says(onnx_bundle):
    images, logits = load_probe(open_bundle(onnx_bundle))
    assert images.shape == (5, 3, 8, 8)
    assert images.dtype == np.float32
    assert logits.shape == (5, 3)


def test_the_probe_of_a_bundle_with_embedded_preprocessing_is_the_images_themselves(
    embedded_bundle,
):
    bundle = open_bundle(embedded_bundle)
    images, _ = load_probe(bundle)
    assert images.dtype == np.uint8
    assert np.array_equal(images, bundle.probe()[0])


def test_a_probe_that_cannot_be_read_is_corrupt(onnx_bundle, copy_of):
    bundle = open_bundle(copy_of(onnx_bundle))
    (bundle.folder / "probe.npz").write_bytes(b"nothing")
    with pytest.raises(CorruptFileError, match=r"probe\.npz"):
        load_probe(bundle)
