"""Several teachers on the road: kept, mixed, named by stages, and refused where they differ."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from export.graphs.to_onnx import export_onnx
from foundation.errors import ModelMismatchError, RecipeError, RunMismatchError
from foundation.files import read_json
from pipeline.cli.distill import teachers_typed
from pipeline.data.fitting import Preparations, preparations
from pipeline.models import build_model
from pipeline.preflight.names import check_names
from pipeline.recipe.file import dump_recipe, load_recipe
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.training.prepare import TrainingData, prepare
from pipeline.training.several_teachers import check_one_order, opened_teachers
from pipeline.training.steps import distil, teach
from smskd.checkpoints.files import save_model
from smskd.listening import Listener
from smskd.training.stage_files import METRICS

QUICK = {
    "data.image_size": 16,
    "data.batch_size": 256,
    "data.student_fraction": 0.2,
    "student.model": "resnet8",
    "engine.accelerator": "cpu",
}
KD = {"methods": "kd", "epochs": 1}
HELD = {**KD, "reference_methods": "previous"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher as an ONNX file, and another one as weights."""
    folder = tmp_path_factory.mktemp("teachers")
    torch.manual_seed(3)
    networks = [build_model("resnet8", 10, 1) for _ in range(2)]
    for network in networks:
        with torch.no_grad():
            network.train()(torch.rand(64, 1, 16, 16))
        network.eval()
    export_onnx(networks[0], torch.zeros(1, 1, 16, 16), folder / "a.onnx", 20)
    save_model(folder / "b.safetensors", networks[1])
    torch.save(networks, folder / "networks.pt")
    return folder


def members(place: Path, **of_first: object) -> list[dict[str, object]]:
    weights = str(place / "b.safetensors")
    return [
        {"name": "a", "model": str(place / "a.onnx"), "weight": 3.0, **of_first},
        {"name": "b", "model": "resnet8", "weights": weights},
    ]


def walk(folder: Path, **changes: object) -> RunFolder:
    file = load_recipe(None, {**QUICK, **changes})
    check_names(file)
    run, data = start_run(folder, file.recipe), TrainingData(file)
    prepare(run, data)
    teach(run, data, Listener())
    distil(run, data, Listener())
    return run


