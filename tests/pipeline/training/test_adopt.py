from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.graphs.to_onnx import export_onnx
from foundation.errors import (
    ExportError,
    MissingFileError,
    ModelMismatchError,
    RecipeError,
    RunMismatchError,
)
from pipeline.data.facts import TEST, read_facts, read_images
from pipeline.models import build_model
from pipeline.recipe.file import load_recipe
from pipeline.recipe.sections.networks import StudentRecipe
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.training.adopt import adopt, check_as_it_is, check_file_exists
from pipeline.training.network_classes import network_classes
from pipeline.training.networks import trained_student
from pipeline.training.prepare import TrainingData, prepare
from smskd.checkpoints.files import save_model


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    network = build_model("resnet8", 10, 1)
    with torch.no_grad():  # batch-norm that has seen something
        network.train()(torch.rand(64, 1, 8, 8))
    return network.eval()


def adopted(folder: Path, **student: object) -> RunFolder:
    settings = {"data.image_size": 8, "data.evaluation_images": 100, "data.batch_size": 128}
    file = load_recipe(None, {**settings, **{f"student.{k}": v for k, v in student.items()}})
    run, data = start_run(folder, file.recipe), TrainingData(file)
    prepare(run, data)
    adopt(run, data)
    return run


def exported(network: nn.Module, path: Path, size: int = 8) -> Path:
    export_onnx(network, torch.zeros(1, 1, size, size), path, 20)
    return path


def test_weights_are_the_student_as_they_are(network: nn.Module, tmp_path: Path) -> None:
    save_model(tmp_path / "w.safetensors", network)
    run = adopted(tmp_path / "run", model="resnet8", weights=str(tmp_path / "w.safetensors"))
    student = trained_student(run)
    for ours, theirs in zip(network.parameters(), student.parameters(), strict=True):
        assert ours.equal(theirs)
    record = run.record()
    assert record["adopted"] == "w.safetensors"
    assert record["networks"]["student"]["parameters"] == 77_754
    assert record["networks"].keys() == {"student"}
    assert not run.has_teacher


def test_a_graph_is_the_student_and_worth_what_the_network_is(
    network: nn.Module, tmp_path: Path
) -> None:
    run = adopted(tmp_path / "run", model=str(exported(network, tmp_path / "net.onnx")))
    assert not run.student.exists()
    images, facts = read_images(run.data / TEST), read_facts(run.data)
    with torch.no_grad():
        logits = network(torch.from_numpy(facts.preprocessing.apply(images.pixels)))
    labels = torch.from_numpy(images.labels)
    worth = run.record()["networks"]["student"]["test"]
    assert worth["n"] == len(labels) == 100
    assert worth["top1"] == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    loss = nn.functional.cross_entropy(logits, labels).item()
    assert worth["loss"] == pytest.approx(loss, rel=1e-4)


def test_weights_beside_a_graph_are_taken_in(network: nn.Module, tmp_path: Path) -> None:
    model = onnx.load(exported(network, tmp_path / "net.onnx"))
    beside = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    onnx.save(model, tmp_path / "beside.onnx", **beside)
    run = adopted(tmp_path / "run", model=str(tmp_path / "beside.onnx"))
    kept = onnx.load(run.student_graph, load_external_data=False)
    assert not any(tensor.external_data for tensor in kept.graph.initializer)
    total = sum(int(np.prod(tensor.dims)) for tensor in kept.graph.initializer)
    assert run.record()["networks"]["student"]["parameters"] == total


