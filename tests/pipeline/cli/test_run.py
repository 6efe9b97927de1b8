from __future__ import annotations

import json
from pathlib import Path

from deploy_targets.measurement import read_measurement
from foundation.bundle import open_bundle
from pipeline.run_folder.folder import RunFolder

BUNDLES = {
    "local-onnx-fp32",
    "local-onnx-int8",
    "local-openvino-fp32",
    "local-openvino-int8",
    "local-teacher-onnx-fp32",
    "local-teacher-openvino-fp32",
}


def content_of(run: RunFolder) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file that costs time to make."""
    folders = (run.data, run.teacher, run.stages, run.bundles, run.bench)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(run.path)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in [*files, run.student]
    }


def test_one_command_walks_the_whole_road(road) -> None:
    assert road.said.code == 0, road.said.err
    assert "Traceback" not in road.said.err


def test_the_run_folder_holds_all_that_the_design_draws(road) -> None:
    assert {path.name for path in road.run.path.iterdir() if not path.name.startswith(".")} == {
        "recipe.toml", "run.json", "data", "teacher", "stages", "student.safetensors", "bundles",
        "findings", "retention.json", "bench", "report.html", "report.md", "report-front.png",
        "report-waterfall.png", "gate.json", "scores",
    }  # fmt: skip
    for name in ("teacher", "stages/1-kd", "stages/2-at", "stages/3-rkd"):
        files = {path.name for path in (road.run.path / name).iterdir()}
        assert {"weights.safetensors", "metrics.json"} <= files
        assert "resume.safetensors" not in files
    assert {folder.name for folder in road.run.bundle_folders()} == BUNDLES
    measured = {path.name for path in road.run.measurement_paths()}
    assert measured == {f"{name}@local.json" for name in BUNDLES}
    assert not [path for path in road.run.path.rglob("*") if path.name.endswith(".tmp")]


def test_every_bundle_and_every_measurement_can_be_read(road) -> None:
    for folder in road.run.bundle_folders():
        bundle = open_bundle(folder)
        assert bundle.manifest.classes == [str(digit) for digit in range(10)]
        assert bundle.manifest.preprocessing.height == 16
        assert bundle.manifest.accuracy["n"] == 360
    for path in road.run.measurement_paths():
        one = read_measurement(path)
        assert one.runtime.threads == 1
        assert one.latency_ms.n <= 30
        assert one.accuracy is not None
        assert one.accuracy.n == 360


def test_the_result_is_json_on_standard_output_and_progress_is_not(road) -> None:
    result = road.said.json()
    assert Path(result["run"]) == Path("runs/tiny")
    assert result["verdict"]["verdict"] == "pass"
    assert set(result["networks"]) == {"teacher", "student"}
    assert [Path(path).name for path in result["report"]] == [
        "report.html", "report.md", "report-front.png", "report-waterfall.png",
    ]  # fmt: skip
    assert "measuring local-onnx-int8" in road.said.err


def test_progress_names_every_stage_and_epoch(road) -> None:
    for words in ("teacher: labels: 2 epochs", "stage kd: 1 epochs", "stage rkd", "epoch   2/2"):
        assert words in road.said.err


def test_the_recipe_in_the_run_folder_is_the_one_that_was_asked(road) -> None:
    recipe = road.run.recipe()
    assert recipe.data.image_size == 16
    assert [stage.name for stage in recipe.stages] == ["kd", "at", "rkd"]
    assert recipe.gate.limits["size_mb"].max == 5.0


def test_the_record_has_the_checksum_of_every_product(road) -> None:
    steps = road.run.record()["steps"]
    recorded = {name for step in steps.values() for name in step["products"]}
    # Of the files that the data were read from: when one is touched, the list is written anew.
    assert set(content_of(road.run)) - recorded == {"data/files.npz"}
    assert all(step["seconds"] >= 0 for step in steps.values())


def test_walked_again_nothing_is_made_anew(own: RunFolder, forked, tmp_path: Path) -> None:
    files, steps = content_of(own), own.record()["steps"]
    again = forked("run", "tiny.toml", "--json", cwd=tmp_path)
    assert again.code == 0, again.err
    assert content_of(own) == files
    assert own.record()["steps"] == steps
    assert "epoch" not in again.err
    assert "measuring" not in again.err


def test_a_gate_that_says_no_is_exit_code_1_and_the_report_says_so(
    own: RunFolder, forked, tmp_path: Path
) -> None:
    said = forked("run", "tiny.toml", "--set", "gate.limits.size_mb.max=0.001", cwd=tmp_path)
    assert said.code == 1, said.err
    assert "FAIL" in said.out
    assert json.loads(own.verdict_path.read_text())["verdict"] == "fail"
    assert "gate fail" in (own.path / "report.md").read_text()