class TestARun:
    @pytest.fixture(scope="class")
    def run(self, place: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
        stages = [{"methods": "fitnet", "epochs": 1, "teacher": "b"}, KD]
        folder = tmp_path_factory.mktemp("runs") / "two"
        keys = {"teachers": members(place), "data.teacher_views": 1, "stages": stages}
        return walk(folder, **keys)

    def test_each_has_a_folder_and_they_answer_as_their_mean(
        self, run: RunFolder, place: Path
    ) -> None:
        assert (run.teacher / "a" / "teacher.onnx").is_file()
        assert (run.teacher / "b" / "weights.safetensors").is_file()
        networks = torch.load(place / "networks.pt", weights_only=False)
        images = torch.rand(4, 1, 16, 16)
        with torch.no_grad():
            first, second = (network(images).softmax(1) for network in networks)
            found = opened_teachers(run)(images).exp()
        torch.testing.assert_close(found, (3 * first + second) / 4, rtol=1e-3, atol=1e-4)

    def test_they_are_judged_and_counted_together(self, run: RunFolder) -> None:
        teacher = run.record()["networks"]["teacher"]
        assert teacher["model"] == "mix of a, b"
        assert teacher["parameters"] > 150_000
        assert 0 <= teacher["test"]["top1"] <= 1

    def test_views_are_kept_of_each_that_teaches(self, run: RunFolder) -> None:
        assert len(list(run.teacher_views.glob("*/facts.json"))) == 2

    def test_its_stages_were_trained_and_the_recipe_can_be_read_back(self, run: RunFolder) -> None:
        losses = [
            read_json(run.stages / name / METRICS)["history"][0]["losses"]
            for name in ("1-fitnet", "2-kd")
        ]
        assert losses[0]["fitnet"] > 0 and losses[1]["kd"] > 0
        recipe = run.recipe()
        assert recipe.stages[0].teacher == "b" and recipe.teacher.model == "mix"
        assert "[[teachers]]" in dump_recipe(recipe)

    def test_another_mix_is_another_run(self, run: RunFolder, place: Path) -> None:
        with pytest.raises(RunMismatchError, match="teacher_mix is unset there, 'entropy'"):
            walk(
                run.path,
                teachers=members(place),
                teacher_mix="entropy",
                stages=[{"methods": "fitnet", "epochs": 1, "teacher": "b"}, KD],
                **{"data.teacher_views": 1},
            )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stages": [{"methods": "at"}]}, r"stages\[0\]: method 'at' looks inside the teacher"),
        (
            {"stages": [{**KD, "methods": "at", "teacher": "b"}, HELD]},
            r"stages\[1\]: method 'at' looks inside the teacher",
        ),
        ({"stages": [{**KD, "teacher": "c"}]}, "stage 1 has teacher 'c', .* are 'a', 'b'"),
        ({"teacher.model": "resnet20"}, "there are .*teachers.*, and teacher.model = 'resnet20'"),
        ({"teacher.weights": "w.pt"}, "those of each of several teachers"),
        ({"teacher.settings": {"depth": 3}}, "those of each of several teachers"),
        ({"teacher.head": "fc"}, "none has its layers made anew or is fine-tuned"),
        ({"teacher.training.weights": "timm:pretrained"}, "none .* is fine-tuned"),
    ],
)
def test_what_several_cannot_do_is_refused_before_any_work(
    place: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        walk(tmp_path / "run", **{"teachers": members(place), "stages": [KD], **changes})
    assert not (tmp_path / "run").exists()


def test_one_that_would_have_to_be_trained_is_refused(place: Path, tmp_path: Path) -> None:
    both = [*members(place)[:1], {"name": "b", "model": "resnet8"}]
    with pytest.raises(
        RecipeError, match=r"teachers\[1\]\.model: resnet8 would have to be trained"
    ):
        walk(tmp_path / "run", teachers=both, stages=[KD])


@pytest.mark.parametrize(
    ("teachers", "words"),
    [
        ([{"name": "a", "model": "a.onnx"}], "two or more, but got 'a' alone"),
        ([{"name": "a", "model": "a.onnx"}] * 2, "a name of its own"),
        ([{"name": "a/b", "model": "a.onnx"}], r"teachers\[0\]\.name"),
    ],
)
def test_teachers_without_sense_are_refused(teachers: list[object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe(None, {"teachers": teachers})


def test_a_mix_of_one_is_refused() -> None:
    with pytest.raises(RecipeError, match='teacher_mix = "entropy" is of several teachers'):
        load_recipe(None, {"teacher_mix": "entropy"})


def test_one_that_was_trained_on_another_part_of_a_picture_is_told_of(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('height = 96\nwidth = 96\nmean = [0.5]\nstd = [0.5]\nfit = "squash"\n')
    teachers = [
        {"name": name, "model": "resnet8", "weights": "x.pt", "preprocessing": source}
        for name, source in (("a", "imagenet"), ("b", "inception"))
    ]
    known = prepared(teachers)
    assert not any("several" in line for line in known.remarks)
    # The first one's share of the middle, at the size of the largest.
    assert (known.teacher.size, known.teacher.resize_to) == ((299, 299), (342, 342))
    teachers[1]["preprocessing"] = str(own)
    (line,) = (line for line in prepared(teachers).remarks if "several" in line)
    assert line.startswith("teacher b: was trained on pictures as squash, but several teachers are")


def prepared(teachers: list[dict[str, str]]) -> Preparations:
    return preparations(load_recipe(None, {"teachers": teachers}).recipe)


def test_classes_in_another_order_are_refused() -> None:
    check_one_order({"a": ("cat", "dog"), "b": ("cat", "dog")}, ["cat", "dog"])
    check_one_order({"a": ("n01", "n02")}, ["cat", "dog"])
    with pytest.raises(ModelMismatchError, match=r"teacher a: its class 0 is 'dog', .*'cat'"):
        check_one_order({"a": ("dog", "cat")}, ["cat", "dog"])
    with pytest.raises(ModelMismatchError, match="teacher b: its class 1 is 'n03', and that of a"):
        check_one_order({"a": ("n01", "n02"), "b": ("n01", "n03")}, ["cat", "dog"])


def test_each_sees_its_own_preparation(place: Path, tmp_path: Path) -> None:
    """A teacher that was trained on raw pixels beside one on normalised ones."""
    run = walk(
        tmp_path / "run",
        teachers=[*members(place), {"name": "c", "model": f"command:{_answering(tmp_path)}"}],
        stages=[{**KD, "teacher": "c"}],
    )
    images = torch.from_numpy(np.random.default_rng(0).random((2, 1, 16, 16), np.float32))
    assert opened_teachers(run).member("c")(images).shape == (2, 10)


def _answering(folder: Path) -> str:
    """A program that answers each picture with its first ten pixels."""
    script = folder / "answer.py"
    script.write_text(
        "import sys\nimport numpy as np\n"
        "class Input:\n"
        "    def read(self, count): return sys.stdin.buffer.read(count)\n"
        "while True:\n"
        "    try: pixels = np.lib.format.read_array(Input())\n"
        "    except ValueError: break\n"
        "    said = pixels.reshape(len(pixels), -1)[:, 120:130].astype(np.float32) / 25\n"
        "    np.lib.format.write_array(sys.stdout.buffer, np.ascontiguousarray(said))\n"
        "    sys.stdout.flush()\n"
    )
    return f"{sys.executable} {script}"


def test_on_the_command_line_each_is_named_after_its_file() -> None:
    assert teachers_typed([]) == {}
    assert teachers_typed(["resnet20"]) == {"teacher.model": "resnet20"}
    models = ["x/big.onnx", "y/big.onnx", "function:mine.server:ask"]
    named = teachers_typed(models)["teachers"]
    assert [each["name"] for each in named] == ["teacher-1", "teacher-2", "ask"]
    assert [each["model"] for each in named] == models