class TestAgain:
    def test_nothing_is_done_for_the_same_weights(self, network: nn.Module, tmp_path: Path) -> None:
        given = {"model": "resnet8", "weights": str(tmp_path / "w.safetensors")}
        save_model(tmp_path / "w.safetensors", network)
        run = adopted(tmp_path / "run", **given)
        before = run.student.stat().st_mtime_ns
        adopted(tmp_path / "run", **given)
        assert run.student.stat().st_mtime_ns == before

    def test_other_classes_are_judged_anew(self, tmp_path: Path, photos: Path) -> None:
        """The file of their names says something else now."""
        order, network = tmp_path / "names.txt", build_model("resnet8", 2, 3).eval()
        path = tmp_path / "net.onnx"
        export_onnx(network, torch.zeros(1, 3, 8, 8), path, 20)
        tops = []
        for names in ("dark\nlight", "light\ndark"):
            order.write_text(names)
            settings = {"data.name": f"folder:{photos}", "data.classes": str(order)}
            file = load_recipe(None, {**settings, "data.image_size": 8, "student.model": str(path)})
            run = start_run(tmp_path / "run", file.recipe)
            data = TrainingData(file, network_classes(file.recipe.student))
            prepare(run, data)
            adopt(run, data)
            tops.append(run.record()["networks"]["student"]["test"]["top1"])
        assert tops[0] + tops[1] == 1

    def test_a_changed_file_is_adopted_anew(self, network: nn.Module, tmp_path: Path) -> None:
        path = exported(network, tmp_path / "net.onnx")
        run = adopted(tmp_path / "run", model=str(path))
        before = run.student_graph.read_bytes()
        exported(build_model("resnet14", 10, 1).eval(), path)
        adopted(tmp_path / "run", model=str(path))
        assert run.student_graph.read_bytes() != before

    def test_a_factory_that_gives_other_weights_is_adopted_anew(
        self, network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "factory_of_two.py").write_text(
            "from pipeline.models import build_model\n"
            "scale = [1.0]\n"
            "def net(num_classes, in_channels):\n"
            "    network = build_model('resnet8', num_classes, in_channels)\n"
            "    network.fc.weight.data *= scale[0]\n"
            "    return network\n"
        )
        run = adopted(tmp_path / "run", model="factory_of_two:net")
        before = (run.student.read_bytes(), run.student.stat().st_mtime_ns)
        adopted(tmp_path / "run", model="factory_of_two:net")
        assert (run.student.read_bytes(), run.student.stat().st_mtime_ns) == before
        import factory_of_two  # noqa: PLC0415

        factory_of_two.scale[0] = 2.0
        adopted(tmp_path / "run", model="factory_of_two:net")
        assert run.student.read_bytes() != before[0]

    def test_a_factory_whose_code_changed_is_adopted_anew_and_not_exported_before(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        path, text = (
            tmp_path / "factory_of_three.py",
            (
                "from pipeline.models import build_model\n"
                "def net(num_classes, in_channels):\n"
                "    return build_model('resnet8', num_classes, in_channels)\n"
            ),
        )
        path.write_text(text)
        run = adopted(tmp_path / "run", model="factory_of_three:net")
        finished = run.record()["steps"]["adopt"]
        assert (
            adopted(tmp_path / "run", model="factory_of_three:net").record()["steps"]["adopt"]
            == finished
        )
        path.write_text(text + "\nscale = 2\n")
        with pytest.raises(RunMismatchError, match=r"code of student.model .* changed since"):
            trained_student(run)
        run = adopted(tmp_path / "run", model="factory_of_three:net")
        assert run.record()["steps"]["adopt"]["depends_on"] != finished["depends_on"]
        trained_student(run)

    @pytest.mark.slow
    def test_a_graph_that_does_not_fit_leaves_the_one_before(
        self, network: nn.Module, tmp_path: Path
    ) -> None:
        path = exported(network, tmp_path / "net.onnx")
        run = adopted(tmp_path / "run", model=str(path))
        before = run.student_graph.read_bytes()
        exported(build_model("resnet8", 3, 1).eval(), path)
        with pytest.raises(ModelMismatchError, match=r"net\.onnx: gives 3 logits.* 10 classes"):
            adopted(tmp_path / "run", model=str(path))
        assert run.student_graph.read_bytes() == before


def test_a_graph_for_images_of_another_size_is_refused(network: nn.Module, tmp_path: Path) -> None:
    path = exported(network, tmp_path / "net.onnx", size=16)
    with pytest.raises(ExportError, match=r"takes images \['batch', 1, 16, 16\].*\(N, 1, 8, 8\)"):
        adopted(tmp_path / "run", model=str(path))
    assert not (tmp_path / "run/student.onnx").exists()


def test_a_file_that_is_not_there_is_told_before_any_work(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    for asked in ({"model": f"{gone}.onnx"}, {"model": "resnet8", "weights": f"{gone}.pt"}):
        with pytest.raises(MissingFileError, match="gone"):
            check_file_exists(StudentRecipe(**asked))
    check_file_exists(StudentRecipe(model="mine:net"))
    check_file_exists(StudentRecipe(model="torchvision/resnet18", weights="torchvision:DEFAULT"))


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ({"student.prune": 0.5}, "student.prune"),
        ({"student.prune_multiple": 4}, "student.prune_multiple"),
        ({"student": {"prune": 0.5}}, "student.prune"),
        ({"stages.0.prune": 0.5}, r"stages\[0\].prune"),
        ({"stages.1.quantize": "int8"}, r"stages\[1\].quantize"),
        ({"stages": [{"methods": "kd"}]}, "stages"),
    ],
)
def test_nothing_that_only_training_does_is_asked_of_it(override: dict, place: str) -> None:
    with pytest.raises(RecipeError, match=f"^command line, {place}: a network from elsewhere"):
        check_as_it_is(load_recipe(None, {"student.weights": "net.pt", **override}))


def test_keys_that_say_what_it_is_and_how_it_is_exported_are_taken() -> None:
    keys = {"student.weights": "net.pt", "student.settings.wide": 2, "export.formats": ["onnx"]}
    check_as_it_is(load_recipe(None, keys))


def test_what_was_taken_of_a_checkpoint_is_kept_with_the_step(
    network: nn.Module, tmp_path: Path
) -> None:
    fresh = build_model("resnet8", 10, 1)
    content = {"model": fresh.state_dict(), "ema": network.state_dict(), "best_acc": 99.0}
    path = tmp_path / "both.pt"
    torch.save(content, path)
    run = adopted(tmp_path / "run", model="resnet8", weights=str(path))
    taken, worth = run.remarks()["adopt"]
    assert taken == f"{path}: took ema, the running mean; not taken: model"
    assert "its checkpoint notes best_acc = 99.00 %" in worth
    other = adopted(tmp_path / "other", model="resnet8", weights=str(path), weights_key="model")
    assert torch.equal(trained_student(other).fc.weight, fresh.fc.weight)


def test_an_accuracy_that_is_known_is_held_against_each_time(
    network: nn.Module, tmp_path: Path
) -> None:
    save_model(tmp_path / "w.safetensors", network)
    given = {"model": "resnet8", "weights": str(tmp_path / "w.safetensors")}
    run = adopted(tmp_path / "run", **given, expect_top1=2.0)
    with pytest.raises(ModelMismatchError, match=r"but 95\.00 % was expected"):
        adopted(run.path, **given, expect_top1=95.0)
    adopted(run.path, **given)
