from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.bundle import (
    MANIFEST,
    PROBE,
    SCHEMA_VERSION,
    Manifest,
    Preprocessing,
    checksums,
    open_bundle,
    write_manifest,
)
from foundation.errors import CorruptFileError, MissingFileError

PREPROCESSING = Preprocessing(2, 3, 2, mean=[0.5, 0.25], std=[0.5, 2.0])
IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 2, 3, 2)
LOGITS = np.array([[1.5, -2.0], [0.0, 3.25]], np.float32)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "parts").mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "parts" / "more.bin").write_bytes(b"more weights")
    np.savez(folder / PROBE, images=IMAGES, logits=LOGITS)
    write_manifest(folder, manifest_of(folder))
    return folder


def manifest_of(folder: Path) -> Manifest:
    return Manifest(
        name="local-onnx-int8",
        role="student",
        target="local",
        format="onnx",
        precision="int8",
        model_file="model.bin",
        input_name="image",
        output_name="logits",
        preprocessing=PREPROCESSING,
        classes=["cat", "dog"],
        files=checksums(folder),
        format_facts={"opset": 20},
        origin={"seed": 0},
    )


def change(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Edit the manifest's JSON as a careless hand would."""
    raw = json.loads((folder / MANIFEST).read_text())
    edited = edit(raw)
    (folder / MANIFEST).write_text(json.dumps(raw if edited is None else edited))


def test_a_bundle_comes_back_as_it_was(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert opened.manifest == manifest_of(bundle)
    assert opened.model_path.read_bytes() == b"weights"
    assert opened.model_bytes == len(b"weights") + len(b"more weights")
    images, logits = opened.probe()
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(logits, LOGITS)


def test_checksums_are_of_all_files_but_the_manifest(bundle: Path) -> None:
    assert list(checksums(bundle)) == ["model.bin", "parts/more.bin", PROBE]


def test_a_bundle_can_be_moved(bundle: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.move(bundle, moved)
    assert open_bundle(moved).model_path == moved / "model.bin"


@pytest.mark.parametrize("name", ["model.bin", "parts/more.bin", PROBE])
def test_a_changed_byte_is_found(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(CorruptFileError, match=f"{name}: checksum differs"):
        open_bundle(bundle)


@pytest.mark.parametrize("name", ["model.bin", "parts/more.bin", PROBE])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(MissingFileError, match=f"{name}: no such file"):
        open_bundle(bundle)


def test_a_folder_without_a_manifest_is_not_a_bundle(bundle: Path, tmp_path: Path) -> None:
    (bundle / MANIFEST).unlink()
    for folder in (bundle, tmp_path / "nowhere", bundle / "model.bin"):
        with pytest.raises(MissingFileError, match=r"not a bundle .*`compress export`"):
            open_bundle(folder)


@pytest.mark.parametrize("name", ["../secret", "parts/../../secret", "/etc/hostname"])
def test_a_path_that_leaves_the_folder_is_refused_unread(bundle: Path, name: str) -> None:
    (bundle.parent / "secret").write_bytes(b"")
    change(bundle, lambda raw: raw["files"].update({name: "0" * 64}))
    with pytest.raises(CorruptFileError, match="leaves the bundle") as caught:
        open_bundle(bundle)
    assert name in str(caught.value)


def test_a_model_without_a_checksum_is_refused(bundle: Path) -> None:
    change(bundle, lambda raw: raw["files"].pop("model.bin") and None)
    with pytest.raises(CorruptFileError, match=r"'model\.bin' has no checksum"):
        open_bundle(bundle)


def test_a_model_outside_is_refused_too(bundle: Path) -> None:
    change(bundle, lambda raw: raw.update(model_file="../model.bin"))
    with pytest.raises(CorruptFileError, match="has no checksum"):
        open_bundle(bundle)


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, "1", None])
def test_another_schema_version_is_refused(bundle: Path, version: object) -> None:
    change(bundle, lambda raw: raw.update(schema_version=version))
    expected = rf"schema version {version}, but this program reads {SCHEMA_VERSION}"
    with pytest.raises(CorruptFileError, match=expected):
        open_bundle(bundle)


@pytest.mark.parametrize("garbage", ["[]", "3", '"bundle"', "null", "{}", "{", "", "\x00"])
def test_a_manifest_that_is_none_is_refused(bundle: Path, garbage: str) -> None:
    (bundle / MANIFEST).write_text(garbage)
    with pytest.raises(CorruptFileError, match=r"bundle\.json: not (a bundle manifest|valid JSON)"):
        open_bundle(bundle)


@pytest.mark.parametrize("key", ["name", "preprocessing", "files", "classes", "schema_version"])
def test_a_manifest_that_lacks_a_key_is_refused(bundle: Path, key: str) -> None:
    change(bundle, lambda raw: raw.pop(key) and None)
    with pytest.raises(CorruptFileError, match=f"not a bundle manifest .*{key}"):
        open_bundle(bundle)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("files", ["model.bin"]),
        ("files", {"model.bin": 3}),
        ("model_file", None),
        ("model_file", ["model.bin"]),
        ("classes", "cat"),
        ("classes", [1, 2]),
        ("origin", []),
    ],
)
def test_a_value_of_a_wrong_type_is_quoted(bundle: Path, key: str, value: object) -> None:
    change(bundle, lambda raw: raw.update({key: value}))
    with pytest.raises(CorruptFileError, match=f"not a bundle manifest .*{key} is") as caught:
        open_bundle(bundle)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"), [("mean", 0.5), ("mean", ["a", "b"]), ("height", "2"), ("scale", 255)]
)
def test_a_wrong_preprocessing_is_refused(bundle: Path, key: str, value: object) -> None:
    change(bundle, lambda raw: raw["preprocessing"].update({key: value}))
    with pytest.raises(CorruptFileError, match=f"not a bundle manifest .*{key}"):
        open_bundle(bundle)


