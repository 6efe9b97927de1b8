from __future__ import annotations

from pathlib import Path

import pytest

from foundation.errors import UsageError
from pipeline.recipe.file import load_recipe
from pipeline.training.foreign_models import Foreign, foreign_source, is_graph, run_to_export


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/digits").mkdir(parents=True)
    (tmp_path / "best").write_bytes(b"")


@pytest.mark.parametrize(
    ("given", "model", "expected"),
    [
        (None, None, None),
        ("runs/digits", None, None),
        ("runs/nowhere", None, None),
        ("w/best.pt", "resnet8", Foreign("w/best.pt", "resnet8", "w/best.pt")),
        ("best", "resnet8", Foreign("best", "resnet8", "best")),
        ("./w.safetensors", "m:f", Foreign("w.safetensors", "m:f", "w.safetensors")),
        ("my.nets:net", None, Foreign("my.nets:net", "my.nets:net", None)),
        ("a/b.onnx", None, Foreign("a/b.onnx", "a/b.onnx", None)),
        ("a/./B.ONNX", None, Foreign("a/B.ONNX", "a/B.ONNX", None)),
        (
            "torchvision:DEFAULT",
            "torchvision/resnet18",
            Foreign("torchvision:DEFAULT", "torchvision/resnet18", "torchvision:DEFAULT"),
        ),
    ],
)
def test_what_is_named_is_told_apart(given, model, expected) -> None:
    assert foreign_source(given, model) == expected


@pytest.mark.parametrize("given", ["best", "gone.pt", "gone.SafeTensors", "timm:pretrained"])
def test_weights_need_a_model(given: str) -> None:
    with pytest.raises(UsageError, match=f"^{given}: weights alone .* add --model"):
        foreign_source(given, None)


@pytest.mark.parametrize(
    ("given", "words"),
    [(None, "no source is a run"), ("runs/digits", "digits is a run"), ("a.onnx", "is a graph")],
)
def test_a_model_is_refused_where_none_is_needed(given: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        foreign_source(given, "resnet8")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (Foreign("w/best.epoch-3.pth", "resnet8", "w/best.epoch-3.pth"), "best.epoch-3"),
        (Foreign("my.nets:net", "my.nets:net", None), "my.nets-net"),
        (Foreign("my.nets:other", "my.nets:other", None), "my.nets-other"),
        (Foreign("x/Résumé v2.onnx", "x/Résumé v2.onnx", None), "R-sum-v2"),
        (Foreign("модель.onnx", "модель.onnx", None), "foreign"),
        (
            Foreign("timm:pretrained", "timm/vit_tiny.x", "timm:pretrained"),
            "timm-vit_tiny.x-pretrained",
        ),
    ],
)
def test_every_source_has_a_name_that_a_recipe_takes(source: Foreign, name: str) -> None:
    assert source.name == name
    file = load_recipe(None, source.recipe_keys("digits", "16"))
    assert (file.recipe.name, file.recipe.student.model) == (name, source.model)
    assert (file.recipe.student.weights, file.recipe.data.image_size) == (source.weights, 16)


def test_without_an_image_size_the_datasets_own_is_taken() -> None:
    keys = Foreign("a.onnx", "a.onnx", None).recipe_keys("digits", None)
    assert "data.image_size" not in keys


def test_a_network_from_elsewhere_needs_images() -> None:
    with pytest.raises(UsageError, match=r"a\.onnx: .* add --data"):
        Foreign("a.onnx", "a.onnx", None).recipe_keys(None, None)


def test_a_run_is_named_once() -> None:
    assert run_to_export(None, None, {}) is None
    assert run_to_export("runs/digits", None, {"--data": None}) == Path("runs/digits")
    assert run_to_export(None, Path("runs/digits"), {}) == Path("runs/digits")
    with pytest.raises(UsageError, match="both name a run folder"):
        run_to_export("runs/digits", Path("runs/other"), {})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "--data goes with a network from elsewhere"),
        ("runs/digits", "--data goes with a network from elsewhere"),
        ("digts", "digts: neither a run folder"),
    ],
)
def test_options_of_a_foreign_network_are_refused_for_a_run(given: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run_to_export(given, None, {"--image-size": None, "--data": "digits"})


@pytest.mark.parametrize(("model", "graph"), [("a.onnx", True), ("onnx", False), ("a.b:c", False)])
def test_a_graph_is_told_by_its_name(model: str, graph: bool) -> None:
    assert is_graph(model) is graph


def test_torch_is_not_loaded_to_tell_them_apart(python, tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline.training.foreign_models import foreign_source; "
        "foreign_source('a.pt', 'resnet8'); foreign_source('a.onnx', None); "
        "sys.exit('torch' in sys.modules)"
    )
    said = python(code, cwd=tmp_path)
    assert said.code == 0, said.err
