from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.bundle import (
    CARD,
    MANIFEST,
    PROBE,
    SCHEMA_VERSION,
    Manifest,
    Preprocessing,
    RuntimeRange,
    TensorSpec,
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
    (folder / CARD).write_text("A model of cats and dogs.")
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
        input=TensorSpec("image", "float32", "NCHW", ["batch", 2, 2, 3]),
        output=TensorSpec("logits", "float32", "NC", ["batch", 2]),
        preprocessing=PREPROCESSING,
        classes=["cat", "dog"],
        files=checksums(folder),
        opset=20,
        runtime=RuntimeRange("onnxruntime", "1.17"),
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
    assert list(checksums(bundle)) == [CARD, "model.bin", "parts/more.bin", PROBE]


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


@pytest.mark.parametrize(
    "name",
    ["../secret", "parts/../../secret", "/etc/hostname", "..\\secret", "C:\\secret", "C:secret"],
)
def test_a_path_that_leaves_the_folder_is_refused_unread(bundle: Path, name: str) -> None:
    (bundle.parent / "secret").write_bytes(b"")
    change(bundle, lambda raw: raw["files"].update({name: "0" * 64}))
    with pytest.raises(CorruptFileError, match="leaves the bundle") as caught:
        open_bundle(bundle)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["./model.bin", "parts//more.bin", ".", "", "model\n.bin"])
def test_a_path_that_is_not_written_plainly_is_refused(bundle: Path, name: str) -> None:
    change(bundle, lambda raw: raw["files"].update({name: "0" * 64}))
    with pytest.raises(CorruptFileError, match="not written plainly") as caught:
        open_bundle(bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["file", "folder", "manifest"])
