"""Profiles that a run was exported for: kept, and never replaced by others without a word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deploy_targets.targets import Target, load_target
from foundation.bundle import Manifest, Preprocessing, RuntimeRange, TensorSpec, write_manifest
from foundation.errors import RecipeError
from pipeline.preflight.names import check_names
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.target_profiles import remember_target, target_of

SHIPPED = Path(__file__).parents[3] / "deploy_targets/profiles/rpi4.toml"


@pytest.fixture
def cam(tmp_path: Path):
    """Write a profile called "cam" in a folder, with that many threads."""

    def write(folder: str, threads: int) -> str:
        path = tmp_path / folder / "cam.toml"
        path.parent.mkdir(exist_ok=True)
        text = SHIPPED.read_text()
        assert "\nthreads = 4\n" in text
        path.write_text(text.replace("\nthreads = 4\n", f"\nthreads = {threads}\n"))
        return str(path)

    return write


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with a bundle for target "cam"."""
    folder = tmp_path / "run/bundles/cam-onnx-fp32"
    folder.mkdir(parents=True)
    (folder / "model.onnx").touch()
    manifest = Manifest(
        name="cam-onnx-fp32", role="student", target="cam", format="onnx", precision="fp32",
        model_file="model.onnx", input=TensorSpec("x", "float32", "NCHW", ["batch", 1, 2, 2]),
        output=TensorSpec("y", "float32", "NC", ["batch", 1]),
        preprocessing=Preprocessing(2, 2, 1, [0.0], [1.0]), classes=["a"],
        files={"model.onnx": "0" * 64}, opset=20, runtime=RuntimeRange("onnxruntime", "1.0"),
    )  # fmt: skip
    write_manifest(folder, manifest)
    return RunFolder(tmp_path / "run")


def remembered(run: RunFolder, path: str) -> tuple[list[str], Target | None]:
    notes = remember_target(run, path, load_target(path))
    return notes, target_of(run, "cam")


def test_a_profile_of_the_same_name_that_says_something_else_is_told(run: RunFolder, cam) -> None:
    one, other = cam("a", 1), cam("b", 2)
    assert remembered(run, one) == ([], load_target(one))
    assert remembered(run, one)[0] == []
    (note,), kept = remembered(run, other)
    assert kept == load_target(other)
    assert "another profile" in note
    assert "other: threads" in note
    assert other in note


def test_a_shipped_profile_in_the_place_of_ones_own_is_told(run: RunFolder, cam) -> None:
    one = cam("a", 1)
    target = replace(load_target(one), name="rpi4")
    folder = run.bundles / "cam-onnx-fp32"
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.replace('"target": "cam"', '"target": "rpi4"'))
    (note,) = remember_target(run, one, target)
    assert "another profile" in note
    (note,) = remember_target(run, "rpi4", load_target("rpi4"))
    assert "other: " in note


def test_where_no_bundle_is_of_that_name_there_is_nothing_to_tell(tmp_path: Path, cam) -> None:
    run = RunFolder(tmp_path / "empty")
    for path in (cam("a", 1), cam("b", 2)):
        assert remember_target(run, path, load_target(path)) == []


def test_two_profiles_of_one_name_in_a_recipe_are_refused(tmp_path: Path, cam) -> None:
    recipe = tmp_path / "x.toml"
    recipe.write_text(f'[export]\ntargets = ["{cam("a", 1)}", "{cam("b", 2)}"]\n')
    with pytest.raises(RecipeError, match=r"x\.toml line 2.*both called 'cam'"):
        check_names(load_recipe(recipe))
    recipe.write_text(f'[export]\ntargets = ["{cam("a", 2)}", "{cam("b", 2)}"]\n')
    check_names(load_recipe(recipe))
