"""What leaves this machine tells nothing of where it was made."""

from __future__ import annotations

import getpass
import platform
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from PIL import Image

from export.graphs.to_onnx import export_onnx
from foundation.bundle import read_manifest
from foundation.packing import pack
from pipeline.exporting.export import export
from pipeline.models import build_model
from pipeline.recipe.file import load_recipe
from pipeline.report.write import report
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.training.adopt import adopt
from pipeline.training.prepare import TrainingData, prepare
from smskd.checkpoints.files import save_model


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path is nobody's business, with a dataset and two networks in it."""
    root = tmp_path_factory.mktemp("secret-place")
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 4)):
        for level, name in enumerate(("dark", "light")):
            folder = root / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 100, (8, 8, 3), dtype=np.uint8) + np.uint8(100 * level)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    (root / "photos/train/dark/bad.png").write_text("no image")
    (root / "photos/val").mkdir()  # is said not to be read
    torch.manual_seed(0)
    network = build_model("resnet8", 2, 3).eval()
    save_model(root / "net.safetensors", network)
    export_onnx(network, torch.zeros(1, 3, 8, 8), root / "net.onnx", 20)
    _note_where(root / "net.onnx")
    return root


def _note_where(path: Path) -> None:
    """As exporters and training scripts do."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.doc_string = f"{path.parent}/models.py(12): forward"
        helper.set_model_props(node, {"pkg.torch.onnx.stack_trace": f'File "{path.parent}/m.py"'})
    helper.set_model_props(model, {"args": f"{{'data': '{path.parent}/coco.yaml'}}"})
    onnx.save(model, path)


def ships(run: RunFolder) -> Iterator[tuple[str, bytes]]:
    """Name and content of all that goes to others."""
    for folder in run.bundle_folders():
        packed = pack(folder)
        yield packed.name, packed.read_bytes()
        with zipfile.ZipFile(packed) as archive:
            for name in archive.namelist():
                yield f"{folder.name}/{name}", archive.read(name)
    for path in sorted(run.path.glob("report*")):
        yield path.name, path.read_bytes()


def exported(folder: Path, settings: dict[str, object]) -> RunFolder:
    """A run that adopts a network and makes bundles of it."""
    file = load_recipe(None, settings)
    run, data = start_run(folder, file.recipe), TrainingData(file)
    prepare(run, data)
    adopt(run, data)
    export(run, file.recipe.export, lambda _line: None)
    return run


def test_bundles_are_made_anew_of_changed_data_and_say_of_which(
    secret: Path, tmp_path: Path
) -> None:
    photos = Path(shutil.copytree(secret / "photos", tmp_path / "photos"))
    (photos / "train/dark/bad.png").unlink()
    settings = {
        "data.name": f"folder:{photos}",
        "data.val_fraction": 0.2,
        "student.model": str(secret / "net.onnx"),
        "export.formats": ["onnx"],
        "export.precisions": ["fp32"],
    }

    def origin_and_accuracy() -> tuple[str, int]:
        run = exported(tmp_path / "run", settings)
        manifest = read_manifest(run.bundles / "local-onnx-fp32")
        return manifest.origin["dataset_sha256"], manifest.accuracy["n"]

    first = origin_and_accuracy()
    assert first[1] == 8
    assert origin_and_accuracy() == first
    (photos / "test/light/0.png").unlink()
    (photos / "test/dark/0.png").unlink()
    second = origin_and_accuracy()
    assert second[1] == 6
    assert second[0] != first[0]


@pytest.mark.parametrize(
    ("given", "precision"), [("net.safetensors", "fp32"), ("net.onnx", "int8")]
)
def test_nothing_that_ships_tells_a_path_of_this_machine(
    given: str, precision: str, secret: Path
) -> None:
    graph = given.endswith(".onnx")
    student = {"model": str(secret / given)} if graph else {"weights": str(secret / given)}
    settings = {
        "data.name": f"folder:{secret / 'photos'}",
        "data.on_bad_image": "skip",
        "data.val_fraction": 0.2,
        "student.model": "resnet8",
        **{f"student.{key}": value for key, value in student.items()},
        "export.formats": ["onnx", "openvino"],
        "export.precisions": [precision],
    }
    run = exported(secret / "runs" / given, settings)
    report(run)
    files = dict(ships(run))
    assert len(run.bundle_folders()) == 2
    places = ["secret-place", str(Path(__file__).parents[3]), str(Path.home()) + "/"]
    places += [f"{getpass.getuser()}@{platform.node()}", "stack_trace"]
    told = {(n, place) for n, text in files.items() for place in places if place.encode() in text}
    assert told == set()
    assert b"folder:photos" in files[f"local-onnx-{precision}/model.onnx"]
    assert b"train/dark/bad.png" in files["report.html"]
    assert b"of photos only train/ and test/ are read" in files["report.md"]