def test_a_link_that_leaves_the_folder_is_refused(bundle: Path, where: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    name = {"file": "model.bin", "folder": "parts", "manifest": MANIFEST}[where]
    shutil.move(bundle / name, outside)
    (bundle / name).symlink_to(outside)
    with pytest.raises(CorruptFileError, match=rf"{name}.*a link that leaves the bundle"):
        open_bundle(bundle)


def test_a_link_within_the_folder_will_do(bundle: Path) -> None:
    (bundle / "model.bin").rename(bundle / "parts" / "kept.bin")
    (bundle / "model.bin").symlink_to(bundle / "parts" / "kept.bin")
    assert open_bundle(bundle).model_path.read_bytes() == b"weights"


def test_a_path_that_stands_there_twice_is_refused(bundle: Path) -> None:
    text = (bundle / MANIFEST).read_text()
    line = next(line for line in text.splitlines() if '"model.bin": ' in line)
    (bundle / MANIFEST).write_text(text.replace(line, f"{line}\n{line}"))
    with pytest.raises(CorruptFileError, match=r"key 'model\.bin' stands there twice"):
        open_bundle(bundle)


def test_two_paths_that_are_one_to_some_file_systems_are_refused(bundle: Path) -> None:
    (bundle / "MODEL.bin").write_bytes(b"weights")
    change(bundle, lambda raw: raw["files"].update({"MODEL.bin": raw["files"]["model.bin"]}))
    with pytest.raises(CorruptFileError, match=r"path 'model\.bin' stands there 2 times"):
        open_bundle(bundle)


def test_files_that_are_not_listed_are_tolerated_and_named(bundle: Path) -> None:
    assert open_bundle(bundle).extra_files() == []
    (bundle / "parts" / "note.txt").write_text("mine")
    (bundle / "link").symlink_to("/nowhere")
    assert open_bundle(bundle).extra_files() == ["link", "parts/note.txt"]


IMPOSSIBLE = {
    "a dtype": ("input", {"dtype": "float16"}, r"input 'image' is float16"),
    "an input of another size": (
        "input",
        {"shape": ["batch", 2, 2, 4]},
        r"is float32 NCHW \[.*4\]",
    ),
    "a layout": ("input", {"layout": "NHWC"}, "is float32 NHWC"),
    "no axes": ("input", {"shape": []}, "input"),
    "no images at once": ("input", {"shape": [0, 2, 2, 3]}, "input"),
    "another batch name": ("input", {"shape": ["n", 2, 2, 3]}, "input"),
    "no name": ("input", {"name": ""}, "input ''"),
    "an output of other classes": ("output", {"shape": ["batch", 3]}, "output 'logits'"),
    "a mean too few": ("preprocessing", {"mean": [0.5]}, r"mean is \[0\.5\].*2 channels"),
    "no deviation": ("preprocessing", {"std": [0.0, 1.0]}, "std is .* above 0"),
    "a mean that is no number": (
        "preprocessing",
        {"mean": [float("nan"), 0.0]},
        r"mean\[0\] is nan",
    ),
    "no height": ("preprocessing", {"height": 0}, "0 × 3 × 2"),
    "embedded, but floats": ("preprocessing", {"embedded": True}, "it is uint8 NHWC"),
    "a version": ("runtime", {"min_version": "new"}, "version 'new' is none"),
    "an empty range": ("runtime", {"max_version": "1.16"}, "no version .* 1.17 to 1.16"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_cannot_be_is_refused_in_one_line(bundle: Path, case: str) -> None:
    part, values, words = IMPOSSIBLE[case]
    change(bundle, lambda raw: raw[part].update(values))
    with pytest.raises(CorruptFileError, match=words) as caught:
        open_bundle(bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "a\nb"])
def test_a_bundles_name_is_a_plain_one(bundle: Path, name: str) -> None:
    change(bundle, lambda raw: raw.update(name=name))
    with pytest.raises(CorruptFileError, match="is not a plain name"):
        open_bundle(bundle)


def test_a_manifest_that_cannot_be_is_not_written(bundle: Path) -> None:
    before = (bundle / MANIFEST).read_bytes()
    with pytest.raises(ValueError, match="preprocessing and classes"):
        write_manifest(bundle, replace(manifest_of(bundle), classes=[]))
    assert (bundle / MANIFEST).read_bytes() == before


@pytest.mark.parametrize(
    ("version", "allowed"),
    [
        ("1.16.3", False), ("1.17.0", True), ("1.17", True), ("1.20.1", True), ("1.20", True),
        ("1.21.0", False), ("2.0", False), ("1.18.0-dev+cpu", True), ("unknown", False),
    ],
)  # fmt: skip
def test_a_range_of_versions_has_both_its_ends(version: str, allowed: bool) -> None:
    assert RuntimeRange("r", "1.17", "1.20").allows(version) is allowed


def test_a_range_may_be_open_at_its_end() -> None:
    assert RuntimeRange("r", "2024.1").allows("2031.0.0-rc1")
    assert str(RuntimeRange("r", "2024.1")) == "r 2024.1 or newer"
    assert str(RuntimeRange("r", "1.17", "1.20")) == "r 1.17 to 1.20.x"
    assert str(RuntimeRange("r", "1.17", "1.20", ["1.18.0"])) == "r 1.17 to 1.20.x, not 1.18.0"


def test_embedded_preprocessing_takes_the_images_themselves(bundle: Path) -> None:
    def embed(raw: dict[str, Any]) -> None:
        raw["preprocessing"]["embedded"] = True
        raw["input"].update(dtype="uint8", layout="NHWC", shape=["batch", 2, 3, 2])

    np.testing.assert_array_equal(open_bundle(bundle).prepare(IMAGES), PREPROCESSING.apply(IMAGES))
    change(bundle, embed)
    opened = open_bundle(bundle)
    prepared = opened.prepare(IMAGES[:, :, ::-1])
    np.testing.assert_array_equal(prepared, IMAGES[:, :, ::-1])
    assert prepared.dtype == np.uint8
    assert prepared.flags.c_contiguous
    with pytest.raises(ValueError, match=r"uint8 \(N, 2, 3, 2\), but got"):
        opened.prepare(IMAGES[:, :1])


def test_a_model_without_a_checksum_is_refused(bundle: Path) -> None:
    change(bundle, lambda raw: raw["files"].pop("model.bin") and None)
    with pytest.raises(CorruptFileError, match=r"'model\.bin' has no checksum"):
        open_bundle(bundle)


def test_a_model_outside_is_refused_too(bundle: Path) -> None:
    change(bundle, lambda raw: raw.update(model_file="../model.bin"))
    with pytest.raises(CorruptFileError, match="has no checksum"):
        open_bundle(bundle)


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 2, "1", None])
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
    ("key", "value", "words"),
    [
        ("files", ["model.bin"], "key 'files' must be a table, but got ['model.bin']"),
        ("files", {"model.bin": 3}, "key 'files.model.bin' must be text, but got 3"),
        ("model_file", None, "key 'model_file' must be text, but got None"),
        ("model_file", ["model.bin"], "key 'model_file' must be text, but got ['model.bin']"),
        ("classes", "cat", "key 'classes' must be a list, but got 'cat'"),
        ("classes", [1, 2], "key 'classes[0]' must be text, but got 1"),
        ("origin", [], "key 'origin' must be a table, but got []"),
    ],
)
def test_a_value_of_a_wrong_type_is_quoted_with_its_place(
    bundle: Path, key: str, value: object, words: str
) -> None:
    change(bundle, lambda raw: raw.update({key: value}))
    with pytest.raises(CorruptFileError, match=f"not a bundle manifest .{re.escape(words)}"):
        open_bundle(bundle)


