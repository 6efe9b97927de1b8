from __future__ import annotations

import sys
from pathlib import Path

import pytest

from foundation.errors import (
    MissingFileError,
    ModelMismatchError,
    RecipeError,
    UnknownNameError,
    UsageError,
)
from pipeline.preflight.names import check_names
from pipeline.recipe.by_name import shipped_names, shipped_recipe
from pipeline.recipe.file import load_recipe


def check(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    check_names(load_recipe(path))


@pytest.mark.parametrize("name", shipped_names())
def test_every_name_in_a_shipped_recipe_is_known(name: str) -> None:
    check_names(load_recipe(Path(shipped_recipe(name).path)))


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ('[data]\nname = "digit"', "line 2, data.name", "dataset 'digit', did you mean 'digits'"),
        (
            '[data.augment]\npolicy = "randaugmnt"',
            "line 2, data.augment.policy",
            "policy 'randaugmnt', did you mean 'randaugment'",
        ),
        ('[teacher]\nmodel = "resnet21"', "line 2, teacher.model", "model 'resnet21', did you"),
        ('[student]\nmodel = "resnet9"', "line 2, student.model", "did you mean 'resnet8'"),
        ('[[stages]]\nmethods = "rkdd"', "line 2, stages[0].methods[0]", "did you mean 'rkd'"),
        (
            '[[stages]]\nmethods = ["kd", "fitnett"]',
            "line 2, stages[0].methods[1]",
            "did you mean 'fitnet'",
        ),
        (
            '[[stages]]\nweighting = "tpc"',
            "line 2, stages[0].weighting",
            "weighting 'tpc', did you mean 'tcp'",
        ),
        (
            '[[stages]]\nmethods = "at"\n[[stages]]\nreference_methods = ["att"]',
            "line 4, stages[1].reference_methods",
            "method 'att', did you mean 'at'",
        ),
        (
            '[[stages]]\nmethods = { name = "kd" }\n', "line 2, stages[0].methods", "",
        ),
        (
            '[[stages]]\nmethods = [{ name = "kd", settings = { temprature = 2.0 } }]',
            "line 2, stages[0].methods[0]",
            "setting of method 'kd' 'temprature', did you mean 'temperature'",
        ),
        ('[export]\ntargets = ["rpi55"]', "line 2, export.targets[0]", "did you mean 'rpi5'"),
        ('[export]\nformats = ["onx"]', "line 2, export.formats", "did you mean 'onnx'"),
        ('[export]\nprecisions = ["int4"]', "line 2, export.precisions", "did you mean 'int8'"),
        ('[bench]\nhost = "locl"', "line 2, bench.host", "did you mean 'local'"),
        (
            "[gate.limits]\nsize = { max = 1.0 }",
            "line 2, gate.limits.size",
            "did you mean 'size_mb'",
        ),
    ],
)  # fmt: skip
def test_an_unknown_name_is_told_with_its_place_and_the_nearest(
    tmp_path: Path, text: str, where: str, words: str
) -> None:
    with pytest.raises((UnknownNameError, RecipeError)) as refused:
        check(tmp_path, text)
    assert f"x.toml {where}" in str(refused.value)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('{ temperature = "hot" }', "setting temperature: input should be a valid number"),
        ("{ temperature = -1.0 }", "temperature"),
    ],
)
def test_a_settings_value_is_checked_before_any_work(
    tmp_path: Path, settings: str, words: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        check(tmp_path, f'[[stages]]\nmethods = [{{ name = "kd", settings = {settings} }}]')
    assert "line 2, stages[0].methods[0]" in str(refused.value)
    assert words.lower() in str(refused.value).lower()


def test_a_settings_value_that_is_not_finite_is_told_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"x\.toml: .*methods\[0\]\.settings\.temperature is inf"):
        check(tmp_path, '[[stages]]\nmethods = [{ name = "kd", settings = { temperature = inf } }]')


def test_a_factory_that_cannot_be_imported_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ModelMismatchError, match=r"line 2, student\.model: .*no_such_module"):
        check(tmp_path, '[student]\nmodel = "no_such_module:net"')


def test_a_profile_that_is_not_there_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"board\.toml"):
        check(tmp_path, '[export]\ntargets = ["board.toml"]')


def test_a_target_that_takes_nothing_of_what_is_asked_is_told_before_the_training(
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="target rpi4 takes onnx in fp32, int8"):
        check(tmp_path, '[export]\ntargets = ["rpi4"]\nformats = ["openvino"]')


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("[[stages]]\nprune = 0.3", "line 2, stages[0].prune", "write it as student.prune"),
        (
            "[[stages]]\n[[stages]]\nprune = 0.3\nreference_feature_weight = 0.1",
            "line 3, stages[1].prune",
            "leave reference_feature_weight out",
        ),
    ],
)
def test_pruning_that_makes_no_sense_is_told_with_its_place(
    tmp_path: Path, text: str, where: str, words: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        check(tmp_path, text)
    assert f"x.toml {where}: " in str(refused.value)
    assert words in str(refused.value)


@pytest.mark.parametrize("text", ["[student]\nprune = 0.3", "[[stages]]\n[[stages]]\nprune = 0.3"])
def test_pruning_without_its_library_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(ModelMismatchError, match="pip install torch-pruning"):
        check(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[[stages]]\nmethods = "crd"\n[[stages]]\nreference_methods = "previous"',
            r"line 4, stages\[1\]\.reference_methods: .*by 'crd', which gives no loss",
        ),
        (
            '[[stages]]\nmethods = "at"\n[[stages]]\nreference_methods = ["dkd"]\n'
            '[data.augment]\nmix = "mixup"',
            r"stages\[1\]\.reference_methods: method 'dkd' needs one true class",
        ),
    ],
)
def test_by_what_a_reference_cannot_be_held_is_told_of_with_its_place(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        check(tmp_path, text)