def test_whole_numbers_will_do_for_mean_and_deviation(bundle: Path) -> None:
    change(bundle, lambda raw: raw["preprocessing"].update(mean=[0, 0], std=[1, 1]))
    assert open_bundle(bundle).manifest.preprocessing.mean == [0, 0]


def test_keys_that_a_later_version_adds_are_passed_over(bundle: Path) -> None:
    change(bundle, lambda raw: raw.update(colour="green"))
    assert open_bundle(bundle).manifest == manifest_of(bundle)


def test_a_pickle_among_the_probe_images_does_not_run(bundle: Path) -> None:
    np.savez(bundle / PROBE, images=np.array([{}], dtype=object), logits=LOGITS)
    write_manifest(bundle, replace(manifest_of(bundle), files=checksums(bundle)))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        open_bundle(bundle).probe()


def test_preprocessing_is_what_is_worked_out_by_hand() -> None:
    """(pixel / 255 − mean) / std, channels first."""
    images = np.zeros((1, 2, 3, 2), np.uint8)
    images[0, 1, 2] = 255, 51
    prepared = PREPROCESSING.apply(images)
    assert prepared.shape == (1, 2, 2, 3)
    assert prepared.dtype == np.float32
    assert prepared.flags.c_contiguous
    assert prepared[0, 0, 1, 2] == pytest.approx((1.0 - 0.5) / 0.5)
    assert prepared[0, 1, 1, 2] == pytest.approx((0.2 - 0.25) / 2.0)
    assert prepared[0, 0, 0, 0] == pytest.approx((0.0 - 0.5) / 0.5)
    assert prepared[0, 1, 0, 0] == pytest.approx((0.0 - 0.25) / 2.0)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 2, 3, 2), np.float32),
        np.zeros((1, 3, 2, 2), np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
        np.zeros((2, 3, 2), np.uint8),
    ],
)
def test_images_of_another_shape_or_type_are_quoted(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(N, 2, 3, 2\), but got") as caught:
        PREPROCESSING.apply(images)
    assert f"{images.dtype} {images.shape}" in str(caught.value)