@pytest.mark.parametrize("size", [True, 2.0, None, []])
def test_a_size_of_a_tensor_is_a_whole_number_or_a_name(bundle: Path, size: object) -> None:
    change(bundle, lambda raw: raw["input"]["shape"].__setitem__(0, size))
    words = r"key 'input\.shape\[0\]' must be a whole number or text, but got "
    with pytest.raises(CorruptFileError, match=words + re.escape(repr(size))):
        open_bundle(bundle)


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
    with pytest.raises(CorruptFileError, match=r"not a usable probe .*allow_pickle=False"):
        open_bundle(bundle).probe()


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": IMAGES},
        {"images": IMAGES, "logits": LOGITS[:1]},
        {"images": IMAGES, "logits": LOGITS[:, :1]},
        {"images": IMAGES, "logits": LOGITS.astype(np.float64)},
        {"images": IMAGES, "logits": np.full_like(LOGITS, np.inf)},
        {"images": IMAGES[:0], "logits": LOGITS[:0]},
        {"images": IMAGES[:, :1], "logits": LOGITS},
        {"images": IMAGES.astype(np.int16), "logits": LOGITS},
    ],
)
def test_a_probe_that_does_not_fit_is_refused(bundle: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(bundle / PROBE, **arrays)
    write_manifest(bundle, replace(manifest_of(bundle), files=checksums(bundle)))
    with pytest.raises(CorruptFileError, match=r"probe\.npz: not a usable probe") as caught:
        open_bundle(bundle).probe()
    assert "\n" not in str(caught.value)


def test_a_probe_that_claims_more_than_it_has_is_refused(bundle: Path) -> None:
    """A header may promise any shape: numpy makes room for it before it reads."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 50, 2, 3, 2)}
    with zipfile.ZipFile(bundle / PROBE, "w") as archive, archive.open("images.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
    write_manifest(bundle, replace(manifest_of(bundle), files=checksums(bundle)))
    with pytest.raises(CorruptFileError, match="not a usable probe"):
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


def test_weights_that_the_manifest_does_not_list_are_not_loaded(bundle: Path) -> None:
    """OpenVINO takes them by the model's own name, ONNX Runtime where the model names them."""
    (bundle / "other.xml").write_text("layers")
    write_manifest(bundle, replace(manifest_of(bundle), model_file="other.xml"))
    (bundle / "other.bin").write_bytes(b"other weights")
    with pytest.raises(CorruptFileError, match=r"would load 'other\.bin', which bundle\.json does"):
        open_bundle(bundle)
    (bundle / "other.bin").unlink()

    (bundle / "model.bin").write_bytes(b"graph \x0a\x08location\x12\x07far.dat")
    write_manifest(bundle, manifest_of(bundle))
    (bundle / "near.dat").write_bytes(b"nobody reads it")
    assert open_bundle(bundle).extra_files() == ["near.dat"]
    (bundle / "far.dat").write_bytes(b"other weights")
    with pytest.raises(CorruptFileError, match=r"the model would load 'far\.dat'"):
        open_bundle(bundle)


def test_a_manifest_of_endless_paths_is_refused_at_once(bundle: Path) -> None:
    content = json.loads((bundle / "bundle.json").read_text())
    for path, words in (("a/" * 20 + "b", "deeper"), ("a" * 600, "longer")):
        hostile = content | {"files": content["files"] | {path: "0" * 64}}
        (bundle / "bundle.json").write_text(json.dumps(hostile))
        with pytest.raises(CorruptFileError, match=words):
            open_bundle(bundle)
    many = content["files"] | {f"f{number}": "0" * 64 for number in range(1001)}
    (bundle / "bundle.json").write_text(json.dumps(content | {"files": many}))
    with pytest.raises(CorruptFileError, match="more than the 1000 of any bundle"):
        open_bundle(bundle)
