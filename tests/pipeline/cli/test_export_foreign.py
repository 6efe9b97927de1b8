"""`compress export` of networks that no run of ours made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from foundation.bundle import open_bundle
from pipeline.exporting.choice import read_shipping
from pipeline.run_folder.folder import RunFolder
from smskd.checkpoints.files import load_tensors
from smskd.training.stage_files import METRICS

DIGITS = ["--data", "digits", "--image-size", "16"]
ONNX = ["--format", "onnx", "--precision", "fp32"]

SOURCES = {
    "weights": ["net.safetensors", "--model", "resnet8"],
    "a torch checkpoint with prefixes": ["wrapped.pt", "--model", "resnet8"],
    "a factory": ["mine:net"],
    "a graph": ["net.onnx"],
    "a graph with weights beside it": ["./beside.onnx"],
    "a graph for images of any size": ["free.onnx"],
}
NAMES = ("net", "wrapped", "mine-net", "net", "beside", "free")
# What tells these apart from the others is tested where files are read, in seconds.
TOLD_ELSEWHERE = {"wrapped", "beside", "free"}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        pytest.param(
            source, name, id=source, marks=[pytest.mark.slow] if name in TOLD_ELSEWHERE else []
        )
        for source, name in zip(SOURCES, NAMES, strict=True)
    ],
)
def test_a_network_from_elsewhere_becomes_bundles_with_its_accuracy(
    source: str, name: str, brought: Path, forked, road
) -> None:
    said = forked("export", *SOURCES[source], *DIGITS, *ONNX, "--json", cwd=brought)
    assert said.code == 0, said.err
    run = RunFolder(brought / "runs" / name)
    assert Path(said.json()["run"]) == Path("runs", name)
    teacher, student = road.run.record()["networks"]["teacher"], run.record()["networks"]["student"]
    assert student["test"]["top1"] == pytest.approx(teacher["test"]["top1"])
    assert student["test"]["loss"] == pytest.approx(teacher["test"]["loss"], rel=1e-4)
    assert "validation" not in student  # nothing is chosen by these images
    manifest = open_bundle(run.bundles / "local-onnx-fp32").manifest
    assert manifest.accuracy["top1"] == pytest.approx(teacher["test"]["top1"])
    assert manifest.accuracy["n"] == teacher["test"]["n"]
    assert [folder.name for folder in run.bundle_folders()] == ["local-onnx-fp32"]


@pytest.mark.parametrize("source", ["weights", "a graph with weights beside it"])
def test_bench_report_and_gate_work_on_its_run_folder_wherever_it_came_from(
    source: str, brought: Path, forked, tmp_path: Path
) -> None:
    both = ["--format", "onnx", "--precision", "fp32", "--precision", "int8"]
    said = forked("export", *SOURCES[source], *DIGITS, *both, cwd=brought)
    assert said.code == 0, said.err
    # What it was made of may go.
    for path in brought.iterdir():
        if path.is_file():
            path.unlink()
    budget = brought / "budget.toml"
    budget.write_text("[limits]\ntop1_percent = { min = 1.0 }\nsize_mb = { max = 1.0 }\n")
    said = forked("bench", "--threads", 1, "--queries", 20, "--max-seconds", 0.2, cwd=brought)
    assert said.code == 0, said.err
    said = forked("report", cwd=brought)
    assert said.code == 0, said.err
    said = forked("gate", "--budget", budget, "--json", cwd=brought)
    assert said.code == 0, said.err
    checked = {check["bundle"] for check in said.json()["checks"]}
    assert checked == {"local-onnx-fp32", "local-onnx-int8"}


def test_further_bundles_are_made_of_its_run_alone(brought: Path, forked) -> None:
    assert forked("export", "net.onnx", *DIGITS, *ONNX, cwd=brought).code == 0
    (brought / "net.onnx").unlink()
    said = forked("export", "--format", "openvino", "--precision", "fp32", cwd=brought)
    assert said.code == 0, said.err
    made = {folder.name for folder in RunFolder(brought / "runs/net").bundle_folders()}
    assert made == {"local-onnx-fp32", "local-openvino-fp32"}


@pytest.mark.slow
def test_the_same_again_does_nothing_and_other_weights_of_the_same_name_are_taken(
    brought: Path, forked
) -> None:
    command = ["export", "mine:net", *DIGITS, *ONNX]
    first = forked(*command, cwd=brought)
    assert first.code == 0, first.err
    run = RunFolder(brought / "runs/mine-net")
    model = run.bundles / "local-onnx-fp32/model.onnx"
    before, made_at = model.read_bytes(), model.stat().st_mtime_ns
    assert forked(*command, cwd=brought).code == 0
    assert model.stat().st_mtime_ns == made_at
    code = (brought / "mine.py").read_text().replace("net.safetensors", "hostile.safetensors")
    (brought / "mine.py").write_text(code)
    assert forked(*command, cwd=brought).code == 0
    assert model.read_bytes() != before


def test_mean_and_deviation_of_its_training_are_taken_where_given(brought: Path, forked) -> None:
    statistics = ["--set", "data.mean=[0.25]", "--set", "data.std=[0.5]"]
    said = forked("export", "net.onnx", *DIGITS, *ONNX, *statistics, cwd=brought)
    assert said.code == 0, said.err
    shape = open_bundle(brought / "runs/net/bundles/local-onnx-fp32").manifest.preprocessing
    assert (shape.mean, shape.std) == ([0.25], [0.5])


def test_a_student_starts_from_weights(brought: Path, forked) -> None:
    start = ["--set", "student.weights=net.safetensors", "--teacher-weights", "net.safetensors"]
    still = ["--stages", "kd", "--epochs", 1, "--set", "stages.0.lr=1e-12"]
    same = ["--data", "digits", "--set", "data.image_size=16", "--teacher", "resnet8"]
    said = forked("distill", *same, *start, *still, "--run", "runs/on", cwd=brought)
    assert said.code == 0, said.err
    begun, ended = (
        load_tensors(brought / path)[0]
        for path in ("net.safetensors", "runs/on/student.safetensors")
    )
    assert all(ended[name].allclose(begun[name], atol=1e-6) for name in begun if "conv" in name)


def test_a_student_that_does_not_fit_its_weights_is_told_before_the_teacher_is_trained(
    brought: Path, forked
) -> None:
    same = ["--data", "digits", "--set", "data.image_size=16", "--teacher", "resnet8"]
    wrong = ["--set", "student.weights=resnet14.safetensors"]
    said = forked("distill", *same, *wrong, "--run", "runs/on", cwd=brought)
    assert said.code == 15
    assert "resnet14.safetensors" in said.complaint
    assert not (brought / "runs/on/teacher" / METRICS).exists()


@dataclass(frozen=True)
class Mistake:
    """A command that cannot work, and what it must say."""

    code: int
    words: tuple[str, ...]
    arguments: list[str]


WEIGHTS = ["net.safetensors", "--model", "resnet8"]

MISTAKES = {
    "no data": Mistake(2, ("net.safetensors", "--data folder:PATH"), WEIGHTS),
    "no data for a graph": Mistake(2, ("net.onnx", "--data"), ["net.onnx"]),
    "no model": Mistake(2, ("net.safetensors", "add --model"), ["net.safetensors", *DIGITS]),
    "no model for a library's weights": Mistake(
        2, ("torchvision:DEFAULT", "add --model"), ["torchvision:DEFAULT", *DIGITS],
    ),
    "a model where none is needed": Mistake(
        2, ("--model resnet8", "net.onnx is a graph"), ["net.onnx", "--model", "resnet8", *DIGITS],
    ),
    "nothing that can be exported": Mistake(
        2, ("resnet8: neither a run folder",), ["resnet8", *DIGITS],
    ),
    "data without a network": Mistake(2, ("--data goes with a network",), DIGITS),
    "no weights": Mistake(10, ("gone.pt",), ["gone.pt", "--model", "resnet8", *DIGITS]),
    "no graph": Mistake(10, ("gone.onnx",), ["gone.onnx", *DIGITS]),
    "no dataset": Mistake(
        12, ("command line, data.name", "did you mean 'digits'?"), [*WEIGHTS, "--data", "digit"],
    ),
    "no images": Mistake(10, ("photos",), [*WEIGHTS, "--data", "folder:photos"]),
    "no such model": Mistake(
        12, ("student.model", "did you mean 'resnet8'?"),
        ["net.safetensors", "--model", "resnet9", *DIGITS],
    ),
    "no such factory": Mistake(19, ("mine:nat",), ["mine:nat", *DIGITS]),
    "a factory that fails": Mistake(19, ("mine:broken", "no luck today"), ["mine:broken", *DIGITS]),
    "code in a checkpoint": Mistake(
        16, ("code.pt", "objects can run code"), ["code.pt", "--model", "resnet8", *DIGITS],
    ),
    "weights of another architecture": Mistake(
        15, ("resnet14.safetensors", "unknown here"),
        ["resnet14.safetensors", "--model", "resnet8", *DIGITS],
    ),
    "weights for other classes": Mistake(
        15, ("seven.safetensors", "7 classes", "has 10"),
        ["seven.safetensors", "--model", "resnet8", *DIGITS],
    ),
    "a graph for other classes": Mistake(
        19, ("seven.onnx", "7 logits", "10 classes"), ["seven.onnx", *DIGITS],
    ),
    "images of another size": Mistake(
        20, ("net.onnx", "16, 16", "(N, 1, 24, 24)", "data.image_size"),
        ["net.onnx", "--data", "digits", "--image-size", "24"],
    ),
    "a torn graph": Mistake(16, ("torn.onnx: not an ONNX file",), ["torn.onnx", *DIGITS]),
    "a graph without its weights": Mistake(
        10, ("alone.onnx: its weights lie in a file",), ["alone.onnx", *DIGITS],
    ),
    "an operator that the runtime lacks": Mistake(
        20, ("magic.onnx", "my.own.Magic", "standard operators"), ["magic.onnx", *DIGITS],
    ),
    "a graph for four images at once": Mistake(
        20, ("four.onnx: takes 4 images at once, no fewer",), ["four.onnx", *DIGITS],
    ),
    "a mean for three channels": Mistake(
        11, ("data.mean = [0.1, 0.2, 0.3] has 3 values", "1 channels"),
        [*WEIGHTS, *DIGITS, "--set", "data.mean=[0.1, 0.2, 0.3]"],
    ),
    "a deviation of nothing": Mistake(
        11, ("command line, data.std[0]", "must be above 0"),
        [*WEIGHTS, *DIGITS, "--set", "data.std=[0.0]"],
    ),
    "weights to be pruned": Mistake(
        11, ("command line, student.prune:", "exported as it is", "compress distill"),
        [*WEIGHTS, *DIGITS, "--set", "student.prune=0.5"],
    ),
    "a graph to be pruned": Mistake(
        11, ("command line, student.prune:", "exported as it is"),
        ["net.onnx", *DIGITS, "--set", "student.prune=0.5"],
    ),
    "a factory to be trained in INT8": Mistake(
        11, ("command line, stages[1].quantize:", "a stage of training"),
        ["mine:net", *DIGITS, "--set", "stages.1.quantize=int8"],
    ),
    "a graph to be trained": Mistake(
        19, ("net.onnx: an ONNX file cannot be trained", "student.weights"),
        ["distill", "--student", "net.onnx", "--data", "digits"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing(name: str, brought: Path, forked) -> None:
    mistake = MISTAKES[name]
    before = {path for path in brought.rglob("*") if path.is_file()}
    command = [] if mistake.arguments[0] == "distill" else ["export"]
    said = forked(*command, *mistake.arguments, cwd=brought)
    assert said.code == mistake.code, said.err
    for word in mistake.words:
        assert word in said.complaint
    assert said.out == ""
    if command:
        left = {path for path in brought.rglob("*") if path.is_file()} - before
        assert not {path for path in left if "__pycache__" not in path.parts}


def test_a_format_that_lacks_an_operator_names_it_and_does_not_keep_another_from_shipping(
    brought: Path, forked
) -> None:
    said = forked("export", "det.onnx", *DIGITS, "--format", "openvino", cwd=brought)
    assert said.code == 20
    assert (
        "OpenVINO cannot take Det-20 (operator and ONNX opset); use format onnx" in said.complaint
    )
    run = RunFolder(brought / "runs/det")
    assert not run.bundles.exists()

    auto = ["--precision", "auto", "--target", "rpi5"]  # elsewhere, so that nothing is timed
    said = forked("export", "det.onnx", *DIGITS, *auto, cwd=brought)
    assert said.code == 0, said.err
    shipping = read_shipping(run.shipping_path)
    assert {one.format for one in shipping.candidates} == {"onnx"}
    (note,) = shipping.notes
    assert note.startswith("openvino is left out: FP32 itself cannot be made")
    assert "Det-20" in note
    assert f"note: {note}"[:60] in said.out

    said = forked("export", "det.onnx", *DIGITS, *auto, "--format", "openvino", cwd=brought)
    assert said.code == 20
    assert "Det-20" in said.complaint


def test_a_run_folder_of_another_recipe_is_left_as_it_is(own: RunFolder, brought, forked) -> None:
    before = own.record_path.read_bytes()
    said = forked("export", *WEIGHTS, *DIGITS, "--run", own.path, cwd=brought)
    assert said.code == 17
    assert "made by another recipe" in said.complaint
    assert own.record_path.read_bytes() == before
    assert own.student.is_file()


def test_a_graph_that_got_worse_does_not_take_the_place_of_the_one_before(
    brought: Path, forked
) -> None:
    command = ["export", "net.onnx", *DIGITS, *ONNX]
    assert forked(*command, cwd=brought).code == 0
    run = RunFolder(brought / "runs/net")
    before = run.student_graph.read_bytes()
    (brought / "seven.onnx").replace(brought / "net.onnx")
    assert forked(*command, cwd=brought).code == 19
    assert run.student_graph.read_bytes() == before
    assert json.loads((run.bundles / "local-onnx-fp32/bundle.json").read_text())


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_of_a_run_and_with_more_space_it_is_made(
    small_disk, brought: Path, forked
) -> None:
    disk, resize = small_disk
    command = ["export", *WEIGHTS, *DIGITS, *ONNX, "--run", disk / "run"]
    resize("400k")  # room for the images, but not for the weights too
    said = forked(*command, cwd=brought)
    assert said.code == 18, said.err
    assert "no space left" in said.complaint
    assert not list(disk.iterdir())
    resize("900k")  # room for the weights, but not for a bundle too
    said = forked(*command, cwd=brought)
    assert said.code == 18, said.err
    run = RunFolder(disk / "run")
    assert run.student.is_file()
    assert not run.bundles.exists()
    resize("5m")
    assert forked(*command, cwd=brought).code == 0
