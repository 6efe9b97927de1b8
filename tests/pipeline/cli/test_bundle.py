"""compress bundle, as a user calls it, on small real bundles and on spoilt ones."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from export.bundling import make_bundles
from export.requests import BundleRequest, ExportSource
from foundation.bundle import MANIFEST, Preprocessing, checksums
from foundation.confinement import ProcessLimits
from pipeline.commands import bundle_answers
from pipeline.commands.bundle import verify

CHECKS = ["manifest", "checksums", "other files", "probe", "model"]
BUNDLES = ["local-onnx-fp32", "local-onnx-int8", "local-openvino-fp32", "local-openvino-int8"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one network's bundles; to be read, not changed."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(32, 3),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 200, (40, 2, 1, 2, 1, 3)).astype(np.uint8)
    images = np.broadcast_to(levels, (40, 2, 8, 2, 8, 3)).reshape(40, 16, 16, 3)
    source = ExportSource(
        model=network,
        role="student",
        preprocessing=Preprocessing(16, 16, 3, [0.4] * 3, [0.2] * 3),
        classes=["cat", "dog", "eel"],
        calibration=images[:20],
        probe_images=images[20:],
    )
    root = tmp_path_factory.mktemp("made")
    make_bundles(source, [BundleRequest(*name.split("-")) for name in BUNDLES], root)
    return root


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """A copy of them, at bundles/ in `tmp_path`, to spoil."""
    return Path(shutil.copytree(made, tmp_path / "bundles"))


def states(said) -> dict[str, str]:
    return {check["what"]: check["state"] for check in said.json()["checks"]}


def reseal(folder: Path, **changes: object) -> None:
    """Checksums made anew, as a careful hand would after changing a file."""
    raw = json.loads((folder / MANIFEST).read_text())
    raw.update(changes, files=checksums(folder))
    (folder / MANIFEST).write_text(json.dumps(raw))


@pytest.mark.parametrize("name", BUNDLES)
def test_a_sound_bundle_passes_every_check(made: Path, name: str) -> None:
    outcome, failed = verify(made / name)
    assert failed is None
    assert outcome.passed
    assert {one["what"]: one["state"] for one in outcome.content["checks"]} == dict.fromkeys(
        CHECKS, "ok"
    )
    assert "same class for" in outcome.content["checks"][-1]["found"]


def test_a_person_is_shown_a_table(own: Path, compress, tmp_path: Path) -> None:
    said = compress("bundle", "verify", "bundles/local-onnx-int8", cwd=tmp_path)
    assert said.code == 0, said.err
    for word in (*CHECKS, "ok", "onnxruntime"):
        assert word in said.out


def test_what_is_packed_verifies_and_comes_back(own: Path, compress, tmp_path: Path) -> None:
    folder = own / "local-onnx-int8"
    said = compress("bundle", "pack", folder, "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    packed = own / "local-onnx-int8.bundle"
    assert said.json()["file"] == str(packed.resolve())
    again = compress("bundle", "pack", folder, "--out", "again.bundle", cwd=tmp_path)
    assert again.code == 0
    assert packed.read_bytes() == (tmp_path / "again.bundle").read_bytes()
    said = compress("bundle", "verify", packed, "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    assert states(said) == dict.fromkeys(["packed file", *CHECKS], "ok")
    said = compress("bundle", "unpack", "again.bundle", "--out", "mine", cwd=tmp_path)
    assert said.code == 0, said.err
    assert checksums(tmp_path / "mine") == checksums(folder)
    said = compress("bundle", "unpack", "again.bundle", "--out", "mine", cwd=tmp_path)
    assert said.code == 2
    assert "mine: is there already" in said.complaint


def changed(folder: Path) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)


def escaping(folder: Path) -> None:
    raw = json.loads((folder / MANIFEST).read_text())
    raw["files"]["../../secret"] = "0" * 64
    (folder / MANIFEST).write_text(json.dumps(raw))


def pickled(folder: Path) -> None:
    np.savez(folder / "probe.npz", images=np.array([{}], object), logits=np.zeros((1, 3)))
    reseal(folder)


def other_weights(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    for entry in model.graph.initializer:
        values = numpy_helper.to_array(entry)
        if values.ndim == 4:
            entry.CopyFrom(numpy_helper.from_array(-values, entry.name))
    onnx.save(model, folder / "model.onnx")
    reseal(folder)


SPOILT = {
    "a changed byte": (changed, "checksums", 16, "model.onnx: checksum differs"),
    "a missing file": (
        lambda folder: (folder / "model.onnx").unlink(), "checksums", 10, "model.onnx: no such",
    ),
    "a way out": (escaping, "manifest", 16, "leaves the bundle"),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "manifest", 10, "not a bundle"),
    "an extra file": (
        lambda folder: (folder / "extra.so").write_text("x"), "other files", 16, "'extra.so'",
    ),
    "a pickle": (pickled, "probe", 16, "not a usable probe"),
    "other weights, resealed": (other_weights, "model", 19, "it was held to"),
    "no tolerance that is one": (
        lambda folder: reseal(folder, parity={"tolerance": {"relative_error": "x"}}),
        "model", 16, "recorded tolerance",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_wrong_is_named_in_the_table_and_in_one_line(own: Path, case: str) -> None:
    spoil, check, code, words = SPOILT[case]
    folder = own / "local-onnx-fp32"
    spoil(folder)
    outcome, failed = verify(folder)
    assert failed is not None
    assert failed.exit_code == code
    assert words in str(failed)
    assert "\n" not in str(failed)
    at = CHECKS.index(check)
    assert {one["what"]: one["state"] for one in outcome.content["checks"]} == {
        **dict.fromkeys(CHECKS[:at], "ok"),
        check: "failed",
        **dict.fromkeys(CHECKS[at + 1 :], "not reached"),
    }
    assert not outcome.passed


def test_a_failed_check_ends_in_its_line_and_exit_code_and_a_table(
    own: Path, compress, tmp_path: Path
) -> None:
    changed(own / "local-onnx-fp32")
    said = compress("bundle", "verify", own / "local-onnx-fp32", "--json", cwd=tmp_path)
    assert said.code == 16
    assert "model.onnx: checksum differs" in said.complaint
    assert states(said)["checksums"] == "failed"


def test_a_packed_file_that_is_cut_off_is_told(own: Path, compress, tmp_path: Path) -> None:
    compress("bundle", "pack", own / "local-onnx-fp32", "--out", "p.bundle", cwd=tmp_path)
    content = (tmp_path / "p.bundle").read_bytes()
    (tmp_path / "p.bundle").write_bytes(content[: len(content) // 2])
    for command in ("verify", "unpack"):
        said = compress("bundle", command, "p.bundle", cwd=tmp_path)
        assert said.code == 16, said.err
        assert "p.bundle: not a whole packed bundle" in said.complaint


def test_a_model_that_is_wrong_within_a_packed_file_is_named_by_that_file(
    own: Path, compress, tmp_path: Path
) -> None:
    other_weights(own / "local-onnx-fp32")
    compress("bundle", "pack", own / "local-onnx-fp32", "--out", "p.bundle", cwd=tmp_path)
    assert zipfile.is_zipfile(tmp_path / "p.bundle")
    said = compress("bundle", "verify", "p.bundle", cwd=tmp_path)
    assert said.code == 19
    assert said.complaint.startswith("error: p.bundle: ")


HIDDEN = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"onnxruntime", "onnx", "torch", "nncf"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from pipeline.cli import main
main()
"""


