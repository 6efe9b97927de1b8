"""ncnn on the device: right whatever the memory's order, and refused where it would guess."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deploy_targets.device.runtimes import RUNTIMES, Model, load_session, open_runtime
from deploy_targets.device.trying import try_runtime
from export.formats import FORMATS
from export.quantization import QuantizationScheme
from foundation.bundle import open_bundle
from foundation.errors import ModelMismatchError

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")


@pytest.fixture(scope="module")
def probe(onnx_bundle: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Prepared images and the logits that they must have."""
    bundle = open_bundle(onnx_bundle)
    with np.load(onnx_bundle / "probe.npz") as probe:
        return bundle.prepare(probe["images"]), probe["logits"]


@pytest.fixture(scope="module")
def model_file(onnx_bundle: Path, probe: tuple[NDArray[np.float32], ...], tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ncnn")
    nothing, scheme = probe[0][:0], QuantizationScheme()
    made = FORMATS.get("ncnn")().write(onnx_bundle / "model.onnx", "fp32", folder, nothing, scheme)
    return folder / made.model_file


def session(model_file: Path, hint: str = "f32", **settings: int):
    runtime = open_runtime("ncnn")
    return load_session(runtime, Model(model_file, "in0", "out0", 1, hint, **settings))


def test_one_image_and_many_and_memory_in_any_order_are_answered_alike(
    model_file: Path, probe: tuple[NDArray[np.float32], ...]
) -> None:
    images, logits = probe
    run = session(model_file).run
    np.testing.assert_allclose(run(images), logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(run(images[:1]), run(images)[:1])
    turned = np.ascontiguousarray(images.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)
    np.testing.assert_array_equal(run(turned), run(images))


def test_an_answer_is_not_overwritten_by_the_next_and_lanes_may_run_at_once(
    model_file: Path, probe: tuple[NDArray[np.float32], ...]
) -> None:
    images, _ = probe
    one, other = session(model_file, streams=2).lanes()
    first = one(images[:1])
    kept = first.copy()
    other(images[1:2])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("change", ["size", "type"])
def test_an_input_that_it_would_misread_is_refused(
    model_file: Path, probe: tuple[NDArray[np.float32], ...], change: str
) -> None:
    images, _ = probe
    wrong = images[:, :, 1:] if change == "size" else images.astype(np.float64)
    with pytest.raises(ValueError, match=r"its input is float32 \(N, 3, "):
        session(model_file).run(wrong)


def test_a_damaged_file_is_refused(model_file: Path, tmp_path: Path) -> None:
    param, weights = tmp_path / "m.param", tmp_path / "m.bin"
    param.write_bytes(model_file.read_bytes())
    weights.write_bytes(model_file.with_suffix(".bin").read_bytes()[:20])
    with pytest.raises(ModelMismatchError, match=r"ncnn 1\..* cannot load it \(the file is dam"):
        session(param)


def test_halves_are_told_of_only_where_the_cpu_has_arithmetic_for_them(model_file: Path) -> None:
    import ncnn  # noqa: PLC0415

    expected = "f16" if ncnn.cpu_support_arm_asimdhp() else "f32"
    assert session(model_file, "f16").executed_precision().summary == expected
    assert session(model_file).executed_precision().operators == {"f32": 2}
    assert RUNTIMES.get("ncnn").format == "ncnn"


def test_one_inference_tells_whether_it_computes() -> None:
    assert try_runtime("ncnn") == open_runtime("ncnn").version