def test_without_torch_it_works_and_without_the_runtime_the_rest_is_checked(
    own: Path, python, tmp_path: Path
) -> None:
    def checked(name: str):
        said = python(HIDDEN, "bundle", "verify", own / name, "--json", cwd=tmp_path)
        assert said.code == 0, said.err
        return said

    assert states(checked("local-openvino-int8"))["model"] == "ok"
    skipped = states(checked("local-onnx-int8"))
    assert skipped == {**dict.fromkeys(CHECKS, "ok"), "model": "skipped"}


def behind_the_logits(folder: Path, nodes: list, **weights: np.ndarray) -> None:
    """Puts nodes from "before" to the output's name into a bundle's model, as its maker could."""
    model = onnx.load(folder / "model.onnx")
    logits = model.graph.output[0].name
    next(node for node in model.graph.node if logits in node.output).output[0] = "before"
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in weights.items()
    )
    del model.graph.value_info[:]
    onnx.save(model, folder / "model.onnx")
    reseal(folder)


def test_a_model_that_never_ends_is_ended(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    integer, boolean, real = TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT
    values = [("i", integer, []), ("c", boolean, []), ("v", real, None)]
    results = [("c2", boolean, []), ("v2", real, None)]
    steps = [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Relu", ["v"], ["v2"])]
    body = helper.make_graph(
        steps,
        "body",
        *([helper.make_tensor_value_info(*entry) for entry in part] for part in (values, results)),
    )
    loop = helper.make_node("Loop", ["times", "on", "before"], ["logits"], body=body)
    folder = own / "local-onnx-fp32"
    behind_the_logits(folder, [loop], times=np.array(1 << 62), on=np.array(True))
    limits = ProcessLimits(6.0, 8 << 30)
    monkeypatch.setattr(bundle_answers.ProcessLimits, "for_model", lambda _: limits)
    _, failed = verify(folder)
    assert failed is not None
    assert failed.exit_code == 19
    assert "did not come to an end within 6 seconds" in str(failed)


def test_a_model_that_answers_otherwise_in_a_batch_is_no_sound_one(own: Path) -> None:
    nodes = [
        helper.make_node("Slice", ["before", "zero", "one", "zero"], ["first"]),
        helper.make_node("Sub", ["before", "first"], ["apart"]),
        helper.make_node("Add", ["before", "apart"], ["logits"]),
    ]
    folder = own / "local-onnx-fp32"
    behind_the_logits(folder, nodes, zero=np.array([0]), one=np.array([1]))
    _, failed = verify(folder)
    assert failed is not None
    assert failed.exit_code == 19
    assert "asked for all images at once" in str(failed)
